//! The parts that all environments of a run share: time, stores, queue and cache, and the faults between them.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use adapters::faults::{Fault, FaultPlan, Operation};
use adapters::memory::{MemorySharedCache, MemoryStores};
use async_trait::async_trait;
use kernel::clock::{Clock, Timestamp};
use kernel::ids::Tenant;
use kernel::seal::KeyRing;
use service::stages::WriteAnswer;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::chance::Chance;
use crate::deployment::Deployments;
use crate::history::History;
use crate::plan::{Disaster, FaultKind, Plan, Setup, TENANTS};
use crate::queue::Queue;

/// The time at the start of every run.
const BEGINNING: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

/// The keys. All runs share them, because making them takes longer than a run.
#[expect(clippy::expect_used, reason = "the text is right here")]
static KEYS: LazyLock<Arc<KeyRing>> = LazyLock::new(|| {
    let text = format!("k1:{}=", "A".repeat(43));
    Arc::new(text.parse().expect("a key of 32 zero bytes is one"))
});

/// Wall time with an error in microseconds, which changes at one moment.
pub(crate) struct SimulatedClock {
    started: Instant,
    offset_micros: i64,
    set_at: Instant,
    offset_then: i64,
}

impl fmt::Debug for SimulatedClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimulatedClock({} µs, then {} µs)", self.offset_micros, self.offset_then)
    }
}

impl SimulatedClock {
    fn right(started: Instant) -> Self {
        Self { started, offset_micros: 0, set_at: started, offset_then: 0 }
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        let micros = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let true_time = BEGINNING.plus_micros(micros).as_micros();
        let offset = if Instant::now() < self.set_at { self.offset_micros } else { self.offset_then };
        Timestamp::from_micros(true_time.saturating_add_signed(offset))
    }
}

/// The parts that all environments of a run share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) chance: Arc<Chance>,
    pub(crate) stores: MemoryStores,
    /// The second read store, for a cutover.
    pub(crate) next: MemoryStores,
    pub(crate) deployments: Deployments,
    pub(crate) cache: Arc<MemorySharedCache>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) keys: Arc<KeyRing>,
    pub(crate) history: Arc<History>,
    pub(crate) tenants: Vec<Tenant>,
    pub(crate) started: Instant,
    /// Whether the plan has a disaster other than a walk.
    has_disasters: bool,
    /// Whether every command goes through the queue.
    all_is_queued: bool,
    /// Whether an operator has begun the one cutover or walk of the run.
    operator_begun: AtomicBool,
    outages: [Outage; 3],
    /// A number that increases each time when all environments end.
    generation: AtomicU64,
}

/// The end of an outage, in milliseconds from the start.
#[derive(Debug, Default)]
struct Outage(AtomicU64);

const CACHE: usize = 0;
const STORES: usize = 1;
const QUEUE: usize = 2;

impl World {
    pub(crate) fn new(plan: &Plan) -> Arc<Self> {
        let started = Instant::now();
        let chance = Arc::new(Chance::new(plan.seed, plan.muted.clone()));
        let clock = Arc::new(SimulatedClock::right(started));
        let history = Arc::new(History::new(plan.setup.concurrent));
        let tenants = (0..TENANTS).filter_map(|number| format!("tenant-{number}").parse().ok()).collect();
        Arc::new(Self {
            queue: Arc::new(Queue::new(&plan.setup, chance.clone(), history.clone())),
            stores: MemoryStores::default(),
            next: MemoryStores::default(),
            deployments: Deployments::new(plan.setup.stage.0.clone()),
            cache: Arc::new(MemorySharedCache::new(clock)),
            keys: KEYS.clone(),
            setup: plan.setup.clone(),
            has_disasters: !plan.disasters.iter().all(Disaster::is_walk),
            all_is_queued: plan.setup.stage.0.writes_answer == WriteAnswer::Accepted
                && !plan.disasters.iter().any(Disaster::is_walk),
            operator_begun: AtomicBool::new(false),
            outages: Default::default(),
            generation: AtomicU64::new(0),
            tenants,
            started,
            chance,
            history,
        })
    }

    /// Returns a clock for an environment, with a random error within the setup's `skew_ms`.
    pub(crate) fn a_clock(&self) -> Arc<dyn Clock> {
        // 1 ms more, so that no two clocks agree to the microsecond.
        let off_max = self.setup.skew_ms * 1_000 + 1_000;
        let offset = || {
            let drawn = i64::try_from(self.chance.between(0..=2 * off_max)).unwrap_or_default();
            drawn - i64::try_from(off_max).unwrap_or_default()
        };
        let set_at = Instant::now() + Duration::from_millis(self.chance.between(0..=60_000));
        Arc::new(SimulatedClock { started: self.started, offset_micros: offset(), set_at, offset_then: offset() })
    }

    /// Returns the correct time.
    pub(crate) fn now(&self) -> Timestamp {
        SimulatedClock::right(self.started).now()
    }

