//! Compares the write store with the read store and the shared cache, key by key.
//!
//! The service runs meanwhile. So the comparison loads differing keys again, and counts a difference only if it persists.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use adapters::dynamo::SnapshotTable;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use indicatif::ProgressBar;
use kernel::ids::AggregateKey;
use kernel::ports::{CachedView, LOAD_KEYS_MAX, Snapshot};
use rand::random_range;
use serde::Serialize;
use service::resources;
use tokio::time::sleep;

use crate::cache::{self, Cache};
use crate::output::{Failure, bar};
use crate::stores::Stores;

/// The number of times that differing keys are loaded. The last projection may still be under way.
const CHECKS_MAX: usize = 4;
/// The pause before they are loaded again.
const CHECK_PAUSE: Duration = Duration::from_secs(2);
/// The number of segments that are scanned in parallel, unless an option says another one.
pub(crate) const SEGMENTS: u32 = 8;
/// The number of segments that a sample is taken from.
const SAMPLE_SEGMENTS: RangeInclusive<u32> = 16..=32;

/// The kinds of differences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum DifferenceKind {
    /// This code cannot read the state.
    StateUnreadable,
    /// The read store has no view.
    ViewMissing,
    /// The read store has an older version.
    ViewOlder,
    /// The read store has a newer version than the write store.
    ViewNewer,
    /// The read store has the version, but another body or other list entries.
    ViewDiffers,
    /// The read store has a view of an item that does not exist.
    ViewOrphaned,
    /// The shared cache has another version or body, until the entry expires.
    CacheDiffers,
}

/// A key that differs.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Difference {
    #[serde(skip)]
    pub(crate) of: AggregateKey,
    key: String,
    #[serde(rename = "wrong")]
    kind: DifferenceKind,
    expected_version: u64,
    found_version: Option<u64>,
}

/// The result of a comparison.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) items: u64,
    views: u64,
    cached: u64,
    /// Differences that were gone later, or whose versions had both moved on.
    pub(crate) lag: usize,
    #[serde(serialize_with = "count")]
    pub(crate) differences: Vec<Difference>,
    by_kind: BTreeMap<DifferenceKind, usize>,
    /// The approximate number of commands in the queue, before or after the comparison, whichever is higher. `None` if there is no
    /// queue, or if it does not answer.
    #[serde(rename = "on_their_way")]
    queued: Option<u64>,
    /// The cause, if the queue does not answer.
    queue_failure: Option<String>,
    /// The cause, if the shared cache does not answer. The comparison then leaves it out.
    cache_failure: Option<String>,
}

/// The number of commands that the queue reports; `None` if there is no queue.
type Backlog = Option<Result<u64, Failure>>;

#[expect(clippy::ptr_arg, reason = "serde hands over what the field is")]
fn count<S: serde::Serializer>(differences: &Vec<Difference>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(differences.len() as u64)
}

impl Comparison {
    /// Returns lines for people: the first `show` differences, the totals and remarks.
    pub(crate) fn lines(&self, show: usize) -> Vec<String> {
        let mut lines: Vec<_> = self.differences.iter().take(show).map(ToString::to_string).collect();
        if self.differences.len() > show {
            lines.push(format!("{} more differences: raise --show to see them", self.differences.len() - show));
        }
        lines.push(format!(
            "compared {} items, {} views and {} cached views: {} different, {} lagging",
            self.items,
            self.views,
            self.cached,
            self.differences.len(),
            self.lag,
        ));
        lines.extend(self.remarks());
        lines
    }

