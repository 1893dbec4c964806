//! The command line.

#![expect(clippy::doc_markdown, reason = "a terminal shows these texts as they are")]

use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use http::Uri;
use http::uri::Scheme;
use jiff::{Span, SpanRelativeTo};
use kernel::ids::Tenant;
use serde::Serialize;

/// Looks after a Watershed service: compares its stores, repairs them, brings it to other stages, and deals with dead
/// letters.
///
/// Where things are is told by the variables that the functions have as well (AWS_ENDPOINT_URL_DYNAMODB, WRITE_TABLE and
/// so on, see --help), or asked of a local stack with --stack. Credentials come from the environment, a profile's file,
/// a container or an instance; for SSO, export those of the AWS CLI.
///
/// Exit codes: 0, all is well; 1, done, and something is not as it should be; 2, wrong usage; 3, could not be done.
#[derive(Debug, Parser)]
#[command(name = "watershed", version)]
pub(crate) struct Arguments {
    /// Print JSON, for scripts.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) target: TargetOptions,
    #[command(subcommand)]
    pub(crate) action: Action,
}

/// What may be done a second at most; a timer needs a pause to wait for.
const RATE_MAX: i64 = 100_000;

/// Where things are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where things are")]
pub(crate) struct TargetOptions {
    /// Ask the local stack that serves here, for example http://127.0.0.1:3000.
    #[arg(long, global = true, env = "WATERSHED_STACK", value_name = "URL")]
    pub(crate) stack: Option<String>,
    /// The row of the table of stages that is deployed. A local stack knows it; elsewhere the word of whoever gives it is
    /// taken.
    #[arg(long, global = true, env = "STAGE", value_name = "ROW")]
    pub(crate) stage: Option<String>,
    /// The table of states and unique keys.
    #[arg(long, global = true, env = "WRITE_TABLE", value_name = "NAME")]
    pub(crate) write_table: Option<String>,
    /// The table of records of commands.
    #[arg(long, global = true, env = "COMMANDS_TABLE", value_name = "NAME")]
    pub(crate) commands_table: Option<String>,
    /// The table of views.
    #[arg(long, global = true, env = "READ_TABLE", value_name = "NAME")]
    pub(crate) read_table: Option<String>,
    /// The table of views that is written as well, while one takes the other's place.
    #[arg(long, global = true, env = "OTHER_READ_TABLE", value_name = "NAME")]
    pub(crate) other_read_table: Option<String>,
    /// The queue of commands.
    #[arg(long, global = true, env = "QUEUE_URL", value_name = "URL")]
    pub(crate) queue_url: Option<String>,
    /// Its dead-letter queue.
    #[arg(long, global = true, env = "DEAD_LETTER_QUEUE_URL", value_name = "URL")]
    pub(crate) dead_letter_queue_url: Option<String>,
    /// The shared cache. Left out of comparisons where it is not given.
    #[arg(long, global = true, env = "REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) redis_url: Option<String>,
    /// The name of the shared cache, where it is one of ElastiCache Serverless, and IAM lets the URL's user in.
    #[arg(long, global = true, env = "REDIS_IAM_CACHE", value_name = "NAME")]
    pub(crate) redis_iam_cache: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Write a new resource into a checkout of this project: its crate, and its lines in the list.
    New(NewOptions),
    /// Compare write store, read store and shared cache, key by key.
    Verify(VerifyOptions),
    /// Build another read store while everything runs, and put it in the place of the one that there is.
    #[command(subcommand)]
    Rebuild(RebuildCommand),
    /// Write the index entries of the write table anew, where this version of the code makes others: after a list was added or
    /// changed. Deploy the code first. May be ended at any time, and run again.
    Reindex(ReindexOptions),
    /// Bring the service from a stage to one next to it, or back, while it serves.
    #[command(subcommand)]
    Migrate(MigrateCommand),
    /// Deal with dead letters.
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Tell how many messages wait, are being worked on, and died.
    Queue,
    /// Look at one command.
    #[command(subcommand)]
    Command(ShowCommand),
    /// Look at one item, in all stores at once.
    #[command(subcommand)]
    Item(ItemCommand),
    /// Try a deployment as its clients do, through its front door: the smoke test.
    ///
    /// Creates a user, reads, lists, changes and deletes it, and checks each answer. The access token comes from the variable
    /// WATERSHED_TOKEN, so that no list of processes shows it. A local stack needs none. Exits with 1 at the first check that
    /// fails, and deletes the user.
    Smoke(SmokeOptions),
    /// Work out what the service costs on AWS, item by item. Asks nobody.
    ///
    /// List prices of us-east-1, without free tiers and discounts. --stage names the stage, cqrs unless given. --explain
    /// prints the formulae, and every price with its source.
    Cost(CostOptions),
    /// Work out which quota of AWS each stage reaches first, and at how many requests a second. Asks nobody.
    ///
    /// Default quotas of us-east-1, at a steady rate. --stage names the stage that is shown rate by rate, cqrs unless given.
    /// --explain prints every quota with its source.
    Limits(LimitsOptions),
    /// Simulate a load that grows: what is reached in which order, what becomes of requests then, and when the queue is empty
    /// again. Asks nobody.
    ///
    /// One second after the other, with default quotas of us-east-1 and our own bounds, from a deployment that is new.
    /// --stage names the stage, cqrs unless given.
    Ramp(RampOptions),
}

