//! Compares the write store with what is shown of it, key by key, and repairs what differs.
//!
//! The service goes on meanwhile: what differs at first is looked at again, and counts only if it stays so.

use std::collections::BTreeMap;
use std::time::Duration;

use adapters::dynamo::SnapshotTable;
use adapters::redis_cache::RedisCache;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use indicatif::{ProgressBar, ProgressStyle};
use kernel::apply::Aggregate;
use kernel::domain::Domain as _;
use kernel::ids::AggregateKey;
use kernel::ports::{CachedView, LOAD_KEYS_MAX, Snapshot};
use kernel::project::cache_key;
use serde::Serialize;
use tokio::time::sleep;
use users::User;

use crate::cli::VerifyOptions;
use crate::outcome::{Failure, Outcome};
use crate::site::Site;

/// How often what differs is looked at again: the last projection may be on its way.
const LOOKS_MAX: usize = 4;
/// The pause before it is.
const LOOK_PAUSE: Duration = Duration::from_secs(2);

/// What is wrong with one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Wrong {
    /// The state cannot be read.
    StateUnreadable,
    /// The read store has no view.
    ViewMissing,
    /// The read store has an older version.
    ViewOlder,
    /// The read store has a newer version than was ever stored.
    ViewNewer,
    /// The read store has the version, but another body or other places in lists.
    ViewDiffers,
    /// The read store has a view of what does not exist.
    ViewOrphaned,
    /// The shared cache has another version or body. It ends by itself.
    CacheDiffers,
}

#[derive(Debug, Clone, Serialize)]
struct Difference {
    key: String,
    wrong: Wrong,
    expected_version: u64,
    found_version: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Report {
    users: u64,
    views: u64,
    cached: u64,
    /// Differences that were gone at a second look.
    lag: usize,
    differences: usize,
    by_kind: BTreeMap<String, usize>,
    repaired: usize,
    dry_run: bool,
    shown: Vec<Difference>,
}

/// The stores that are compared.
struct Stores {
    states: SnapshotTable,
    views: SnapshotTable,
    cache: Option<RedisCache>,
}

/// What a scan has met.
#[derive(Debug, Default)]
struct Met {
    users: u64,
    views: u64,
    cached: u64,
    suspects: Vec<AggregateKey>,
}

impl Met {
    fn add(mut self, other: Self) -> Self {
        self.users += other.users;
        self.views += other.views;
        self.cached += other.cached;
        self.suspects.extend(other.suspects);
        self
    }
}

pub(crate) async fn run(site: &Site, options: &VerifyOptions) -> Result<Outcome, Failure> {
    let stores = Stores { states: site.states()?.snapshots(), views: site.views()?.snapshots(), cache: site.cache()? };
    let bar = ProgressBar::new(stores.states.approximate_len().await?.unwrap_or_default());
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos} of about {len} users, {per_sec}, {eta} left") {
        bar.set_style(style);
    }
    let of_states = stores.scan_all(options.segments, Scan::States, &bar).await?;
    let of_views = stores.scan_all(options.segments, Scan::Views, &bar).await?;
    bar.finish_and_clear();
    let met = of_states.add(of_views);
    let suspects = met.suspects.len();
    let wrong = stores.look_again(met.suspects).await?;
    let mut repaired = 0;
    if options.repair {
        for difference in &wrong {
            repaired += usize::from(options.dry_run || stores.repair(&difference.0).await?);
        }
    }
    let mut by_kind = BTreeMap::new();
    for (_, difference) in &wrong {
        let kind = serde_json::to_value(difference.wrong).unwrap_or_default();
        *by_kind.entry(kind.as_str().unwrap_or_default().to_owned()).or_default() += 1;
    }
    let report = Report {
        users: met.users,
        views: met.views,
        cached: met.cached,
        lag: suspects.saturating_sub(wrong.len()),
        differences: wrong.len(),
        by_kind,
        repaired,
        dry_run: options.dry_run,
        shown: wrong.into_iter().take(options.show).map(|(_, difference)| difference).collect(),
    };
    let lines = lines(&report);
    let is_well = report.differences == 0 || (options.repair && !options.dry_run && repaired == report.differences);
    Ok(Outcome::new(is_well, &report, lines))
}

