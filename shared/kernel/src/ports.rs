//! The interfaces between the kernel and its stores, queue and caches. They use keys, versions and bytes only. Each port is as
//! narrow as its users allow: code that only reads gets no port that writes.
//!
//! Every adapter, the in-memory ones included, passes the same contract suite (`adapters::contract`).

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::clock::Timestamp;
use crate::ids::{AggregateId, AggregateKey, Kind, Tenant};
use crate::record::{CommandRecord, RecordKey};

/// The most keys in one [`StateReader::load`], the limit of DynamoDB's `BatchGetItem`.
pub const LOAD_KEYS_MAX: usize = 100;

/// The cause of a port's failure, for the log.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The failure of a port. The variant decides whether the caller should retry.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The port did not answer, was throttled, or answered with a fault: try again later. It is unknown whether a write took
    /// effect.
    #[error("{port} is unavailable")]
    Unavailable {
        /// The name of the port, for example `write store`.
        port: &'static str,
        /// The error of the port.
        #[source]
        cause: Cause,
    },
    /// The port returned data that this code cannot read. A retry does not help: an operator must repair the data.
    #[error("{port} has unreadable data under {key}")]
    Corrupt {
        /// The name of the port.
        port: &'static str,
        /// The key of the unreadable data.
        key: String,
        /// The reason why it is unreadable.
        #[source]
        cause: Cause,
    },
}

/// One version of an aggregate: its state in the write store, its view in the read store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The version, from 1. It is never reset.
    pub version: u64,
    /// The version of the stored form of `body`.
    pub schema: u16,
    /// The state or the view, serialised. `None` is a tombstone: the aggregate is deleted and its personal data is gone.
    pub body: Option<Bytes>,
    /// Its list entries, in the order of the slots. Empty for a tombstone.
    pub index: Vec<IndexEntry>,
    /// Time from which the store may delete it. Only tombstones have one.
    pub expires_at: Option<Timestamp>,
}

/// An index of a table. Every table has all of them, and each kind of aggregate uses some. So a new kind, or a new list, needs no
/// new index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// The first.
    I1,
    /// The second.
    I2,
    /// The third.
    I3,
    /// The fourth.
    I4,
    /// The fifth.
    I5,
}

impl Slot {
    /// All slots.
    pub const ALL: [Self; 5] = [Self::I1, Self::I2, Self::I3, Self::I4, Self::I5];

    /// Returns the name of the index, for example `i1`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::I1 => "i1",
            Self::I2 => "i2",
            Self::I3 => "i3",
            Self::I4 => "i4",
            Self::I5 => "i5",
        }
    }
}

/// The list entry of an aggregate in one index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// The index. A snapshot has one entry for each index at most.
    pub slot: Slot,
    /// The group within which entries are sorted: the filter's value. The store also separates groups by kind and tenant.
    pub partition: String,
    /// The position within the partition. It is unique there.
    pub sort: String,
}

/// Reads states, strongly consistent.
#[async_trait]
pub trait StateReader: fmt::Debug + Send + Sync {
    /// Returns the stored versions of up to [`LOAD_KEYS_MAX`] aggregates, in the order of `keys`; `None` for an aggregate that is
    /// not stored. MUST see every write acknowledged before the call, and MUST return all or fail.
    async fn load(&self, keys: &[AggregateKey]) -> Result<Vec<Option<Snapshot>>, PortError>;
}

/// Stores states, with records and unique keys.
#[async_trait]
pub trait WriteStore: StateReader {
    /// Commits the whole transaction or none of it. MUST name every condition that failed, not only the first.
    async fn commit(&self, transaction: &Transaction) -> Result<(), CommitError>;
}

/// All writes for one aggregate. They take effect together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The aggregate.
    pub key: AggregateKey,
    /// The state to put IF the stored version is the expected one. `None` if no command was applied.
    pub state: Option<StateChange>,
    /// The records to put, each IF absent, pending or failed.
    pub records: Vec<CommandRecord>,
    /// The unique keys to put, each IF absent or held by this aggregate.
    pub unique_keys_taken: Vec<UniqueKey>,
    /// The unique keys to delete, each IF absent or held by this aggregate.
    pub unique_keys_released: Vec<UniqueKey>,
    /// The view to put IF absent or older. Set only if no message would repeat the projection.
    pub view: Option<Snapshot>,
}

