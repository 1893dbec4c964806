//! What is deployed, and what still runs with an earlier deployment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kernel::projection::Projection;
use service::stages::StageConfig;
use tokio::time::sleep;

use crate::world::World;

/// The pause before an operator tries an operation again, or looks again.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// What environments are started with.
#[derive(Debug, Clone)]
pub(crate) struct Deployment {
    /// Counts deployments.
    pub(crate) number: u64,
    /// What the service is made of.
    pub(crate) row: Arc<StageConfig>,
    /// What readers see.
    pub(crate) read: Projection,
    /// What is written as well.
    pub(crate) other: Option<Projection>,
}

impl Deployment {
    /// All read stores that are written, what readers see first.
    pub(crate) fn written(&self) -> impl Iterator<Item = Projection> {
        std::iter::once(self.read).chain(self.other).filter(|_| self.row.writes_read_store)
    }
}

/// What is deployed, and what runs.
#[derive(Debug)]
pub(crate) struct Deployments {
    latest: Mutex<Deployment>,
    /// Invocations under way, by the deployment of their environment.
    running: Mutex<BTreeMap<u64, usize>>,
}

/// An invocation under way.
#[derive(Debug)]
pub(crate) struct Running<'a>(&'a Deployments, u64);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.0.running().get_mut(&self.1) {
            *count -= 1;
        }
    }
}

impl Deployments {
    pub(crate) fn new(row: Arc<StageConfig>) -> Self {
        let first = Deployment { number: 0, row, read: Projection::FIRST, other: None };
        Self { latest: Mutex::new(first), running: Mutex::default() }
    }

    /// What new environments start with.
    pub(crate) fn latest(&self) -> Deployment {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts an invocation for as long as it is under way.
    pub(crate) fn runs(&self, deployment: &Deployment) -> Running<'_> {
        *self.running().entry(deployment.number).or_default() += 1;
        Running(self, deployment.number)
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nothing of an earlier deployment runs.
    pub(crate) async fn drained(&self) {
        while self.running().range(..self.latest().number).any(|(_, count)| *count > 0) {
            sleep(PAUSE).await;
        }
    }
}

impl World {
    /// Deploys what `change` makes of the latest deployment. A queue that is not part of it any more is gone, with all
    /// that is in it.
    pub(crate) fn deploy(&self, change: impl FnOnce(&mut Deployment)) {
        let mut latest = self.deployments.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.number += 1;
        change(&mut latest);
        self.queue.deploy(latest.row.queue_deployed);
    }
}
