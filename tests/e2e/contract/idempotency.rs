//! `Idempotency-Key`.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::Value;

use super::{CHECKED, Checked};
use crate::harness::{Answer, Api, Service, Written, unique};
use crate::sample::Sample;

on_every_variant!(
    a_repeated_create_makes_one_item_and_says_that_it_is_a_replay,
    a_repeated_create_whose_body_is_spelt_differently_is_the_same,
    a_repeated_change_is_applied_once,
    a_repeated_refusal_is_refused_alike,
    another_body_under_the_same_key_is_refused,
    another_precondition_under_the_same_key_is_refused,
    the_same_key_for_another_path_or_method_is_another_command,
    eight_creates_at_once_under_one_key_make_one_item,
    a_key_has_1_to_255_visible_characters,
    a_key_in_quotes_is_the_same_key,
    two_keys_are_refused_and_nothing_is_done,
);

/// Returns how many items hold a unique value of this body; `None` if no list shows that.
async fn found(api: &Api, sample: &Sample, body: &Value) -> Option<usize> {
    let list = sample.list(&sample.held(body)?);
    Some(api.get(&list).send().await.expect(200).json()["items"].as_array().unwrap().len())
}

fn is_replay(answer: &Answer) -> bool {
    match answer.find("idempotency-replayed") {
        None => false,
        Some("true") => true,
        Some(_) => panic!("{answer}"),
    }
}

fn assert_same(first: &Written, second: &Written) {
    assert!(!is_replay(&first.answer), "{}", first.answer);
    assert!(is_replay(&second.answer), "{}", second.answer);
    assert_eq!(first.answer.status, second.answer.status);
    assert_eq!(first.answer.find("location"), second.answer.find("location"));
    assert_eq!((&first.id, first.status, first.version), (&second.id, second.status, second.version));
    assert_eq!(first.answer.body, second.answer.body);
}

async fn a_repeated_create_makes_one_item_and_says_that_it_is_a_replay(service: &Service, sample: &Sample) {
    let api = service.api();
    let (key, body) = (unique("key"), sample.body("Idempotent"));
    let first = api.post(&sample.path, &body).idempotency_key(&key).write().await.expect(201);
    let second = api.post(&sample.path, &body).idempotency_key(&key).write().await.expect(201);
    assert_same(&first, &second);
    assert_eq!(api.item(&first).await.version(), 1);
    assert!([Some(1), None].contains(&found(&api, sample, &body).await));
}

