//! Ports that fail according to a plan, for tests and simulations. They use no clock and no randomness themselves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kernel::ids::AggregateKey;
use kernel::ports::{
    CachedView, CommandQueue, CommitError, Consistency, Lease, ListQuery, Lookup, MessageDeferral, OutgoingMessage,
    Page, PortError, Projected, RecordReader, RecordWriter, SendError, SharedCache, SharedCacheUpdater, Snapshot,
    StateReader, Transaction, ViewReader, ViewWriter, WriteStore,
};
use kernel::record::{CommandRecord, RecordKey};

/// One operation of one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// [`StateReader::load`].
    Load,
    /// [`WriteStore::commit`].
    Commit,
    /// [`RecordReader::get`].
    GetRecord,
    /// [`RecordWriter::put_pending`].
    PutPending,
    /// [`RecordWriter::put_failed`].
    PutFailed,
    /// [`ViewReader::get`].
    GetView,
    /// [`ViewReader::list`].
    ListViews,
    /// [`ViewWriter::put`].
    PutView,
    /// [`CommandQueue::send`].
    Send,
    /// [`MessageDeferral::defer`].
    Defer,
    /// [`SharedCache::get_or_lease`].
    GetOrLease,
    /// [`SharedCache::fill`].
    Fill,
    /// [`SharedCacheUpdater::update`].
    UpdateCache,
}

/// The fault of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// No fault.
    None,
    /// The operation has no effect, and fails as unavailable: the request was lost.
    Before,
    /// The operation has its effect, and fails as unavailable all the same: the response was lost.
    After,
    /// The operation runs twice and returns the second result: a client retried after a lost response.
    Twice,
    /// A commit has no effect, and fails as [`CommitError::Contended`]. Any other operation: as [`Fault::Before`].
    Contended,
    /// A commit of several commands has no effect, and fails as [`CommitError::TooLarge`]. Any other operation: as
    /// [`Fault::None`].
    TooLarge,
}

/// Decides the faults. A function of the operation is a plan.
#[async_trait]
pub trait FaultPlan: Send + Sync {
    /// Returns the fault of an operation that is about to start. The operation starts when this returns, so a plan can delay
    /// it, or make it hang.
    async fn decide(&self, operation: Operation) -> Fault;

    /// Delays the result of an operation that has ended: the result arrives when this returns.
    async fn respond(&self, _: Operation) {}
}

#[async_trait]
impl<F: Fn(Operation) -> Fault + Send + Sync> FaultPlan for F {
    async fn decide(&self, operation: Operation) -> Fault {
        self(operation)
    }
}

/// A port whose operations fail according to the plan. It implements the same ports as the port that it wraps.
pub struct Faulty<P: ?Sized> {
    inner: Arc<P>,
    plan: Arc<dyn FaultPlan>,
}

impl<P: ?Sized> Faulty<P> {
    /// Wraps a port.
    #[must_use]
    pub fn new(inner: Arc<P>, plan: Arc<dyn FaultPlan>) -> Self {
        Self { inner, plan }
    }

    async fn run<T, E: From<PortError>, F: Future<Output = Result<T, E>>>(
        &self,
        operation: Operation,
        work: impl Fn() -> F,
    ) -> Result<T, E> {
        let fault = self.plan.decide(operation).await;
        let result = fault.strike(operation, work).await;
        self.plan.respond(operation).await;
        result
    }
}

impl Fault {
    async fn strike<T, E: From<PortError>, F: Future<Output = Result<T, E>>>(
        self,
        operation: Operation,
        work: impl Fn() -> F,
    ) -> Result<T, E> {
        let lost = match self {
            Self::None | Self::TooLarge => return work().await,
            Self::Twice => {
                drop(work().await);
                return work().await;
            }
            Self::Before | Self::Contended => "request",
            Self::After => {
                drop(work().await);
                "response"
            }
        };
        let cause = format!("the {lost} of {operation:?} was lost").into();
        Err(PortError::Unavailable { port: "faulty port", cause }.into())
    }
}

impl<P: fmt::Debug + ?Sized> fmt::Debug for Faulty<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("inner", &&*self.inner).finish_non_exhaustive()
    }
}

#[async_trait]
impl<P: StateReader + ?Sized> StateReader for Faulty<P> {
    async fn load(&self, keys: &[AggregateKey]) -> Result<Vec<Option<Snapshot>>, PortError> {
        self.run(Operation::Load, || self.inner.load(keys)).await
    }
}

#[async_trait]
impl<P: WriteStore + ?Sized> WriteStore for Faulty<P> {
    async fn commit(&self, transaction: &Transaction) -> Result<(), CommitError> {
        let result = match self.plan.decide(Operation::Commit).await {
            Fault::Contended => Err(CommitError::Contended),
            Fault::TooLarge if transaction.records.len() > 1 => Err(CommitError::TooLarge),
            fault => fault.strike(Operation::Commit, || self.inner.commit(transaction)).await,
        };
        self.plan.respond(Operation::Commit).await;
        result
    }
}

#[async_trait]
impl<P: RecordReader + ?Sized> RecordReader for Faulty<P> {
    async fn get(&self, key: &RecordKey) -> Result<Option<CommandRecord>, PortError> {
        self.run(Operation::GetRecord, || self.inner.get(key)).await
    }
}

#[async_trait]
impl<P: RecordWriter + ?Sized> RecordWriter for Faulty<P> {
    async fn put_pending(&self, record: &CommandRecord) -> Result<Option<CommandRecord>, PortError> {
        self.run(Operation::PutPending, || self.inner.put_pending(record)).await
    }

    async fn put_failed(&self, record: &CommandRecord) -> Result<Option<CommandRecord>, PortError> {
        self.run(Operation::PutFailed, || self.inner.put_failed(record)).await
    }
}