/// The service to try.
#[derive(Debug, Args)]
pub(crate) struct SmokeOptions {
    /// The stack's output Url, or a domain name of your own, such as https://api.example.com.
    #[arg(long, value_name = "URL", value_parser = service_url)]
    pub(crate) url: String,
    /// The time for all checks. A deletion after a failure takes up to 10s more.
    #[arg(long, default_value = "60s", value_parser = patience)]
    pub(crate) timeout: Duration,
    /// Make only the checks without a token: liveness, 404, 405, and that data is refused.
    #[arg(long)]
    pub(crate) public: bool,
}

/// What to work out the cost of.
#[derive(Debug, Args)]
pub(crate) struct CostOptions {
    /// Requests a second, on average over a month; 0 is idle.
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true, default_value = "0,1,100,10000", value_parser = rate)]
    pub(crate) rates: Vec<f64>,
    #[command(flatten)]
    pub(crate) traffic: TrafficOptions,
    /// Print the formulae and the prices instead.
    #[arg(long)]
    pub(crate) explain: bool,
}

/// What to hold against the quotas.
#[derive(Debug, Args)]
pub(crate) struct LimitsOptions {
    /// Requests a second.
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true, default_value = "10,100,1000,10000,100000,1000000", value_parser = rate)]
    pub(crate) rates: Vec<f64>,
    #[command(flatten)]
    pub(crate) traffic: TrafficOptions,
    /// Print the quotas instead.
    #[arg(long)]
    pub(crate) explain: bool,
}

/// What load to simulate, and what is turned on for it.
#[derive(Debug, Args)]
pub(crate) struct RampOptions {
    /// Requests a second, step by step; after the last the load is that of the first again.
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true, default_value = "10,100,1000,10000,100000,1000000", value_parser = rate)]
    pub(crate) rates: Vec<f64>,
    /// Seconds from one rate to the next.
    #[arg(long, default_value = "60", value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub(crate) climb: u32,
    /// Seconds that each rate is held.
    #[arg(long, default_value = "300", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) hold: u32,
    /// Tenants, each with the same traffic.
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tenants: u32,
    /// Lift our own bounds, and those that AWS raises on request.
    #[arg(long)]
    pub(crate) raised: bool,
    /// Give tables and indexes warm throughput for whatever comes.
    #[arg(long)]
    pub(crate) warm: bool,
    /// Leave partitions whole: AWS does not promise when it splits one that stays hot; here it does after ten minutes.
    #[arg(long)]
    pub(crate) no_splits: bool,
    /// Provisioned pollers, each with 10 batches at once, instead of a maximum concurrency.
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    pub(crate) pollers: Option<u32>,
    /// Decides when requests come: the same seed, the same run.
    #[arg(long, default_value = "1")]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) traffic: TrafficOptions,
}

