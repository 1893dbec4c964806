//! Tests for the metrics that the functions write for CloudWatch.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::{Stack, Variant, check, eventually};
use crate::sample;

/// Returns the metric documents that a function has written.
fn documents(stack: &Stack, function: &str) -> Vec<Value> {
    let output = stack.last_output();
    let of_function = output.lines().filter(|line| line.starts_with(&format!("{function} ")));
    let texts = of_function.filter_map(|line| line.split_once("| ").map(|(_, text)| text));
    texts.filter(|text| text.starts_with(r#"{"_aws""#)).map(|text| serde_json::from_str(text).unwrap()).collect()
}

fn sum(documents: &[Value], metric: &str) -> u64 {
    documents.iter().filter_map(|document| document[metric].as_u64()).sum()
}

/// Returns the hits and misses of each cache.
fn caches(documents: &[Value]) -> BTreeMap<&str, (u64, u64)> {
    let mut reported = BTreeMap::new();
    for document in documents {
        if let Some(layer) = document["Layer"].as_str() {
            let (hits, misses): &mut (u64, u64) = reported.entry(layer).or_default();
            *hits += document["CacheHits"].as_u64().unwrap();
            *misses += document["CacheMisses"].as_u64().unwrap();
        }
    }
    reported
}

#[test]
fn the_functions_tell_of_their_requests_caches_and_commands() {
    let stack = Stack::start(Variant::Cqrs, &["--ephemeral", "--metrics"]);
    check(&stack, async {
        let api = stack.api();
        let item = api.any_item().await;
        let read = async || api.get(&item.path).send().await.expect(200);
        read().await;
        let before = caches(&documents(&stack, "read-fn")).get("memory").map_or(0, |(hits, _)| *hits);
        // A read hits the memory cache if it reaches the same environment within 2 s.
        eventually("a read is answered by memory", async || {
            read().await;
            (caches(&documents(&stack, "read-fn")).get("memory")?.0 > before).then_some(())
        })
        .await;
        // A new environment has an empty memory cache, so Redis answers.
        stack.kill_environments("read-fn").await;
        eventually("a read is answered by Redis", async || {
            read().await;
            (caches(&documents(&stack, "read-fn")).get("redis")?.0 > 0).then_some(())
        })
        .await;
        let reported = documents(&stack, "read-fn");
        assert!(reported.iter().all(|document| document["Function"] == "read-fn" && document["Stage"] == "cqrs"));
        let route = format!("GET {}", sample::main().resource.item("{id}"));
        let of_item: Vec<_> = reported.iter().filter(|document| document["Route"] == route.as_str()).cloned().collect();
        let of_resource = |document: &Value| document["Resource"] == sample::main().resource.collection;
        assert!(of_item.iter().all(of_resource), "{of_item:?}");
        assert!(sum(&of_item, "Requests") >= 3 && sum(&of_item, "Errors") == 0, "{of_item:?}");
        assert!(of_item.iter().all(|document| document["Latency"].as_f64().unwrap() > 0.0), "{of_item:?}");
        assert!(reported.iter().all(|document| !document.to_string().contains(&item.path)), "{reported:?}");
        let answer = read().await;
        let id = answer.header("x-request-id").to_owned();
        let line = eventually("the request is in the log under its id", async || {
            documents(&stack, "read-fn").into_iter().find(|document| document["RequestId"] == id.as_str())
        })
        .await;
        assert_eq!(line["Tenant"], "local", "{line}");
        let applied = eventually("the ingest function tells of the command", async || {
            documents(&stack, "ingest-fn").into_iter().find(|document| document["CommandsApplied"] == 1)
        })
        .await;
        assert!(of_resource(&applied) && applied["ProjectionLag"][0].as_f64().unwrap() > 0.0, "{applied}");
    });
}

#[test]
fn nothing_is_told_unless_it_is_wanted() {
    let stack = Stack::start(Variant::LambdaLith, &["--ephemeral"]);
    check(&stack, async {
        stack.api().any_item().await;
        assert!(!stack.last_output().contains("_aws"), "{}", stack.last_output());
    });
}