#[async_trait]
impl<P: ViewReader + ?Sized> ViewReader for Faulty<P> {
    async fn get(&self, key: &AggregateKey, consistency: Consistency) -> Result<Option<Snapshot>, PortError> {
        self.run(Operation::GetView, || self.inner.get(key, consistency)).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, PortError> {
        self.run(Operation::ListViews, || self.inner.list(query)).await
    }
}

#[async_trait]
impl<P: ViewWriter + ?Sized> ViewWriter for Faulty<P> {
    async fn put(&self, key: &AggregateKey, view: &Snapshot) -> Result<Projected, PortError> {
        self.run(Operation::PutView, || self.inner.put(key, view)).await
    }
}

#[async_trait]
impl<P: CommandQueue + ?Sized> CommandQueue for Faulty<P> {
    async fn send(&self, message: &OutgoingMessage) -> Result<(), SendError> {
        self.run(Operation::Send, || self.inner.send(message)).await
    }
}

#[async_trait]
impl<P: MessageDeferral + ?Sized> MessageDeferral for Faulty<P> {
    async fn defer(&self, receipt_handle: &str, delay: Duration) -> Result<(), PortError> {
        self.run(Operation::Defer, || self.inner.defer(receipt_handle, delay)).await
    }
}

#[async_trait]
impl<P: SharedCache + ?Sized> SharedCache for Faulty<P> {
    async fn get_or_lease(&self, key: &str) -> Result<Lookup, PortError> {
        self.run(Operation::GetOrLease, || self.inner.get_or_lease(key)).await
    }

    async fn fill(&self, key: &str, lease: &Lease, view: &CachedView, ttl: Duration) -> Result<bool, PortError> {
        self.run(Operation::Fill, || self.inner.fill(key, lease, view, ttl)).await
    }
}

#[async_trait]
impl<P: SharedCacheUpdater + ?Sized> SharedCacheUpdater for Faulty<P> {
    async fn update(&self, key: &str, view: &CachedView, ttl: Duration) -> Result<(), PortError> {
        self.run(Operation::UpdateCache, || self.inner.update(key, view, ttl)).await
    }
}

#[cfg(test)]
mod tests {
    use kernel::clock::{SystemClock, Timestamp};
    use kernel::ids::{AggregateId, Kind};
    use tokio::sync::Semaphore;

    use super::*;
    use crate::memory::{MemoryQueue, MemorySharedCache, MemoryStores};

    fn message() -> OutgoingMessage {
        OutgoingMessage {
            body: "{}".to_owned(),
            tenant: "t".parse().unwrap(),
            order_group: "g".to_owned(),
            deduplication: "d".to_owned(),
        }
    }

    fn transaction() -> Transaction {
        let id = AggregateId::generate(Timestamp::from_micros(1_790_000_000_000_000));
        Transaction {
            key: AggregateKey { kind: Kind::new("X"), tenant: "t".parse().unwrap(), id },
            state: None,
            records: Vec::new(),
            unique_keys_taken: Vec::new(),
            unique_keys_released: Vec::new(),
            view: None,
        }
    }

    async fn send_under(fault: Fault) -> (Result<(), SendError>, usize) {
        let queue = Arc::new(MemoryQueue::new(Arc::new(SystemClock)));
        let faulty = Faulty::new(Arc::clone(&queue), Arc::new(move |_| fault));
        (faulty.send(&message()).await, queue.len())
    }

    #[tokio::test]
    async fn a_fault_strikes_before_or_after_the_effect() {
        assert!(matches!(send_under(Fault::None).await, (Ok(()), 1)));
        let unavailable = |sent| matches!(sent, Err(SendError::Port(PortError::Unavailable { .. })));
        assert!(matches!(send_under(Fault::Twice).await, (Ok(()), 2)));
        for (fault, effects) in [(Fault::Before, 0), (Fault::Contended, 0), (Fault::After, 1)] {
            let (sent, len) = send_under(fault).await;
            assert!(unavailable(sent), "{fault:?}");
            assert_eq!(len, effects, "{fault:?}");
        }
    }

    #[tokio::test]
    async fn a_commit_may_be_contended_and_only_what_the_plan_names_fails() {
        let plan = |operation| if operation == Operation::Commit { Fault::Contended } else { Fault::None };
        let store: Arc<dyn WriteStore> = Arc::new(MemoryStores::default().write());
        let store: Arc<dyn WriteStore> = Arc::new(Faulty::new(store, Arc::new(plan)));
        let transaction = transaction();
        assert!(matches!(store.commit(&transaction).await, Err(CommitError::Contended)));
        assert_eq!(store.load(std::slice::from_ref(&transaction.key)).await.unwrap(), [None]);
    }

    /// Lets each operation start once it has a permit.
    struct Gate(Semaphore);

    #[async_trait]
    impl FaultPlan for Gate {
        async fn decide(&self, _: Operation) -> Fault {
            self.0.acquire().await.unwrap().forget();
            Fault::None
        }
    }

    #[tokio::test]
    async fn a_plan_that_waits_delays_the_operation() {
        let cache = Arc::new(MemorySharedCache::new(Arc::new(SystemClock)));
        let gate = Arc::new(Gate(Semaphore::new(0)));
        let faulty = Faulty::new(Arc::clone(&cache), Arc::clone(&gate) as Arc<dyn FaultPlan>);
        let delayed = tokio::spawn(async move { faulty.get_or_lease("k").await });
        tokio::task::yield_now().await;
        // The delayed reader has not taken the lease.
        assert!(matches!(cache.get_or_lease("k").await, Ok(Lookup::Leased(_))));
        gate.0.add_permits(1);
        assert!(matches!(delayed.await.unwrap(), Ok(Lookup::Busy)));
    }
}