/// The traffic, and what serves it. Every write changes the name of a user.
#[derive(Debug, Clone, Args)]
pub(crate) struct TrafficOptions {
    /// Share of the requests that read one user; the others write.
    #[arg(long, default_value = "0.9", allow_negative_numbers = true, value_parser = share)]
    pub(crate) reads: f64,
    /// Share of the reads that ask a cache, memory or Redis, that it answers.
    #[arg(long, default_value = "0.8", allow_negative_numbers = true, value_parser = share)]
    pub(crate) hot: f64,
    /// Bytes of a user, as it is stored.
    #[arg(long, default_value = "500", value_parser = clap::value_parser!(u32).range(1..=400_000))]
    pub(crate) item_bytes: u32,
    /// Users that are stored.
    #[arg(long, default_value = "100000", value_parser = clap::value_parser!(u32))]
    pub(crate) items: u32,
    /// The type of the queue.
    #[arg(long, default_value = "standard")]
    pub(crate) queue: QueueType,
    /// Commands in a full batch of ingest-fn.
    #[arg(long, default_value = "10", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) batch: u32,
    /// Seconds that a batch is waited for.
    #[arg(long, default_value = "0", value_parser = clap::value_parser!(u32).range(0..=300))]
    pub(crate) window: u32,
    /// The processors of the functions. `make package` builds for x86_64, unless it is given ARCH=arm64.
    #[arg(long, default_value = "arm64")]
    pub(crate) arch: Architecture,
    /// Leave Redis out where the stage has it, and with it the VPC and its endpoints.
    #[arg(long)]
    pub(crate) without_redis: bool,
    /// Availability zones of the VPC.
    #[arg(long, default_value = "2", value_parser = clap::value_parser!(u32).range(1..=6))]
    pub(crate) zones: u32,
    /// Memory of each function, in MB.
    #[arg(long, default_value = "256", value_parser = clap::value_parser!(u32).range(128..=10_240))]
    pub(crate) memory: u32,
    /// Memory of ingest-fn, in MB.
    #[arg(long, default_value = "512", value_parser = clap::value_parser!(u32).range(128..=10_240))]
    pub(crate) ingest_memory: u32,
    /// Milliseconds of a read that a cache answers. The defaults of this and the next three are assumptions: give the durations
    /// that you measure.
    #[arg(long, default_value = "1", value_parser = millis)]
    pub(crate) cached_ms: f64,
    /// Milliseconds of a read that a store answers.
    #[arg(long, default_value = "3", value_parser = millis)]
    pub(crate) store_ms: f64,
    /// Milliseconds of write-fn to queue a command.
    #[arg(long, default_value = "3", value_parser = millis)]
    pub(crate) queue_ms: f64,
    /// Milliseconds to apply a command, in write-fn or, behind the queue, in ingest-fn.
    #[arg(long, default_value = "6", value_parser = millis)]
    pub(crate) apply_ms: f64,
    /// Share of the requests that X-Ray traces, besides the first in every second: 0.05 if `tracing` is on, 0 if it is off.
    #[arg(long, default_value = "0", allow_negative_numbers = true, value_parser = share)]
    pub(crate) traced: f64,
}

/// The type of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum QueueType {
    /// Orders nothing.
    Standard,
    /// Orders the commands on each user.
    Fifo,
}

/// The processors of the functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
pub(crate) enum Architecture {
    /// Graviton.
    #[serde(rename = "arm64")]
    Arm64,
    /// Intel or AMD.
    #[serde(rename = "x86_64")]
    #[value(name = "x86_64")]
    X86_64,
}

/// As AWS and the option spell it.
impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Arm64 => "arm64",
            Self::X86_64 => "x86_64",
        })
    }
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, 0.0..=1e9, "requests a second are a number from 0 to 1000000000")
}

fn share(text: &str) -> Result<f64, String> {
    number(text, 0.0..=1.0, "a share is a number from 0 to 1, such as 0.9")
}

fn millis(text: &str) -> Result<f64, String> {
    number(text, 0.001..=900_000.0, "a duration is a number of milliseconds, up to the 900000 that a function may take")
}

fn number(text: &str, range: RangeInclusive<f64>, wanted: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| wanted.to_owned())
}

/// How to compare.
#[derive(Debug, Args)]
pub(crate) struct VerifyOptions {
    /// Project again what differs.
    #[arg(long)]
    pub(crate) repair: bool,
    /// With --repair: only tell what would be done.
    #[arg(long, requires = "repair")]
    pub(crate) dry_run: bool,
    /// Parts of the table that are scanned at the same time.
    #[arg(long, default_value = "4", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) segments: u32,
    /// Differences that are shown; all are counted.
    #[arg(long, default_value = "20")]
    pub(crate) show: usize,
}

