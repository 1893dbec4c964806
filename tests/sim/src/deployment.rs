//! The latest deployment, the one before it while requests are shifted, and the invocations that still run with earlier ones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kernel::projection::Projection;
use service::stages::StageConfig;
use tokio::time::{Instant, sleep};

use crate::chance::Chance;
use crate::world::World;

/// The operator's pause between two attempts or two checks.
pub(crate) const PAUSE: Duration = Duration::from_millis(50);

/// The configuration with which environments start.
#[derive(Debug, Clone)]
pub(crate) struct Deployment {
    /// The number of the deployment, counted up.
    pub(crate) number: u64,
    /// The stage configuration.
    pub(crate) row: Arc<StageConfig>,
    /// The projection that readers use.
    pub(crate) read: Projection,
    /// A second projection that writers keep up to date.
    pub(crate) other: Option<Projection>,
}

impl Deployment {
    /// Returns all projections that writers keep up to date, the readers' projection first.
    pub(crate) fn written(&self) -> impl Iterator<Item = Projection> {
        std::iter::once(self.read).chain(self.other).filter(|_| self.row.writes_read_store)
    }
}

/// The latest deployments and the running invocations.
#[derive(Debug)]
pub(crate) struct Deployments {
    latest: Mutex<Deployment>,
    /// The deployment before the latest one, and the time until which it gets a part of the requests.
    shift: Mutex<Option<(Deployment, Instant)>>,
    /// The number of running invocations, by the deployment of their environment.
    running: Mutex<BTreeMap<u64, usize>>,
}

/// A running invocation. Its drop ends the count.
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
        Self { latest: Mutex::new(first), shift: Mutex::default(), running: Mutex::default() }
    }

    /// Returns the configuration for a request. During a shift it may be the previous one.
    pub(crate) fn for_request(&self, chance: &Chance) -> Deployment {
        match self.shifted() {
            Some(previous) if chance.between(0..=1) == 0 => previous,
            _ => self.latest(),
        }
    }

    /// Returns the numbers of the deployments that get requests.
    pub(crate) fn served(&self) -> impl Iterator<Item = u64> {
        [Some(self.latest()), self.shifted()].into_iter().flatten().map(|deployment| deployment.number)
    }

    /// Returns the previous deployment, if it still gets requests.
    fn shifted(&self) -> Option<Deployment> {
        let shift = self.shift.lock().unwrap_or_else(PoisonError::into_inner);
        shift.as_ref().filter(|(_, until)| Instant::now() < *until).map(|(previous, _)| previous.clone())
    }

    /// Returns the latest configuration.
    pub(crate) fn latest(&self) -> Deployment {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts an invocation until the result is dropped.
    pub(crate) fn runs(&self, deployment: &Deployment) -> Running<'_> {
        *self.running().entry(deployment.number).or_default() += 1;
        Running(self, deployment.number)
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until no earlier deployment gets requests, and no invocation of one runs.
    pub(crate) async fn drained(&self) {
        while self.shifted().is_some() || self.running().range(..self.latest().number).any(|(_, count)| *count > 0) {
            sleep(PAUSE).await;
        }
    }
}

impl World {
    /// Deploys a changed copy of the latest deployment, and begins the shift of requests to it. If the new stage has no queue, the
    /// queue is deleted with all its messages.
    pub(crate) fn deploy(&self, change: impl FnOnce(&mut Deployment)) {
        let mut latest = self.deployments.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if self.setup.shift_ms > 0 {
            let until = Instant::now() + Duration::from_millis(self.setup.shift_ms);
            let mut shift = self.deployments.shift.lock().unwrap_or_else(PoisonError::into_inner);
            *shift = Some((latest.clone(), until));
        }
        latest.number += 1;
        change(&mut latest);
        self.queue.deploy(latest.row.queue_deployed);
    }
}