fn lines(report: &Report) -> Vec<String> {
    let mut lines: Vec<_> = report
        .shown
        .iter()
        .map(|difference| {
            let found = difference.found_version.map_or("none".to_owned(), |version| version.to_string());
            let wrong = serde_json::to_value(difference.wrong).unwrap_or_default();
            format!(
                "{}  {}: version {} is due, {found} is there",
                difference.key,
                wrong.as_str().unwrap_or_default(),
                difference.expected_version
            )
        })
        .collect();
    if report.differences > report.shown.len() {
        lines.push(format!("and {} more: --show tells them", report.differences - report.shown.len()));
    }
    lines.push(format!(
        "{} users, {} views, {} cached views compared: {} differ, {} only lagged",
        report.users, report.views, report.cached, report.differences, report.lag,
    ));
    if report.repaired > 0 {
        let would = if report.dry_run { "would be " } else { "" };
        lines.push(format!("{} {would}projected again", report.repaired));
    }
    lines
}

/// Which table is walked through.
#[derive(Debug, Clone, Copy)]
enum Scan {
    States,
    Views,
}

impl Stores {
    async fn scan_all(&self, segments: u32, scan: Scan, bar: &ProgressBar) -> Result<Met, Failure> {
        let parts = (0..segments).map(|segment| self.scan_segment(segment, segments, scan, bar));
        let parts = stream::iter(parts).buffer_unordered(usize::try_from(segments).unwrap_or(1));
        parts.try_fold(Met::default(), |all, part| async { Ok(all.add(part)) }).await
    }

