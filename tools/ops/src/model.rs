//! What traffic takes of AWS, at a stage: the arithmetic that cost and limits rest upon.
//!
//! Every read is of one user, every write changes the name of one, and no batch has two commands on the same user: no
//! command is cheaper by another.

use prices::{HOURS_PER_MONTH, SECONDS_PER_MONTH};
use service::stages::{Cache, Source, StageConfig, WriteAnswer};

use crate::cli::{QueueType, TrafficOptions};
use crate::outcome::Failure;
use crate::quotas::REQUESTS_PER_ENVIRONMENT;

/// The stage, where none is named.
const STAGE_DEFAULT: &str = "cqrs";

/// What one read unit reads, and what one write unit writes.
const READ_UNIT_BYTES: f64 = 4_096.0;
const WRITE_UNIT_BYTES: f64 = 1_024.0;
/// A transaction takes each unit twice.
const IN_TRANSACTION: f64 = 2.0;
/// Units of the three list entries of a user whose name changes: its sort key changes in two, which takes out and puts in;
/// the third is replaced.
const LIST_ENTRIES: f64 = 5.0;
/// Units of the entries of the list that takes most of them.
pub(crate) const LIST_ENTRY: f64 = 2.0;
/// What SQS counts as one request.
const MESSAGE_BYTES: f64 = 65_536.0;
/// What the event source mapping receives and deletes at once.
const RECEIVED_AT_ONCE: f64 = 10.0;
/// The event source mapping polls by so many, and each of them asks again so soon, while there is little to do.
pub(crate) const POLLERS: f64 = 5.0;
const POLL_SECONDS: f64 = 0.1;
/// What one processing unit of the cache transfers.
const CACHE_UNIT_BYTES: f64 = 1_024.0;
/// Commands that a lookup in Redis takes: one gets the entry or a lease, one asks for its age.
const LOOKUP_COMMANDS: f64 = 2.0;

/// The traffic at a stage.
#[derive(Debug)]
pub(crate) struct Model<'a> {
    pub(crate) options: &'a TrafficOptions,
    pub(crate) row: StageConfig,
}

impl<'a> Model<'a> {
    /// Checks what contradicts itself.
    pub(crate) fn new(options: &'a TrafficOptions, stage: Option<&str>) -> Result<Self, Failure> {
        if options.queue == QueueType::Fifo && options.batch > 10 {
            return Err(Failure::Impossible(
                "a FIFO queue hands out batches of 10 at the most: give --batch 10 or fewer",
            ));
        }
        Ok(Self { options, row: StageConfig::of(stage.unwrap_or(STAGE_DEFAULT))? })
    }

    pub(crate) fn writes(&self) -> f64 {
        1.0 - self.options.reads
    }

    /// Whether writes are queued.
    pub(crate) fn is_queued(&self) -> bool {
        self.row.writes_answer == WriteAnswer::Accepted
    }

    pub(crate) fn has_redis(&self) -> bool {
        self.row.writes_redis && !self.options.without_redis
    }

    /// Requests that memory answers, as a share of all; so do the next two.
    fn by_memory(&self) -> f64 {
        if self.row.has(Cache::Memory) { self.options.reads * self.options.hot } else { 0.0 }
    }

    pub(crate) fn by_redis(&self) -> f64 {
        let left = self.options.reads - self.by_memory();
        if self.has_redis() && self.row.has(Cache::Redis) { left * self.options.hot } else { 0.0 }
    }

    pub(crate) fn by_store(&self) -> f64 {
        self.options.reads - self.by_memory() - self.by_redis()
    }

    pub(crate) fn read_unit(&self) -> f64 {
        (f64::from(self.options.item_bytes) / READ_UNIT_BYTES).ceil()
    }

    fn write_unit(&self) -> f64 {
        (f64::from(self.options.item_bytes) / WRITE_UNIT_BYTES).ceil()
    }

    /// Read units per request.
    pub(crate) fn read_units(&self) -> f64 {
        self.read_units_of_reads() + self.read_units_of_writes()
    }

    /// The same, of the table that takes most.
    pub(crate) fn read_units_of_busiest(&self) -> f64 {
        match self.row.reads_from {
            Source::WriteStore => self.read_units(),
            Source::ReadStore => self.read_units_of_reads().max(self.read_units_of_writes()),
        }
    }

