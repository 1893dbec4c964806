//! A walk from stage to stage during traffic: the deployments, and the operator's work between them.

use std::collections::BTreeMap;
use std::sync::Arc;

use kernel::projection::Projection;
use service::plan::{self, Action, Step};
use tokio::time::sleep;

use crate::deployment::PAUSE;
use crate::plan::{Duty, Stage};
use crate::world::World;

impl World {
    /// Performs the steps of `watershed migrate`, for each stage of the walk.
    pub(crate) async fn walk(self: Arc<Self>, way: Vec<Stage>, forgotten: Option<Duty>) {
        if !self.operator_begins() {
            return;
        }
        for stage in way {
            // In a shrunk plan, the next stage may not be adjacent.
            let Ok(steps) = plan::steps(&self.deployments.latest().row.stage, &stage.0.stage) else { return };
            for step in steps {
                self.take(step, forgotten).await;
            }
        }
    }

    /// Performs one step, as `watershed migrate` does. Skips waits and comparisons, because clients and checks do more.
    async fn take(self: &Arc<Self>, step: Step, forgotten: Option<Duty>) {
        let is_due = |duty| forgotten != Some(duty);
        match step.action {
            Action::Backfill if is_due(Duty::FillReadStore) => self.fill(Projection::FIRST).await,
            Action::Refresh if is_due(Duty::DropCached) => self.drop_what_differs().await,
            Action::Drain if is_due(Duty::EmptyQueue) => self.queue_is_empty().await,
            Action::DeadLetters if is_due(Duty::EmptyQueue) && is_due(Duty::RedriveDeadLetters) => {
                self.nothing_is_queued().await;
            }
            Action::Deploy(_) => {
                self.deploy(|deployment| deployment.row = Arc::new(step.row));
                if is_due(Duty::AwaitEnvironments) {
                    self.deployments.drained().await;
                }
                if self.chance.between(0..=1) == 0 {
                    sleep(PAUSE * u32::try_from(self.chance.between(0..=100)).unwrap_or_default()).await;
                }
            }
            // Forgotten, or without effect in the simulation.
            Action::Backfill
            | Action::Refresh
            | Action::Drain
            | Action::DeadLetters
            | Action::Compare
            | Action::Soak
            | Action::Retain(_) => {}
        }
    }

    /// Deletes stale entries of the shared cache, from a time when writers did not update it.
    async fn drop_what_differs(&self) {
        for (key, state) in self.stores.all_states() {
            let Some(due) = service::resources::view(&key, &state, Projection::FIRST) else { continue };
            let key = Projection::FIRST.cache_key(&key);
            let cached: BTreeMap<_, _> = self.cache.views().into_iter().collect();
            if cached.get(&key).is_some_and(|cached| (cached.version, &cached.body) != (due.version, &due.body)) {
                sleep(PAUSE).await;
                self.cache.evict(&key);
            }
        }
    }

    async fn queue_is_empty(&self) {
        while !self.queue.is_empty() {
            sleep(PAUSE).await;
        }
    }

    /// Waits until the queue is empty, and redrives the dead letters, until none is left.
    async fn nothing_is_queued(&self) {
        loop {
            self.queue_is_empty().await;
            if self.queue.dead().is_empty() {
                return;
            }
            self.redrive();
        }
    }
}