    /// Returns remarks on the differences: stores that did not answer, and commands in the queue.
    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        remarks.extend(self.cache_failure.as_deref().map(cache::skipped));
        remarks.extend(
            self.queue_failure
                .as_ref()
                .map(|why| format!("the queue does not answer ({why}): a backlog may explain missing and stale views")),
        );
        let Some(commands) = self.queued.filter(|commands| *commands > 0) else { return remarks };
        let (backlog, explain) = match commands {
            1 => ("1 command is in the queue".to_owned(), "explains"),
            _ => (format!("{commands} commands are in the queue"), "explain"),
        };
        remarks.push(match (self.explained(), self.differences.len()) {
            (_, 0) => backlog,
            (0, _) => {
                format!("{backlog}, and {explain} no difference: a backlog only makes views missing or stale")
            }
            (explained, found) => {
                format!(
                    "{backlog}, and may explain {explained} of {found} differences: they end when the queue is empty"
                )
            }
        });
        remarks
    }

    /// Returns the number of differences whose kind a backlog can cause.
    fn explained(&self) -> usize {
        self.by_kind.iter().filter(|(kind, _)| kind.can_come_from_backlog()).map(|(_, count)| count).sum()
    }

    /// Returns whether the commands in the queue may explain every difference.
    pub(crate) fn may_be_backlog(&self) -> bool {
        self.queued.is_some_and(|commands| commands > 0) && self.explained() == self.differences.len()
    }

    /// Returns whether no store was left out. Only the shared cache can be: if another store fails, so does the comparison.
    pub(crate) fn is_whole(&self) -> bool {
        self.cache_failure.is_none()
    }

    /// Returns the cause, if the shared cache was left out.
    pub(crate) fn cache_failure(&self) -> Option<&str> {
        self.cache_failure.as_deref()
    }

    /// Returns the next step, if anything differs: `again` after a backlog, which is the command that compared, or else `repair`.
    pub(crate) fn next_step(&self, again: &str, repair: impl FnOnce() -> String) -> Option<String> {
        if self.differences.is_empty() {
            return None;
        }
        Some(match self.may_be_backlog() {
            true => format!("wait until `watershed queue` shows no commands, then run `{again}` again"),
            false => repair(),
        })
    }

    /// Returns the advice for each kind of difference.
    pub(crate) fn advice(&self) -> String {
        let advice: BTreeSet<_> = self.by_kind.keys().map(|kind| kind.advice()).collect();
        advice.into_iter().collect::<Vec<_>>().join("; ")
    }
}

impl DifferenceKind {
    /// Returns whether a backlog can be the cause: the redelivery of a command projects its state.
    fn can_come_from_backlog(self) -> bool {
        matches!(self, Self::ViewMissing | Self::ViewOlder | Self::CacheDiffers)
    }

    /// Returns the advice of docs/operations.md.
    fn advice(self) -> &'static str {
        match self {
            Self::ViewMissing | Self::ViewOlder => "run `watershed verify --repair` to project the states again",
            Self::ViewNewer | Self::ViewOrphaned => {
                "find out why the write store lost data, then run `watershed verify --repair` to update the views"
            }
            Self::ViewDiffers => {
                "run `watershed verify --repair` for a few views, or `watershed rebuild build` for a change of all views"
            }
            Self::CacheDiffers => {
                "wait until the stale entries of Redis expire, within 6 minutes, then run `watershed verify`"
            }
            Self::StateUnreadable => "deploy the code that wrote the unreadable states, then run `watershed verify`",
        }
    }
}

/// The findings of a scan.
#[derive(Debug, Default)]
struct ScanResult {
    items: u64,
    views: u64,
    cached: u64,
    suspects: Vec<AggregateKey>,
}

impl ScanResult {
    fn add(mut self, other: Self) -> Self {
        self.items += other.items;
        self.views += other.views;
        self.cached += other.cached;
        self.suspects.extend(other.suspects);
        self
    }
}

/// The table of a scan.
#[derive(Debug, Clone, Copy)]
enum Scan {
    States,
    Views,
}

impl Stores {
    /// Compares everything, with `segments` parallel scans.
    pub(crate) async fn compare(&self, segments: u32) -> Result<Comparison, Failure> {
        let backlog = self.backlog().await;
        // The scans read unique keys too. The bar counts each item that they read, so it ends when the scans do.
        let bar = bar("items", self.items().await?);
        let of_states = self.scan_all(segments, Scan::States, &bar).await?;
        let of_views = self.scan_all(segments, Scan::Views, &bar).await?;
        bar.finish_and_clear();
        self.settle(of_states.add(of_views), backlog).await
    }