/// What a new resource is made of.
#[derive(Debug, Args)]
pub(crate) struct NewOptions {
    /// All of them, for example rooms: the path /rooms.
    pub(crate) collection: String,
    /// One of them, for example room; otherwise derived from the collection.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// One or two letters that no other resource has; otherwise derived from the collection.
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// A field: name:type[:unique][:list][:sort][:default]. Types: text(100), email, integer(0..10), decimal(2), boolean,
    /// enum(a|b), date, timestamp, id.
    #[arg(long = "field", value_name = "NAME:TYPE")]
    pub(crate) fields: Vec<String>,
    /// An action of a state machine: name:from,from->to. The first state is that of a new item.
    #[arg(long = "action", value_name = "NAME:FROM->TO")]
    pub(crate) actions: Vec<String>,
    /// The checkout.
    #[arg(long, default_value = ".")]
    pub(crate) dir: PathBuf,
}

/// How to write index entries anew.
#[derive(Debug, Args)]
pub(crate) struct ReindexOptions {
    /// Only tell what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Parts of the table that are scanned at the same time.
    #[arg(long, default_value = "4", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) segments: u32,
    /// Items a second at most that are written.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=RATE_MAX))]
    pub(crate) rate: Option<u32>,
}

/// The steps of a rebuild. Each may be ended at any time, and done again.
#[derive(Debug, Subcommand)]
pub(crate) enum RebuildCommand {
    /// Create the new read store, have it written as well, fill it from the write store, and compare. Goes on where an
    /// earlier run was ended.
    Build {
        /// The version of the projection that it is to hold; the new table is called like the old one, but for that.
        #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u16).range(1..))]
        to: u16,
        /// Parts of the write store that are copied at the same time. A run that goes on keeps the number of the first.
        #[arg(long, default_value = "8", value_parser = clap::value_parser!(u32).range(1..=64))]
        segments: u32,
        /// Items a second at most.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=RATE_MAX))]
        rate: Option<u32>,
        #[command(flatten)]
        options: RebuildOptions,
    },
    /// Compare, and have readers see the other read store, but only if nothing differs.
    Flip(RebuildOptions),
    /// Have readers see the read store again that they saw before, at once.
    Rollback(DryRun),
    /// Have the read store that readers do not see written no longer. It can then be deleted.
    Finish(DryRun),
    /// Tell which read stores are written, and how far a build has come.
    Status,
}

/// Whether to do it.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct DryRun {
    /// Only tell what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// How to build and to compare.
#[derive(Debug, Args)]
pub(crate) struct RebuildOptions {
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
    /// Differences that are shown; all are counted.
    #[arg(long, default_value = "20")]
    pub(crate) show: usize,
}

/// A migration: expand, backfill, compare, cut over, soak, contract. It is noted in the write table, so that any run, on
/// whichever machine, goes on where another was ended.
#[derive(Debug, Subcommand)]
pub(crate) enum MigrateCommand {
    /// Tell what a migration would do, what it costs, what is checked, and how to go back.
    Plan {
        /// The stage to go to.
        #[arg(long, value_name = "STAGE")]
        to: String,
        /// The stage to come from, if not the one that is deployed.
        #[arg(long, value_name = "STAGE")]
        from: Option<String>,
    },
    /// Begin a migration, or go on with the one that there is, as far as it can go.
    ///
    /// A local stack is deployed anew step by step. Elsewhere the operator deploys: the tool names the stage, and the next run is told
    /// by --stage that it was done.
    Advance {
        /// The stage to go to; left out, it only goes on.
        #[arg(long, value_name = "STAGE")]
        to: Option<String>,
        #[command(flatten)]
        options: AdvanceOptions,
    },
    /// Tell what is deployed, and where the last migration stands.
    Status,
    /// Go back to where the migration came from, as long as nothing has been taken away.
    Rollback(HoldOptions),
}

/// How to go on with a migration.
#[derive(Debug, Args)]
pub(crate) struct AdvanceOptions {
    /// How long to compare after the cut-over.
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub(crate) soak: Duration,
    /// How long after the cut-over to keep what can be gone back to. By default 14d for what holds data, and nothing else.
    #[arg(long, value_parser = duration)]
    pub(crate) retention: Option<Duration>,
    /// Items of each comparison, spread over the key space; all, where there are fewer.
    #[arg(long, default_value = "1000", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) sample: u32,
    /// Items that are copied a second, at most.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=RATE_MAX))]
    pub(crate) rate: Option<u32>,
    #[command(flatten)]
    pub(crate) hold: HoldOptions,
}

