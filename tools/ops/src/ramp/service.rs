//! The service, second by second: the arriving load, and the part of it that each limit allows.

use serde::Serialize;
use service::stages::Source;

use super::parts::{Environments, Lists, OnDemand, Queue, TokenBucket, part};
use crate::cli::RampOptions;
use crate::quotas::environments;
use crate::quotas::{
    BATCHES, BATCHES_AT_FIRST, BATCHES_PER_POLLER, BATCHES_PER_SECOND, CACHE_CONNECTIONS, ENVIRONMENTS,
    ENVIRONMENTS_AT_ONCE, ENVIRONMENTS_PER_SECOND, FIFO_SENDS, HTTP_API, HTTP_API_BURST, IN_FLIGHT, NEW_TABLE_READS,
    NEW_TABLE_WRITES, OUR_BURST, OUR_CACHE_UNITS, OUR_CONCURRENCY, OUR_THROTTLE, TABLE_UNITS,
};
use cost::model::Model;
use cost::traffic::QueueType;

/// A limit that the load can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Bound {
    OurThrottle,
    HttpApi,
    Environments,
    EnvironmentGrowth,
    Cache,
    TableReads,
    TableWrites,
    List,
    FifoSends,
    Batches,
    InFlight,
}

/// The counts of one second, in requests.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(super) struct Second {
    #[serde(rename = "asked")]
    pub(super) requests: f64,
    pub(super) answered: f64,
    /// Requests that the front door answered with 429.
    pub(super) too_many: f64,
    /// Requests with the answer 503, because no environment was free.
    pub(super) no_environment: f64,
    /// Requests with the answer 503, because a store or the queue throttled.
    pub(super) throttled: f64,
    /// Environments that were started.
    pub(super) cold_starts: f64,
    /// Commands that were queued.
    pub(super) accepted: f64,
    /// Commands that were applied.
    pub(super) applied: f64,
}

impl Second {
    /// Returns the sum of both.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            answered: self.answered + other.answered,
            too_many: self.too_many + other.too_many,
            no_environment: self.no_environment + other.no_environment,
            throttled: self.throttled + other.throttled,
            cold_starts: self.cold_starts + other.cold_starts,
            accepted: self.accepted + other.accepted,
            applied: self.applied + other.applied,
        }
    }
}

/// All parts between a request and its effect.
#[derive(Debug)]
pub(super) struct Service<'a> {
    model: &'a Model<'a>,
    our_throttle: TokenBucket,
    http_api: TokenBucket,
    environments_most: f64,
    readers: Environments,
    writers: Environments,
    cache_units: f64,
    table_reads: OnDemand,
    table_writes: OnDemand,
    lists: Lists,
    sends: TokenBucket,
    batches: f64,
    batches_most: f64,
    pub(super) queue: Queue,
    /// The limits that the load has reached, in this order.
    pub(super) reached: Vec<Bound>,
}

impl<'a> Service<'a> {
    /// Creates a new deployment, with the settings of the options.
    pub(super) fn new(model: &'a Model<'a>, options: &RampOptions) -> Self {
        let bound = |most: f64| if options.raised { f64::INFINITY } else { most };
        let function = || Environments::new(ENVIRONMENTS_AT_ONCE, ENVIRONMENTS_PER_SECOND);
        let table = |new: f64| OnDemand::new(if options.warm { f64::INFINITY } else { new }, bound(TABLE_UNITS));
        let provisioned = options.pollers.map(|pollers| f64::from(pollers) * BATCHES_PER_POLLER);
        let batches_most = provisioned.unwrap_or(if options.raised { BATCHES } else { OUR_CONCURRENCY });
        let reserved = if model.is_queued() { batches_most } else { 0.0 };
        Self {
            model,
            our_throttle: TokenBucket::new(bound(OUR_THROTTLE), OUR_BURST),
            http_api: TokenBucket::new(bound(HTTP_API), HTTP_API_BURST),
            environments_most: (bound(ENVIRONMENTS) - reserved).max(0.0),
            readers: function(),
            writers: function(),
            cache_units: bound(OUR_CACHE_UNITS),
            table_reads: table(NEW_TABLE_READS),
            table_writes: table(NEW_TABLE_WRITES),
            lists: Lists::new(f64::from(options.tenants), !options.no_splits),
            sends: TokenBucket::new(bound(FIFO_SENDS), 0.0),
            batches: provisioned.unwrap_or(BATCHES_AT_FIRST),
            batches_most,
            queue: Queue::new(model.options.window),
            reached: Vec::new(),
        }
    }

    /// Returns the environments of the functions behind the front door.
    pub(super) fn environments(&self) -> f64 {
        self.readers.count + self.writers.count
    }