    async fn scan_segment(&self, segment: u32, segments: u32, scan: Scan, bar: &ProgressBar) -> Result<Met, Failure> {
        let table = match scan {
            Scan::States => &self.states,
            Scan::Views => &self.views,
        };
        let mut met = Met::default();
        let mut after = None;
        loop {
            let page = table.scan(User::KIND, segment, segments, after).await?;
            for entries in page.entries.chunks(LOAD_KEYS_MAX) {
                let part = match scan {
                    Scan::States => self.compare_states(entries).await?,
                    Scan::Views => self.find_orphans(entries).await?,
                };
                met = met.add(part);
                if matches!(scan, Scan::States) {
                    bar.inc(entries.len() as u64);
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(met);
            }
        }
    }

    async fn compare_states(&self, states: &[(AggregateKey, Snapshot)]) -> Result<Met, Failure> {
        let keys: Vec<_> = states.iter().map(|(key, _)| key.clone()).collect();
        let views = self.views.load(&keys).await?;
        let cached = self.cached(&keys).await?;
        let mut met = Met { users: keys.len() as u64, ..Met::default() };
        met.cached = cached.iter().flatten().count() as u64;
        for (((key, state), view), cached) in states.iter().zip(&views).zip(&cached) {
            if judge(key, Some(state), view.as_ref(), cached.as_ref()).is_some() {
                met.suspects.push(key.clone());
            }
        }
        Ok(met)
    }

    /// Views of what does not exist. Those of deleted users may outlive them by a while.
    async fn find_orphans(&self, views: &[(AggregateKey, Snapshot)]) -> Result<Met, Failure> {
        let keys: Vec<_> = views.iter().map(|(key, _)| key.clone()).collect();
        let states = self.states.load(&keys).await?;
        let orphans = views.iter().zip(&states).filter(|((_, view), state)| state.is_none() && view.body.is_some());
        let suspects = orphans.map(|((key, _), _)| key.clone()).collect();
        Ok(Met { views: keys.len() as u64, suspects, ..Met::default() })
    }

    async fn cached(&self, keys: &[AggregateKey]) -> Result<Vec<Option<CachedView>>, Failure> {
        let Some(cache) = &self.cache else { return Ok(vec![None; keys.len()]) };
        let keys: Vec<_> = keys.iter().map(cache_key).collect();
        Ok(cache.peek(&keys).await?)
    }

    /// What still differs after a while.
    async fn look_again(&self, mut suspects: Vec<AggregateKey>) -> Result<Vec<(AggregateKey, Difference)>, Failure> {
        suspects.sort();
        suspects.dedup();
        let mut wrong = Vec::new();
        for look in 0..LOOKS_MAX {
            if look > 0 && !suspects.is_empty() {
                sleep(LOOK_PAUSE).await;
            }
            wrong.clear();
            for keys in suspects.chunks(LOAD_KEYS_MAX) {
                let (states, views) = (self.states.load(keys).await?, self.views.load(keys).await?);
                let cached = self.cached(keys).await?;
                for (((key, state), view), cached) in keys.iter().zip(&states).zip(&views).zip(&cached) {
                    let difference = judge(key, state.as_ref(), view.as_ref(), cached.as_ref());
                    wrong.extend(difference.map(|difference| (key.clone(), difference)));
                }
            }
            suspects = wrong.iter().map(|(key, _)| key.clone()).collect();
        }
        Ok(wrong)
    }

    /// Shows the state as it is now. `false` where that cannot be done.
    async fn repair(&self, key: &AggregateKey) -> Result<bool, Failure> {
        let states = self.states.load(std::slice::from_ref(key)).await?;
        let view = match states.first().and_then(Option::as_ref) {
            Some(state) => match expected(key, state) {
                Some(view) => Some(view),
                None => return Ok(false),
            },
            None => None,
        };
        match &view {
            Some(view) => self.views.replace_up_to(key, view).await?,
            None => self.views.remove(key).await?,
        }
        if let Some(cache) = &self.cache {
            cache.remove(&cache_key(key)).await?;
        }
        Ok(true)
    }
}

/// What is shown of a state.
fn expected(key: &AggregateKey, state: &Snapshot) -> Option<Snapshot> {
    Some(Aggregate::<User>::decode(Some(state)).ok()?.view(key))
}

fn judge(
    key: &AggregateKey,
    state: Option<&Snapshot>,
    view: Option<&Snapshot>,
    cached: Option<&CachedView>,
) -> Option<Difference> {
    let difference = |wrong, found_version| Difference {
        key: key.to_string(),
        wrong,
        expected_version: state.map_or(0, |state| state.version),
        found_version,
    };
    let Some(state) = state else {
        let orphan = view.filter(|view| view.body.is_some());
        return orphan.map(|view| difference(Wrong::ViewOrphaned, Some(view.version)));
    };
    let Some(expected) = expected(key, state) else {
        return Some(difference(Wrong::StateUnreadable, Some(state.version)));
    };
    let Some(view) = view else { return Some(difference(Wrong::ViewMissing, None)) };
    let shown = |view: &Snapshot| (view.body.clone(), view.index.clone());
    let wrong = match view.version.cmp(&expected.version) {
        std::cmp::Ordering::Less => Some(Wrong::ViewOlder),
        std::cmp::Ordering::Greater => Some(Wrong::ViewNewer),
        std::cmp::Ordering::Equal => (shown(view) != shown(&expected)).then_some(Wrong::ViewDiffers),
    };
    let cached_wrong = cached.filter(|cached| (cached.version, &cached.body) != (expected.version, &expected.body));
    match (wrong, cached_wrong) {
        (Some(wrong), _) => Some(difference(wrong, Some(view.version))),
        (None, Some(cached)) => Some(difference(Wrong::CacheDiffers, Some(cached.version))),
        (None, None) => None,
    }
}
