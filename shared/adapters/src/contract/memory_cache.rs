//! The contract of a [`MemoryCache`] that is not full.

use bytes::Bytes;
use kernel::ports::{CachedView, MemoryCache, MemoryEntry};

use super::cache::{key, view};
use super::sample::NOW;

/// Runs all checks.
pub fn suite(cache: &dyn MemoryCache) {
    a_missing_entry_is_absent(cache);
    an_entry_is_read_back_whole(cache);
    a_higher_version_replaces_whenever_it_was_read(cache);
    a_lower_version_never_replaces(cache);
    the_same_version_is_renewed_by_a_later_read_alone(cache);
    of_racing_entries_the_highest_version_stays(cache);
}

/// Returns an entry that was read this many microseconds after [`NOW`].
fn entry(version: u64, read_after: u64) -> MemoryEntry {
    MemoryEntry { view: view(version), read_at: NOW.plus_micros(read_after) }
}

/// Puts the entries one after another, and returns the entry that the cache then holds.
fn entry_after(cache: &dyn MemoryCache, entries: &[MemoryEntry]) -> Option<MemoryEntry> {
    let key = key();
    for entry in entries {
        cache.put(&key, entry.clone());
    }
    cache.get(&key)
}

fn a_missing_entry_is_absent(cache: &dyn MemoryCache) {
    assert_eq!(cache.get(&key()), None);
}

fn an_entry_is_read_back_whole(cache: &dyn MemoryCache) {
    for body in [None, Some(Bytes::new()), Some(Bytes::from_static(b"\0|\xff"))] {
        for version in [0, 1, u64::MAX] {
            let view = CachedView { body: body.clone(), ..view(version) };
            let entry = MemoryEntry { view, read_at: NOW };
            assert_eq!(entry_after(cache, std::slice::from_ref(&entry)), Some(entry));
        }
    }
}

fn a_higher_version_replaces_whenever_it_was_read(cache: &dyn MemoryCache) {
    for read_after in [0, 1, 2] {
        let higher = entry(2, read_after);
        assert_eq!(entry_after(cache, &[entry(1, 1), higher.clone()]), Some(higher));
    }
}

fn a_lower_version_never_replaces(cache: &dyn MemoryCache) {
    for read_after in [0, 1, 2] {
        assert_eq!(entry_after(cache, &[entry(2, 1), entry(1, read_after)]), Some(entry(2, 1)));
    }
}

fn the_same_version_is_renewed_by_a_later_read_alone(cache: &dyn MemoryCache) {
    let later = entry(1, 2);
    assert_eq!(entry_after(cache, &[entry(1, 1), later.clone()]), Some(later));
    for read_after in [0, 1] {
        let body = Some(Bytes::from_static(b"other"));
        let other = MemoryEntry { view: CachedView { body, ..view(1) }, ..entry(1, read_after) };
        assert_eq!(entry_after(cache, &[entry(1, 1), other]), Some(entry(1, 1)));
    }
}

fn of_racing_entries_the_highest_version_stays(cache: &dyn MemoryCache) {
    for _ in 0..100 {
        let key = key();
        std::thread::scope(|scope| {
            for version in 1..=4 {
                let key = &key;
                scope.spawn(move || cache.put(key, entry(version, 0)));
            }
        });
        assert_eq!(cache.get(&key), Some(entry(4, 0)));
    }
}
