//! The command line.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use http::HeaderValue;

/// Run the whole service on this machine: gateway, functions in separate processes, queue, tables and cache
#[derive(Debug, Parser)]
#[command(name = "watershed-local", version)]
pub struct Options {
    /// Internal task of a child process
    #[command(subcommand)]
    pub role: Option<Role>,
    /// The settings of the service
    #[command(flatten)]
    pub stack: StackOptions,
}

/// The roles that this program plays in processes of its own.
#[derive(Debug, Clone, Subcommand)]
pub enum Role {
    /// Run one function, in the environment of a Lambda function
    #[command(hide = true)]
    Function {
        /// Id of the parent process: the function ends with it
        #[arg(long)]
        parent: i32,
        /// Name of the function
        name: String,
    },
    /// Run another program that ends with its parent
    #[command(hide = true)]
    Leash {
        /// Id of the parent process: the program ends with it
        #[arg(long)]
        parent: i32,
        /// Path of the program
        program: PathBuf,
        /// Arguments of the program
        #[arg(last = true)]
        arguments: Vec<std::ffi::OsString>,
    },
}

/// The settings of the service.
#[derive(Debug, Clone, Args)]
pub struct StackOptions {
    /// Port on 127.0.0.1; 0 uses any free port
    #[arg(long, default_value_t = 3000)]
    pub port: u16,
    /// Stage of the evolution, from shared/stages.json [default: the stage of the data directory, or cqrs if it has none]
    #[arg(long)]
    pub stage: Option<String>,
    /// Type of the queue between write-fn and ingest-fn
    #[arg(long, value_enum, default_value_t = QueueType::Standard)]
    pub queue: QueueType,
    /// Directory for tables, queue and signing keys, which are kept between runs
    #[arg(long, value_name = "DIR", default_value = ".watershed")]
    pub data_dir: PathBuf,
    /// Keep everything in memory, so that nothing is left after the run
    #[arg(long, conflicts_with = "data_dir")]
    pub ephemeral: bool,
    /// Run without Redis, with memory caches only
    #[arg(long, conflicts_with = "redis_url")]
    pub no_redis: bool,
    /// Maximum number of processes per function
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub max_environments: u16,
    /// Seconds after which an idle process ends
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub idle_seconds: u32,
    /// Run packaged functions, DIR/NAME or DIR/NAME/bootstrap, instead of the built-in ones
    #[arg(long, value_name = "DIR")]
    pub functions_dir: Option<PathBuf>,
    /// Verify bearer tokens with this JSON Web Key Set; without it, every request counts as user local-user of tenant local
    #[arg(long, value_name = "FILE")]
    pub jwks: Option<PathBuf>,
    /// Issuer that tokens must name
    #[arg(long, value_name = "URL", default_value = "https://issuer.local", requires = "jwks")]
    pub issuer: String,
    /// Audience that tokens must name
    #[arg(long, value_name = "NAME", default_value = "watershed", requires = "jwks")]
    pub audience: String,
    /// Let pages of this origin call the service from a browser (CORS), such as `http://localhost:8080`; may be repeated
    #[arg(long, value_name = "ORIGIN", value_parser = crate::cors::origin)]
    pub cors: Vec<HeaderValue>,
    /// Use the tables at this endpoint instead of the embedded ones
    #[arg(long, value_name = "URL")]
    pub dynamodb_url: Option<String>,
    /// Use the queues at this endpoint instead of the embedded ones
    #[arg(long, value_name = "URL")]
    pub sqs_url: Option<String>,
    /// Write the metrics of the functions to their logs
    #[arg(long)]
    pub metrics: bool,
    /// Use this Redis instead of starting one
    #[arg(long, value_name = "URL")]
    pub redis_url: Option<String>,
}

impl StackOptions {
    /// Returns the data directory, unless everything is in memory.
    #[must_use]
    pub fn persistent_dir(&self) -> Option<&Path> {
        (!self.ephemeral).then_some(self.data_dir.as_path())
    }
}

/// The type of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum QueueType {
    /// No order, and almost no limit on throughput
    Standard,
    /// In order within each message group
    Fifo,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Options::command().debug_assert();
    }

    #[test]
    fn everything_has_a_default() {
        let options = Options::try_parse_from(["watershed-local"]).unwrap();
        assert_eq!((options.stack.port, options.stack.stage), (3000, None));
    }

    #[test]
    fn options_out_of_range_are_refused() {
        for bad in [["--max-environments", "0"], ["--idle-seconds", "0"], ["--port", "65536"], ["--queue", "lifo"]] {
            assert!(Options::try_parse_from([&["watershed-local"], bad.as_slice()].concat()).is_err(), "{bad:?}");
        }
    }
}
