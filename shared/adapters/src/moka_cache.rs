//! The memory cache of one environment: moka, bounded by bytes.

use kernel::ports::{MemoryCache, MemoryEntry};
use moka::ops::compute::Op;
use moka::sync::Cache;

/// The approximate cost of an entry besides its key and body, in bytes, rounded up.
const ENTRY_OVERHEAD_BYTES: usize = 200;

/// A [`MemoryCache`] that evicts the least used entries when it is full.
#[derive(Debug)]
pub struct MokaCache {
    entries: Cache<String, MemoryEntry>,
}

impl MokaCache {
    /// Makes a cache that holds at most about this many bytes.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        let weigh = |key: &String, entry: &MemoryEntry| {
            let body = entry.view.body.as_ref().map_or(0, bytes::Bytes::len);
            u32::try_from(key.len() + body + ENTRY_OVERHEAD_BYTES).unwrap_or(u32::MAX)
        };
        Self { entries: Cache::builder().max_capacity(bytes_max).weigher(weigh).build() }
    }
}

impl MemoryCache for MokaCache {
    fn get(&self, key: &str) -> Option<MemoryEntry> {
        self.entries.get(key)
    }

    fn put(&self, key: &str, entry: MemoryEntry) {
        let rank = |entry: &MemoryEntry| (entry.view.version, entry.read_at);
        self.entries.entry_by_ref(key).and_compute_with(|kept| match kept {
            Some(kept) if rank(kept.value()) >= rank(&entry) => Op::Nop,
            _ => Op::Put(entry),
        });
    }
}
