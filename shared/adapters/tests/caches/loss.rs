//! Scripts, entries and values that Redis has lost, never had, or got from another application.

use adapters::contract::cache::{key, view};
use adapters::redis_cache::RedisCache;
use bytes::Bytes;
use kernel::ports::{CachedView, Lease, Lookup, SharedCache, SharedCacheUpdater};

use super::server::{PATIENCE, Server};

async fn lease(cache: &RedisCache, key: &str) -> Lease {
    match cache.get_or_lease(key).await.unwrap() {
        Lookup::Leased(lease) => lease,
        other => panic!("no lease: {other:?}"),
    }
}

async fn hit(cache: &RedisCache, key: &str) -> CachedView {
    match cache.get_or_lease(key).await.unwrap() {
        Lookup::Hit { view, .. } => view,
        other => panic!("no hit: {other:?}"),
    }
}

#[tokio::test]
async fn scripts_that_redis_has_forgotten_are_loaded_again() {
    let server = Server::start(&[]);
    let cache = server.patient_cache();
    let key = key();
    for version in [1, 3] {
        server.command(&["DEL", &key]);
        let lease = lease(&cache, &key).await;
        server.command(&["SCRIPT", "FLUSH"]);
        assert!(cache.fill(&key, &lease, &view(version), PATIENCE).await.unwrap());
        server.command(&["SCRIPT", "FLUSH"]);
        cache.update(&key, &view(version + 1), PATIENCE).await.unwrap();
        assert_eq!(hit(&cache, &key).await, view(version + 1));
    }
}

#[tokio::test]
async fn a_flush_takes_entries_and_leases() {
    let server = Server::start(&[]);
    let cache = server.patient_cache();
    let (filled, leased) = (key(), key());
    let first = lease(&cache, &filled).await;
    assert!(cache.fill(&filled, &first, &view(1), PATIENCE).await.unwrap());
    let second = lease(&cache, &leased).await;
    server.command(&["FLUSHALL"]);
    assert!(!cache.fill(&leased, &second, &view(1), PATIENCE).await.unwrap());
    cache.update(&filled, &view(2), PATIENCE).await.unwrap();
    for key in [filled, leased] {
        lease(&cache, &key).await;
    }
}

#[tokio::test]
async fn a_peek_returns_views_and_takes_no_lease() {
    let server = Server::start(&[]);
    let cache = server.patient_cache();
    let keys = [key(), key(), key(), key()];
    let [filled, leased, foreign, missing] = &keys;
    let first = lease(&cache, filled).await;
    assert!(cache.fill(filled, &first, &view(1), PATIENCE).await.unwrap());
    let second = lease(&cache, leased).await;
    server.command(&["SET", foreign, "somebody else's"]);
    assert_eq!(cache.peek(&keys).await.unwrap(), [Some(view(1)), None, None, None]);
    assert!(cache.fill(leased, &second, &view(1), PATIENCE).await.unwrap(), "the lease is still held");
    cache.remove(filled).await.unwrap();
    assert_eq!(cache.peek(&[filled.clone(), missing.clone()]).await.unwrap(), [None, None]);
    lease(&cache, missing).await;
}

#[tokio::test]
async fn an_entry_that_was_evicted_is_missing() {
    let server = Server::start(&["--maxmemory", "4mb", "--maxmemory-policy", "allkeys-random"]);
    let cache = server.patient_cache();
    let large = |version| CachedView { body: Some(Bytes::from(vec![b'x'; 64 * 1024])), ..view(version) };
    let keys: Vec<String> = (0..200).map(|_| key()).collect();
    for key in &keys {
        let lease = lease(&cache, key).await;
        // Redis may have evicted the lease itself.
        cache.fill(key, &lease, &large(1), PATIENCE).await.unwrap();
    }
    for key in &keys {
        cache.update(key, &large(2), PATIENCE).await.unwrap();
    }
    let mut hits = 0;
    for key in &keys {
        match cache.get_or_lease(key).await.unwrap() {
            Lookup::Hit { view, .. } => {
                assert_eq!(view, large(2));
                hits += 1;
            }
            Lookup::Leased(_) => {}
            Lookup::Busy => panic!("the key is leased"),
        }
    }
    assert!((1..100).contains(&hits), "{hits}");
}

#[tokio::test]
async fn a_foreign_value_is_replaced() {
    let server = Server::start(&[]);
    let cache = server.patient_cache();
    let strings = ["", "junk", "V1|b|1|x", "V0000000000000000000x|b|1|x", "V00000000000000000009|?|1|x"];
    let strings = strings.map(|junk| vec!["SET", junk]);
    let others = [vec!["RPUSH", "a", "b"], vec!["HSET", "field", "value"], vec!["SADD", "member"]];
    for junk in strings.iter().chain(&others) {
        let key = key();
        let command = [&[junk[0], &key], &junk[1..]].concat();
        server.command(&command);
        // More often than the circuit would let a failing cache be called.
        assert_eq!(cache.get_or_lease(&key).await.unwrap(), Lookup::Busy, "{junk:?}");
        let lease = lease(&cache, &key).await;
        assert!(cache.fill(&key, &lease, &view(1), PATIENCE).await.unwrap());
        assert_eq!(hit(&cache, &key).await, view(1));
    }
}

#[tokio::test]
async fn one_key_of_a_wrong_type_does_not_open_the_circuit() {
    let server = Server::start(&[]);
    let cache = server.patient_cache();
    server.command(&["RPUSH", "list", "a"]);
    for _ in 0..5 {
        cache.update("list", &view(1), PATIENCE).await.unwrap_err();
    }
    lease(&cache, &key()).await;
}
