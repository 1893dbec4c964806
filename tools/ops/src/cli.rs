//! The command line.

#![expect(clippy::doc_markdown, reason = "a terminal shows these texts as they are")]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use cost::traffic::TrafficOptions;
use http::Uri;
use http::uri::Scheme;
use jiff::{Span, SpanRelativeTo};
use kernel::ids::Tenant;

/// Operate a Watershed service: compare and repair its stores, move it from stage to stage, and handle dead letters.
///
/// Options name the parts of the service. The variables of the functions (AWS_ENDPOINT_URL_DYNAMODB, WRITE_TABLE and so on, see
/// --help) name them too, and a local stack supplies them with --stack. Credentials come from the environment, a profile's file, a
/// container or an instance; for SSO, export those of the AWS CLI.
///
/// Exit codes: 0, all is well; 1, done, but something needs attention; 2, wrong usage; 3, could not be done.
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

/// The highest rate of work, per second. The timer needs a pause between two items.
const RATE_MAX: i64 = 100_000;

/// The locations of the service's parts.
#[derive(Debug, Args)]
#[command(next_help_heading = "Parts of the service")]
pub(crate) struct TargetOptions {
    /// URL of the local stack to use, for example http://127.0.0.1:3000.
    #[arg(long, global = true, env = "WATERSHED_STACK", value_name = "URL")]
    pub(crate) stack: Option<String>,
    /// Deployed stage, as shared/stages.json names it. A local stack supplies its stage; elsewhere, give it with this option.
    #[arg(long, global = true, env = "STAGE", value_name = "STAGE")]
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
    /// The second table of views that the functions write during a rebuild.
    #[arg(long, global = true, env = "OTHER_READ_TABLE", value_name = "NAME")]
    pub(crate) other_read_table: Option<String>,
    /// The queue of commands.
    #[arg(long, global = true, env = "QUEUE_URL", value_name = "URL")]
    pub(crate) queue_url: Option<String>,
    /// The dead-letter queue of the queue of commands.
    #[arg(long, global = true, env = "DEAD_LETTER_QUEUE_URL", value_name = "URL")]
    pub(crate) dead_letter_queue_url: Option<String>,
    /// The shared cache. Without it, comparisons skip the cache.
    #[arg(long, global = true, env = "REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub(crate) redis_url: Option<String>,
    /// The name of the shared cache, if it is ElastiCache Serverless and the URL's user signs in with IAM.
    #[arg(long, global = true, env = "REDIS_IAM_CACHE", value_name = "NAME")]
    pub(crate) redis_iam_cache: Option<String>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Write a new resource into a checkout of this project: its crate, and its entry in the list of resources.
    New(NewOptions),
    /// Compare write store, read store and shared cache, key by key.
    Verify(VerifyOptions),
    /// Build another read store while the service runs, and replace the present one with it.
    #[command(subcommand)]
    Rebuild(RebuildCommand),
    /// Write the index entries of the write table again, after a list was added or changed. Deploy the new code first. You can stop
    /// this command at any time, and run it again.
    Reindex(ReindexOptions),
    /// Move the service to a neighbouring stage, or back, while it serves.
    #[command(subcommand)]
    Migrate(MigrateCommand),
    /// List, show, mark, redrive or discard dead letters.
    #[command(subcommand)]
    Dlq(DlqCommand),
    /// Count the commands in the queue (waiting, in flight and delayed) and the dead letters.
    Queue,
    /// Show one command of a client: its record and its item.
    #[command(subcommand)]
    Command(ShowCommand),
    /// Show one item, as each store has it.
    #[command(subcommand)]
    Item(ItemCommand),
    /// Test a deployment through its front door, as its clients use it: the smoke test.
    ///
    /// Creates an item of each resource; reads, lists, changes and deletes it; and checks each answer. The access token comes from
    /// the variable WATERSHED_TOKEN, because an argument would appear in the list of processes. A local stack needs no token. Exits
    /// with 1 at the first check that fails, and deletes the item.
    Smoke(SmokeOptions),
    /// Calculate the cost of the service on AWS, item by item. Sends no requests.
    ///
    /// Uses list prices of us-east-1, without free tiers and discounts. --stage names the stage (default: cqrs). --explain prints
    /// the formulae, and every price with its source.
    Cost(CostOptions),
    /// Calculate which quota of AWS each stage reaches first, and at how many requests per second. Sends no requests.
    ///
    /// Uses default quotas of us-east-1, at a steady rate. --stage names the stage that is shown rate by rate (default: cqrs).
    /// --explain prints every quota with its source.
    Limits(LimitsOptions),
    /// Simulate a growing load: the order in which it reaches the limits, the effect on requests, and the time until the queue is
    /// empty again. Sends no requests.
    ///
    /// Simulates a new deployment second by second, with default quotas of us-east-1 and our own limits. --stage names the stage
    /// (default: cqrs).
    Ramp(RampOptions),
}

