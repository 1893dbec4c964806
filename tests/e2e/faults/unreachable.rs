//! Tests for an unreachable queue or store: clients get an error, and no write takes effect in part.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::client::Call;
use crate::harness::proxy::{Line, Proxy};
use crate::harness::redis::Redis;
use crate::harness::{Api, Stack, Variant, check, eventually, unique};
use crate::sample;

/// The maximum time until the client gets the error: less than a function's timeout.
const TOLD_WITHIN: Duration = Duration::from_secs(9);

/// A service behind proxies: it uses the queue and the store of another service on this machine.
struct Remote {
    stack: Stack,
    dynamodb: Proxy,
    sqs: Option<Proxy>,
    _backing: Stack,
}

impl Remote {
    fn start(variant: Variant) -> Self {
        Self::start_with(variant, &["--no-redis"])
    }

    fn start_with(variant: Variant, options: &[&str]) -> Self {
        let backing = Stack::start(variant, &["--ephemeral", "--no-redis"]);
        let dynamodb = Proxy::before(&backing.endpoint("dynamodb"));
        let sqs = variant.is_queued().then(|| Proxy::before(&backing.endpoint("sqs")));
        let (dynamodb_url, sqs_url) = (dynamodb.url(), sqs.as_ref().map(Proxy::url));
        let mut arguments = vec!["--ephemeral", "--dynamodb-url", &dynamodb_url];
        arguments.extend(options);
        arguments.extend(sqs_url.iter().flat_map(|url| ["--sqs-url", url]));
        Self { stack: Stack::start(variant, &arguments), dynamodb, sqs, _backing: backing }
    }
}

fn body() -> Value {
    let word = unique("unreachable");
    sample::main().body(&word)
}

async fn is_told(call: Call) {
    let since = Instant::now();
    let answer = call.send().await.expect(503);
    assert!(since.elapsed() < TOLD_WITHIN, "reported after {:?}", since.elapsed());
    assert!(answer.header("retry-after").parse::<u32>().is_ok(), "{answer}");
    let text = String::from_utf8(answer.body.clone()).unwrap().to_lowercase();
    for inside in ["dynamo", "sqs", "127.0.0.1", "connect", "dispatch", "timeout"] {
        assert!(!text.contains(inside), "the answer says what broke inside: {answer}");
    }
}

/// Checks the number of items that hold the unique value of this body, if a list shows it.
async fn assert_found(api: &Api, body: &Value, count: usize) {
    let Some(held) = sample::main().held(body) else { return };
    let page = api.get(&sample::main().list(&held)).send().await.expect(200).json();
    assert_eq!(page["items"].as_array().unwrap().len(), count, "{page}");
}

#[test]
fn while_the_queue_is_out_of_reach_writes_are_refused_and_reads_served() {
    let remote = Remote::start(Variant::Cqrs);
    let queue = remote.sqs.as_ref().unwrap();
    check(&remote.stack, async {
        let api = remote.stack.api();
        let item = api.any_item().await;
        for line in [Line::Cut, Line::Silent] {
            queue.set(line);
            let (lost, kept, key) = (body(), body(), unique("key"));
            is_told(api.post(&sample::main().path, &lost)).await;
            is_told(api.patch(&item.path, &sample::main().patch("Lost"))).await;
            is_told(api.delete(&item.path)).await;
            is_told(api.post(&sample::main().path, &kept).idempotency_key(&key)).await;
            assert_eq!(api.get(&item.path).token(&item.token).send().await.expect(200).json(), item.body);
            queue.set(Line::Open);

            let retried = api.post(&sample::main().path, &kept).idempotency_key(&key).write().await.expect(201);
            assert_eq!(api.item(&retried).await.version(), 1);
            assert_found(&api, &kept, 1).await;
            assert_found(&api, &lost, 0).await;
            assert_eq!(api.reread(&item).await.body, item.body);
        }
    });
}

