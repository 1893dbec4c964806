//! Two read stores, while one takes the other's place: what is deployed, what still runs with an earlier deployment, and
//! what an operator does about it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adapters::memory::{MemoryStores, MemoryViewStore};
use kernel::apply::Aggregate;
use kernel::ports::ViewWriter as _;
use kernel::project::Projection;
use tokio::time::sleep;
use users::User;

use crate::functions::behind_network;
use crate::recorded::RecordedViews;
use crate::world::World;

/// The projection that takes the place of the first.
pub(crate) const NEXT: Projection = Projection(2);
/// The pause before an operation is tried again, or what runs is looked at again.
const PAUSE: Duration = Duration::from_millis(50);

/// Which read stores are used. Deployments have numbers; these are the steps of a cutover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deployment {
    /// Counts deployments.
    pub(crate) number: u64,
    /// What readers see.
    pub(crate) read: Projection,
    /// What is written as well.
    pub(crate) other: Option<Projection>,
}

impl Deployment {
    /// All that is written, what readers see first.
    pub(crate) fn written(self) -> impl Iterator<Item = Projection> {
        std::iter::once(self.read).chain(self.other)
    }
}

/// What is deployed, and the second read store.
#[derive(Debug)]
pub(crate) struct ReadStores {
    next: MemoryStores,
    deployment: Mutex<Deployment>,
    /// Invocations under way, by the deployment of their environment.
    running: Mutex<BTreeMap<u64, usize>>,
    begun: AtomicU64,
}

impl Default for ReadStores {
    fn default() -> Self {
        let first = Deployment { number: 0, read: Projection::FIRST, other: None };
        let (running, begun) = (Mutex::default(), AtomicU64::new(0));
        Self { next: MemoryStores::default(), deployment: Mutex::new(first), running, begun }
    }
}

/// An invocation under way.
#[derive(Debug)]
pub(crate) struct Running<'a>(&'a ReadStores, u64);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.0.running().get_mut(&self.1) {
            *count -= 1;
        }
    }
}

impl ReadStores {
    /// What new environments start with.
    pub(crate) fn deployment(&self) -> Deployment {
        *self.deployment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an invocation for as long as it is under way.
    pub(crate) fn runs(&self, deployment: Deployment) -> Running<'_> {
        *self.running().entry(deployment.number).or_default() += 1;
        Running(self, deployment.number)
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deploy(&self, read: Projection, other: Option<Projection>) {
        let mut deployment = self.deployment.lock().unwrap_or_else(PoisonError::into_inner);
        *deployment = Deployment { number: deployment.number + 1, read, other };
    }

    async fn drained(&self) {
        while self.running().range(..self.deployment().number).any(|(_, count)| *count > 0) {
            sleep(PAUSE).await;
        }
    }
}

impl World {
    /// The read store of a projection.
    pub(crate) fn views_of(&self, projection: Projection) -> MemoryViewStore {
        if projection == NEXT { self.read_stores.next.views() } else { self.stores.views() }
    }

    /// All that a read store holds.
    pub(crate) fn all_views_of(&self, projection: Projection) -> crate::check::Views {
        if projection == NEXT { self.read_stores.next.all_views() } else { self.stores.all_views() }
    }

    /// Does what `watershed rebuild` does, step by step.
    pub(crate) async fn cut_over(self: Arc<Self>, waits: bool, back: bool) {
        let stores = &self.read_stores;
        if !self.setup.route.is_queued() || stores.begun.fetch_add(1, Ordering::Relaxed) > 0 {
            return;
        }
        stores.deploy(Projection::FIRST, Some(NEXT));
        if waits {
            stores.drained().await;
        }
        self.fill().await;
        stores.deploy(NEXT, Some(Projection::FIRST));
        if back {
            sleep(PAUSE * 20).await;
            stores.deploy(Projection::FIRST, Some(NEXT));
        } else {
            stores.drained().await;
            stores.deploy(NEXT, None);
        }
    }

    /// Copies what was stored when it began; what is stored later is written to both.
    async fn fill(self: &Arc<Self>) {
        let next = behind_network(self, Arc::new(RecordedViews::new(self, NEXT)));
        for (key, state) in self.stores.all_states() {
            let Ok(aggregate) = Aggregate::<User>::decode(Some(&state)) else { continue };
            let view = aggregate.view(&key, NEXT);
            while next.put(&key, &view).await.is_err() {
                sleep(PAUSE).await;
            }
        }
    }
}