async fn a_repeated_create_whose_body_is_spelt_differently_is_the_same(service: &Service, sample: &Sample) {
    let api = service.api();
    let (key, body) = (unique("key"), sample.body("É"));
    let defaulted = sample.defaulted.as_ref().map(|field| format!(r#""{}":{}"#, field.name, field.default));
    let fields = body.as_object().unwrap().iter().map(|(name, value)| format!(r#""{name}" : {value}"#));
    let fields: Vec<_> = defaulted.into_iter().chain(fields.rev()).collect();
    let spellings = [
        body.to_string(),
        // The same fields in reverse order, with white space, an escape and the default value.
        format!(" {{ {} }} ", fields.join(",")).replace('É', "\\u00c9"),
    ];
    let post = |body: &str| api.post(&sample.path, &Value::Null).body(body).idempotency_key(&key).write();
    let (first, second) = (post(&spellings[0]).await.expect(201), post(&spellings[1]).await.expect(201));
    assert_same(&first, &second);
}

async fn a_repeated_change_is_applied_once(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    let body = sample.keeping(&item.body, "Replaced");
    let (put, patch, delete) = (unique("put"), unique("patch"), unique("delete"));
    let patched = sample.patch("Patched");
    for (version, call) in [
        (2, [(); 2].map(|()| api.put(&item.path, &body).idempotency_key(&put))),
        (3, [(); 2].map(|()| api.patch(&item.path, &patched).idempotency_key(&patch))),
        (4, [(); 2].map(|()| api.delete(&item.path).idempotency_key(&delete))),
    ] {
        let [first, second] = call;
        let (first, second) = (first.write().await, second.write().await);
        assert_same(&first, &second);
        assert_eq!(first.status, if version == 4 { 204 } else { 200 }, "{}", first.answer);
        // The answer to a synchronous delete has no version.
        assert!([Some(version), None].contains(&first.version), "{first:?}");
    }
}

async fn a_repeated_refusal_is_refused_alike(service: &Service, sample: &Sample) -> Checked {
    let (_, taken) = sample.unique?;
    let api = service.api();
    let (holder, key) = (api.any(sample).await, unique("key"));
    let body = sample.keeping(&holder.body, "Refused");
    for _ in 0..2 {
        let refused = api.post(&sample.path, &body).idempotency_key(&key).write().await;
        assert_eq!(refused.kind(409), taken);
    }
    // The outcome stays the same, although its reason has disappeared.
    api.delete(&holder.path).write().await.expect(204);
    let refused = api.post(&sample.path, &body).idempotency_key(&key).write().await;
    assert!(is_replay(&refused.answer), "{}", refused.answer);
    assert_eq!(refused.kind(409), taken);
    CHECKED
}

async fn another_body_under_the_same_key_is_refused(service: &Service, sample: &Sample) {
    let api = service.api();
    let ([body, other], key) = (sample.bodies(), unique("key"));
    let first = api.post(&sample.path, &body).idempotency_key(&key).write().await.expect(201);
    api.post(&sample.path, &other).idempotency_key(&key).send().await.expect(422);
    assert!([Some(0), None].contains(&found(&api, sample, &other).await));
    let item = api.item(&first).await;

    let ([patch, other], key) = (sample.patches(), unique("key"));
    let one = api.patch(&item.path, &patch).idempotency_key(&key).write().await.expect(200);
    api.patch(&item.path, &other).idempotency_key(&key).send().await.expect(422);
    assert_eq!(api.item(&one).await.version(), 2);
}

async fn another_precondition_under_the_same_key_is_refused(service: &Service, sample: &Sample) {
    let api = service.api();
    let (item, key) = (api.any(sample).await, unique("key"));
    let one = sample.patch("One");
    let patch = || api.patch(&item.path, &one).idempotency_key(&key);
    patch().if_match("\"1\"").write().await.expect(200);
    patch().if_match("\"2\"").send().await.expect(422);
    patch().send().await.expect(422);
}

async fn the_same_key_for_another_path_or_method_is_another_command(service: &Service, sample: &Sample) {
    let api = service.api();
    let (one, two, key) = (api.any(sample).await, api.any(sample).await, unique("key"));
    for item in [&one, &two] {
        let patch = api.patch(&item.path, &sample.patch("Patched")).idempotency_key(&key);
        let written = patch.write().await.expect(200);
        assert!(!is_replay(&written.answer));
        assert_eq!(written.version, Some(2));
    }
    let deleted = api.delete(&one.path).idempotency_key(&key).write().await.expect(204);
    assert!(!is_replay(&deleted.answer));
}

async fn eight_creates_at_once_under_one_key_make_one_item(service: &Service, sample: &Sample) {
    let api = service.api();
    let (key, body) = (unique("key"), sample.body("Idempotent"));
    let post = |_| api.post(&sample.path, &body).idempotency_key(&key).write();
    let written = join_all((0..8).map(post)).await;
    let firsts = written.iter().filter(|written| !is_replay(&written.answer)).count();
    assert_eq!(firsts, 1, "{written:?}");
    let mut seen = BTreeSet::new();
    for written in written {
        let written = written.expect(201);
        assert_eq!(written.version, Some(1), "{written:?}");
        seen.insert((written.id.clone(), written.answer.header("location").to_owned()));
    }
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!([Some(1), None].contains(&found(&api, sample, &body).await));
}

async fn a_key_has_1_to_255_visible_characters(service: &Service, sample: &Sample) {
    let api = service.api();
    let longest = format!("{:~<255}", unique("!key"));
    api.post(&sample.path, &sample.body("Idempotent")).idempotency_key(&longest).write().await.expect(201);
    let too_long = format!("{longest}x");
    for wrong in ["", &too_long, "a\tb", "k\u{fc}"] {
        api.post(&sample.path, &sample.body("Idempotent")).idempotency_key(wrong).send().await.expect(400);
    }
}

async fn a_key_in_quotes_is_the_same_key(service: &Service, sample: &Sample) {
    let api = service.api();
    let (key, body) = (unique("key"), sample.body("Idempotent"));
    let post = |key: &str| api.post(&sample.path, &body).idempotency_key(key).write();
    let (first, second) = (post(&key).await.expect(201), post(&format!("\"{key}\"")).await.expect(201));
    assert_same(&first, &second);
    // A quoted key may contain spaces and commas.
    let key = format!("\"one, two \\\"{}\\\"\"", unique("key"));
    let body = sample.body("Idempotent");
    let post = || api.post(&sample.path, &body).idempotency_key(&key).write();
    let (first, second) = (post().await.expect(201), post().await.expect(201));
    assert_same(&first, &second);
}

async fn two_keys_are_refused_and_nothing_is_done(service: &Service, sample: &Sample) {
    let api = service.api();
    let (key, body) = (unique("key"), sample.body("Idempotent"));
    let post = || api.post(&sample.path, &body);
    for call in [
        post().idempotency_key(&key).and_header("idempotency-key", &key),
        post().idempotency_key(&format!("\"{key}\"")).and_header("idempotency-key", "\"other\""),
        post().idempotency_key(&format!("{key}, {key}")),
    ] {
        let problem = call.send().await.problem(400);
        assert!(problem["detail"].as_str().unwrap().contains("given twice"), "{problem}");
    }
    assert!([Some(0), None].contains(&found(&api, sample, &body).await));
}
