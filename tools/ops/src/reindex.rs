//! Writes the index entries of the write table again. Those of a read store are part of its projection: `watershed rebuild`.

use std::sync::atomic::{AtomicU64, Ordering};

use adapters::dynamo::SnapshotTable;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use indicatif::ProgressBar;
use kernel::ids::AggregateKey;
use kernel::ports::Snapshot;
use kernel::projection::Projection;
use serde::Serialize;
use service::resources;
use tokio::sync::Mutex;
use tokio::time::Interval;

use crate::cli::ReindexOptions;
use crate::copy::pace;
use crate::output::{CommandOutput, Failure, bar};
use crate::target::Target;

/// The puts that each segment makes in parallel.
const PUTS_MAX: usize = 16;

#[derive(Debug, Default, Serialize)]
struct Report {
    /// States that were read.
    items: u64,
    /// States with other entries, which were written again, or would be.
    reindexed: u64,
    /// States that this code cannot read. They keep their entries.
    unreadable: u64,
    dry_run: bool,
}

/// The work of one run.
struct Reindex<'a> {
    states: SnapshotTable,
    projection: Projection,
    options: &'a ReindexOptions,
    pace: Option<Mutex<Interval>>,
    bar: ProgressBar,
    counts: [AtomicU64; 3],
}

pub(crate) async fn run(target: &Target, options: &ReindexOptions) -> Result<CommandOutput, Failure> {
    let projection = match target.known_read_table() {
        Some(_) => target.read_table()?.projection,
        None => Projection::FIRST,
    };
    let states = target.states()?.snapshots();
    let bar = bar("items read", states.approximate_len().await?.unwrap_or_default());
    let pace = options.rate.map(pace);
    let work = Reindex { states, projection, options, pace, bar, counts: Default::default() };
    let segments = usize::try_from(options.segments).unwrap_or(1);
    let parts = stream::iter((0..options.segments).map(|segment| work.segment(segment)));
    parts.buffer_unordered(segments).try_collect::<()>().await?;
    work.bar.finish_and_clear();
    let [items, reindexed, unreadable] = work.counts.map(AtomicU64::into_inner);
    let report = Report { items, reindexed, unreadable, dry_run: options.dry_run };
    let would = if options.dry_run { "would be " } else { "" };
    let lines = vec![format!("{items} items, {reindexed} {would}reindexed, {unreadable} unreadable")];
    let next_step = "deploy the code that wrote the unreadable states, then run `watershed reindex`".to_owned();
    Ok(CommandOutput::new(unreadable == 0, &report, lines).with_next_step_if((unreadable > 0).then_some(next_step)))
}

impl Reindex<'_> {
    async fn segment(&self, segment: u32) -> Result<(), Failure> {
        let mut after = None;
        loop {
            let page = self.states.scan(&resources::kinds(), segment, self.options.segments, after).await?;
            let items = page.entries.iter().map(|(key, state)| self.item(key, state));
            stream::iter(items).buffer_unordered(PUTS_MAX).try_collect::<()>().await?;
            self.bar.inc(page.items);
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// Writes the entries of one state. If the state has changed since it was read, its writer has already made the entries.
    async fn item(&self, key: &AggregateKey, state: &Snapshot) -> Result<(), Failure> {
        let [items, reindexed, unreadable] = &self.counts;
        items.fetch_add(1, Ordering::Relaxed);
        let Some(expected) = resources::view(key, state, self.projection).map(|view| view.index) else {
            unreadable.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        if expected == state.index {
            return Ok(());
        }
        if !self.options.dry_run {
            if let Some(pace) = &self.pace {
                pace.lock().await.tick().await;
            }
            self.states.replace_same(key, &Snapshot { index: expected, ..state.clone() }).await?;
        }
        reindexed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use kernel::ports::StateReader as _;

    use super::*;
    use crate::testing::Service;

    #[tokio::test]
    async fn outdated_index_entries_are_rewritten_and_newer_states_stay_unchanged() {
        let service = Service::at("cqrs", |_, _| None).await;
        let (old, right) = (service.item().await, service.item().await);
        let stored = async || service.states.load(&[old.clone(), right.clone()]).await.unwrap();
        let before = stored().await;
        let expected = resources::view(&old, before[0].as_ref().unwrap(), Projection::FIRST).unwrap().index;
        assert!(!expected.is_empty());
        let output = service.run(&["reindex", "--dry-run"]).await.unwrap();
        assert!(output.lines().join(" ").contains("would be reindexed"), "{:?}", output.lines());
        assert_eq!(stored().await, before);
        let output = service.run(&["reindex", "--rate", "1000"]).await.unwrap();
        assert!(output.lines().join(" ").contains("2 items, 2 reindexed, 0 unreadable"), "{:?}", output.lines());
        let after = stored().await;
        assert_eq!(
            after[0].as_ref().map(|state| (&state.index, &state.body)),
            Some((&expected, &before[0].as_ref().unwrap().body))
        );
        let output = service.run(&["reindex"]).await.unwrap();
        assert!(output.lines().join(" ").contains("2 items, 0 reindexed"), "{:?}", output.lines());
        // The version is another one, as if a writer was faster.
        let late = Snapshot { version: 9, ..after[0].clone().unwrap() };
        assert!(!service.states.snapshots().replace_same(&old, &late).await.unwrap());
    }
}
