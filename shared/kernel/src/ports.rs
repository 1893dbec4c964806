//! What the kernel asks of the world. Ports speak keys, versions and bytes, and are as narrow as their users allow:
//! what cannot write never receives something that can.
//!
//! Every adapter, the in-memory ones included, passes the same contract suite (`adapters::contract`).

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::clock::Timestamp;
use crate::ids::{AggregateId, AggregateKey, Kind, Tenant};
use crate::record::{CommandRecord, RecordKey};

/// The most keys in one [`StateReader::load`], as in DynamoDB's `BatchGetItem`.
pub const LOAD_KEYS_MAX: usize = 100;

/// The cause of a port's failure, for the log.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// A port failed. Which of the two tells the caller what to do next.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// It did not answer, was throttled, or answered with a fault: try again later. Whether a write took effect is
    /// unknown.
    #[error("{port} is unavailable")]
    Unavailable {
        /// Which port, for example `write store`.
        port: &'static str,
        /// What it result.
        #[source]
        cause: Cause,
    },
    /// It answered with something that this code cannot read: trying again will not help, an operator must look.
    #[error("{port} holds something unreadable under {key}")]
    Corrupt {
        /// Which port.
        port: &'static str,
        /// Where.
        key: String,
        /// What is wrong with it.
        #[source]
        cause: Cause,
    },
}

/// One version of an aggregate: its state in the write store, its view in the read store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The version, from 1, never reset.
    pub version: u64,
    /// The version of the stored form of `body`.
    pub schema: u16,
    /// The state or the view, serialised; `None` is a tombstone: deleted, personal data stripped.
    pub body: Option<Bytes>,
    /// Where it appears in lists, in the order of the slots. Empty for a tombstone.
    pub index: Vec<IndexEntry>,
    /// When the store may forget it; for tombstones only.
    pub expires_at: Option<Timestamp>,
}

/// An index of a table. Every table has all of them, and each kind of aggregate uses some: so a new kind, or a new list, needs
/// no new index.
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

    /// What the index is called, for example `i1`.
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

/// One appearance in one index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexEntry {
    /// The index. A snapshot has one entry for each index at most.
    pub slot: Slot,
    /// The group within which entries are sorted: the filter's value. Kind and tenant keep groups apart besides.
    pub partition: String,
    /// The place within the partition; unique there.
    pub sort: String,
}

/// Reads state, strongly consistent.
#[async_trait]
pub trait StateReader: fmt::Debug + Send + Sync {
    /// The stored versions of up to [`LOAD_KEYS_MAX`] aggregates, in the order of `keys`; `None` where nothing is
    /// stored. MUST see every write acknowledged before the call, and MUST return all or fail.
    async fn load(&self, keys: &[AggregateKey]) -> Result<Vec<Option<Snapshot>>, PortError>;
}

/// Keeps state.
#[async_trait]
pub trait WriteStore: StateReader {
    /// Carries out all of the transaction or none of it. MUST name every condition that failed, not the first only.
    async fn commit(&self, transaction: &Transaction) -> Result<(), CommitError>;
}

/// All writes for one aggregate, atomically.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The aggregate.
    pub key: AggregateKey,
    /// Put the state IF the stored version is the expected one. `None` where no command was applied.
    pub state: Option<StateChange>,
    /// Put each record IF absent, pending or failed.
    pub records: Vec<CommandRecord>,
    /// Put each unique key IF absent or held by this aggregate.
    pub unique_keys_taken: Vec<UniqueKey>,
    /// Delete each unique key IF absent or held by this aggregate.
    pub unique_keys_released: Vec<UniqueKey>,
    /// Put the view IF absent or older: only where no message would redo the projection.
    pub view: Option<Snapshot>,
}

/// The new state of an aggregate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateChange {
    /// The version that must be stored now; 0 for none.
    pub expected: u64,
    /// What to store.
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
    /// Stands for the value; holds no personal data, so hash it.
    pub value: String,
}

impl fmt::Display for UniqueKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key with a kind has one part more than one without: tenants contain no `#`.
        let kind = self.kind.name().filter(|_| !mutant!(UniqueKeyWithoutKind));
        let kind = kind.map(|kind| format!("{kind}#")).unwrap_or_default();
        write!(f, "Q#{kind}{}#{}#{}", self.tenant, self.field, self.value)
    }
}

/// Why a transaction was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Conditions failed; nothing was written. Look, judge again, commit again.
    #[error("conditions failed: {0:?}")]
    Conditions(FailedConditions),
    /// Another transaction was at work on the same items; nothing was written. Commit again after a pause.
    #[error("another transaction is at work on the same items")]
    Contended,
    /// Too many or too large items for one transaction; nothing was written. Commit less.
    #[error("the transaction is too large")]
    TooLarge,
    /// Whether it took effect is unknown, or it was not tried.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// All the conditions of a transaction that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FailedConditions {
    /// The stored version is not the expected one.
    pub state_moved: bool,
    /// The final records found in place of those to be put: these commands are duplicates.
    pub final_records: Vec<CommandRecord>,
    /// The unique keys held by another aggregate.
    pub unique_keys_held: Vec<UniqueKey>,
    /// A view as new or newer exists.
    pub view_exists: bool,
}

/// Reads records of commands, strongly consistent.
#[async_trait]
pub trait RecordReader: fmt::Debug + Send + Sync {
    /// The record; `None` where there is none. One past its time to live MAY still be returned.
    async fn get(&self, key: &RecordKey) -> Result<Option<CommandRecord>, PortError>;
}