/// The service to test.
#[derive(Debug, Args)]
pub(crate) struct SmokeOptions {
    /// URL of the service: the stack's output Url, or a domain name of your own, such as https://api.example.com.
    #[arg(long, value_name = "URL", value_parser = service_url)]
    pub(crate) url: String,
    /// Time for all checks, from 1s to 1h. A deletion after a failure takes up to 10s more.
    #[arg(long, default_value = "60s", value_parser = time_limit)]
    pub(crate) timeout: Duration,
    /// Run only the checks that need no token: liveness, 404, 405, and 401 for data.
    #[arg(long)]
    pub(crate) public: bool,
}

/// The input of a calculation of costs.
#[derive(Debug, Args)]
pub(crate) struct CostOptions {
    /// Requests per second, on average over a month. Separate several rates by commas; 0 is idle.
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true, default_value = "0,1,100,10000", value_parser = rate)]
    pub(crate) rates: Vec<f64>,
    #[command(flatten)]
    pub(crate) traffic: TrafficOptions,
    /// Print the formulae and the prices instead of the cost.
    #[arg(long)]
    pub(crate) explain: bool,
}

/// The input of a calculation of limits.
#[derive(Debug, Args)]
pub(crate) struct LimitsOptions {
    /// Requests per second. Separate several rates by commas.
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true, default_value = "10,100,1000,10000,100000,1000000", value_parser = rate)]
    pub(crate) rates: Vec<f64>,
    #[command(flatten)]
    pub(crate) traffic: TrafficOptions,
    /// Print the quotas instead of the limits.
    #[arg(long)]
    pub(crate) explain: bool,
}

/// The simulated load, and the settings of the simulated deployment.
#[derive(Debug, Args)]
pub(crate) struct RampOptions {
    /// Requests per second of each step. Separate the rates by commas. After the last step the load returns to the first rate.
    #[arg(long, value_delimiter = ',', allow_negative_numbers = true, default_value = "10,100,1000,10000,100000,1000000", value_parser = rate)]
    pub(crate) rates: Vec<f64>,
    /// Seconds in which the load rises from one rate to the next.
    #[arg(long, default_value = "60", value_parser = clap::value_parser!(u32).range(0..=86_400))]
    pub(crate) climb: u32,
    /// Seconds for which each rate is held.
    #[arg(long, default_value = "300", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) hold: u32,
    /// Tenants, each with the same traffic.
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) tenants: u32,
    /// Lift our own limits, and the quotas that AWS raises on request.
    #[arg(long)]
    pub(crate) raised: bool,
    /// Give tables and indexes enough warm throughput for any load.
    #[arg(long)]
    pub(crate) warm: bool,
    /// Never split a hot partition. AWS does not promise when it splits one; without this option it splits after ten minutes.
    #[arg(long)]
    pub(crate) no_splits: bool,
    /// Provisioned pollers, each with 10 batches at once. They replace the maximum concurrency.
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    pub(crate) pollers: Option<u32>,
    /// Seed of the times at which requests arrive. The same seed gives the same run.
    #[arg(long, default_value = "1")]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) traffic: TrafficOptions,
}

fn rate(text: &str) -> Result<f64, String> {
    cost::traffic::number(text, 0.0..=1e9, "a rate is a number of requests a second, from 0 to 1000000000")
}

/// The options of a comparison.
#[derive(Debug, Args)]
pub(crate) struct VerifyOptions {
    /// Repair the differences: project the states again.
    #[arg(long)]
    pub(crate) repair: bool,
    /// With --repair: only report what would be done.
    #[arg(long, requires = "repair")]
    pub(crate) dry_run: bool,
    /// Number of table segments to scan in parallel.
    #[arg(long, default_value = "4", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) segments: u32,
    /// Maximum number of differences to show; all are counted.
    #[arg(long, default_value = "20")]
    pub(crate) show: usize,
}

/// The description of a new resource.
#[derive(Debug, Args)]
pub(crate) struct NewOptions {
    /// Name of the collection, for example rooms for the path /rooms.
    pub(crate) collection: String,
    /// Name of one item, for example room. The default is derived from the collection.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// One or two capital letters that no other resource has. The default is derived from the collection.
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// A field: name:type[:unique][:list][:sort][:default]. Types: text(100), email, integer(0..10), decimal(2), boolean,
    /// enum(a|b), date, timestamp, id.
    #[arg(long = "field", value_name = "NAME:TYPE")]
    pub(crate) fields: Vec<String>,
    /// An action of a state machine: name:from,from->to. A new item is in the first state.
    #[arg(long = "action", value_name = "NAME:FROM->TO")]
    pub(crate) actions: Vec<String>,
    /// Checkout of this project.
    #[arg(long, default_value = ".")]
    pub(crate) dir: PathBuf,
}

