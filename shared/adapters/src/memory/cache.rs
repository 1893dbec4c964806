//! Caches in memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kernel::clock::{Clock, Timestamp};
use kernel::mutant;
use kernel::ports::{
    CachedView, LEASE_TTL, Lease, Lookup, MemoryCache, MemoryEntry, PortError, SharedCache, SharedCacheUpdater,
};

use super::lock;

/// A [`SharedCache`] in memory. Its entries and leases expire by the injected clock.
#[derive(Debug)]
pub struct MemorySharedCache {
    clock: Arc<dyn Clock>,
    shared: Mutex<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    slots: BTreeMap<String, Slot>,
    leases_given: u64,
}

#[derive(Debug)]
struct Slot {
    content: Content,
    expires_at: Timestamp,
}

#[derive(Debug)]
enum Content {
    Placeholder(Lease),
    Value(CachedView),
}

impl MemorySharedCache {
    /// Makes an empty cache.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, shared: Mutex::default() }
    }

    /// Deletes an entry, as an eviction does.
    pub fn evict(&self, key: &str) {
        lock(&self.shared).slots.remove(key);
    }

    /// Deletes all entries, as a restart does.
    pub fn flush(&self) {
        lock(&self.shared).slots.clear();
    }

    /// Returns the views that have not expired, by key.
    #[must_use]
    pub fn views(&self) -> Vec<(String, CachedView)> {
        let now = self.clock.now();
        let shared = lock(&self.shared);
        let views = shared.slots.iter().filter(|(_, slot)| now < slot.expires_at);
        let views = views.filter_map(|(key, slot)| match &slot.content {
            Content::Value(view) => Some((key.clone(), view.clone())),
            Content::Placeholder(_) => None,
        });
        views.collect()
    }
}

impl Shared {
    /// Returns the entry or placeholder, unless it has expired.
    fn live(&mut self, key: &str, now: Timestamp) -> Option<&mut Slot> {
        self.slots.get_mut(key).filter(|slot| now < slot.expires_at)
    }

    fn put(&mut self, key: &str, view: &CachedView, expires_at: Timestamp) {
        self.slots.insert(key.to_owned(), Slot { content: Content::Value(view.clone()), expires_at });
    }

    fn lease(&mut self, key: &str, now: Timestamp) -> Lease {
        self.leases_given += 1;
        let lease = Lease(self.leases_given.to_string());
        let slot = Slot { content: Content::Placeholder(lease.clone()), expires_at: now.plus(LEASE_TTL) };
        self.slots.insert(key.to_owned(), slot);
        lease
    }
}

#[async_trait]
impl SharedCache for MemorySharedCache {
    async fn get_or_lease(&self, key: &str) -> Result<Lookup, PortError> {
        let now = self.clock.now();
        let mut shared = lock(&self.shared);
        let Some(slot) = shared.live(key, now) else {
            return Ok(Lookup::Leased(shared.lease(key, now)));
        };
        Ok(match &slot.content {
            Content::Placeholder(_) => Lookup::Busy,
            Content::Value(view) => Lookup::Hit { view: view.clone(), ttl: slot.expires_at.since(now) },
        })
    }

    async fn fill(&self, key: &str, lease: &Lease, view: &CachedView, ttl: Duration) -> Result<bool, PortError> {
        let now = self.clock.now();
        let mut shared = lock(&self.shared);
        let slot = shared.live(key, now);
        let may_fill = match slot.map(|slot| &slot.content) {
            _ if mutant!(CacheDeleteThenSet) => true,
            None => mutant!(CacheFillsIfAbsent) || mutant!(CacheGuardsVersionsAlone),
            Some(Content::Placeholder(held)) => {
                held == lease || mutant!(CacheFillsIfAbsent) || mutant!(CacheGuardsVersionsAlone)
            }
            Some(Content::Value(stored)) => mutant!(CacheGuardsVersionsAlone) && stored.version < view.version,
        };
        if may_fill {
            shared.put(key, view, now.plus(ttl));
        }
        Ok(may_fill)
    }
}

#[async_trait]
impl SharedCacheUpdater for MemorySharedCache {
    async fn update(&self, key: &str, view: &CachedView, ttl: Duration) -> Result<(), PortError> {
        let now = self.clock.now();
        let mut shared = lock(&self.shared);
        match shared.live(key, now).map(|slot| &slot.content) {
            _ if mutant!(CacheDeleteThenSet) => drop(shared.slots.remove(key)),
            None if mutant!(CacheWritesThroughIfAbsent) => shared.put(key, view, now.plus(ttl)),
            Some(Content::Placeholder(_)) => drop(shared.slots.remove(key)),
            Some(Content::Value(stored)) if stored.version < view.version => shared.put(key, view, now.plus(ttl)),
            Some(Content::Value(_)) | None => {}
        }
        Ok(())
    }
}

/// A [`MemoryCache`] without bounds.
#[derive(Debug, Default)]
pub struct UnboundedMemoryCache {
    entries: Mutex<BTreeMap<String, MemoryEntry>>,
}

impl MemoryCache for UnboundedMemoryCache {
    fn get(&self, key: &str) -> Option<MemoryEntry> {
        lock(&self.entries).get(key).cloned()
    }

    fn put(&self, key: &str, entry: MemoryEntry) {
        let mut entries = lock(&self.entries);
        let rank = |entry: &MemoryEntry| (entry.view.version, entry.read_at);
        if entries.get(key).is_none_or(|kept| rank(kept) < rank(&entry)) {
            entries.insert(key.to_owned(), entry);
        }
    }
}
