//! The limits of a deployment. The default quotas of AWS are those of us-east-1 in November 2026; docs/scale.md has the sources.
//! Our own limits are those of the configuration `prod` of the CDK app.

/// Requests per second that our own throttle accepts (cdk/lib/config.ts).
pub(crate) const OUR_THROTTLE: f64 = 5_000.0;
/// Requests beyond this rate that our own throttle accepts at once (cdk/lib/config.ts).
pub(crate) const OUR_BURST: f64 = 2_500.0;
/// Batches at once that we allow the event source mapping (cdk/lib/config.ts). As many environments are reserved.
pub(crate) const OUR_CONCURRENCY: f64 = 50.0;
/// Processing units per second that we allow Redis (cdk/lib/cache.ts).
pub(crate) const OUR_CACHE_UNITS: f64 = 30_000.0;
/// Deliveries of a message before it becomes a dead letter (cdk/lib/command-queue.ts).
pub(crate) const RECEIVES: usize = kernel::ingest::RECEIVES_MIN as usize;
/// Seconds until the redelivery of a message that could not be applied: six times the timeout of ingest-fn
/// (cdk/lib/command-queue.ts). The batch window comes on top.
pub(crate) const VISIBILITY_SECONDS: usize = 60;

/// Requests per second of an HTTP API.
pub(crate) const HTTP_API: f64 = 10_000.0;
/// Requests beyond this rate that an HTTP API accepts at once.
pub(crate) const HTTP_API_BURST: f64 = 5_000.0;
/// Environments of an account.
pub(crate) const ENVIRONMENTS: f64 = 1_000.0;
/// Environments that a function gets at once.
pub(crate) const ENVIRONMENTS_AT_ONCE: f64 = 1_000.0;
/// Environments that a function gets per second: 1,000 in ten seconds.
pub(crate) const ENVIRONMENTS_PER_SECOND: f64 = 100.0;
/// Requests that an environment answers per second, however short they are.
pub(crate) const REQUESTS_PER_ENVIRONMENT: f64 = 10.0;
/// The maximum number of batches at once of an event source mapping.
pub(crate) const BATCHES: f64 = 1_250.0;
/// The number of batches at once with which it begins.
pub(crate) const BATCHES_AT_FIRST: f64 = 5.0;
/// The batches at once that it adds per second while messages are left: 300 per minute.
pub(crate) const BATCHES_PER_SECOND: f64 = 5.0;
/// Batches at once of a provisioned poller.
pub(crate) const BATCHES_PER_POLLER: f64 = 10.0;
/// The maximum number of messages in flight: received and not yet deleted.
pub(crate) const IN_FLIGHT: f64 = 120_000.0;
/// Messages per second that a FIFO queue with high throughput accepts.
pub(crate) const FIFO_SENDS: f64 = 70_000.0;
/// Seconds that the queue keeps a message.
#[expect(clippy::cast_possible_truncation, reason = "there are 345,600")]
pub(crate) const RETENTION_SECONDS: usize = kernel::record::QUEUE_RETENTION.as_secs() as usize;

/// Write units per second of a partition.
pub(crate) const PARTITION_WRITES: f64 = 1_000.0;
/// Write units per second of a new table or index.
pub(crate) const NEW_TABLE_WRITES: f64 = 4_000.0;
/// Read units per second of a new table or index.
pub(crate) const NEW_TABLE_READS: f64 = 12_000.0;
/// Write units per second of any table, and as many read units.
pub(crate) const TABLE_UNITS: f64 = 40_000.0;
/// Connections to a serverless cache.
pub(crate) const CACHE_CONNECTIONS: f64 = 65_000.0;

/// Returns the environments in use, by Little's law: the arrivals per second times the duration. There are at least enough for the
/// rate that one environment can answer.
pub(crate) fn environments(per_second: f64, milliseconds: f64) -> f64 {
    per_second * (milliseconds / 1_000.0).max(1.0 / REQUESTS_PER_ENVIRONMENT)
}
