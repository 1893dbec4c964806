//! Shared parts of the tests: stores in memory, and a clock that moves only when a test moves it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapters::memory::{MemoryQueue, MemorySharedCache, MemoryStores};
use async_trait::async_trait;
use futures::future::BoxFuture;
use kernel::apply::{Applier, ApplyReport, CommandResult};
use kernel::clock::{Clock, Timestamp};
use kernel::envelope::{ENVELOPE_SCHEMA, Envelope, ExpectedVersion};
use kernel::ids::{AggregateId, AggregateKey, CommandId, Stamp, Tenant};
use kernel::policy::{Order, Policy};
use kernel::ports::{CommitError, PortError, Snapshot, StateReader, Transaction, WriteStore};
use kernel::projection::Projection;
use kernel::record::CommandStatus;
use kernel::seal::KeyRing;

use crate::counter::{Counter, CounterCommand, KIND};

/// A clock that stands still until a test moves it.
#[derive(Debug)]
pub(crate) struct ManualClock(AtomicU64);

impl ManualClock {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(1_790_000_000_000_000))
    }

    pub(crate) fn pass(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_micros()).unwrap(), Ordering::SeqCst);
    }

    /// Sets the clock back, as a correction of the system's clock does.
    pub(crate) fn go_back(&self, time: Duration) {
        self.0.fetch_sub(u64::try_from(time.as_micros()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) stores: MemoryStores,
    pub(crate) cache: Arc<MemorySharedCache>,
    pub(crate) queue: Arc<MemoryQueue>,
    pub(crate) keys: Arc<KeyRing>,
}

impl World {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(ManualClock::new());
        Self {
            stores: MemoryStores::default(),
            cache: Arc::new(MemorySharedCache::new(clock.clone())),
            queue: Arc::new(MemoryQueue::new(clock.clone())),
            keys: Arc::new(format!("k1:{}=", "A".repeat(43)).parse().unwrap()),
            clock,
        }
    }

    pub(crate) fn applier(&self, reorder_window: Duration, order: Order) -> Applier<Counter> {
        self.applier_over(Arc::new(self.stores.write()), reorder_window, order)
    }

    pub(crate) fn applier_over(
        &self,
        store: Arc<dyn WriteStore>,
        reorder_window: Duration,
        order: Order,
    ) -> Applier<Counter> {
        let policy = Policy {
            reorder_window,
            awaits_versions: true,
            order,
            projection: Projection::FIRST,
            view_in_transaction: false,
        };
        Applier::new(store, Arc::new(self.stores.records()), self.clock.clone(), policy)
    }

    /// Returns an applier without a queue, with the view in the transaction.
    pub(crate) fn direct_applier_over(&self, store: Arc<dyn WriteStore>) -> Applier<Counter> {
        let (reorder_window, order) = (Duration::ZERO, Order::Loose);
        let policy = Policy {
            reorder_window,
            awaits_versions: true,
            order,
            projection: Projection::FIRST,
            view_in_transaction: true,
        };
        Applier::new(store, Arc::new(self.stores.records()), self.clock.clone(), policy)
    }

    pub(crate) fn new_id(&self) -> AggregateId {
        AggregateId::generate(self.clock.now())
    }

    /// Returns a command accepted now, 1 µs later than the one before.
    pub(crate) fn command(&self, aggregate: AggregateId, command: CounterCommand) -> Envelope<CounterCommand> {
        accepted(&self.clock, aggregate, command)
    }

    pub(crate) async fn apply(&self, commands: &[Envelope<CounterCommand>]) -> ApplyReport<Counter> {
        apply_with(&self.applier(Duration::from_secs(60), Order::Loose), commands).await
    }
}

pub(crate) async fn apply_with(
    applier: &Applier<Counter>,
    commands: &[Envelope<CounterCommand>],
) -> ApplyReport<Counter> {
    let key = commands[0].key::<Counter>();
    let stored = applier.load(std::slice::from_ref(&key)).await.unwrap().remove(0);
    applier.apply(&key, commands, stored).await
}

/// Returns a command accepted by this clock, 1 µs later than the one before.
pub(crate) fn accepted(
    clock: &ManualClock,
    aggregate: AggregateId,
    command: CounterCommand,
) -> Envelope<CounterCommand> {
    clock.pass(Duration::from_micros(1));
    let at = clock.now();
    Envelope {
        schema: ENVELOPE_SCHEMA,
        tenant: tenant(),
        subject: "s".parse().unwrap(),
        kind: None,
        aggregate,
        stamp: Stamp { at, command: CommandId::generate(at) },
        expected: ExpectedVersion::Any,
        excluded: None,
        after: Vec::new(),
        fingerprint: None,
        traceparent: None,
        command_schema: 1,
        command,
    }
}