    /// Compares `keys` items and as many views, spread over the key space. If there are fewer, it compares all.
    pub(crate) async fn sample(&self, keys: u32) -> Result<Comparison, Failure> {
        let backlog = self.backlog().await;
        let of_states = self.sample_of(Scan::States, keys).await?;
        let of_views = self.sample_of(Scan::Views, keys).await?;
        self.settle(of_states.add(of_views), backlog).await
    }

    /// Removes the views of items that do not exist.
    pub(crate) async fn remove_orphans(&self, segments: u32) -> Result<(), Failure> {
        let scanned = self.scan_all(segments, Scan::Views, &ProgressBar::hidden()).await?;
        for orphan in self.recheck(scanned.suspects).await? {
            self.repair(&orphan.of).await?;
        }
        Ok(())
    }

    /// Returns about how many items the scans of a comparison read.
    async fn items(&self) -> Result<u64, Failure> {
        let mut items = 0;
        for table in [Scan::States, Scan::Views].into_iter().filter_map(|scan| self.table(scan)) {
            items += table.approximate_len().await?.unwrap_or_default();
        }
        Ok(items)
    }

    /// Returns how many commands are in the queue, or `None` if there is no queue.
    async fn backlog(&self) -> Backlog {
        let queue = self.queue.as_ref()?;
        Some(queue.counts().await.map(|counts| counts.all()))
    }

    async fn settle(&self, scanned: ScanResult, before: Backlog) -> Result<Comparison, Failure> {
        let suspects = scanned.suspects.len();
        let differences = self.recheck(scanned.suspects).await?;
        let mut by_kind = BTreeMap::new();
        for difference in &differences {
            *by_kind.entry(difference.kind).or_default() += 1;
        }
        let lag = suspects.saturating_sub(differences.len());
        // Commands that left the queue meanwhile may have caused differences, and so may new ones.
        let (queued, queue_failure) = match (before, self.backlog().await) {
            (Some(Ok(before)), Some(Ok(after))) => (Some(before.max(after)), None),
            (Some(Err(failure)), _) | (_, Some(Err(failure))) => (None, Some(failure.to_string())),
            (None, _) | (_, None) => (None, None),
        };
        let cache_failure = self.cache.as_ref().and_then(Cache::failure).map(ToOwned::to_owned);
        let ScanResult { items, views, cached, .. } = scanned;
        Ok(Comparison { items, views, cached, lag, differences, by_kind, queued, queue_failure, cache_failure })
    }

    fn table(&self, scan: Scan) -> Option<&SnapshotTable> {
        match scan {
            Scan::States => Some(&self.states),
            Scan::Views => self.views.as_ref(),
        }
    }

    async fn scan_all(&self, segments: u32, scan: Scan, bar: &ProgressBar) -> Result<ScanResult, Failure> {
        let parts = (0..segments).map(|segment| self.scan_segment(segment, segments, scan, bar));
        let parts = stream::iter(parts).buffer_unordered(usize::try_from(segments).unwrap_or(1));
        parts.try_fold(ScanResult::default(), |all, part| async { Ok(all.add(part)) }).await
    }

    async fn scan_segment(
        &self,
        segment: u32,
        segments: u32,
        scan: Scan,
        bar: &ProgressBar,
    ) -> Result<ScanResult, Failure> {
        let mut scanned = ScanResult::default();
        let Some(table) = self.table(scan) else { return Ok(scanned) };
        let mut after = None;
        loop {
            let page = table.scan(&resources::kinds(), segment, segments, after).await?;
            scanned = scanned.add(self.compare_entries(scan, &page.entries).await?);
            bar.inc(page.items);
            after = page.next;
            if after.is_none() {
                return Ok(scanned);
            }
        }
    }

    async fn sample_of(&self, scan: Scan, keys: u32) -> Result<ScanResult, Failure> {
        let mut scanned = ScanResult::default();
        let Some(table) = self.table(scan) else { return Ok(scanned) };
        // The number of segments varies, so that other keys come first in them.
        let segments = random_range(SAMPLE_SEGMENTS).min(keys);
        let mut open: Vec<_> = (0..segments).map(|segment| (segment, None)).collect();
        let mut left = usize::try_from(keys).unwrap_or(usize::MAX);
        while left > 0 && !open.is_empty() {
            let share = left.div_ceil(open.len());
            for (segment, after) in std::mem::take(&mut open) {
                let page = table.scan_some(share.min(left), &resources::kinds(), segment, segments, after).await?;
                scanned = scanned.add(self.compare_entries(scan, &page.entries).await?);
                left -= page.entries.len();
                open.extend(page.next.map(|next| (segment, Some(next))));
                if left == 0 {
                    break;
                }
            }
        }
        Ok(scanned)
    }