/// Who goes on with a migration, so that nobody else does.
#[derive(Debug, Args)]
pub(crate) struct HoldOptions {
    /// How long others wait for a run that has died.
    #[arg(long, default_value = "10s", value_parser = lease)]
    pub(crate) lease: Duration,
    /// Who does it.
    #[arg(long, env = "USER", default_value = "unknown", value_name = "NAME")]
    pub(crate) operator: String,
}

/// The URL of a service, without a slash at its end.
fn service_url(text: &str) -> Result<String, String> {
    let is_service = |uri: &Uri| {
        let is_http = uri.scheme().is_some_and(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme));
        let has_host = uri.host().is_some_and(|host| !host.is_empty());
        is_http && has_host && uri.query().is_none() && !uri.to_string().contains('@')
    };
    let wanted =
        "give it as the stack's output Url is, such as https://abcdefghij.execute-api.eu-central-1.amazonaws.com";
    let uri = text.parse::<Uri>().ok().filter(is_service).ok_or(wanted)?;
    Ok(uri.to_string().trim_end_matches('/').to_owned())
}

/// From a second to an hour.
fn patience(text: &str) -> Result<Duration, String> {
    let read = duration(text).map_err(|error| error.to_string())?;
    let range = Duration::from_secs(1)..=Duration::from_secs(3_600);
    if range.contains(&read) { Ok(read) } else { Err("give 1s or more, up to 1h".to_owned()) }
}

/// `90s`, `5m`, `14d` or so.
fn duration(text: &str) -> Result<Duration, jiff::Error> {
    let span: Span = text.parse()?;
    Duration::try_from(span.to_duration(SpanRelativeTo::days_are_24_hours())?)
}

fn lease(text: &str) -> Result<Duration, String> {
    match duration(text) {
        Ok(lease) if lease < Duration::from_secs(1) => {
            Err("a lease is renewed before it ends: give 1s or more".to_owned())
        }
        read => read.map_err(|error| error.to_string()),
    }
}

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// Show what is there. On a FIFO queue up to ten of each order group, because SQS hands out no more.
    List(Look),
    /// Show one, with its command and what became of it.
    Show {
        /// The message.
        id: String,
        #[command(flatten)]
        look: Look,
    },
    /// Mark the commands of those that died without a word as failed, so that whoever asks is told.
    Sync {
        #[command(flatten)]
        look: Look,
        /// Only tell what would be done.
        #[arg(long)]
        dry_run: bool,
    },
    /// Send them back to the queue of commands.
    Redrive {
        #[command(flatten)]
        chosen: Chosen,
        /// Messages a second at most.
        #[arg(long, default_value = "50", value_parser = clap::value_parser!(u32).range(1..=RATE_MAX))]
        rate: u32,
    },
    /// Delete them for good. Their commands stay failed; the audit log keeps their bodies.
    Discard {
        #[command(flatten)]
        chosen: Chosen,
    },
}

/// How far to look.
#[derive(Debug, Args)]
pub(crate) struct Look {
    /// Messages to look at, at most.
    #[arg(long, default_value = "1000")]
    pub(crate) max: usize,
}

/// Which dead letters, and how it is written down.
#[derive(Debug, Args)]
pub(crate) struct Chosen {
    /// These messages.
    #[arg(value_name = "ID", required_unless_present = "all")]
    pub(crate) ids: Vec<String>,
    /// All of them.
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) look: Look,
    /// Only tell what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The file that says who did what to which message, a line each. It is written before anything is done.
    #[arg(long, env = "WATERSHED_AUDIT_LOG", default_value = "watershed-audit.jsonl", value_name = "FILE")]
    pub(crate) audit_log: PathBuf,
    /// Who does it.
    #[arg(long, env = "USER", default_value = "unknown", value_name = "NAME")]
    pub(crate) operator: String,
}

/// Looking at one thing.
#[derive(Debug, Subcommand)]
pub(crate) enum ShowCommand {
    /// Show all that is known of it.
    Show {
        /// Its identity, as clients see it.
        id: String,
        /// The tenant that it belongs to.
        #[arg(long, default_value = "local")]
        tenant: Tenant,
    },
}

/// What to look at.
#[derive(Debug, Subcommand)]
pub(crate) enum ItemCommand {
    /// Show what each store holds of it.
    Show {
        /// Its path, as clients see it, for example /users/01a1fd43-133d-7798-8872-5fdfc48912aa.
        path: String,
        /// The tenant that it belongs to.
        #[arg(long, default_value = "local")]
        tenant: Tenant,
    },
}
