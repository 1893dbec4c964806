//! The contract of a [`SharedCache`] with its [`SharedCacheUpdater`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kernel::clock::Timestamp;
use kernel::ids::AggregateId;
use kernel::ports::{CachedView, LEASE_TTL, Lease, Lookup, SharedCache, SharedCacheUpdater};
use tokio::task::JoinSet;

use super::run;
use super::sample::NOW;
use super::time::Time;
use crate::memory::MemorySharedCache;

/// A time to live that is longer than any suite runs.
const TTL: Duration = Duration::from_secs(300);
/// Two versions that are equal as floating-point numbers.
const INEXACT: [u64; 2] = [1 << 53, (1 << 53) + 1];

/// The ports of one cache.
#[derive(Debug, Clone)]
pub struct Caches {
    /// The port for readers, which fill the cache.
    pub shared: Arc<dyn SharedCache>,
    /// The port for writers.
    pub updater: Arc<dyn SharedCacheUpdater>,
    /// The time of the cache.
    pub time: Time,
}

impl Caches {
    /// Makes a new cache in memory.
    #[must_use]
    pub fn memory() -> Self {
        let (time, clock) = Time::manual();
        let cache = Arc::new(MemorySharedCache::new(clock));
        Self { shared: cache.clone(), updater: cache, time }
    }
}

/// Runs all checks.
pub async fn suite(caches: &Caches) {
    run!(
        caches,
        of_racing_readers_one_gets_the_lease,
        what_is_filled_is_read_back_whole,
        keys_are_apart,
        a_fill_needs_the_lease_that_is_held,
        a_lease_fills_once,
        an_update_leaves_a_missing_entry_missing,
        an_update_ends_a_lease,
        an_update_replaces_an_older_version,
        an_update_leaves_the_same_and_a_newer_version,
        of_racing_updates_the_newest_stays,
        an_update_brings_its_own_time_to_live,
        an_entry_ends_with_its_time_to_live,
        a_lease_ends_by_itself,
    );
}

/// Returns a new key.
#[must_use]
pub fn key() -> String {
    format!("contract:{}", AggregateId::generate(NOW))
}

/// Returns a view whose body depends on the version.
#[must_use]
pub fn view(version: u64) -> CachedView {
    // Caches store milliseconds.
    let fetched_at = Timestamp::from_micros(1_790_000_000_123_000);
    CachedView { version, body: Some(Bytes::from(format!("{{\"version\":{version}}}"))), fetched_at }
}

async fn lease(caches: &Caches, key: &str) -> Option<Lease> {
    match caches.shared.get_or_lease(key).await.unwrap() {
        Lookup::Leased(lease) => Some(lease),
        Lookup::Busy | Lookup::Hit { .. } => None,
    }
}

async fn is_busy(caches: &Caches, key: &str) -> bool {
    caches.shared.get_or_lease(key).await.unwrap() == Lookup::Busy
}

async fn hit(caches: &Caches, key: &str) -> Option<CachedView> {
    match caches.shared.get_or_lease(key).await.unwrap() {
        Lookup::Hit { view, .. } => Some(view),
        Lookup::Busy | Lookup::Leased(_) => None,
    }
}

async fn ttl(caches: &Caches, key: &str) -> Duration {
    match caches.shared.get_or_lease(key).await.unwrap() {
        Lookup::Hit { ttl: Some(ttl), .. } => ttl,
        other => unreachable!("no time to live: {other:?}"),
    }
}

async fn fill(caches: &Caches, key: &str, lease: &Lease, view: &CachedView) -> bool {
    caches.shared.fill(key, lease, view, TTL).await.unwrap()
}

async fn update(caches: &Caches, key: &str, view: &CachedView) {
    caches.updater.update(key, view, TTL).await.unwrap();
}

/// Fills a new key with the view, and returns the key.
async fn filled(caches: &Caches, view: &CachedView) -> String {
    let key = key();
    let lease = lease(caches, &key).await.unwrap();
    assert!(fill(caches, &key, &lease, view).await);
    key
}

async fn of_racing_readers_one_gets_the_lease(caches: &Caches) {
    let key = key();
    let mut readers = JoinSet::new();
    for _ in 0..16 {
        let (shared, key) = (Arc::clone(&caches.shared), key.clone());
        readers.spawn(async move { shared.get_or_lease(&key).await.unwrap() });
    }
    let (busy, leased): (Vec<_>, Vec<_>) =
        readers.join_all().await.into_iter().partition(|found| *found == Lookup::Busy);
    assert_eq!(busy.len(), 15);
    let [Lookup::Leased(lease)] = leased.as_slice() else { unreachable!("one must get it: {leased:?}") };
    assert!(fill(caches, &key, lease, &view(1)).await);
}

async fn what_is_filled_is_read_back_whole(caches: &Caches) {
    let every_byte: Vec<u8> = (0..=u8::MAX).collect();
    let bodies = [b"".as_slice(), b"|", b"L", b"V00000000000000000001|b|1|", b"\r\n$-1\r\n\0", &every_byte];
    let large = Bytes::from(vec![0xA5; 512 * 1024]);
    let bodies = bodies.into_iter().map(Bytes::copy_from_slice).chain([large]).map(Some).chain([None]);
    for (body, version) in bodies.zip([1, 9, 10, INEXACT[0], INEXACT[1], u64::MAX, 2, 0]) {
        let view = CachedView { body, ..view(version) };
        let key = filled(caches, &view).await;
        assert_eq!(hit(caches, &key).await, Some(view));
    }
}

async fn keys_are_apart(caches: &Caches) {
    let (one, other) = (filled(caches, &view(1)).await, filled(caches, &view(2)).await);
    update(caches, &other, &view(3)).await;
    assert_eq!(hit(caches, &one).await, Some(view(1)));
    assert_eq!(hit(caches, &other).await, Some(view(3)));
    assert!(lease(caches, &format!("{one}|")).await.is_some());
}