    fn read_units_of_reads(&self) -> f64 {
        self.by_store() * self.read_units_of_miss()
    }

    /// Read units of a read that no cache answers. What fills Redis is read strongly consistent, and so is the write store.
    pub(crate) fn read_units_of_miss(&self) -> f64 {
        let is_eventual = self.row.reads_from == Source::ReadStore && !self.has_redis();
        if is_eventual { self.read_unit() / 2.0 } else { self.read_unit() }
    }

    /// The state is read before each write.
    fn read_units_of_writes(&self) -> f64 {
        self.writes() * self.read_unit()
    }

    /// Write units per write, of each table with its lists: state and record are one transaction; so is the view, where
    /// there is no message to make it again.
    pub(crate) fn write_units(&self) -> f64 {
        let unit = self.write_unit();
        let state_and_record = IN_TRANSACTION * (unit + 1.0);
        let view = if self.is_queued() { unit } else { IN_TRANSACTION * unit };
        let read_store = if self.row.writes_read_store { view + LIST_ENTRIES * unit } else { 0.0 };
        state_and_record + LIST_ENTRIES * unit + read_store
    }

    /// Write units per write, of the table or index that takes most.
    pub(crate) fn write_units_of_busiest(&self) -> f64 {
        IN_TRANSACTION * self.write_unit()
    }

    /// Write units per write, of one list of its tenant.
    pub(crate) fn write_units_of_list(&self) -> f64 {
        LIST_ENTRY * self.write_unit()
    }

    /// Commands in a batch: as many as come to one of the pollers meanwhile, at least one, at most a full batch.
    pub(crate) fn batch(&self, rate: f64) -> f64 {
        let gathering = POLL_SECONDS + f64::from(self.options.window);
        (rate * self.writes() / POLLERS * gathering).clamp(1.0, f64::from(self.options.batch))
    }

    /// Invocations per request.
    pub(crate) fn invocations(&self, rate: f64) -> f64 {
        1.0 + if self.is_queued() { self.writes() / self.batch(rate) } else { 0.0 }
    }

    /// Milliseconds of an invocation of ingest-fn. Its commands are applied side by side in fact; this is the most.
    pub(crate) fn ingest_ms(&self, rate: f64) -> f64 {
        self.options.apply_ms * self.batch(rate)
    }

    /// Milliseconds of read-fn for a read, on average.
    pub(crate) fn read_ms(&self) -> f64 {
        let options = self.options;
        let cached = options.reads - self.by_store();
        (cached * options.cached_ms + self.by_store() * options.store_ms) / options.reads.max(f64::EPSILON)
    }

    /// Milliseconds of write-fn for a write.
    pub(crate) fn write_ms(&self) -> f64 {
        if self.is_queued() { self.options.queue_ms } else { self.options.apply_ms }
    }

    /// Gigabyte-seconds of all invocations that a request causes; each is rounded up to a millisecond.
    pub(crate) fn gb_seconds(&self, rate: f64) -> f64 {
        let options = self.options;
        let of_reads =
            (self.by_memory() + self.by_redis()) * options.cached_ms.ceil() + self.by_store() * options.store_ms.ceil();
        let of_ingest = (self.invocations(rate) - 1.0) * self.ingest_ms(rate).ceil();
        let in_front = of_reads + self.writes() * self.write_ms().ceil();
        (in_front * f64::from(options.memory) + of_ingest * f64::from(options.ingest_memory)) / (1_024.0 * 1_000.0)
    }

    /// Requests to the queue per request: one to send, and one each to receive and to delete for up to ten messages.
    pub(crate) fn queue_requests(&self, rate: f64) -> f64 {
        if !self.is_queued() {
            return 0.0;
        }
        let chunks = (f64::from(self.options.item_bytes) / MESSAGE_BYTES).ceil();
        self.writes() * chunks * (1.0 + 2.0 / self.batch(rate).min(RECEIVED_AT_ONCE))
    }