    async fn compare_entries(&self, scan: Scan, entries: &[(AggregateKey, Snapshot)]) -> Result<ScanResult, Failure> {
        let mut scanned = ScanResult::default();
        for entries in entries.chunks(LOAD_KEYS_MAX) {
            let part = match scan {
                Scan::States => self.compare_states(entries).await?,
                Scan::Views => self.find_orphans(entries).await?,
            };
            scanned = scanned.add(part);
        }
        Ok(scanned)
    }

    async fn compare_states(&self, states: &[(AggregateKey, Snapshot)]) -> Result<ScanResult, Failure> {
        let keys: Vec<_> = states.iter().map(|(key, _)| key.clone()).collect();
        let (views, cached) = (self.shown(&keys).await?, self.cached(&keys).await);
        let mut scanned = ScanResult { items: keys.len() as u64, ..ScanResult::default() };
        scanned.cached = cached.iter().flatten().count() as u64;
        for (((key, state), view), cached) in states.iter().zip(&views).zip(&cached) {
            if self.difference_of(key, Some(state), view.as_ref(), cached.as_ref()).is_some() {
                scanned.suspects.push(key.clone());
            }
        }
        Ok(scanned)
    }

    /// Finds views of items that do not exist. A tombstone does not count: it may outlive the one in the write store.
    async fn find_orphans(&self, views: &[(AggregateKey, Snapshot)]) -> Result<ScanResult, Failure> {
        let keys: Vec<_> = views.iter().map(|(key, _)| key.clone()).collect();
        let states = self.states.load(&keys).await?;
        let orphans = views.iter().zip(&states).filter(|((_, view), state)| state.is_none() && view.body.is_some());
        let suspects = orphans.map(|((key, _), _)| key.clone()).collect();
        Ok(ScanResult { views: keys.len() as u64, suspects, ..ScanResult::default() })
    }

    /// Returns the views of `keys`. Returns `None` for all of them if no read store is compared.
    async fn shown(&self, keys: &[AggregateKey]) -> Result<Vec<Option<Snapshot>>, Failure> {
        let Some(views) = &self.views else { return Ok(vec![None; keys.len()]) };
        Ok(views.load(keys).await?)
    }

    /// Returns the entries of `keys` in the shared cache. Returns `None` for all of them if there is no cache, or if it does not
    /// answer.
    async fn cached(&self, keys: &[AggregateKey]) -> Vec<Option<CachedView>> {
        let Some(cache) = &self.cache else { return vec![None; keys.len()] };
        let keys: Vec<_> = keys.iter().map(|key| self.projection.cache_key(key)).collect();
        cache.peek(&keys).await
    }

    /// Returns the differences that persist after several pauses. A difference that only has later versions by then is lag.
    async fn recheck(&self, mut suspects: Vec<AggregateKey>) -> Result<Vec<Difference>, Failure> {
        suspects.sort();
        suspects.dedup();
        let mut differences = BTreeMap::<AggregateKey, Difference>::new();
        for check in 0..CHECKS_MAX {
            if check > 0 && !suspects.is_empty() {
                sleep(CHECK_PAUSE).await;
            }
            let mut still = self.differences(&suspects).await?;
            still.retain(|now| !differences.get(&now.of).is_some_and(|before| before.has_moved_on(now)));
            suspects = still.iter().map(|difference| difference.of.clone()).collect();
            differences = still.into_iter().map(|difference| (difference.of.clone(), difference)).collect();
        }
        Ok(differences.into_values().collect())
    }

