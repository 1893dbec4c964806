//! Fills a read store from the write store, and stores its progress in the new table.

use adapters::dynamo::{DynamoViewStore, SnapshotTable};
use adapters::read_table::ReadTable;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use indicatif::ProgressBar;
use kernel::ids::AggregateKey;
use kernel::ports::{Snapshot, ViewWriter as _};
use kernel::projection::Projection;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::{Duration, Interval, interval};

use crate::notes::{decode, encode};
use crate::output::{Failure, bar};
use crate::target::Target;
use service::resources;

/// The views that each segment writes in parallel.
const PUTS_MAX: usize = 16;
/// The name of the note with the present attempt.
const ATTEMPT: &str = "rebuild";

/// One attempt to fill a read store.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Attempt {
    id: String,
    segments: u32,
}

/// The progress of one segment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct SegmentProgress {
    after: Option<String>,
    copied: u64,
    /// Items of the write table that were read: states and unique keys.
    #[serde(default)]
    read: u64,
    done: bool,
}

/// The progress of all segments.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Progress {
    pub(crate) copied: u64,
    pub(crate) segments: u32,
    pub(crate) segments_done: u32,
}

impl Progress {
    /// Reads the progress from a table. Returns `None` if no attempt was begun.
    pub(crate) async fn of(notes: &SnapshotTable) -> Result<Option<Self>, Failure> {
        let Some(attempt) = attempt(notes).await? else { return Ok(None) };
        let mut progress = Self { segments: attempt.segments, ..Self::default() };
        for segment in load_segments(notes, &attempt).await? {
            progress.copied += segment.copied;
            progress.segments_done += u32::from(segment.done);
        }
        Ok(Some(progress))
    }
}

/// Deletes the progress, so the next attempt copies everything.
pub(crate) async fn forget(notes: &SnapshotTable) -> Result<(), Failure> {
    Ok(notes.remove_bookmark(ATTEMPT).await?)
}

/// Fills a read store from the write store.
pub(crate) struct Copy {
    states: SnapshotTable,
    views: DynamoViewStore,
    /// The table of the views, which also stores the progress.
    notes: SnapshotTable,
    projection: Projection,
    attempt: Attempt,
    pace: Option<Mutex<Interval>>,
}

impl Copy {
    /// Continues the present attempt, or begins one. With a name, it continues only the attempt of that name.
    pub(crate) async fn begin(
        target: &Target,
        new: &ReadTable,
        name: Option<&str>,
        segments: u32,
        rate: Option<u32>,
    ) -> Result<Self, Failure> {
        let views = target.views(new);
        let notes = views.snapshots();
        let stored = attempt(&notes).await?.filter(|attempt| name.is_none_or(|name| name == attempt.id));
        let attempt = if let Some(attempt) = stored {
            attempt
        } else {
            let id = name.map_or_else(|| uuid::Uuid::now_v7().to_string(), ToOwned::to_owned);
            let attempt = Attempt { id, segments };
            notes.set_bookmark(ATTEMPT, encode(&attempt)).await?;
            attempt
        };
        let pace = rate.map(pace);
        Ok(Self { states: target.states()?.snapshots(), views, notes, projection: new.projection, attempt, pace })
    }

    /// Copies the rest, and returns how many states all runs of the attempt have copied.
    pub(crate) async fn run(&self) -> Result<u64, Failure> {
        let segments = load_segments(&self.notes, &self.attempt).await?;
        // The scans read unique keys too, but do not copy them. So the bar counts the items that are read.
        let bar = bar("items read", self.states.approximate_len().await?.unwrap_or_default());
        bar.set_position(segments.iter().map(|segment| segment.read).sum());
        bar.reset_eta();
        let parts = (0..).zip(segments).map(|(number, segment)| self.copy_segment(number, segment, &bar));
        let side_by_side = usize::try_from(self.attempt.segments).unwrap_or(1);
        let parts = stream::iter(parts).buffer_unordered(side_by_side);
        let copied = parts.try_fold(0, |sum, copied| async move { Ok(sum + copied) }).await?;
        bar.finish_and_clear();
        Ok(copied)
    }

    async fn copy_segment(&self, number: u32, mut segment: SegmentProgress, bar: &ProgressBar) -> Result<u64, Failure> {
        while !segment.done {
            let page =
                self.states.scan(&resources::kinds(), number, self.attempt.segments, segment.after.take()).await?;
            let copies = page.entries.iter().map(|(key, state)| self.copy(key, state, bar));
            stream::iter(copies).buffer_unordered(PUTS_MAX).try_collect::<()>().await?;
            bar.inc(page.items.saturating_sub(page.entries.len() as u64));
            segment.copied += page.entries.len() as u64;
            segment.read += page.items;
            (segment.done, segment.after) = (page.next.is_none(), page.next);
            // The progress covers only copied pages. To copy a page again changes nothing.
            self.notes.set_bookmark(&segment_note(&self.attempt, number), encode(&segment)).await?;
        }
        Ok(segment.copied)
    }

    /// Copies one state. It leaves out a state that this code cannot read; the comparison reports it.
    async fn copy(&self, key: &AggregateKey, state: &Snapshot, bar: &ProgressBar) -> Result<(), Failure> {
        if let Some(pace) = &self.pace {
            pace.lock().await.tick().await;
        }
        if let Some(view) = resources::view(key, state, self.projection) {
            self.views.put(key, &view).await?;
        }
        bar.inc(1);
        Ok(())
    }
}

async fn attempt(notes: &SnapshotTable) -> Result<Option<Attempt>, Failure> {
    notes.bookmark(ATTEMPT).await?.map(|note| decode("read store", ATTEMPT, &note)).transpose()
}

async fn load_segments(notes: &SnapshotTable, attempt: &Attempt) -> Result<Vec<SegmentProgress>, Failure> {
    let mut segments = Vec::new();
    for number in 0..attempt.segments {
        let name = segment_note(attempt, number);
        let note = notes.bookmark(&name).await?;
        segments.push(note.map(|note| decode("read store", &name, &note)).transpose()?.unwrap_or_default());
    }
    Ok(segments)
}

fn segment_note(attempt: &Attempt, number: u32) -> String {
    format!("{ATTEMPT}/{}/{number}", attempt.id)
}

/// Returns a timer with an average rate: it makes up for the time spent waiting for a page.
pub(crate) fn pace(rate: u32) -> Mutex<Interval> {
    Mutex::new(interval(Duration::from_secs(1) / rate))
}
