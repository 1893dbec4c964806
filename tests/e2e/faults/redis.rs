//! Tests for the shared cache: the service must work without it.

use std::time::{Duration, Instant};

use futures::future::{join, join_all};
use nix::sys::signal::Signal;
use tokio::sync::watch;

use crate::harness::client::shows;
use crate::harness::redis::Redis;
use crate::harness::{Api, Item, Stack, Variant, check, eventually};
use crate::sample;

/// The maximum duration of a read while the cache does not answer. The cache's timeout is 50 ms; the machine may be busy.
const DEGRADED_MAX: Duration = Duration::from_secs(3);

#[test]
fn a_hot_item_is_answered_from_memory_and_after_a_restart_from_redis() {
    if !Redis::is_installed() {
        return;
    }
    let stack = Stack::start(Variant::Cqrs, &["--ephemeral"]);
    check(&stack, async {
        let api = stack.api();
        assert!(stack.status().await["redis"]["pid"].is_u64());
        let item = api.any_item().await;
        let hit = eventually("memory has the item", async || says(&api, &item, "memory;hit").await).await;
        assert!(hit.contains("ttl="), "{hit}");
        is_in_redis(&stack, &item).await;
    });
}

/// Returns the `Cache-Status` of a read, if it begins with this text.
async fn says(api: &Api, item: &Item, beginning: &str) -> Option<String> {
    let answer = api.get(&item.path).send().await.expect(200);
    assert_eq!(answer.json()["id"], *item.id);
    let tiers = answer.header("cache-status").to_owned();
    tiers.starts_with(beginning).then_some(tiers)
}

/// Waits until a new read environment, whose memory cache is empty, finds the item in Redis.
async fn is_in_redis(stack: &Stack, item: &Item) {
    // On a busy machine Redis may be too slow for a read, which then skips it.
    eventually("a read after a restart hits Redis", async || {
        assert!(stack.kill_environments("read-fn").await > 0);
        says(&stack.api(), item, "redis;hit").await
    })
    .await;
}

#[test]
fn without_redis_memory_is_the_only_cache() {
    let stack = Stack::start(Variant::Cqrs, &["--ephemeral", "--no-redis"]);
    check(&stack, async {
        let api = stack.api();
        assert!(stack.status().await["redis"].is_null());
        let item = api.any_item().await;
        let hit = eventually("memory has the item", async || says(&api, &item, "memory;hit").await).await;
        assert!(!hit.contains("redis"), "{hit}");
        assert!(stack.kill_environments("read-fn").await > 0);
        let miss = says(&api, &item, "memory;fwd=miss").await.unwrap();
        assert!(!miss.contains("redis"), "{miss}");
    });
}

#[test]
fn a_redis_that_is_not_there_is_done_without() {
    // No server listens on port 1.
    let stack = Stack::start(Variant::Cqrs, &["--ephemeral", "--redis-url", "redis://127.0.0.1:1"]);
    check(&stack, async { carries_on(&stack.api()).await });
}

/// Checks that writes are applied and read back, with and without tokens, within the time limits.
async fn carries_on(api: &Api) {
    for _ in 0..3 {
        let item = api.any_item().await;
        let patch = sample::main().patch("Carried on");
        let token = api.patch(&item.path, &patch).send().await.token();
        shows(&api.get(&item.path).token(&token).send().await.expect(200).json(), &patch);
        let since = Instant::now();
        api.get(&item.path).send().await.expect(200);
        assert!(since.elapsed() < DEGRADED_MAX, "a read took {:?}", since.elapsed());
    }
}

#[test]
fn a_redis_that_stops_answering_slows_nobody_down_and_comes_back() {
    if !Redis::is_installed() {
        return;
    }
    let redis = Redis::start();
    let stack = Stack::start(Variant::Cqrs, &["--ephemeral", "--redis-url", &redis.url()]);
    check(&stack, async {
        let api = stack.api();
        let item = api.any_item().await;
        is_in_redis(&stack, &item).await;
        redis.signal(Signal::SIGSTOP);
        carries_on(&api).await;
        redis.signal(Signal::SIGCONT);
        comes_back(&stack).await;
    });
}

/// Waits until new items are found in Redis again.
async fn comes_back(stack: &Stack) {
    let api = stack.api();
    eventually("Redis is used again", async || {
        let item = api.any_item().await;
        stack.kill_environments("read-fn").await;
        says(&api, &item, "redis;hit").await
    })
    .await;
}

#[test]
fn redis_may_be_killed_in_mid_traffic_and_come_back_empty() {
    if !Redis::is_installed() {
        return;
    }
    let mut redis = Redis::start();
    let stack = Stack::start(Variant::Cqrs, &["--ephemeral", "--redis-url", &redis.url()]);
    check(&stack, async {
        let api = stack.api();
        let (stop, stopped) = watch::channel(false);
        let (count, mut counted) = watch::channel(0_usize);
        let traffic = join_all((0..4).map(|_| read_own_writes(&api, &stopped, &count)));
        let faults = async {
            let mut ahead = async |by: usize| {
                let goal = *counted.borrow() + by;
                counted.wait_for(|count| *count >= goal).await.unwrap();
            };
            ahead(10).await;
            redis.kill();
            ahead(30).await;
            redis.start_again();
            ahead(30).await;
            stop.send(true).unwrap();
        };
        join(traffic, faults).await;
        comes_back(&stack).await;
    });
}

/// Changes an item and reads it back, in a loop. Every answer must be correct.
async fn read_own_writes(api: &Api, stopped: &watch::Receiver<bool>, count: &watch::Sender<usize>) {
    let item = api.any_item().await;
    let mut token = item.token.clone();
    for n in 0.. {
        if *stopped.borrow() {
            return;
        }
        let patch = sample::main().patch(&format!("text {n}"));
        token = api.patch(&item.path, &patch).token(&token).send().await.expect(202).token();
        let read = api.get(&item.path).token(&token).send().await.expect(200);
        shows(&read.json(), &patch);
        token = read.token();
        count.send_modify(|count| *count += 1);
    }
}