    async fn differences(&self, of: &[AggregateKey]) -> Result<Vec<Difference>, Failure> {
        let mut differences = Vec::new();
        for keys in of.chunks(LOAD_KEYS_MAX) {
            let (states, views) = (self.states.load(keys).await?, self.shown(keys).await?);
            let cached = self.cached(keys).await;
            for (((key, state), view), cached) in keys.iter().zip(&states).zip(&views).zip(&cached) {
                differences.extend(self.difference_of(key, state.as_ref(), view.as_ref(), cached.as_ref()));
            }
        }
        Ok(differences)
    }

    /// Repairs the view of a key and its cache entry. Returns `false` if this code cannot read the state.
    pub(crate) async fn repair(&self, key: &AggregateKey) -> Result<bool, Failure> {
        let states = self.states.load(std::slice::from_ref(key)).await?;
        let view = match states.first().and_then(Option::as_ref) {
            Some(state) => match resources::view(key, state, self.projection) {
                Some(view) => Some(view),
                None => return Ok(false),
            },
            None => None,
        };
        match (&self.views, &view) {
            (Some(views), Some(view)) => views.replace_up_to(key, view).await?,
            (Some(views), None) => views.remove(key).await?,
            (None, _) => {}
        }
        if let Some(cache) = &self.cache {
            cache.remove(&self.projection.cache_key(key)).await;
        }
        Ok(true)
    }

    fn difference_of(
        &self,
        key: &AggregateKey,
        state: Option<&Snapshot>,
        view: Option<&Snapshot>,
        cached: Option<&CachedView>,
    ) -> Option<Difference> {
        let difference = |kind, found_version| Difference {
            of: key.clone(),
            key: key.to_string(),
            kind,
            expected_version: state.map_or(0, |state| state.version),
            found_version,
        };
        let Some(state) = state else {
            let orphan = view.filter(|view| view.body.is_some());
            return orphan.map(|view| difference(DifferenceKind::ViewOrphaned, Some(view.version)));
        };
        let Some(expected) = resources::view(key, state, self.projection) else {
            return Some(difference(DifferenceKind::StateUnreadable, Some(state.version)));
        };
        let kind = match (&self.views, view) {
            (None, _) => None,
            (Some(_), None) => Some((DifferenceKind::ViewMissing, None)),
            (Some(_), Some(view)) => differs(view, &expected).map(|kind| (kind, Some(view.version))),
        };
        let differing_entry =
            cached.filter(|cached| (cached.version, &cached.body) != (expected.version, &expected.body));
        match (kind, differing_entry) {
            (Some((kind, found_version)), _) => Some(difference(kind, found_version)),
            (None, Some(cached)) => Some(difference(DifferenceKind::CacheDiffers, Some(cached.version))),
            (None, None) => None,
        }
    }
}

fn differs(view: &Snapshot, expected: &Snapshot) -> Option<DifferenceKind> {
    match view.version.cmp(&expected.version) {
        Ordering::Less => Some(DifferenceKind::ViewOlder),
        Ordering::Greater => Some(DifferenceKind::ViewNewer),
        Ordering::Equal => {
            ((&view.body, &view.index) != (&expected.body, &expected.index)).then_some(DifferenceKind::ViewDiffers)
        }
    }
}

impl Difference {
    /// Returns whether the view has reached the earlier versions, so that only a later version is under way.
    fn has_moved_on(&self, now: &Self) -> bool {
        let Some(found) = now.found_version else { return false };
        let reached = self.expected_version.max(self.found_version.unwrap_or_default());
        found != now.expected_version && found.min(now.expected_version) >= reached
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = |version: Option<u64>| version.map_or("none".to_owned(), |version| format!("version {version}"));
        let expected = version((self.expected_version > 0).then_some(self.expected_version));
        let found = version(self.found_version);
        let kind = serde_json::to_value(self.kind).unwrap_or_default();
        let kind = kind.as_str().unwrap_or_default();
        write!(f, "{}  {kind}: expected {expected}, found {found}", self.key)
    }
}

#[cfg(test)]
mod tests {
    use kernel::projection::Projection;

    use super::*;
    use crate::testing::Service;

    fn difference(expected_version: u64, found_version: Option<u64>) -> Difference {
        let key = "U#local#01a1fd43-133d-7798-8872-5fdfc48912aa";
        let of = AggregateKey {
            kind: resources::kinds()[0],
            tenant: "local".parse().unwrap(),
            id: "01a1fd43-133d-7798-8872-5fdfc48912aa".parse().unwrap(),
        };
        Difference { of, key: key.to_owned(), kind: DifferenceKind::ViewOlder, expected_version, found_version }
    }