pub(crate) fn tenant() -> Tenant {
    "t".parse().unwrap()
}

pub(crate) fn key(id: AggregateId) -> AggregateKey {
    AggregateKey { kind: KIND, tenant: tenant(), id }
}

pub(crate) fn open(label: &str) -> CounterCommand {
    CounterCommand::Open { label: label.to_owned() }
}

pub(crate) fn relabel(label: &str) -> CounterCommand {
    CounterCommand::Relabel { label: label.to_owned() }
}

/// Returns the result of each command: `applied 2`, `rejected zero`, `deferred` and so on.
pub(crate) fn results(applied: &ApplyReport<Counter>) -> Vec<String> {
    let results = applied.results.iter().map(|result| match result {
        CommandResult::Final { record, .. } => match &record.status {
            CommandStatus::Applied { version } => format!("applied {version}"),
            CommandStatus::Rejected { problem, .. } => format!("rejected {}", problem.code),
            other => format!("{other:?}"),
        },
        CommandResult::Deferred => "deferred".to_owned(),
        CommandResult::Unfinished => "unfinished".to_owned(),
    });
    results.collect()
}

/// A write store that records the committed transactions.
#[derive(Debug)]
pub(crate) struct Remembering {
    store: Arc<dyn WriteStore>,
    committed: Mutex<Vec<Transaction>>,
    tried: AtomicU64,
    /// The most records in a transaction. A larger transaction fails as too large.
    records_max: usize,
}

impl Remembering {
    pub(crate) fn over(world: &World) -> Arc<Self> {
        Self::with_records_max(world, usize::MAX)
    }

    pub(crate) fn with_records_max(world: &World, records_max: usize) -> Arc<Self> {
        Arc::new(Self {
            store: Arc::new(world.stores.write()),
            committed: Mutex::default(),
            tried: AtomicU64::new(0),
            records_max,
        })
    }

    /// Returns the number of attempted transactions, failed ones included.
    pub(crate) fn tried(&self) -> u64 {
        self.tried.load(Ordering::SeqCst)
    }

    pub(crate) fn committed(&self) -> Vec<Transaction> {
        self.committed.lock().unwrap().clone()
    }
}

#[async_trait]
impl StateReader for Remembering {
    async fn load(&self, keys: &[AggregateKey]) -> Result<Vec<Option<Snapshot>>, PortError> {
        self.store.load(keys).await
    }
}

#[async_trait]
impl WriteStore for Remembering {
    async fn commit(&self, transaction: &Transaction) -> Result<(), CommitError> {
        self.tried.fetch_add(1, Ordering::SeqCst);
        if transaction.records.len() > self.records_max {
            return Err(CommitError::TooLarge);
        }
        self.store.commit(transaction).await?;
        self.committed.lock().unwrap().push(transaction.clone());
        Ok(())
    }
}

/// A write store whose reads fail.
#[derive(Debug)]
pub(crate) struct Unreadable(pub(crate) Arc<dyn WriteStore>);

#[async_trait]
impl StateReader for Unreadable {
    async fn load(&self, _: &[AggregateKey]) -> Result<Vec<Option<Snapshot>>, PortError> {
        Err(PortError::Unavailable { port: "write store", cause: "unreadable".into() })
    }
}

#[async_trait]
impl WriteStore for Unreadable {
    async fn commit(&self, transaction: &Transaction) -> Result<(), CommitError> {
        self.0.commit(transaction).await
    }
}

/// An action just before a commit. If it returns an error, the commit fails with it.
pub(crate) type Interruption = Box<dyn FnOnce() -> BoxFuture<'static, Option<CommitError>> + Send>;

/// A write store with a list of interruptions. Each commit runs the next one first.
pub(crate) struct Interrupted {
    pub(crate) store: Arc<dyn WriteStore>,
    pub(crate) interruptions: Mutex<Vec<Interruption>>,
}

impl std::fmt::Debug for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interrupted")
    }
}

#[async_trait]
impl StateReader for Interrupted {
    async fn load(&self, keys: &[AggregateKey]) -> Result<Vec<Option<Snapshot>>, PortError> {
        self.store.load(keys).await
    }
}

#[async_trait]
impl WriteStore for Interrupted {
    async fn commit(&self, transaction: &Transaction) -> Result<(), CommitError> {
        let next = self.interruptions.lock().unwrap().pop();
        let error = match next {
            Some(interruption) => interruption().await,
            None => None,
        };
        match error {
            Some(error) => Err(error),
            None => self.store.commit(transaction).await,
        }
    }
}