#[test]
fn while_the_store_is_out_of_reach_commands_are_still_accepted() {
    let remote = Remote::start(Variant::Cqrs);
    check(&remote.stack, async {
        let api = remote.stack.api();
        let (hot, cold) = (api.any_item().await, api.any_item().await);
        for line in [Line::Cut, Line::Silent] {
            // The memory cache expires entries after a few seconds, so fill it again.
            eventually("memory has the item", async || {
                let answer = api.get(&hot.path).send().await.expect(200);
                answer.header("cache-status").starts_with("memory;hit").then_some(())
            })
            .await;
            assert!(remote.stack.kill_environments("read-fn").await > 0);
            remote.dynamodb.set(line);
            is_told(api.get(&cold.path)).await;
            is_told(api.get(&sample::main().list(&sample::main().finding(&cold.body)[0]))).await;
            is_told(api.get(&cold.path).token(&cold.token)).await;
            let (accepted, refused, key) = (body(), body(), unique("key"));
            let accepted_answer = api.post(&sample::main().path, &accepted).send().await.expect(202);
            is_told(api.get(accepted_answer.header("location"))).await;
            // A command with a key needs its record before it is queued.
            is_told(api.post(&sample::main().path, &refused).idempotency_key(&key)).await;
            remote.dynamodb.set(Line::Open);

            let document = api.outcome(accepted_answer.json()["command_id"].as_str().unwrap()).await;
            assert_eq!(document["status"], "applied");
            // The command is applied before its view is written. A read with its token waits for the view.
            let path = sample::main().resource.item(accepted_answer.json()[&sample::main().id].as_str().unwrap());
            api.get(&path).token(&accepted_answer.token()).send().await.expect(200);
            assert_found(&api, &accepted, 1).await;
            let retried = api.post(&sample::main().path, &refused).idempotency_key(&key).write().await.expect(201);
            assert_eq!(api.item(&retried).await.version(), 1);
            assert_found(&api, &refused, 1).await;
        }
    });
}

#[test]
fn while_the_store_is_out_of_reach_what_redis_holds_is_served() {
    if !Redis::is_installed() {
        return;
    }
    let remote = Remote::start_with(Variant::Cqrs, &[]);
    check(&remote.stack, async {
        let api = remote.stack.api();
        let hot = api.any_item().await;
        eventually("a new environment finds the item in Redis", async || {
            remote.stack.kill_environments("read-fn").await;
            let answer = api.get(&hot.path).send().await.expect(200);
            answer.header("cache-status").contains("redis;hit").then_some(())
        })
        .await;
        assert!(remote.stack.kill_environments("read-fn").await > 0);
        remote.dynamodb.set(Line::Cut);
        let cached = api.get(&hot.path).send().await.expect(200);
        assert!(cached.header("cache-status").contains("redis;hit"), "{cached}");
        assert_eq!(cached.json(), hot.body);
        is_told(api.get(&sample::main().resource.item(uuid::Uuid::now_v7()))).await;
    });
}

#[test]
fn while_the_store_is_out_of_reach_a_service_without_a_queue_refuses_everything() {
    let remote = Remote::start(Variant::LambdaLith);
    check(&remote.stack, async {
        let api = remote.stack.api();
        let item = api.any_item().await;
        for line in [Line::Cut, Line::Silent] {
            remote.dynamodb.set(line);
            let (body, key) = (body(), unique("key"));
            is_told(api.post(&sample::main().path, &body).idempotency_key(&key)).await;
            is_told(api.patch(&item.path, &sample::main().patch("Lost"))).await;
            is_told(api.delete(&item.path)).await;
            is_told(api.get(&item.path)).await;
            is_told(api.get(&sample::main().path)).await;
            api.get("/health").send().await.expect(200);
            remote.dynamodb.set(Line::Open);

            let retried = api.post(&sample::main().path, &body).idempotency_key(&key).write().await.expect(201);
            assert_eq!(api.item(&retried).await.version(), 1);
            assert_found(&api, &body, 1).await;
            assert_eq!(api.reread(&item).await.body, item.body);
        }
    });
}
