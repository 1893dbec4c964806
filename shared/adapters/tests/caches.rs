//! The caches keep their contract: in memory, in moka, and in a real Redis that fails in many ways.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may panic"
)]

#[path = "caches/failures.rs"]
mod failures;
#[path = "caches/iam.rs"]
mod iam;
#[path = "caches/loss.rs"]
mod loss;
#[path = "caches/server.rs"]
mod server;
#[path = "caches/tls.rs"]
mod tls;

use std::sync::Arc;
use std::time::Instant;

use adapters::contract::cache::{self, Caches, key, view};
use adapters::contract::memory_cache;
use adapters::contract::time::Time;
use adapters::memory::UnboundedMemoryCache;
use adapters::moka_cache::MokaCache;
use adapters::redis_cache::RedisCache;
use bytes::Bytes;
use kernel::ports::{CachedView, MemoryCache, MemoryEntry};

use self::server::{PATIENCE, Server};

#[tokio::test(flavor = "multi_thread")]
async fn the_shared_cache_in_memory_keeps_its_contract() {
    cache::suite(&Caches::memory()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shared_cache_in_redis_keeps_its_contract() {
    let server = Server::start(&[]);
    let shared = Arc::new(server.patient_cache());
    let updater = Arc::new(server.patient_cache());
    cache::suite(&Caches { shared, updater, time: Time::Real }).await;
}

#[test]
fn the_memory_cache_without_bounds_keeps_its_contract() {
    memory_cache::suite(&UnboundedMemoryCache::default());
}

#[test]
fn the_memory_cache_in_moka_keeps_its_contract() {
    memory_cache::suite(&MokaCache::new(1_000_000));
}

/// Puts this many entries, and returns the size of the bodies that the cache still holds, in bytes.
fn bytes_left(bytes_max: u64, entries: usize, body_bytes: usize) -> usize {
    let cache = MokaCache::new(bytes_max);
    let keys: Vec<String> = (0..entries).map(|_| key()).collect();
    let body = Some(Bytes::from(vec![0; body_bytes]));
    for key in &keys {
        let view = CachedView { body: body.clone(), ..view(1) };
        let read_at = view.fetched_at;
        cache.put(key, MemoryEntry { view, read_at });
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let left = keys.iter().filter_map(|key| cache.get(key)).map(|kept| kept.view.body.unwrap().len()).sum();
        if u64::try_from(left).unwrap() <= bytes_max {
            return left;
        }
        assert!(Instant::now() < deadline, "{left} bytes are left");
    }
}

#[test]
fn moka_holds_no_more_bytes_than_it_may() {
    assert!(bytes_left(1_000_000, 2_000, 1_000) > 500_000);
    assert_eq!(bytes_left(1_000_000, 2, 1_000_001), 0);
}

#[test]
fn a_text_that_is_no_redis_url_is_refused_without_being_printed() {
    for url in ["", "http://user:secret@localhost", "redis://:secret@localhost:port"] {
        let error = RedisCache::new(url).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
    }
}

#[test]
fn a_password_does_not_print() {
    let cache = RedisCache::new("redis://user:secret@localhost:6379/0").unwrap();
    assert!(!format!("{cache:?}").contains("secret"), "{cache:?}");
}