/// The new state of an aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// The version that must be stored before; 0 for none.
    pub expected: u64,
    /// The snapshot to store.
    pub next: Snapshot,
}

/// A value that only one aggregate of its kind may hold in a tenant, for example an email address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UniqueKey {
    /// The kind within which it is unique.
    pub kind: Kind,
    /// The tenant within which it is unique.
    pub tenant: Tenant,
    /// The field that holds the value, for example `email`.
    pub field: &'static str,
    /// A text that stands for the value. It must not contain personal data, so use a hash.
    pub value: String,
}

impl fmt::Display for UniqueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key with a kind has one part more than one without, because tenants contain no `#`.
        let kind = self.kind.name().filter(|_| !mutant!(UniqueKeyWithoutKind));
        let kind = kind.map(|kind| format!("{kind}#")).unwrap_or_default();
        write!(f, "Q#{kind}{}#{}#{}", self.tenant, self.field, self.value)
    }
}

/// The reason why a transaction failed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Conditions failed, and nothing was written. Read again, judge again, commit again.
    #[error("conditions failed: {0:?}")]
    Conditions(FailedConditions),
    /// Another transaction changed the same items, and nothing was written. Commit again after a pause.
    #[error("another transaction is writing the same items")]
    Contended,
    /// The transaction has too many items, or too large ones, and nothing was written. Commit less.
    #[error("the transaction is too large")]
    TooLarge,
    /// The port failed. The transaction may have taken effect, or was not tried.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// All failed conditions of a transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailedConditions {
    /// The stored version is not the expected one.
    pub state_moved: bool,
    /// The final records that exist already. Their commands are duplicates.
    pub final_records: Vec<CommandRecord>,
    /// The unique keys that another aggregate holds.
    pub unique_keys_held: Vec<UniqueKey>,
    /// A view as new or newer exists.
    pub view_exists: bool,
}

/// Reads the records of commands, strongly consistent.
#[async_trait]
pub trait RecordReader: fmt::Debug + Send + Sync {
    /// Returns the record; `None` if there is none. MAY return a record past its time to live.
    async fn get(&self, key: &RecordKey) -> Result<Option<CommandRecord>, PortError>;
}

/// Stores the records of commands outside a [`Transaction`].
#[async_trait]
pub trait RecordWriter: RecordReader {
    /// Puts a pending record IF absent. Otherwise returns the existing record. After a lost response a retry MAY find the very
    /// record that it wrote; then it MUST return `None`.
    async fn put_pending(&self, record: &CommandRecord) -> Result<Option<CommandRecord>, PortError>;

    /// Puts a failed record IF absent, pending or failed. Otherwise returns the existing final record.
    async fn put_failed(&self, record: &CommandRecord) -> Result<Option<CommandRecord>, PortError>;
}

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// The read may miss the latest writes. It costs half.
    Eventual,
    /// The read sees every write acknowledged before it.
    Strong,
}

/// Reads views and lists.
#[async_trait]
pub trait ViewReader: fmt::Debug + Send + Sync {
    /// Returns the view, which may be a tombstone; `None` if nothing is stored.
    async fn get(&self, key: &AggregateKey, consistency: Consistency) -> Result<Option<Snapshot>, PortError>;

    /// Returns one page of a list, eventually consistent.
    async fn list(&self, query: &ListQuery) -> Result<Page, PortError>;
}

/// A query for one page of one partition of one index, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListQuery {
    /// The kind of aggregate.
    pub kind: Kind,
    /// The tenant.
    pub tenant: Tenant,
    /// The index.
    pub slot: Slot,
    /// The partition, as in [`IndexEntry::partition`].
    pub partition: String,
    /// The start of the wanted sort keys. Empty for all.
    pub sort_prefix: String,
    /// The position after which the page starts.
    pub after: Option<Position>,
    /// The largest number of entries, 1 to 100.
    pub limit: usize,
}

/// A position in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The entry's sort key.
    pub sort: String,
    /// The entry's aggregate.
    pub id: AggregateId,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The entries, with their positions. Tombstones do not appear.
    pub entries: Vec<(Position, Snapshot)>,
    /// Whether more entries may follow.
    pub more: bool,
}

