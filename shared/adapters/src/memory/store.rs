//! The write store, the records and the read store in memory. One lock covers all three, because one transaction may write to
//! all three.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use kernel::clock::Timestamp;
use kernel::ids::AggregateKey;
use kernel::mutant;
use kernel::ports::{
    CommitError, Consistency, FailedConditions, ListQuery, Page, PortError, Position, Projected, RecordReader,
    RecordWriter, Snapshot, StateReader, Transaction, UniqueKey, ViewReader, ViewWriter, WriteStore,
};
use kernel::record::{CommandRecord, RecordKey};

use super::lock;
use crate::transaction::{LIST_LIMIT_MAX, check, check_load};

type Snapshots = BTreeMap<AggregateKey, Snapshot>;

#[derive(Debug, Default)]
struct Tables {
    states: Snapshots,
    unique_keys: BTreeMap<UniqueKey, AggregateKey>,
    records: BTreeMap<RecordKey, CommandRecord>,
    views: Snapshots,
}

/// The three stores. They start empty.
#[derive(Debug, Clone, Default)]
pub struct MemoryStores {
    tables: Arc<Mutex<Tables>>,
}

impl MemoryStores {
    /// Returns the write store.
    #[must_use]
    pub fn write(&self) -> MemoryWriteStore {
        MemoryWriteStore { tables: Arc::clone(&self.tables) }
    }

    /// Returns the records.
    #[must_use]
    pub fn records(&self) -> MemoryRecords {
        MemoryRecords { tables: Arc::clone(&self.tables) }
    }

    /// Returns the read store.
    #[must_use]
    pub fn views(&self) -> MemoryViewStore {
        MemoryViewStore { tables: Arc::clone(&self.tables) }
    }

    /// Returns all states in the write store, by key.
    #[must_use]
    pub fn all_states(&self) -> BTreeMap<AggregateKey, Snapshot> {
        lock(&self.tables).states.clone()
    }

    /// Returns all views in the read store, by key.
    #[must_use]
    pub fn all_views(&self) -> BTreeMap<AggregateKey, Snapshot> {
        lock(&self.tables).views.clone()
    }

    /// Returns all records, by key.
    #[must_use]
    pub fn all_records(&self) -> BTreeMap<RecordKey, CommandRecord> {
        lock(&self.tables).records.clone()
    }

    /// Returns all unique keys, with their holders.
    #[must_use]
    pub fn all_unique_keys(&self) -> BTreeMap<UniqueKey, AggregateKey> {
        lock(&self.tables).unique_keys.clone()
    }
}

impl Tables {
    fn failed_conditions(&self, transaction: &Transaction) -> FailedConditions {
        let Transaction { key, state, records, unique_keys_taken, unique_keys_released, view } = transaction;
        let stored_version = self.states.get(key).map_or(0, |snapshot| snapshot.version);
        let final_records = records.iter().filter_map(|record| final_record(&self.records, &record.key));
        let unique_keys = unique_keys_taken.iter().chain(unique_keys_released);
        let held =
            unique_keys.filter(|unique_key| self.unique_keys.get(unique_key).is_some_and(|holder| holder != key));
        FailedConditions {
            state_moved: state.as_ref().is_some_and(|change| change.expected != stored_version)
                && !mutant!(StateUnguarded),
            final_records: final_records.filter(|_| !mutant!(RecordUnguarded)).collect(),
            unique_keys_held: held.filter(|_| !mutant!(UniqueKeyUnguarded)).cloned().collect(),
            view_exists: view.as_ref().is_some_and(|view| !may_put(&self.views, key, view)),
        }
    }

    fn carry_out(&mut self, transaction: &Transaction) {
        let Transaction { key, state, records, unique_keys_taken, unique_keys_released, view } = transaction.clone();
        if let Some(change) = state {
            self.states.insert(key.clone(), as_stored(change.next));
        }
        for record in records {
            self.records.insert(record.key.clone(), record);
        }
        for unique_key in unique_keys_taken {
            self.unique_keys.insert(unique_key, key.clone());
        }
        for unique_key in unique_keys_released {
            self.unique_keys.remove(&unique_key);
        }
        if let Some(view) = view {
            self.views.insert(key, as_stored(view));
        }
    }
}

fn final_record(records: &BTreeMap<RecordKey, CommandRecord>, key: &RecordKey) -> Option<CommandRecord> {
    records.get(key).filter(|record| record.status.is_final()).cloned()
}

fn may_put(snapshots: &Snapshots, key: &AggregateKey, next: &Snapshot) -> bool {
    snapshots.get(key).is_none_or(|stored| stored.version < next.version || mutant!(ProjectionUnguarded))
}