    fn comparison(by_kind: &[(DifferenceKind, usize)], queued: Option<u64>) -> Comparison {
        let differences = by_kind.iter().flat_map(|(kind, count)| {
            std::iter::repeat_with(|| Difference { kind: *kind, ..difference(7, Some(5)) }).take(*count)
        });
        Comparison {
            items: 9,
            views: 9,
            cached: 0,
            lag: 0,
            differences: differences.collect(),
            by_kind: by_kind.iter().copied().collect(),
            queued,
            queue_failure: None,
            cache_failure: None,
        }
    }

    #[test]
    fn a_backlog_explains_only_missing_and_stale_views() {
        let (older, orphaned) = ((DifferenceKind::ViewOlder, 2), (DifferenceKind::ViewOrphaned, 1));
        for (by_kind, queued, may_be_backlog, remark) in [
            (&[older][..], Some(3), true, Some("3 commands are in the queue, and may explain 2 of 2 differences")),
            (&[older, orphaned], Some(3), false, Some("may explain 2 of 3 differences")),
            (&[orphaned], Some(1), false, Some("1 command is in the queue, and explains no difference")),
            (&[], Some(1), false, Some("1 command is in the queue")),
            (&[older], Some(0), false, None),
            (&[older], None, false, None),
        ] {
            let comparison = comparison(by_kind, queued);
            let last = comparison.lines(0).pop().unwrap();
            assert_eq!(comparison.may_be_backlog() && !by_kind.is_empty(), may_be_backlog, "{by_kind:?} {queued:?}");
            assert!(remark.is_none_or(|remark| last.contains(remark)), "{last} does not say {remark:?}");
            assert_eq!(remark.is_some(), last.contains("in the queue"), "{last}");
            let next_step = comparison.next_step("watershed verify", || comparison.advice());
            assert_eq!(next_step.is_some_and(|next_step| next_step.contains("`watershed queue`")), may_be_backlog);
        }
    }

    #[test]
    fn a_difference_is_lag_only_if_the_expected_version_has_arrived() {
        let before = difference(7, Some(5));
        for (expected, found, has_moved_on) in [
            (7, Some(5), false),
            (9, Some(5), false),
            (9, Some(6), false),
            (9, Some(7), true),
            (9, None, false),
            // The same version with another body is not lag.
            (9, Some(9), false),
            // The view was read later, so it is newer.
            (9, Some(10), true),
        ] {
            let now = difference(expected, found);
            assert_eq!(before.has_moved_on(&now), has_moved_on, "{expected} {found:?}");
        }
        assert!(!difference(5, Some(7)).has_moved_on(&difference(6, Some(7))), "a view that nobody wrote");
    }

    #[tokio::test]
    async fn every_item_and_every_list_entry_is_compared() {
        let service = Service::at("read-store", |_, _| None).await;
        let mut keys = Vec::new();
        for _ in 0..6 {
            keys.push(service.item().await);
        }
        let changes: [fn(&mut Snapshot); 4] = [
            |_| {},
            |view| view.index[0].sort.push('z'),
            |view| view.index[0].partition.push('z'),
            |view| drop(view.index.pop()),
        ];
        for (key, change) in keys.iter().zip(changes) {
            service.view(key, Projection::FIRST, change).await;
        }
        let output = service.run(&["verify", "--segments", "2"]).await.unwrap();
        assert!(!output.is_ok);
        let text = output.lines().join("\n");
        for (key, kind) in keys.iter().zip([None, Some("view_differs"), Some("view_differs"), Some("view_differs")]) {
            let line = text.lines().find(|line| line.starts_with(&key.to_string()));
            assert_eq!(line.is_some(), kind.is_some(), "{text}");
            assert!(line.is_none_or(|line| kind.is_some_and(|kind| line.contains(kind))), "{text}");
        }
        assert_eq!(text.matches("view_missing").count(), 2, "{text}");
        assert!(text.contains("6 items, 4 views"), "{text}");
    }
}
