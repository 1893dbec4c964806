//! The use of AWS by the traffic at a stage: the arithmetic of the costs and limits.
//!
//! Every read is of one user, and every write changes the name of one user. No batch has two commands on one user, so no command
//! makes another one cheaper.

use service::stages::{Cache, Source, StageConfig, StageError, WriteAnswer};

use crate::prices::{HOURS_PER_MONTH, SECONDS_PER_MONTH};
use crate::traffic::{QueueType, TrafficOptions};

/// The stage, if none is named.
const STAGE_DEFAULT: &str = "cqrs";

/// The bytes that one read unit reads, and that one write unit writes.
const READ_UNIT_BYTES: f64 = 4_096.0;
const WRITE_UNIT_BYTES: f64 = 1_024.0;
/// The factor for units of a transaction.
const IN_TRANSACTION: f64 = 2.0;
/// Write units of a user's three list entries when the name changes. The name is the sort key of two lists: one entry is deleted
/// and one is put in each. The third entry is replaced.
const LIST_ENTRIES: f64 = 5.0;
/// Write units of a user in the list that takes most of them.
pub const LIST_ENTRY: f64 = 2.0;
/// The bytes that SQS counts as one request.
const MESSAGE_BYTES: f64 = 65_536.0;
/// The maximum number of messages that the event source mapping receives or deletes at once.
const RECEIVED_AT_ONCE: f64 = 10.0;
/// The number of pollers of the event source mapping at a low load, and the seconds between two polls of each.
pub const POLLERS: f64 = 5.0;
const POLL_SECONDS: f64 = 0.1;
/// The bytes that one processing unit of the cache transfers.
const CACHE_UNIT_BYTES: f64 = 1_024.0;
/// The commands of a lookup in Redis: one gets the entry or a lease, one gets its age.
const LOOKUP_COMMANDS: f64 = 2.0;

/// The reason why the options of a traffic contradict each other.
#[derive(Debug, thiserror::Error)]
pub enum TrafficError {
    /// A FIFO queue delivers no such batches.
    #[error("a FIFO queue delivers batches of at most 10: give --batch 10 or fewer")]
    FifoBatch,
    /// The stage does not exist.
    #[error(transparent)]
    Stage(#[from] StageError),
}

/// The traffic at a stage.
#[derive(Debug)]
pub struct Model<'a> {
    pub options: &'a TrafficOptions,
    pub config: StageConfig,
}

impl<'a> Model<'a> {
    /// Checks the options for contradictions.
    pub fn new(options: &'a TrafficOptions, stage: Option<&str>) -> Result<Self, TrafficError> {
        if options.queue == QueueType::Fifo && options.batch > 10 {
            return Err(TrafficError::FifoBatch);
        }
        Ok(Self { options, config: StageConfig::of(stage.unwrap_or(STAGE_DEFAULT))? })
    }

    #[must_use]
    pub fn writes(&self) -> f64 {
        1.0 - self.options.reads
    }