/// The options of a reindex.
#[derive(Debug, Args)]
pub(crate) struct ReindexOptions {
    /// Only report what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Number of table segments to scan in parallel.
    #[arg(long, default_value = "4", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub(crate) segments: u32,
    /// Maximum number of items to write per second; no limit by default.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=RATE_MAX))]
    pub(crate) rate: Option<u32>,
}

/// The steps of a rebuild. You can stop each step at any time, and run it again.
#[derive(Debug, Subcommand)]
pub(crate) enum RebuildCommand {
    /// Create the new read store, have the functions write it too, fill it from the write store, and compare. Continues an earlier
    /// run that was stopped.
    Build {
        /// Version of the projection for the new table. The names of both tables differ only in this version.
        #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u16).range(1..))]
        to: u16,
        /// Number of segments of the write store to copy in parallel. A run that continues keeps the number of the first run.
        #[arg(long, default_value = "8", value_parser = clap::value_parser!(u32).range(1..=64))]
        segments: u32,
        /// Maximum number of items to copy per second; no limit by default.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=RATE_MAX))]
        rate: Option<u32>,
        #[command(flatten)]
        options: RebuildOptions,
    },
    /// Compare, and switch readers to the other read store if nothing differs.
    Flip(RebuildOptions),
    /// Switch readers back to the read store that they used before, at once.
    Rollback(DryRun),
    /// Stop writing the read store that readers do not use. You can then delete it.
    Finish(DryRun),
    /// Show which read stores are written, and the progress of a build.
    Status,
}

/// The option of a dry run.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct DryRun {
    /// Only report what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// The options of a build and of a comparison.
#[derive(Debug, Args)]
pub(crate) struct RebuildOptions {
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
    /// Maximum number of differences to show; all are counted.
    #[arg(long, default_value = "20")]
    pub(crate) show: usize,
}

/// A migration: expand, backfill, compare, cut over, soak, contract. The write table stores its progress, so a run on any machine
/// continues an earlier one.
#[derive(Debug, Subcommand)]
pub(crate) enum MigrateCommand {
    /// Show the steps of a migration, their cost, their checks, and the way back.
    Plan {
        /// Target stage.
        #[arg(long, value_name = "STAGE")]
        to: String,
        /// Stage to start from. The default is the deployed stage.
        #[arg(long, value_name = "STAGE")]
        from: Option<String>,
    },
    /// Begin a migration, or continue the one under way, as far as possible.
    ///
    /// On a local stack, the tool deploys each step. Elsewhere you deploy: the tool names the stage, and --stage tells the next run
    /// that you have deployed it.
    Advance {
        /// Target stage. Without it, the command only continues a migration.
        #[arg(long, value_name = "STAGE")]
        to: Option<String>,
        #[command(flatten)]
        options: AdvanceOptions,
    },
    /// Show the deployed stage, and the state of the last migration.
    Status,
    /// Go back to the stage where the migration began, as long as nothing has been removed.
    Rollback(HoldOptions),
}

/// The options of a run that begins or continues a migration.
#[derive(Debug, Args)]
pub(crate) struct AdvanceOptions {
    /// Duration of the comparison after the cut-over.
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub(crate) soak: Duration,
    /// Time after the cut-over during which you can go back. The default is 14d if the migration removes a read store or a queue,
    /// and 0s otherwise.
    #[arg(long, value_parser = duration)]
    pub(crate) retention: Option<Duration>,
    /// Number of items per comparison, spread over the key space. If there are fewer, all are compared.
    #[arg(long, default_value = "1000", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) sample: u32,
    /// Maximum number of items to copy per second; no limit by default.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=RATE_MAX))]
    pub(crate) rate: Option<u32>,
    #[command(flatten)]
    pub(crate) hold: HoldOptions,
}

/// The lease of a run, which keeps other runs away from the migration.
#[derive(Debug, Args)]
pub(crate) struct HoldOptions {
    /// Time that other runs wait after a run has died, at least 1s.
    #[arg(long, default_value = "10s", value_parser = lease)]
    pub(crate) lease: Duration,
    /// Name of the operator.
    #[arg(long, env = "USER", default_value = "unknown", value_name = "NAME")]
    pub(crate) operator: String,
}

