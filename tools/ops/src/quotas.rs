//! What bounds a deployment: default quotas of AWS in us-east-1, as they were in November 2026, with their sources in
//! docs/scale.md, and our own bounds, which are those of the configuration `prod` of the CDK app.

/// Requests a second that our own throttle lets through (cdk/lib/config.ts).
pub(crate) const OUR_THROTTLE: f64 = 5_000.0;
/// Requests beyond it that our own throttle lets through at once (cdk/lib/config.ts).
pub(crate) const OUR_BURST: f64 = 2_500.0;
/// Batches at once that we let the event source mapping have (cdk/lib/config.ts). As many environments are reserved.
pub(crate) const OUR_CONCURRENCY: f64 = 50.0;
/// Processing units a second that we let Redis have (cdk/lib/cache.ts).
pub(crate) const OUR_CACHE_UNITS: f64 = 30_000.0;
/// Deliveries of a message before it is a dead letter (cdk/lib/command-queue.ts).
pub(crate) const RECEIVES: usize = 20;
/// Seconds until a message that could not be applied comes again: six times the timeout of ingest-fn
/// (cdk/lib/command-queue.ts), and the window.
pub(crate) const VISIBILITY_SECONDS: usize = 60;

/// Requests a second of an HTTP API.
pub(crate) const HTTP_API: f64 = 10_000.0;
/// Requests beyond it that an HTTP API takes at once.
pub(crate) const HTTP_API_BURST: f64 = 5_000.0;
/// Environments of an account.
pub(crate) const ENVIRONMENTS: f64 = 1_000.0;
/// Environments that a function gets at once.
pub(crate) const ENVIRONMENTS_AT_ONCE: f64 = 1_000.0;
/// Environments that a function gets a second: 1,000 in ten.
pub(crate) const ENVIRONMENTS_PER_SECOND: f64 = 100.0;
/// Requests that an environment answers in a second, however short they are.
pub(crate) const REQUESTS_PER_ENVIRONMENT: f64 = 10.0;
/// Batches that an event source mapping hands out at once.
pub(crate) const BATCHES: f64 = 1_250.0;
/// Batches at once that it begins with.
pub(crate) const BATCHES_AT_FIRST: f64 = 5.0;
/// Batches at once that it adds in a second, while messages are left: 300 a minute.
pub(crate) const BATCHES_PER_SECOND: f64 = 5.0;
/// Batches at once of a provisioned poller.
pub(crate) const BATCHES_PER_POLLER: f64 = 10.0;
/// Messages of a queue that are received and not yet deleted.
pub(crate) const IN_FLIGHT: f64 = 120_000.0;
/// Messages a second that are sent to a FIFO queue with high throughput.
pub(crate) const FIFO_SENDS: f64 = 70_000.0;
/// Seconds that the queue keeps a message.
pub(crate) const RETENTION_SECONDS: usize = 4 * 24 * 60 * 60;

/// Write units a second of a partition.
pub(crate) const PARTITION_WRITES: f64 = 1_000.0;
/// Write units a second of a table or an index that is new.
pub(crate) const NEW_TABLE_WRITES: f64 = 4_000.0;
/// Read units a second of a table or an index that is new.
pub(crate) const NEW_TABLE_READS: f64 = 12_000.0;
/// Write units a second of any table, and as many read units.
pub(crate) const TABLE_UNITS: f64 = 40_000.0;
/// Connections to a serverless cache.
pub(crate) const CACHE_CONNECTIONS: f64 = 65_000.0;