    /// Processing units of the cache per request: looking up, filling after a miss, and telling it of a write.
    pub(crate) fn cache_units(&self) -> f64 {
        if !self.has_redis() {
            return 0.0;
        }
        let each = (f64::from(self.options.item_bytes) / CACHE_UNIT_BYTES).ceil();
        let reads = if self.row.has(Cache::Redis) {
            self.by_redis() * LOOKUP_COMMANDS * each + self.by_store() * (LOOKUP_COMMANDS + each)
        } else {
            0.0
        };
        reads + self.writes() * each
    }

    /// Traces a second: the first request in every second, and a share of the others; none of either if that share is none.
    pub(crate) fn traces(&self, rate: f64) -> f64 {
        let first = if self.options.traced > 0.0 { rate.min(1.0) } else { 0.0 };
        first + self.options.traced * (rate - 1.0).max(0.0)
    }
}

/// Environments at work, by Little's law: what arrives in a second, times how long it stays; and at the least what an environment's own rate asks
/// for.
pub(crate) fn environments(per_second: f64, milliseconds: f64) -> f64 {
    per_second * (milliseconds / 1_000.0).max(1.0 / REQUESTS_PER_ENVIRONMENT)
}

/// Millions in a month, of so many a second.
pub(crate) fn millions(per_second: f64) -> f64 {
    per_second * SECONDS_PER_MONTH / 1e6
}

/// Days that a month has, on average.
pub(crate) const DAYS_PER_MONTH: f64 = HOURS_PER_MONTH / 24.0;

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Parsed {
        #[command(flatten)]
        traffic: TrafficOptions,
    }

    /// Options as the command line has them.
    pub(crate) fn options(arguments: &[&str]) -> TrafficOptions {
        Parsed::parse_from([&["test"], arguments].concat()).traffic
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
    fn items_are_counted_by_started_units() {
        let options = options(&["--item-bytes", "5000", "--reads", "0"]);
        let model = Model::new(&options, Some("lambda-lith")).unwrap();
        close(model.write_units(), 2.0 * (5.0 + 1.0) + 5.0 * 5.0);
        close(model.read_units(), 2.0);
    }

    #[test]
    fn what_fills_no_redis_is_read_at_half_the_price_from_the_read_store() {
        let options = options(&["--reads", "1", "--hot", "0", "--without-redis"]);
        close(Model::new(&options, Some("redis-cache")).unwrap().read_units(), 1.0);
        close(Model::new(&options, Some("read-store")).unwrap().read_units(), 0.5);
    }

    #[test]
    fn a_batch_fills_with_the_rate() {
        let options = options(&["--reads", "0.5", "--batch", "10"]);
        let model = Model::new(&options, Some("cqrs")).unwrap();
        close(model.batch(0.0), 1.0);
        // 200 writes a second are 40 for each poller, 4 in a tenth of a second.
        close(model.batch(400.0), 4.0);
        close(model.batch(1_000.0), 10.0);
        close(model.queue_requests(1_000.0), 0.5 * 1.2);
        close(model.queue_requests(0.0), 0.5 * 3.0);
    }

    #[test]
    fn of_requests_a_first_in_each_second_is_traced_and_a_share_of_the_others_or_none() {
        let traces = |share, rate| Model::new(&options(&["--traced", share]), None).unwrap().traces(rate);
        close(traces("0.05", 0.5), 0.5);
        close(traces("0.05", 101.0), 6.0);
        close(traces("0", 101.0), 0.0);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_what_would() {
        let refused =
            |argument: &str, value: &str| Parsed::try_parse_from(["test", argument, value]).unwrap_err().to_string();
        assert!(refused("--reads", "1.5").contains("a share is a number from 0 to 1"));
        assert!(refused("--hot", "-0.1").contains("a share is a number from 0 to 1"));
        assert!(refused("--apply-ms", "soon").contains("a number of milliseconds"));
        assert!(refused("--memory", "64").contains("128..=10240"));
        assert!(refused("--arch", "mips").contains("arm64, x86_64"));
    }

    #[test]
    fn a_fifo_queue_with_large_batches_is_refused() {
        let options = options(&["--queue", "fifo", "--batch", "11"]);
        assert!(Model::new(&options, None).unwrap_err().to_string().contains("--batch 10 or fewer"));
    }
}