async fn a_fill_needs_the_lease_that_is_held(caches: &Caches) {
    let (mine, theirs) = (key(), key());
    let held = lease(caches, &mine).await.unwrap();
    let of_another_key = lease(caches, &theirs).await.unwrap();
    for wrong in [of_another_key, Lease("nobody's".to_owned()), Lease(String::new())] {
        assert!(!fill(caches, &mine, &wrong, &view(1)).await, "{wrong:?}");
        assert!(is_busy(caches, &mine).await);
        let missing = key();
        assert!(!fill(caches, &missing, &wrong, &view(1)).await);
        assert!(lease(caches, &missing).await.is_some());
    }
    assert!(fill(caches, &mine, &held, &view(1)).await);
}

async fn a_lease_fills_once(caches: &Caches) {
    let key = key();
    let lease = lease(caches, &key).await.unwrap();
    assert!(fill(caches, &key, &lease, &view(1)).await);
    assert!(!fill(caches, &key, &lease, &view(2)).await);
    assert_eq!(hit(caches, &key).await, Some(view(1)));
}

async fn an_update_leaves_a_missing_entry_missing(caches: &Caches) {
    let key = key();
    update(caches, &key, &view(1)).await;
    assert!(lease(caches, &key).await.is_some());
}

async fn an_update_ends_a_lease(caches: &Caches) {
    let key = key();
    let early = lease(caches, &key).await.unwrap();
    // Versions do not matter here: the reader may have read the store before the write or after it.
    update(caches, &key, &view(1)).await;
    assert!(!fill(caches, &key, &early, &view(9)).await);
    let late = lease(caches, &key).await.unwrap();
    assert_ne!(early, late);
    assert!(!fill(caches, &key, &early, &view(9)).await);
    assert!(fill(caches, &key, &late, &view(1)).await);
    assert_eq!(hit(caches, &key).await, Some(view(1)));
}

async fn an_update_replaces_an_older_version(caches: &Caches) {
    let nothing = CachedView { body: None, ..view(0) };
    let tombstone = CachedView { body: None, ..view(3) };
    let [inexact, inexact_next] = INEXACT.map(view);
    let pairs = [
        (nothing.clone(), view(1)),
        (nothing, tombstone.clone()),
        (view(2), tombstone.clone()),
        (tombstone, view(4)),
        (view(9), view(10)),
        (view(99), view(1_000)),
        (inexact, inexact_next),
        (view(u64::MAX - 1), view(u64::MAX)),
    ];
    for (older, newer) in pairs {
        let key = filled(caches, &older).await;
        update(caches, &key, &newer).await;
        assert_eq!(hit(caches, &key).await, Some(newer));
    }
}

async fn an_update_leaves_the_same_and_a_newer_version(caches: &Caches) {
    let same = CachedView { body: Some(Bytes::from_static(b"other")), ..view(7) };
    let tombstone = CachedView { body: None, ..view(7) };
    let [inexact, inexact_next] = INEXACT.map(view);
    let pairs = [
        (view(7), same.clone()),
        (view(7), tombstone.clone()),
        (tombstone, view(6)),
        (view(10), view(9)),
        (view(1_000), view(99)),
        (inexact_next, inexact),
        (view(u64::MAX), view(u64::MAX - 1)),
        (view(0), view(0)),
    ];
    for (stored, written) in pairs {
        let key = filled(caches, &stored).await;
        update(caches, &key, &written).await;
        assert_eq!(hit(caches, &key).await, Some(stored));
    }
}

async fn of_racing_updates_the_newest_stays(caches: &Caches) {
    let key = filled(caches, &view(1)).await;
    let mut writers = JoinSet::new();
    for version in (2..=17).rev() {
        let (updater, key) = (Arc::clone(&caches.updater), key.clone());
        writers.spawn(async move { updater.update(&key, &view(version), TTL).await.unwrap() });
    }
    writers.join_all().await;
    assert_eq!(hit(caches, &key).await, Some(view(17)));
}

async fn an_update_brings_its_own_time_to_live(caches: &Caches) {
    let key = filled(caches, &view(1)).await;
    assert!(ttl(caches, &key).await <= TTL);
    assert!(ttl(caches, &key).await > TTL / 2);
    caches.updater.update(&key, &view(2), TTL * 4).await.unwrap();
    assert!(ttl(caches, &key).await > TTL * 2);
    // An unchanged entry keeps its own time to live.
    caches.updater.update(&key, &view(2), TTL).await.unwrap();
    assert!(ttl(caches, &key).await > TTL * 2);
}

async fn an_entry_ends_with_its_time_to_live(caches: &Caches) {
    let short = Duration::from_millis(200);
    let key = key();
    let held = lease(caches, &key).await.unwrap();
    assert!(caches.shared.fill(&key, &held, &view(1), short).await.unwrap());
    caches.time.until(short, async || lease(caches, &key).await).await;
    let key = filled(caches, &view(1)).await;
    caches.updater.update(&key, &view(2), short).await.unwrap();
    caches.time.until(short, async || lease(caches, &key).await).await;
}

async fn a_lease_ends_by_itself(caches: &Caches) {
    let key = key();
    let early = lease(caches, &key).await.unwrap();
    let (late, passed) = caches.time.until(LEASE_TTL, async || lease(caches, &key).await).await;
    // The test's clock was started a moment after the lease.
    assert!(passed + Duration::from_millis(500) >= LEASE_TTL, "{passed:?}");
    assert!(!fill(caches, &key, &early, &view(1)).await);
    assert!(fill(caches, &key, &late, &view(1)).await);
}
