//! `Idempotency-Key`.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Answer, Service, Written, unique};
use crate::sample::{PATH, REQUIRED, STATUS, STATUS_DEFAULT, TAKEN, TEXT, UNIQUE, full_body, held, value};

on_every_variant!(
    a_repeated_create_makes_one_user_and_says_that_it_is_a_replay,
    a_repeated_create_whose_body_is_spelt_differently_is_the_same,
    a_repeated_change_is_applied_once,
    a_repeated_refusal_is_refused_alike,
    another_body_under_the_same_key_is_refused,
    another_precondition_under_the_same_key_is_refused,
    the_same_key_for_another_path_or_method_is_another_command,
    eight_creates_at_once_under_one_key_make_one_user,
    a_key_has_1_to_255_visible_characters,
    a_key_in_quotes_is_the_same_key,
    two_keys_are_refused_and_nothing_is_done,
);

fn anybody() -> Value {
    let word = unique("idempotent");
    full_body("Idempotent", &value(&word))
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

async fn a_repeated_create_makes_one_user_and_says_that_it_is_a_replay(service: &Service) {
    let api = service.api();
    let (key, body) = (unique("key"), anybody());
    let first = api.post(PATH, &body).idempotency_key(&key).write().await.expect(201);
    let second = api.post(PATH, &body).idempotency_key(&key).write().await.expect(201);
    assert_same(&first, &second);
    assert_eq!(api.user(&first).await.version(), 1);
    let listed = api.get(&format!("{PATH}?{}", held(body[UNIQUE].as_str().unwrap()))).send().await.expect(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
}

async fn a_repeated_create_whose_body_is_spelt_differently_is_the_same(service: &Service) {
    let api = service.api();
    let (key, body) = (unique("key"), full_body("É", &value(&unique("spelling"))));
    let others = REQUIRED.iter().rev().filter(|field| **field != TEXT);
    let others: Vec<_> = others.map(|field| format!(r#""{field}" : {},"#, body[*field])).collect();
    let spellings = [
        body.to_string(),
        // The same fields the other way round, with white space, an escape, and what is the default.
        format!(r#" {{ "{STATUS}":"{STATUS_DEFAULT}",{} "{TEXT}" :"\u00c9"}} "#, others.concat()),
    ];
    let post = |body: &str| api.post(PATH, &Value::Null).body(body).idempotency_key(&key).write();
    let (first, second) = (post(&spellings[0]).await.expect(201), post(&spellings[1]).await.expect(201));
    assert_same(&first, &second);
}

async fn a_repeated_change_is_applied_once(service: &Service) {
    let api = service.api();
    let user = api.any_user().await;
    let body = full_body("Replaced", user.text(UNIQUE));
    let (put, patch, delete) = (unique("put"), unique("patch"), unique("delete"));
    for (version, call) in [
        (2, [(); 2].map(|()| api.put(&user.path, &body).idempotency_key(&put))),
        (3, [(); 2].map(|()| api.patch(&user.path, &json!({TEXT: "Patched"})).idempotency_key(&patch))),
        (4, [(); 2].map(|()| api.delete(&user.path).idempotency_key(&delete))),
    ] {
        let [first, second] = call;
        let (first, second) = (first.write().await, second.write().await);
        assert_same(&first, &second);
        assert_eq!(first.status, if version == 4 { 204 } else { 200 }, "{}", first.answer);
        // A synchronous delete does not tell its version.
        assert!([Some(version), None].contains(&first.version), "{first:?}");
    }
}

async fn a_repeated_refusal_is_refused_alike(service: &Service) {
    let api = service.api();
    let (taken, key) = (api.any_user().await, unique("key"));
    let body = full_body("Refused", taken.text(UNIQUE));
    for _ in 0..2 {
        let refused = api.post(PATH, &body).idempotency_key(&key).write().await;
        assert_eq!(refused.kind(409), TAKEN);
    }
    // The outcome stays what it was, though the reason for it has gone.
    api.delete(&taken.path).write().await.expect(204);
    let refused = api.post(PATH, &body).idempotency_key(&key).write().await;
    assert!(is_replay(&refused.answer), "{}", refused.answer);
    assert_eq!(refused.kind(409), TAKEN);
}

async fn another_body_under_the_same_key_is_refused(service: &Service) {
    let api = service.api();
    let (key, body) = (unique("key"), anybody());
    let first = api.post(PATH, &body).idempotency_key(&key).write().await.expect(201);
    let other = anybody();
    api.post(PATH, &other).idempotency_key(&key).send().await.expect(422);
    let listed = api.get(&format!("{PATH}?{}", held(other[UNIQUE].as_str().unwrap()))).send().await.expect(200).json();
    assert_eq!(listed["items"], json!([]));
    let user = api.user(&first).await;

    let key = unique("key");
    let one = api.patch(&user.path, &json!({TEXT: "One"})).idempotency_key(&key).write().await.expect(200);
    api.patch(&user.path, &json!({TEXT: "Two"})).idempotency_key(&key).send().await.expect(422);
    assert_eq!(api.user(&one).await.version(), 2);
}

async fn another_precondition_under_the_same_key_is_refused(service: &Service) {
    let api = service.api();
    let (user, key) = (api.any_user().await, unique("key"));
    let patch = || api.patch(&user.path, &json!({TEXT: "One"})).idempotency_key(&key);
    patch().if_match("\"1\"").write().await.expect(200);
    patch().if_match("\"2\"").send().await.expect(422);
    patch().send().await.expect(422);
}

async fn the_same_key_for_another_path_or_method_is_another_command(service: &Service) {
    let api = service.api();
    let (one, two, key) = (api.any_user().await, api.any_user().await, unique("key"));
    for user in [&one, &two] {
        let patch = api.patch(&user.path, &json!({TEXT: "Patched"})).idempotency_key(&key);
        let written = patch.write().await.expect(200);
        assert!(!is_replay(&written.answer));
        assert_eq!(written.version, Some(2));
    }
    let deleted = api.delete(&one.path).idempotency_key(&key).write().await.expect(204);
    assert!(!is_replay(&deleted.answer));
}

async fn eight_creates_at_once_under_one_key_make_one_user(service: &Service) {
    let api = service.api();
    let (key, body) = (unique("key"), anybody());
    let post = |_| api.post(PATH, &body).idempotency_key(&key).write();
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
    let listed = api.get(&format!("{PATH}?{}", held(body[UNIQUE].as_str().unwrap()))).send().await.expect(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
}

async fn a_key_has_1_to_255_visible_characters(service: &Service) {
    let api = service.api();
    let longest = format!("{:~<255}", unique("!key"));
    api.post(PATH, &anybody()).idempotency_key(&longest).write().await.expect(201);
    let too_long = format!("{longest}x");
    for wrong in ["", &too_long, "a\tb", "k\u{fc}"] {
        api.post(PATH, &anybody()).idempotency_key(wrong).send().await.expect(400);
    }
}

async fn a_key_in_quotes_is_the_same_key(service: &Service) {
    let api = service.api();
    let (key, body) = (unique("key"), anybody());
    let post = |key: &str| api.post(PATH, &body).idempotency_key(key).write();
    let (first, second) = (post(&key).await.expect(201), post(&format!("\"{key}\"")).await.expect(201));
    assert_same(&first, &second);
    // Between quotes there may be spaces and commas.
    let key = format!("\"one, two \\\"{}\\\"\"", unique("key"));
    let body = anybody();
    let post = || api.post(PATH, &body).idempotency_key(&key).write();
    let (first, second) = (post().await.expect(201), post().await.expect(201));
    assert_same(&first, &second);
}

async fn two_keys_are_refused_and_nothing_is_done(service: &Service) {
    let api = service.api();
    let (key, body) = (unique("key"), anybody());
    let post = || api.post(PATH, &body);
    for call in [
        post().idempotency_key(&key).and_header("idempotency-key", &key),
        post().idempotency_key(&format!("\"{key}\"")).and_header("idempotency-key", "\"other\""),
        post().idempotency_key(&format!("{key}, {key}")),
    ] {
        let problem = call.send().await.problem(400);
        assert!(problem["detail"].as_str().unwrap().contains("given twice"), "{problem}");
    }
    let listed = api.get(&format!("{PATH}?{}", held(body[UNIQUE].as_str().unwrap()))).send().await.expect(200).json();
    assert_eq!(listed["items"], json!([]));
}
