//! Projects an aggregate's current state: writes its view to the read store, then to the shared cache.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tracing::debug;

use crate::aggregate::Aggregate;
use crate::clock::Clock;
use crate::domain::Domain;
use crate::error_chain::ErrorChain;
use crate::ids::AggregateKey;
use crate::ports::{
    CachedView, Consistency, ListQuery, Page, PortError, Projected, SharedCacheUpdater, Snapshot, ViewReader,
    ViewWriter,
};
use crate::projection::Projection;
use crate::random::jitter;

/// The longest time for which the shared cache keeps a view. The shortest is two thirds of it.
const VIEW_TTL: Duration = Duration::from_secs(360);
/// How long the shared cache keeps a tombstone. A tombstone never changes again.
const TOMBSTONE_CACHE_TTL: Duration = Duration::from_secs(600);
/// How long the shared cache keeps the entry of an aggregate that does not exist.
const NEGATIVE_TTL: Duration = Duration::from_secs(5);

/// Returns how long the shared cache should keep the view. The random part spreads the expiry of views that were stored together.
#[must_use]
pub fn cache_ttl(view: &CachedView) -> Duration {
    match (&view.body, view.version) {
        (Some(_), _) => jitter(VIEW_TTL, 2.0 / 3.0..1.0),
        (None, 0) => NEGATIVE_TTL,
        (None, _) => TOMBSTONE_CACHE_TTL,
    }
}

/// A read store with the views of one projection.
#[derive(Debug)]
pub struct ReadModel {
    /// The projection.
    pub projection: Projection,
    /// The read store. Absent in the stages without one, and if the apply's transaction writes the view.
    pub views: Option<Arc<dyn ViewWriter>>,
}

/// Writes views to the read stores and to the shared cache.
#[derive(Debug)]
pub struct Projector {
    /// The read stores: one, or two during a change from one projection to another.
    models: Vec<ReadModel>,
    /// The shared cache. Absent in the stages without one.
    cache: Option<Arc<dyn SharedCacheUpdater>>,
    clock: Arc<dyn Clock>,
}

impl Projector {
    /// Returns a projector into these read stores and this cache.
    pub fn new(models: Vec<ReadModel>, cache: Option<Arc<dyn SharedCacheUpdater>>, clock: Arc<dyn Clock>) -> Self {
        Self { models, cache, clock }
    }

    /// Projects an aggregate, and returns whether the first model stored the view. It may be repeated, and may come late, because
    /// an older view never replaces a newer one.
    ///
    /// The update of the cache is tried once and never fails the projection. If it fails, the stale entry expires with its time to
    /// live.
    pub async fn project<D: Domain>(&self, key: &AggregateKey, current: &Aggregate<D>) -> Result<Projected, PortError> {
        let mut shown = Projected::Newer;
        for (index, model) in self.models.iter().enumerate() {
            if index > 0 && mutant!(OtherProjectionSkipped) {
                break;
            }
            let projected = self.project_into(model, key, current).await;
            if index == 0 {
                shown = projected?;
            } else if !mutant!(OtherProjectionNotRetried) {
                projected?;
            }
        }
        Ok(shown)
    }

    async fn project_into<D: Domain>(
        &self,
        model: &ReadModel,
        key: &AggregateKey,
        current: &Aggregate<D>,
    ) -> Result<Projected, PortError> {
        let fetched_at = self.clock.now();
        let view = current.view(key, model.projection);
        let cached = CachedView { version: view.version, body: view.body.clone(), fetched_at };
        let cache_key = model.projection.cache_key(key);
        if mutant!(CacheBeforeReadStore) {
            self.update_cache(&cache_key, &cached).await;
        }
        let projected = match &model.views {
            Some(views) => views.put(key, &view).await?,
            None => Projected::Stored,
        };
        if projected == Projected::Newer {
            debug!(%key, version = view.version, "the read store has this view or a newer one already");
        }
        if !mutant!(CacheBeforeReadStore) {
            self.update_cache(&cache_key, &cached).await;
        }
        Ok(projected)
    }

    async fn update_cache(&self, key: &str, view: &CachedView) {
        if let Some(cache) = &self.cache
            && let Err(error) = cache.update(key, view, cache_ttl(view)).await
        {
            debug!(key, error = %ErrorChain(&error), "the cached view was not updated");
        }
    }
}

/// Reads views from the write store, in the stages without a read store. It projects each state that it reads.
///
/// Single reads are always strongly consistent, because in these stages a client reads right after the answer to its write.
#[derive(Debug)]
pub struct ProjectingReader<D> {
    states: Arc<dyn ViewReader>,
    projection: Projection,
    domain: std::marker::PhantomData<D>,
}

impl<D: Domain> ProjectingReader<D> {
    /// Returns a reader of the write store's snapshots.
    pub fn new(states: Arc<dyn ViewReader>, projection: Projection) -> Self {
        Self { states, projection, domain: std::marker::PhantomData }
    }
}

fn project_stored<D: Domain>(
    projection: Projection,
    key: &AggregateKey,
    stored: &Snapshot,
) -> Result<Snapshot, PortError> {
    let aggregate = Aggregate::<D>::decode(Some(stored)).map_err(|error| PortError::Corrupt {
        port: "write store",
        key: key.to_string(),
        cause: error.into(),
    })?;
    Ok(aggregate.view(key, projection))
}

#[async_trait]
impl<D: Domain> ViewReader for ProjectingReader<D> {
    async fn get(&self, key: &AggregateKey, _: Consistency) -> Result<Option<Snapshot>, PortError> {
        let stored = self.states.get(key, Consistency::Strong).await?;
        stored.map(|stored| project_stored::<D>(self.projection, key, &stored)).transpose()
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, PortError> {
        let Page { entries, more } = self.states.list(query).await?;
        let project = |(position, stored): (crate::ports::Position, Snapshot)| {
            let key = AggregateKey { kind: query.kind, tenant: query.tenant.clone(), id: position.id };
            project_stored::<D>(self.projection, &key, &stored).map(|view| (position, view))
        };
        Ok(Page { entries: entries.into_iter().map(project).collect::<Result<_, _>>()?, more })
    }
}
