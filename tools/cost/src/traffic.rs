//! The traffic, as options of a command line.

#![expect(clippy::doc_markdown, reason = "a terminal shows these texts as they are")]

use std::fmt;
use std::ops::RangeInclusive;

use clap::{Args, Parser, ValueEnum};
use serde::Serialize;

/// The traffic, and the parts that serve it. Every write changes the name of a user.
#[derive(Debug, Clone, Args)]
pub struct TrafficOptions {
    /// Share of the requests that read one user, from 0 to 1; the others write.
    #[arg(long, default_value = "0.9", allow_negative_numbers = true, value_parser = share)]
    pub reads: f64,
    /// Share of the lookups in a cache, memory or Redis, that the cache answers, from 0 to 1.
    #[arg(long, default_value = "0.8", allow_negative_numbers = true, value_parser = share)]
    pub hot: f64,
    /// Size of a stored user, in bytes.
    #[arg(long, default_value = "500", value_parser = clap::value_parser!(u32).range(1..=400_000))]
    pub item_bytes: u32,
    /// Number of stored users.
    #[arg(long, default_value = "100000", value_parser = clap::value_parser!(u32))]
    pub items: u32,
    /// Type of the queue.
    #[arg(long, default_value = "standard")]
    pub queue: QueueType,
    /// Commands in a full batch of ingest-fn.
    #[arg(long, default_value = "10", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch: u32,
    /// Seconds that the event source mapping waits for a full batch.
    #[arg(long, default_value = "0", value_parser = clap::value_parser!(u32).range(0..=300))]
    pub window: u32,
    /// Processor architecture of the functions. `make package` builds for x86_64, unless you pass ARCH=arm64.
    #[arg(long, default_value = "arm64")]
    pub arch: Architecture,
    /// Leave Redis out of a stage that has it, and with it the VPC and its endpoints.
    #[arg(long)]
    pub without_redis: bool,
    /// Availability zones of the VPC.
    #[arg(long, default_value = "2", value_parser = clap::value_parser!(u32).range(1..=6))]
    pub zones: u32,
    /// Memory of each function, in MB.
    #[arg(long, default_value = "256", value_parser = clap::value_parser!(u32).range(128..=10_240))]
    pub memory: u32,
    /// Memory of ingest-fn, in MB.
    #[arg(long, default_value = "512", value_parser = clap::value_parser!(u32).range(128..=10_240))]
    pub ingest_memory: u32,
    /// Milliseconds of a read that a cache answers. The defaults of this option and the next three are assumptions: pass the
    /// durations that you measure.
    #[arg(long, default_value = "1", value_parser = millis)]
    pub cached_ms: f64,
    /// Milliseconds of a read that a store answers.
    #[arg(long, default_value = "3", value_parser = millis)]
    pub store_ms: f64,
    /// Milliseconds in which write-fn queues a command.
    #[arg(long, default_value = "3", value_parser = millis)]
    pub queue_ms: f64,
    /// Milliseconds in which a command is applied: by write-fn or, behind the queue, by ingest-fn.
    #[arg(long, default_value = "6", value_parser = millis)]
    pub apply_ms: f64,
    /// Share of the requests that X-Ray traces, besides the first in every second: 0.05 if `tracing` is on, 0 if it is off.
    #[arg(long, default_value = "0", allow_negative_numbers = true, value_parser = share)]
    pub traced: f64,
}

/// The type of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum QueueType {
    /// Does not order commands.
    Standard,
    /// Orders the commands on each user.
    Fifo,
}

/// The processor architecture of the functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
pub enum Architecture {
    /// Graviton.
    #[serde(rename = "arm64")]
    Arm64,
    /// Intel or AMD.
    #[serde(rename = "x86_64")]
    #[value(name = "x86_64")]
    X86_64,
}

/// Formats it as AWS and the option spell it.
impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arm64 => "arm64",
            Self::X86_64 => "x86_64",
        })
    }
}

impl Default for TrafficOptions {
    fn default() -> Self {
        Self::of(&[])
    }
}

impl TrafficOptions {
    /// Returns the options that a command line without other options gives. Wrong options end the process, as clap does.
    #[must_use]
    pub fn of(arguments: &[&str]) -> Self {
        OnlyTraffic::parse_from([&["traffic"], arguments].concat()).traffic
    }
}

/// A command line without other options.
#[derive(Debug, Parser)]
struct OnlyTraffic {
    #[command(flatten)]
    traffic: TrafficOptions,
}

fn share(text: &str) -> Result<f64, String> {
    number(text, 0.0..=1.0, "a share is a number from 0 to 1, such as 0.9")
}

fn millis(text: &str) -> Result<f64, String> {
    number(
        text,
        0.001..=900_000.0,
        "a duration is a number of milliseconds, at most 900000: no function may run longer",
    )
}

/// Parses a number in a range. The error is `wanted`.
pub fn number(text: &str, range: RangeInclusive<f64>, wanted: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| wanted.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_options_are_refused_with_the_valid_values() {
        let refused = |argument: &str, value: &str| {
            OnlyTraffic::try_parse_from(["test", argument, value]).unwrap_err().to_string()
        };
        assert!(refused("--reads", "1.5").contains("a share is a number from 0 to 1"));
        assert!(refused("--hot", "-0.1").contains("a share is a number from 0 to 1"));
        assert!(refused("--apply-ms", "soon").contains("a number of milliseconds"));
        assert!(refused("--memory", "64").contains("128..=10240"));
        assert!(refused("--arch", "mips").contains("arm64, x86_64"));
    }
}
