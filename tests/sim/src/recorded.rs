//! Stores that record each write in the history. Their eventually consistent reads lag behind.

use std::sync::Arc;
use std::time::Duration;

use adapters::memory::{MemoryRecords, MemoryViewStore, MemoryWriteStore};
use async_trait::async_trait;
use kernel::ids::AggregateKey;
use kernel::ports::{
    CommitError, Consistency, ListQuery, Page, PortError, Projected, RecordReader, RecordWriter, Snapshot, StateReader,
    Transaction, ViewReader, ViewWriter, WriteStore,
};
use kernel::projection::Projection;
use kernel::record::{CommandRecord, RecordKey};
use tokio::time::Instant;

use crate::world::World;

#[derive(Debug)]
pub(crate) struct RecordedWrites {
    inner: MemoryWriteStore,
    records: MemoryRecords,
    world: Arc<World>,
}

#[derive(Debug)]
pub(crate) struct RecordedRecords {
    inner: MemoryRecords,
    world: Arc<World>,
}

#[derive(Debug)]
pub(crate) struct RecordedViews {
    projection: Projection,
    inner: MemoryViewStore,
    world: Arc<World>,
}

impl RecordedWrites {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        Self { inner: world.stores.write(), records: world.stores.records(), world: world.clone() }
    }
}

impl RecordedRecords {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        Self { inner: world.stores.records(), world: world.clone() }
    }
}

impl RecordedViews {
    pub(crate) fn new(world: &Arc<World>, projection: Projection) -> Self {
        Self { projection, inner: world.views_of(projection), world: world.clone() }
    }
}

#[async_trait]
impl StateReader for RecordedWrites {
    async fn load(&self, keys: &[AggregateKey]) -> Result<Vec<Option<Snapshot>>, PortError> {
        self.inner.load(keys).await
    }
}

#[async_trait]
impl WriteStore for RecordedWrites {
    async fn commit(&self, transaction: &Transaction) -> Result<(), CommitError> {
        let mut before = Vec::with_capacity(transaction.records.len());
        for record in &transaction.records {
            before.push(self.records.get(&record.key).await?);
        }
        self.inner.commit(transaction).await?;
        self.world.history.committed(transaction, &before);
        Ok(())
    }
}

#[async_trait]
impl ViewReader for RecordedWrites {
    async fn get(&self, key: &AggregateKey, consistency: Consistency) -> Result<Option<Snapshot>, PortError> {
        self.inner.get(key, consistency).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, PortError> {
        self.inner.list(query).await
    }
}

#[async_trait]
impl RecordReader for RecordedRecords {
    async fn get(&self, key: &RecordKey) -> Result<Option<CommandRecord>, PortError> {
        self.inner.get(key).await
    }
}

#[async_trait]
impl RecordWriter for RecordedRecords {
    async fn put_pending(&self, record: &CommandRecord) -> Result<Option<CommandRecord>, PortError> {
        self.inner.put_pending(record).await
    }

    async fn put_failed(&self, record: &CommandRecord) -> Result<Option<CommandRecord>, PortError> {
        let before = self.inner.get(&record.key).await?;
        let found = self.inner.put_failed(record).await?;
        if found.is_none() {
            self.world.history.recorded(record, before.as_ref());
        }
        Ok(found)
    }
}

#[async_trait]
impl ViewReader for RecordedViews {
    async fn get(&self, key: &AggregateKey, consistency: Consistency) -> Result<Option<Snapshot>, PortError> {
        if consistency == Consistency::Strong || self.world.chance.is_calm() {
            return self.inner.get(key, consistency).await;
        }
        let behind = Duration::from_millis(self.world.chance.between(0..=self.world.setup.lag_ms));
        let events = self.world.history.lock();
        let log = events.views.get(&(self.projection, key.clone())).map(Vec::as_slice).unwrap_or_default();
        let known = log.iter().rev().find(|(at, _)| *at + behind <= Instant::now());
        Ok(known.map(|(_, view)| view.clone()))
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, PortError> {
        self.inner.list(query).await
    }
}

#[async_trait]
impl ViewWriter for RecordedViews {
    async fn put(&self, key: &AggregateKey, view: &Snapshot) -> Result<Projected, PortError> {
        let projected = self.inner.put(key, view).await?;
        if projected == Projected::Stored {
            self.world.history.projected(self.projection, key, view);
        }
        Ok(projected)
    }
}