/// Stores views.
#[async_trait]
pub trait ViewWriter: fmt::Debug + Send + Sync {
    /// Puts the view IF absent or older. If the stored version is as new or newer, it MUST return [`Projected::Newer`] and change
    /// nothing.
    async fn put(&self, key: &AggregateKey, view: &Snapshot) -> Result<Projected, PortError>;
}

/// The result of a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Projected {
    /// The view was stored.
    Stored,
    /// The store already held this version or a newer one.
    Newer,
}

/// Sends commands to the ingest function.
#[async_trait]
pub trait CommandQueue: fmt::Debug + Send + Sync {
    /// Sends a message. Once this returns `Ok` the message MUST NOT be lost.
    async fn send(&self, message: &OutgoingMessage) -> Result<(), SendError>;
}

/// A message for the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingMessage {
    /// The serialised envelope.
    pub body: String,
    /// The tenant, for fairness on a standard queue: one tenant's messages must not delay another's.
    pub tenant: Tenant,
    /// The message group on a FIFO queue, within which the order is kept: a hash of the aggregate.
    pub order_group: String,
    /// The deduplication id on a FIFO queue. It is the same for every attempt to send the same message.
    pub deduplication: String,
}

/// The reason why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The message is larger than the queue accepts. A retry does not help.
    #[error("the message is too large for the queue")]
    TooLarge,
    /// It is unknown whether the message was sent.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Defers a received message.
#[async_trait]
pub trait MessageDeferral: fmt::Debug + Send + Sync {
    /// Hides the message from receivers for `delay` from now.
    async fn defer(&self, receipt_handle: &str, delay: Duration) -> Result<(), PortError>;
}

/// One version of a view as a cache holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedView {
    /// The version; 0 if the store holds nothing, so that any write replaces it.
    pub version: u64,
    /// The view, serialised; `None` for a tombstone, or if the store holds nothing.
    pub body: Option<Bytes>,
    /// Time at which the view was read or written. It is taken before the request to the store.
    pub fetched_at: Timestamp,
}

/// The result of a lookup in a shared cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// The cache has the entry.
    Hit {
        /// The view.
        view: CachedView,
        /// How long the cache will keep it, if known.
        ttl: Option<Duration>,
    },
    /// The cache has no entry, and the caller now holds the lease. It should read the store, strongly consistent, and fill.
    Leased(Lease),
    /// The cache has no entry, and another caller holds the lease.
    Busy,
}

/// The right to fill one missing entry. It ends after [`LEASE_TTL`], or when the entry is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease(pub String);

/// How long a lease lasts. It is longer than the slowest fill.
pub const LEASE_TTL: Duration = Duration::from_secs(3);

/// Reads and fills a cache that environments share.
///
/// The protocol is a lease placeholder in the entry's own key, as in Nishtala et al., "Scaling Memcache at Facebook" (NSDI 2013).
#[async_trait]
pub trait SharedCache: fmt::Debug + Send + Sync {
    /// Returns the entry, or the lease to fill it. MUST be one atomic step.
    async fn get_or_lease(&self, key: &str) -> Result<Lookup, PortError>;

    /// Fills the entry IF the placeholder of `lease` is still there. Returns whether it was.
    async fn fill(&self, key: &str, lease: &Lease, view: &CachedView, ttl: Duration) -> Result<bool, PortError>;
}

/// Updates a shared cache after a write, so that its entries are no older than the read store.
#[async_trait]
pub trait SharedCacheUpdater: fmt::Debug + Send + Sync {
    /// Replaces an older version and drops a placeholder. A missing entry stays missing, and an entry as new or newer stays
    /// unchanged. MUST be atomic.
    async fn update(&self, key: &str, view: &CachedView, ttl: Duration) -> Result<(), PortError>;
}

/// An entry in the memory of one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryEntry {
    /// The view.
    pub view: CachedView,
    /// Time before the read that fetched the view. The age in this cache counts from here.
    pub read_at: Timestamp,
}

/// The memory of one environment, bounded in size. The kernel expires its entries, by the injected clock.
pub trait MemoryCache: fmt::Debug + Send + Sync {
    /// Returns the entry, regardless of its age.
    fn get(&self, key: &str) -> Option<MemoryEntry>;

    /// Stores the entry, unless one with a higher version exists. An equal version is replaced only by a later `read_at`. MUST be
    /// atomic.
    fn put(&self, key: &str, entry: MemoryEntry);
}