/// Rounds the time to live down to whole seconds, as DynamoDB stores it.
fn as_stored(snapshot: Snapshot) -> Snapshot {
    let whole_seconds = |at: Timestamp| Timestamp::from_micros(at.as_seconds() * 1_000_000);
    Snapshot { expires_at: snapshot.expires_at.map(whole_seconds), ..snapshot }
}

fn list(snapshots: &Snapshots, query: &ListQuery) -> Page {
    let of_tenant = snapshots.iter().filter(|(key, _)| key.kind == query.kind && key.tenant == query.tenant);
    let mut matches = BTreeMap::new();
    for (key, snapshot) in of_tenant {
        let entries = snapshot.index.iter();
        let entries = entries.filter(|entry| entry.slot == query.slot && entry.partition == query.partition);
        for entry in entries.filter(|entry| entry.sort.starts_with(&query.sort_prefix)) {
            matches.insert((entry.sort.clone(), key.id), snapshot.clone());
        }
    }
    if let Some(Position { sort, id }) = &query.after {
        let after = (sort.clone(), *id);
        matches.retain(|position, _| *position > after);
    }
    let limit = query.limit.clamp(1, LIST_LIMIT_MAX);
    let more = matches.len() > limit;
    let entries = matches.into_iter().take(limit).map(|((sort, id), snapshot)| (Position { sort, id }, snapshot));
    Page { entries: entries.collect(), more }
}

/// A [`WriteStore`] in memory. Also a [`ViewReader`], which reads *states*.
#[derive(Debug, Clone)]
pub struct MemoryWriteStore {
    tables: Arc<Mutex<Tables>>,
}

#[async_trait]
impl StateReader for MemoryWriteStore {
    async fn load(&self, keys: &[AggregateKey]) -> Result<Vec<Option<Snapshot>>, PortError> {
        check_load("write store", keys.len())?;
        let tables = lock(&self.tables);
        Ok(keys.iter().map(|key| tables.states.get(key).cloned()).collect())
    }
}

#[async_trait]
impl WriteStore for MemoryWriteStore {
    async fn commit(&self, transaction: &Transaction) -> Result<(), CommitError> {
        check(transaction)?;
        let mut tables = lock(&self.tables);
        let failed = tables.failed_conditions(transaction);
        if failed != FailedConditions::default() {
            return Err(CommitError::Conditions(failed));
        }
        tables.carry_out(transaction);
        Ok(())
    }
}

#[async_trait]
impl ViewReader for MemoryWriteStore {
    async fn get(&self, key: &AggregateKey, _: Consistency) -> Result<Option<Snapshot>, PortError> {
        Ok(lock(&self.tables).states.get(key).cloned())
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, PortError> {
        Ok(list(&lock(&self.tables).states, query))
    }
}

/// A [`RecordWriter`] in memory.
#[derive(Debug, Clone)]
pub struct MemoryRecords {
    tables: Arc<Mutex<Tables>>,
}

#[async_trait]
impl RecordReader for MemoryRecords {
    async fn get(&self, key: &RecordKey) -> Result<Option<CommandRecord>, PortError> {
        Ok(lock(&self.tables).records.get(key).cloned())
    }
}

#[async_trait]
impl RecordWriter for MemoryRecords {
    async fn put_pending(&self, record: &CommandRecord) -> Result<Option<CommandRecord>, PortError> {
        let mut tables = lock(&self.tables);
        if let Some(found) = tables.records.get(&record.key) {
            return Ok(Some(found).filter(|found| *found != record).cloned());
        }
        tables.records.insert(record.key.clone(), record.clone());
        Ok(None)
    }

    async fn put_failed(&self, record: &CommandRecord) -> Result<Option<CommandRecord>, PortError> {
        let mut tables = lock(&self.tables);
        let found = final_record(&tables.records, &record.key);
        if found.is_none() {
            tables.records.insert(record.key.clone(), record.clone());
        }
        Ok(found)
    }
}

/// A read store in memory.
#[derive(Debug, Clone)]
pub struct MemoryViewStore {
    tables: Arc<Mutex<Tables>>,
}

#[async_trait]
impl ViewReader for MemoryViewStore {
    async fn get(&self, key: &AggregateKey, _: Consistency) -> Result<Option<Snapshot>, PortError> {
        Ok(lock(&self.tables).views.get(key).cloned())
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, PortError> {
        Ok(list(&lock(&self.tables).views, query))
    }
}

#[async_trait]
impl ViewWriter for MemoryViewStore {
    async fn put(&self, key: &AggregateKey, view: &Snapshot) -> Result<Projected, PortError> {
        let mut tables = lock(&self.tables);
        if !may_put(&tables.views, key, view) {
            return Ok(Projected::Newer);
        }
        if view.body.is_none() && mutant!(TombstoneRemovesView) {
            tables.views.remove(key);
            return Ok(Projected::Stored);
        }
        tables.views.insert(key.clone(), as_stored(view.clone()));
        Ok(Projected::Stored)
    }
}