    /// Returns whether no fault can prevent the update of the shared cache. A synchronous write has no redelivery that repairs the
    /// cache after a lost answer or a timeout. The same holds if a commit was carried out twice. Its second answer does not show
    /// the result, and the read of the current state may be lost.
    pub(crate) fn cache_is_told(&self) -> bool {
        let faults = &self.setup.faults;
        let is_answered = faults.lost_responses == 0 && (faults.repeats == 0 || faults.lost_requests == 0);
        let repaired = self.all_is_queued || (is_answered && faults.slowness == 0);
        repaired && !self.has_disasters && faults.crashes == 0 && faults.cache_failures == 0
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn is_down(&self, part: usize) -> bool {
        let until = self.outages.get(part).map_or(0, |outage| outage.0.load(Ordering::Relaxed));
        self.elapsed_ms() < until && !self.chance.is_calm()
    }

    fn take_down(&self, part: usize, ms: u64) {
        if let Some(outage) = self.outages.get(part) {
            outage.0.fetch_max(self.elapsed_ms() + ms, Ordering::Relaxed);
        }
    }

    /// Returns whether an operator may begin the one cutover or walk of the run.
    pub(crate) fn operator_begins(&self) -> bool {
        !self.operator_begun.swap(true, Ordering::Relaxed)
    }

    /// Redrives the dead letters.
    pub(crate) fn redrive(&self) {
        self.history.lock().redriven |= !self.queue.dead().is_empty();
        self.queue.redrive();
    }

    /// Applies the plan's disasters, each at its time.
    pub(crate) async fn suffer(self: Arc<Self>, plan: Plan) {
        let mut operators = JoinSet::new();
        for disaster in plan.disasters {
            sleep_until(self.started + Duration::from_millis(disaster.at_ms)).await;
            match disaster.what {
                FaultKind::CacheFlushed => self.cache.flush(),
                FaultKind::CacheDown(ms) => self.take_down(CACHE, ms),
                FaultKind::StoresDown(ms) => self.take_down(STORES, ms),
                FaultKind::QueueDown(ms) => self.take_down(QUEUE, ms),
                FaultKind::EnvironmentsEnd => drop(self.generation.fetch_add(1, Ordering::Relaxed)),
                FaultKind::Redrive => self.redrive(),
                FaultKind::Poison => self.queue.poison(),
                FaultKind::Cutover { waits, back } => drop(operators.spawn(self.clone().cut_over(waits, back))),
                FaultKind::Walk { way, forgotten } => drop(operators.spawn(self.clone().walk(way, forgotten))),
            }
        }
        operators.join_all().await;
    }
}

/// The network between environments and shared parts.
#[derive(Debug)]
pub(crate) struct Network(pub(crate) Arc<World>);

impl Network {
    async fn delay(&self) {
        let World { setup, chance, .. } = self.0.as_ref();
        if chance.strikes(setup.faults.slowness, || "an operation was slow".to_owned()) {
            sleep(Duration::from_millis(chance.between(100..=2_500))).await;
        } else if setup.latency_ms > 0 {
            sleep(Duration::from_millis(chance.between(0..=setup.latency_ms))).await;
        } else {
            tokio::task::yield_now().await;
        }
    }

    fn strike(&self, operation: Operation) -> Fault {
        let World { setup, chance, .. } = self.0.as_ref();
        let part = match operation {
            Operation::GetOrLease | Operation::Fill | Operation::UpdateCache => CACHE,
            Operation::Send | Operation::Defer => QUEUE,
            _ => STORES,
        };
        if self.0.is_down(part) {
            return Fault::Before;
        }
        let faults = &setup.faults;
        let happens = |rate: u32, what: &str| chance.strikes(rate, || format!("{operation:?}: {what}"));
        if part == CACHE {
            if happens(faults.evictions, "after an eviction") {
                self.0.cache.flush();
            }
            return match (happens(faults.cache_failures, "lost"), happens(500, "lost after its effect")) {
                (false, _) => Fault::None,
                (true, false) => Fault::Before,
                (true, true) => Fault::After,
            };
        }
        if happens(faults.lost_requests, "the request was lost") {
            Fault::Before
        } else if happens(faults.lost_responses, "the response was lost") {
            Fault::After
        } else if operation == Operation::Commit && happens(faults.contention, "contended") {
            Fault::Contended
        } else if operation == Operation::Commit && happens(faults.oversize, "too large") {
            Fault::TooLarge
        } else if happens(faults.repeats, "carried out twice") {
            Fault::Twice
        } else {
            Fault::None
        }
    }
}

#[async_trait]
impl FaultPlan for Network {
    async fn decide(&self, operation: Operation) -> Fault {
        self.delay().await;
        self.strike(operation)
    }

    async fn respond(&self, _: Operation) {
        self.delay().await;
    }
}
