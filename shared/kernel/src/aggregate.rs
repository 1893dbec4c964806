//! An aggregate at one version, and its stored forms.

use std::time::Duration;

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::domain::{DecodeError, Domain};
use crate::ids::{AggregateKey, Tenant};
use crate::ports::{Snapshot, UniqueKey};
use crate::projection::Projection;

/// How long the stores keep the tombstone of a deleted aggregate. A later command within this time is rejected as not found.
pub(crate) const TOMBSTONE_RETENTION: Duration = Duration::from_hours(45 * 24);

/// An aggregate at one version.
#[derive(Debug)]
pub struct Aggregate<D: Domain> {
    /// The version; 0 if the store never held the aggregate.
    pub version: u64,
    /// The state; `None` if the store never held the aggregate, or if it is deleted.
    pub state: Option<D::State>,
    /// Time from which the stores may delete the tombstone.
    pub(crate) expires_at: Option<Timestamp>,
}

impl<D: Domain> Clone for Aggregate<D> {
    fn clone(&self) -> Self {
        Self { version: self.version, state: self.state.clone(), expires_at: self.expires_at }
    }
}

impl<D: Domain> Aggregate<D> {
    /// Returns an aggregate that the store never held.
    #[must_use]
    pub fn absent() -> Self {
        Self { version: 0, state: None, expires_at: None }
    }

    /// Decodes the snapshot of the write store.
    pub fn decode(stored: Option<&Snapshot>) -> Result<Self, DecodeError> {
        let Some(stored) = stored else { return Ok(Self::absent()) };
        let state = stored.body.as_ref().map(|body| D::decode(stored.schema, body)).transpose()?;
        Ok(Self { version: stored.version, state, expires_at: stored.expires_at })
    }

    /// Returns the snapshot for the write store.
    #[must_use]
    pub fn encode(&self, key: &AggregateKey, projection: Projection) -> Snapshot {
        self.snapshot(key, projection, self.state.as_ref().map(D::encode))
    }

    /// Returns the snapshot for the read store.
    #[must_use]
    pub fn view(&self, key: &AggregateKey, projection: Projection) -> Snapshot {
        let body = self.state.as_ref().map(|state| D::project(projection, key.id, self.version, state));
        self.snapshot(key, projection, body)
    }

    fn snapshot(&self, key: &AggregateKey, projection: Projection, body: Option<Bytes>) -> Snapshot {
        let mut index = self.state.as_ref().map(|state| D::index(projection, key, state)).unwrap_or_default();
        // Stores return the entries in this order, and tests compare snapshots.
        index.sort_by_key(|entry| entry.slot);
        Snapshot { version: self.version, schema: D::SCHEMA, body, index, expires_at: self.expires_at }
    }

    pub(crate) fn unique_keys(&self, tenant: &Tenant) -> Vec<UniqueKey> {
        self.state.as_ref().map(|state| D::unique_keys(tenant, state)).unwrap_or_default()
    }
}