    /// Simulates one second, with these requests and the commands in the queue.
    pub(super) fn second(&mut self, reads: f64, writes: f64) -> Second {
        let (requests, environments) = (reads + writes, self.environments());
        let admitted = self.front_door(requests);
        let share = part(admitted, requests);
        let (reads, writes) = self.functions(reads * share, writes * share);
        let invoked = reads + writes;
        let reads_of_store = self.reads_of_store(reads, writes);
        let (accepted, commands) = if self.model.is_queued() { self.queue(writes) } else { (0.0, writes) };
        let (found, applied) = self.stores(reads_of_store, commands);
        if self.model.is_queued() {
            self.queue.received(commands, applied);
        }
        let answered = reads - reads_of_store + found + if self.model.is_queued() { accepted } else { applied };
        Second {
            requests,
            answered,
            too_many: requests - admitted,
            no_environment: admitted - invoked,
            throttled: invoked - answered,
            cold_starts: self.environments() - environments,
            accepted,
            applied,
        }
    }

    /// Returns the requests that the front door does not answer with 429.
    fn front_door(&mut self, requests: f64) -> f64 {
        let by_us = self.our_throttle.take(requests);
        let by_aws = self.http_api.take(by_us);
        self.note(by_us < requests, Bound::OurThrottle);
        self.note(by_aws < by_us, Bound::HttpApi);
        by_aws
    }

    /// Returns the reads and writes that find an environment.
    fn functions(&mut self, reads: f64, writes: f64) -> (f64, f64) {
        let model = self.model;
        let (needed_by_reads, needed_by_writes) =
            (environments(reads, model.read_ms()), environments(writes, model.write_ms()));
        let is_one_function = model.config.binaries.len() == 1;
        let (read, write) = match is_one_function {
            true => (needed_by_reads + needed_by_writes, 0.0),
            false => (needed_by_reads, needed_by_writes),
        };
        self.readers.grow(read, self.environments_most - self.writers.count);
        self.writers.grow(write, self.environments_most - self.readers.count);
        let (of_reads, of_writes) = (part(self.readers.count, read), part(self.writers.count, write));
        let is_full = self.environments() >= self.environments_most;
        let bound = if is_full { Bound::Environments } else { Bound::EnvironmentGrowth };
        self.note(of_reads.min(of_writes) < 1.0, bound);
        (reads * of_reads, writes * if is_one_function { of_reads } else { of_writes })
    }

    /// Returns the reads that no cache answers. If Redis refuses a read, the store answers it.
    fn reads_of_store(&mut self, reads: f64, writes: f64) -> f64 {
        let model = self.model;
        let of_reads = |share: f64| reads * part(share, model.options.reads);
        if !model.has_redis() {
            return of_reads(model.by_store());
        }
        let units = (reads + writes) * model.cache_units();
        let connected = part(CACHE_CONNECTIONS, self.environments() + self.batches);
        let served = part(self.cache_units, units).min(connected);
        self.note(served < 1.0, Bound::Cache);
        of_reads(model.by_store()) + of_reads(model.by_redis()) * (1.0 - served)
    }

    /// Returns the accepted writes, and the commands that ingest-fn receives.
    fn queue(&mut self, writes: f64) -> (f64, f64) {
        let model = self.model;
        let accepted = if model.options.queue == QueueType::Fifo { self.sends.take(writes) } else { writes };
        self.note(accepted < writes, Bound::FifoSends);
        self.queue.send(accepted);
        let by_batches = self.batches * f64::from(model.options.batch) / environments(1.0, model.ingest_ms(f64::MAX));
        let (visible, free) = (self.queue.visible(), (IN_FLIGHT - self.queue.in_flight()).max(0.0));
        if visible > by_batches {
            self.note(self.batches >= self.batches_most, Bound::Batches);
            self.batches = (self.batches + BATCHES_PER_SECOND).min(self.batches_most);
        }
        self.note(free < visible.min(by_batches), Bound::InFlight);
        (accepted, visible.min(by_batches).min(free))
    }

    /// Returns the reads that the store answers, and the commands that it applies. A command reads its user before it writes. An
    /// index without enough capacity throttles its table.
    fn stores(&mut self, reads: f64, commands: f64) -> (f64, f64) {
        let model = self.model;
        let read_first = if model.config.reads_from == Source::WriteStore { commands * model.read_unit() } else { 0.0 };
        let read_units = reads * model.read_units_of_miss() + read_first;
        let readable = part(self.table_reads.takes(), read_units);
        let write_units = commands * model.write_units_of_busiest();
        let list_units = commands * model.write_units_of_list();
        let writable = part(self.table_writes.takes(), write_units);
        let listable = part(self.lists.takes(), list_units);
        let applied = readable.min(writable).min(listable);
        self.note(readable < 1.0, Bound::TableReads);
        // Commands wait for the narrower limit.
        self.note(writable < listable, Bound::TableWrites);
        self.note(listable < 1.0 && listable <= writable, Bound::List);
        self.table_reads.consumed(read_units * readable);
        self.table_writes.consumed(write_units * applied);
        self.lists.consumed(list_units * applied);
        (reads * readable, commands * applied)
    }

    fn note(&mut self, is_reached: bool, bound: Bound) {
        if is_reached && !self.reached.contains(&bound) {
            self.reached.push(bound);
        }
    }
}
