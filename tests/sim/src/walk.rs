//! From stage to stage while everything runs: what is deployed one after the other, and what an operator does in between.

use std::collections::BTreeMap;
use std::sync::Arc;

use kernel::apply::Aggregate;
use kernel::project::Projection;
use shared::stages::{Answer, Cache, Row, Source};
use tokio::time::sleep;
use users::User;

use crate::deployment::PAUSE;
use crate::plan::{Duty, Stage};
use crate::world::World;

impl World {
    /// Does what `watershed migrate` does, for each stage of the way.
    pub(crate) async fn walk(self: Arc<Self>, way: Vec<Stage>, forgotten: Option<Duty>) {
        if !self.operator_begins() {
            return;
        }
        for stage in way {
            // What was cut out of the way of a plan makes the next step too long.
            let Ok(rows) = Row::step(&self.deployments.latest().row.stage, &stage.0.stage) else { return };
            for row in rows {
                self.advance(row, forgotten).await;
                if self.chance.between(0..=1) == 0 {
                    sleep(PAUSE * u32::try_from(self.chance.between(0..=100)).unwrap_or_default()).await;
                }
            }
        }
    }

    /// Deploys the next row, once what it rests upon is there and what it does without is out of use.
    async fn advance(self: &Arc<Self>, next: Row, forgotten: Option<Duty>) {
        let here = self.deployments.latest().row;
        let is_due = |duty, due: bool| due && forgotten != Some(duty);
        let first = |uses: fn(&Row) -> bool| uses(&next) && !uses(&here);
        let last = |uses: fn(&Row) -> bool| uses(&here) && !uses(&next);
        if is_due(Duty::FillReadStore, first(|row| row.reads_from == Source::ReadStore)) {
            self.fill(Projection::FIRST).await;
        }
        if is_due(Duty::DropCached, first(|row| row.has(Cache::Redis))) {
            self.drop_what_differs().await;
        }
        if is_due(Duty::EmptyQueue, last(|row| row.writes_answer != Answer::Result)) {
            self.queue_is_empty().await;
        }
        if is_due(Duty::EmptyQueue, last(|row| row.queue_deployed)) {
            self.nothing_is_queued().await;
        }
        self.deploy(|deployment| deployment.row = Arc::new(next));
        if is_due(Duty::AwaitEnvironments, true) {
            self.deployments.drained().await;
        }
    }

    /// Drops what the shared cache holds from a time when writers did not keep it up to date.
    async fn drop_what_differs(&self) {
        for (key, state) in self.stores.all_states() {
            let Ok(aggregate) = Aggregate::<User>::decode(Some(&state)) else { continue };
            let due = aggregate.view(&key, Projection::FIRST);
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

    /// Waits until the queue is empty, and sends its dead letters back, until none is left.
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