/// Parses the URL of a service, and removes slashes at its end.
fn service_url(text: &str) -> Result<String, String> {
    let is_service = |uri: &Uri| {
        let is_http = uri.scheme().is_some_and(|scheme| [Scheme::HTTP, Scheme::HTTPS].contains(scheme));
        let has_host = uri.host().is_some_and(|host| !host.is_empty());
        is_http && has_host && uri.query().is_none() && !uri.to_string().contains('@')
    };
    let wanted =
        "give the value of the stack's output Url, such as https://abcdefghij.execute-api.eu-central-1.amazonaws.com";
    let uri = text.parse::<Uri>().ok().filter(is_service).ok_or(wanted)?;
    Ok(uri.to_string().trim_end_matches('/').to_owned())
}

/// Parses a duration from a second to an hour.
fn time_limit(text: &str) -> Result<Duration, String> {
    let parsed = duration(text).map_err(|error| error.to_string())?;
    let range = Duration::from_secs(1)..=Duration::from_secs(3_600);
    if range.contains(&parsed) { Ok(parsed) } else { Err("give a duration from 1s to 1h".to_owned()) }
}

/// Parses a duration such as `90s`, `5m` or `14d`.
fn duration(text: &str) -> Result<Duration, jiff::Error> {
    let span: Span = text.parse()?;
    Duration::try_from(span.to_duration(SpanRelativeTo::days_are_24_hours())?)
}

fn lease(text: &str) -> Result<Duration, String> {
    match duration(text) {
        Ok(lease) if lease < Duration::from_secs(1) => {
            Err("a lease under 1s cannot be renewed in time: give 1s or more".to_owned())
        }
        parsed => parsed.map_err(|error| error.to_string()),
    }
}

/// The commands for dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DlqCommand {
    /// List the dead letters. On a FIFO queue, the list has up to ten of each message group, because SQS returns no more.
    List(Look),
    /// Show one dead letter, with its command and the command's status.
    Show {
        /// Message id.
        id: String,
        #[command(flatten)]
        look: Look,
    },
    /// Mark the commands of dead letters as failed if no outcome was recorded, so that clients see the failure.
    Sync {
        #[command(flatten)]
        look: Look,
        /// Only report what would be done.
        #[arg(long)]
        dry_run: bool,
    },
    /// Send dead letters back to the queue of commands.
    Redrive {
        #[command(flatten)]
        chosen: Chosen,
        /// Maximum number of messages per second.
        #[arg(long, default_value = "50", value_parser = clap::value_parser!(u32).range(1..=RATE_MAX))]
        rate: u32,
    },
    /// Delete dead letters for good. Their commands stay failed; the audit log keeps their bodies.
    Discard {
        #[command(flatten)]
        chosen: Chosen,
    },
}

/// The extent of a look at the dead-letter queue.
#[derive(Debug, Args)]
pub(crate) struct Look {
    /// Maximum number of messages to look at.
    #[arg(long, default_value = "1000")]
    pub(crate) max: usize,
}

/// The chosen dead letters, and the audit log.
#[derive(Debug, Args)]
pub(crate) struct Chosen {
    /// Ids of the chosen messages.
    #[arg(value_name = "ID", required_unless_present = "all")]
    pub(crate) ids: Vec<String>,
    /// Choose all dead letters, up to the number of --max.
    #[arg(long, conflicts_with = "ids")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) look: Look,
    /// Only report what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Audit log, with a line per message: time, operator, action, message. The line is written before the action.
    #[arg(long, env = "WATERSHED_AUDIT_LOG", default_value = "watershed-audit.jsonl", value_name = "FILE")]
    pub(crate) audit_log: PathBuf,
    /// Name of the operator, for the audit log.
    #[arg(long, env = "USER", default_value = "unknown", value_name = "NAME")]
    pub(crate) operator: String,
}

/// The commands for one command of a client.
#[derive(Debug, Subcommand)]
pub(crate) enum ShowCommand {
    /// Show the record of the command, and its item in all stores.
    Show {
        /// Command id, as clients see it.
        id: String,
        /// Tenant of the command.
        #[arg(long, default_value = "local")]
        tenant: Tenant,
    },
}

/// The commands for one item.
#[derive(Debug, Subcommand)]
pub(crate) enum ItemCommand {
    /// Show the content of each store for the item.
    Show {
        /// Path of the item, as clients see it, for example /users/01a1fd43-133d-7798-8872-5fdfc48912aa.
        path: String,
        /// Tenant of the item.
        #[arg(long, default_value = "local")]
        tenant: Tenant,
    },
}