    /// Returns whether write-fn queues writes.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        self.config.writes_answer == WriteAnswer::Accepted
    }

    #[must_use]
    pub fn has_redis(&self) -> bool {
        self.config.writes_redis && !self.options.without_redis
    }

    /// Returns the requests that the memory cache answers, as a share of all requests. So do the next two functions for Redis and
    /// for the store.
    fn by_memory(&self) -> f64 {
        if self.config.has(Cache::Memory) { self.options.reads * self.options.hot } else { 0.0 }
    }

    #[must_use]
    pub fn by_redis(&self) -> f64 {
        let left = self.options.reads - self.by_memory();
        if self.has_redis() && self.config.has(Cache::Redis) { left * self.options.hot } else { 0.0 }
    }

    #[must_use]
    pub fn by_store(&self) -> f64 {
        self.options.reads - self.by_memory() - self.by_redis()
    }

    #[must_use]
    pub fn read_unit(&self) -> f64 {
        (f64::from(self.options.item_bytes) / READ_UNIT_BYTES).ceil()
    }

    fn write_unit(&self) -> f64 {
        (f64::from(self.options.item_bytes) / WRITE_UNIT_BYTES).ceil()
    }

    /// Returns the read units per request.
    #[must_use]
    pub fn read_units(&self) -> f64 {
        self.read_units_of_reads() + self.read_units_of_writes()
    }

    /// Returns the read units per request of the table that takes most.
    #[must_use]
    pub fn read_units_of_busiest(&self) -> f64 {
        match self.config.reads_from {
            Source::WriteStore => self.read_units(),
            Source::ReadStore => self.read_units_of_reads().max(self.read_units_of_writes()),
        }
    }

    fn read_units_of_reads(&self) -> f64 {
        self.by_store() * self.read_units_of_miss()
    }

    /// Returns the read units of a read that no cache answers. A read that fills Redis is strongly consistent, and so is a read of
    /// the write store.
    #[must_use]
    pub fn read_units_of_miss(&self) -> f64 {
        let is_eventual = self.config.reads_from == Source::ReadStore && !self.has_redis();
        if is_eventual { self.read_unit() / 2.0 } else { self.read_unit() }
    }

    /// Returns the read units of writes, per request. Each write reads the state first.
    fn read_units_of_writes(&self) -> f64 {
        self.writes() * self.read_unit()
    }

    /// Returns the write units per write, of all tables with their lists. State and record are one transaction. So is the view if
    /// no message can repeat its projection.
    #[must_use]
    pub fn write_units(&self) -> f64 {
        let unit = self.write_unit();
        let state_and_record = IN_TRANSACTION * (unit + 1.0);
        let view = if self.is_queued() { unit } else { IN_TRANSACTION * unit };
        let read_store = if self.config.writes_read_store { view + LIST_ENTRIES * unit } else { 0.0 };
        state_and_record + LIST_ENTRIES * unit + read_store
    }

    /// Returns the write units per write, of the table or index that takes most.
    #[must_use]
    pub fn write_units_of_busiest(&self) -> f64 {
        IN_TRANSACTION * self.write_unit()
    }

    /// Returns the write units per write, of one list of the tenant.
    #[must_use]
    pub fn write_units_of_list(&self) -> f64 {
        LIST_ENTRY * self.write_unit()
    }

    /// Returns the commands in a batch: as many as arrive for one poller between two polls, from one to a full batch.
    #[must_use]
    pub fn batch(&self, rate: f64) -> f64 {
        let gathering = POLL_SECONDS + f64::from(self.options.window);
        (rate * self.writes() / POLLERS * gathering).clamp(1.0, f64::from(self.options.batch))
    }

    /// Returns the invocations per request.
    #[must_use]
    pub fn invocations(&self, rate: f64) -> f64 {
        1.0 + if self.is_queued() { self.writes() / self.batch(rate) } else { 0.0 }
    }

    /// Returns the milliseconds of an invocation of ingest-fn. This is an upper limit: ingest-fn applies commands in parallel.
    #[must_use]
    pub fn ingest_ms(&self, rate: f64) -> f64 {
        self.options.apply_ms * self.batch(rate)
    }

    /// Returns the average milliseconds of read-fn for a read.
    #[must_use]
    pub fn read_ms(&self) -> f64 {
        let options = self.options;
        let cached = options.reads - self.by_store();
        (cached * options.cached_ms + self.by_store() * options.store_ms) / options.reads.max(f64::EPSILON)
    }

    /// Returns the milliseconds of write-fn for a write.
    #[must_use]
    pub fn write_ms(&self) -> f64 {
        if self.is_queued() { self.options.queue_ms } else { self.options.apply_ms }
    }

    /// Returns the gigabyte-seconds of all invocations that a request causes. Each invocation is rounded up to a millisecond.
    #[must_use]
    pub fn gb_seconds(&self, rate: f64) -> f64 {
        let options = self.options;
        let of_reads =
            (self.by_memory() + self.by_redis()) * options.cached_ms.ceil() + self.by_store() * options.store_ms.ceil();
        let of_ingest = (self.invocations(rate) - 1.0) * self.ingest_ms(rate).ceil();
        let in_front = of_reads + self.writes() * self.write_ms().ceil();
        (in_front * f64::from(options.memory) + of_ingest * f64::from(options.ingest_memory)) / (1_024.0 * 1_000.0)
    }

    /// Returns the queue's requests per request: one to send, and one each to receive and to delete up to ten messages.
    #[must_use]
    pub fn queue_requests(&self, rate: f64) -> f64 {
        if !self.is_queued() {
            return 0.0;
        }
        let chunks = (f64::from(self.options.item_bytes) / MESSAGE_BYTES).ceil();
        self.writes() * chunks * (1.0 + 2.0 / self.batch(rate).min(RECEIVED_AT_ONCE))
    }

    /// Returns the processing units of the cache per request: the lookup, the fill after a miss, and the update by a write.
    #[must_use]
    pub fn cache_units(&self) -> f64 {
        if !self.has_redis() {
            return 0.0;
        }
        let each = (f64::from(self.options.item_bytes) / CACHE_UNIT_BYTES).ceil();
        let reads = if self.config.has(Cache::Redis) {
            self.by_redis() * LOOKUP_COMMANDS * each + self.by_store() * (LOOKUP_COMMANDS + each)
        } else {
            0.0
        };
        reads + self.writes() * each
    }

    /// Returns the traces per second: the first request in each second, and a share of the others. If the share is 0, there are
    /// none.
    #[must_use]
    pub fn traces(&self, rate: f64) -> f64 {
        let first = if self.options.traced > 0.0 { rate.min(1.0) } else { 0.0 };
        first + self.options.traced * (rate - 1.0).max(0.0)
    }
}