/// Keeps records of commands outside a [`Transaction`].
#[async_trait]
pub trait RecordWriter: RecordReader {
    /// Puts a pending record IF absent. Returns the record that is there already, if one is. After a lost response a
    /// retry MAY find the very record that it wrote; then it MUST return `None`.
    async fn put_pending(&self, record: &CommandRecord) -> Result<Option<CommandRecord>, PortError>;

    /// Puts a failed record IF absent, pending or failed. Returns the final record that is there already, if one is.
    async fn put_failed(&self, record: &CommandRecord) -> Result<Option<CommandRecord>, PortError>;
}

/// How fresh a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consistency {
    /// It may miss the latest writes; costs half.
    Eventual,
    /// It sees every write acknowledged before it.
    Strong,
}

/// Reads views.
#[async_trait]
pub trait ViewReader: fmt::Debug + Send + Sync {
    /// The view, which may be a tombstone; `None` where nothing is stored.
    async fn get(&self, key: &AggregateKey, consistency: Consistency) -> Result<Option<Snapshot>, PortError>;

    /// One page of a list, eventually consistent.
    async fn list(&self, query: &ListQuery) -> Result<Page, PortError>;
}

/// One page of one partition of one index, in ascending order.
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
    /// Only entries whose sort key starts with this. Empty for all.
    pub sort_prefix: String,
    /// Only entries after this place.
    pub after: Option<Position>,
    /// At most so many entries, 1 to 100.
    pub limit: usize,
}

/// A place in a list.
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
    /// The entries, with their places. Tombstones do not appear.
    pub entries: Vec<(Position, Snapshot)>,
    /// Whether there may be more behind the last entry.
    pub more: bool,
}

/// Keeps views.
#[async_trait]
pub trait ViewWriter: fmt::Debug + Send + Sync {
    /// Puts the view IF absent or older. A stored version as new or newer is success: MUST return
    /// [`Projected::Newer`], and change nothing.
    async fn put(&self, key: &AggregateKey, view: &Snapshot) -> Result<Projected, PortError>;
}

/// What became of a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Projected {
    /// It was stored.
    Stored,
    /// The same or a newer version was there already.
    Newer,
}

/// Takes commands to the ingest function.
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
    /// Who shares the queue: messages of one tenant shall not starve another's (standard queues).
    pub tenant: Tenant,
    /// What must stay in order (FIFO queues): stands for the aggregate, hashed.
    pub order_group: String,
    /// The same for every attempt to send the same message (FIFO queues).
    pub deduplication: String,
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Larger than the queue takes: sending again will not help.
    #[error("the message is larger than the queue takes")]
    TooLarge,
    /// Whether it was sent is unknown.
    #[error(transparent)]
    Port(#[from] PortError),
}

/// Postpones a message that was received.
#[async_trait]
pub trait MessageDeferral: fmt::Debug + Send + Sync {
    /// Hides the message from receivers for `delay` from now.
    async fn defer(&self, receipt_handle: &str, delay: Duration) -> Result<(), PortError>;
}

/// One version of a view as a cache holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachedView {
    /// The version; 0 where the store holds nothing, so that any write replaces it.
    pub version: u64,
    /// The view, serialised; `None` for a tombstone, or where the store holds nothing.
    pub body: Option<Bytes>,
    /// When it was read from the store or written: from before the read was issued.
    pub fetched_at: Timestamp,
}

/// What a shared cache holds under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// The view.
    Hit {
        /// The view.
        view: CachedView,
        /// How long the cache will keep it, where it says so.
        ttl: Option<Duration>,
    },
    /// Nothing; the caller now holds the lease, and shall read the store, strongly consistent, and fill.
    Leased(Lease),
    /// Nothing; somebody else is filling it.
    Busy,
}

/// The right to fill one missing entry. It ends by itself after [`LEASE_TTL`], or when the entry is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease(pub String);

/// How long a lease lasts: longer than the slowest fill.
pub const LEASE_TTL: Duration = Duration::from_secs(3);

/// Reads a cache that environments share, and fills what is missing.
///
/// The protocol is a lease placeholder in the entry's own key, as in Nishtala et al., "Scaling Memcache at Facebook"
/// (NSDI 2013).
#[async_trait]
pub trait SharedCache: fmt::Debug + Send + Sync {
    /// The entry, or the lease to fill it: get-or-lease MUST be one atomic step.
    async fn get_or_lease(&self, key: &str) -> Result<Lookup, PortError>;

    /// Fills the entry IF the placeholder of `lease` is still there; returns whether it was.
    async fn fill(&self, key: &str, lease: &Lease, view: &CachedView, ttl: Duration) -> Result<bool, PortError>;
}

/// Keeps a shared cache no older than the read store.
#[async_trait]
pub trait SharedCacheUpdater: fmt::Debug + Send + Sync {
    /// Atomically: a missing entry stays missing; a placeholder is dropped; an older version is replaced; the same or a
    /// newer one is left alone.
    async fn update(&self, key: &str, view: &CachedView, ttl: Duration) -> Result<(), PortError>;
}

/// What the memory of one environment holds under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryEntry {
    /// The view.
    pub view: CachedView,
    /// From before the read that brought it here was issued: the age in this tier counts from here.
    pub read_at: Timestamp,
}

/// The memory of one environment, bounded in size. Expiry is the kernel's, by the injected clock.
pub trait MemoryCache: fmt::Debug + Send + Sync {
    /// The entry, however old.
    fn get(&self, key: &str) -> Option<MemoryEntry>;

    /// Keeps the entry, unless one with a higher version is there; an equal version is replaced only by a later
    /// `read_at`. MUST be atomic.
    fn put(&self, key: &str, entry: MemoryEntry);
}