/// Returns the millions per month of a rate per second.
#[must_use]
pub fn millions(per_second: f64) -> f64 {
    per_second * SECONDS_PER_MONTH / 1e6
}

/// The average number of days in a month.
pub const DAYS_PER_MONTH: f64 = HOURS_PER_MONTH / 24.0;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn options(arguments: &[&str]) -> TrafficOptions {
        TrafficOptions::of(arguments)
    }

    pub(crate) fn close(one: f64, other: f64) {
        assert!((one - other).abs() < 1e-9 * other.abs().max(1.0), "{one} is not {other}");
    }

    #[test]
    fn a_change_of_name_takes_the_units_that_the_pages_of_the_stages_say() {
        let options = options(&[]);
        for (stage, units) in
            [("single-responsibility", 9.0), ("redis-cache", 9.0), ("read-store", 16.0), ("cqrs", 15.0)]
        {
            close(Model::new(&options, Some(stage)).unwrap().write_units(), units);
        }
    }

    #[test]
    fn each_cache_answers_its_share_of_the_reads_that_reach_it() {
        let options = options(&["--reads", "1", "--hot", "0.8"]);
        let by_store = |stage| Model::new(&options, Some(stage)).unwrap().by_store();
        close(by_store("read-write"), 1.0);
        close(by_store("memory-cache"), 0.2);
        close(by_store("redis-cache"), 0.04);
    }

    #[test]
    fn item_sizes_are_rounded_up_to_whole_units() {
        let options = options(&["--item-bytes", "5000", "--reads", "0"]);
        let model = Model::new(&options, Some("lambda-lith")).unwrap();
        close(model.write_units(), 2.0 * (5.0 + 1.0) + 5.0 * 5.0);
        close(model.read_units(), 2.0);
    }

    #[test]
    fn reads_of_the_read_store_that_fill_no_redis_cost_half() {
        let options = options(&["--reads", "1", "--hot", "0", "--without-redis"]);
        close(Model::new(&options, Some("redis-cache")).unwrap().read_units(), 1.0);
        close(Model::new(&options, Some("read-store")).unwrap().read_units(), 0.5);
    }

    #[test]
    fn batches_grow_with_the_rate() {
        let options = options(&["--reads", "0.5", "--batch", "10"]);
        let model = Model::new(&options, Some("cqrs")).unwrap();
        close(model.batch(0.0), 1.0);
        // 200 writes per second are 40 for each poller, 4 in a tenth of a second.
        close(model.batch(400.0), 4.0);
        close(model.batch(1_000.0), 10.0);
        close(model.queue_requests(1_000.0), 0.5 * 1.2);
        close(model.queue_requests(0.0), 0.5 * 3.0);
    }

    #[test]
    fn the_first_request_of_each_second_is_traced_and_a_share_of_the_others_or_none() {
        let traces = |share, rate| Model::new(&options(&["--traced", share]), None).unwrap().traces(rate);
        close(traces("0.05", 0.5), 0.5);
        close(traces("0.05", 101.0), 6.0);
        close(traces("0", 101.0), 0.0);
    }

    #[test]
    fn a_fifo_queue_with_large_batches_is_refused() {
        let options = options(&["--queue", "fifo", "--batch", "11"]);
        assert!(Model::new(&options, None).unwrap_err().to_string().contains("--batch 10 or fewer"));
    }
}
