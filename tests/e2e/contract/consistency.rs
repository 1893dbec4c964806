//! Consistency tokens: clients read their own writes, and versions never decrease.

use std::time::{Duration, Instant};

use crate::harness::Service;
use crate::harness::client::shows;
use crate::sample::Sample;

on_every_variant!(
    a_read_with_the_token_of_a_write_sees_it_at_once,
    a_read_with_the_token_of_a_delete_sees_it_at_once,
    a_session_never_goes_back,
    a_write_with_a_token_comes_after_what_the_token_stands_for,
    a_token_that_was_not_given_out_is_refused,
    a_token_for_another_item_is_refused,
    a_create_takes_any_token_of_the_session,
    a_list_ignores_tokens,
    what_has_not_arrived_is_a_503_unless_the_client_is_lenient,
);

async fn a_read_with_the_token_of_a_write_sees_it_at_once(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    for n in 0..5 {
        // Reads without a token fill every cache with the old version.
        api.get(&item.path).send().await.expect(200);
        let patch = sample.patch(&format!("name {n}"));
        let token = api.patch(&item.path, &patch).send().await.token();
        let read = api.get(&item.path).token(&token).send().await.expect(200);
        shows(&read.json(), &patch);
    }
}

async fn a_read_with_the_token_of_a_delete_sees_it_at_once(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    api.get(&item.path).send().await.expect(200);
    let token = api.delete(&item.path).send().await.token();
    let gone = api.get(&item.path).token(&token).send().await;
    assert_eq!(gone.kind(404), "not-found");
}

async fn a_session_never_goes_back(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    let (mut token, mut seen) = (item.token.clone(), item.version());
    for n in 0..4 {
        token = api.patch(&item.path, &sample.patch(&format!("n {n}"))).token(&token).send().await.token();
        for _ in 0..3 {
            let read = api.get(&item.path).token(&token).send().await.expect(200);
            let version = read.json()["version"].as_u64().unwrap();
            assert!(version >= seen, "{version} after {seen}");
            (token, seen) = (read.token(), version);
        }
    }
    assert_eq!(seen, 5);
}

async fn a_write_with_a_token_comes_after_what_the_token_stands_for(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    let mut token = item.token.clone();
    let patches = ["one", "two", "three", "four"].map(|word| sample.patch(word));
    for patch in &patches {
        token = api.patch(&item.path, patch).token(&token).send().await.token();
    }
    let read = api.get(&item.path).token(&token).send().await.expect(200).json();
    shows(&read, &patches[3]);
}

async fn a_token_that_was_not_given_out_is_refused(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    let swapped = |at: usize| {
        let mut bytes = item.token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    let half = item.token.len() / 2;
    let long = "A".repeat(4_000);
    let forgeries = ["x".to_owned(), swapped(0), swapped(half), item.token[..half].to_owned(), long, String::new()];
    for forged in forgeries {
        api.get(&item.path).token(&forged).send().await.expect(400);
        api.patch(&item.path, &sample.patch("F")).token(&forged).send().await.expect(400);
    }
    assert_eq!(api.reread(&item).await.body, item.body);
}

async fn a_token_for_another_item_is_refused(service: &Service, sample: &Sample) {
    let api = service.api();
    let (one, two) = (api.any(sample).await, api.any(sample).await);
    api.get(&one.path).token(&two.token).send().await.expect(400);
    api.patch(&one.path, &sample.patch("O")).token(&two.token).send().await.expect(400);
    api.delete(&one.path).token(&two.token).send().await.expect(400);
    assert_eq!(api.reread(&one).await.body, one.body);
}

async fn a_create_takes_any_token_of_the_session(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    let body = sample.body("Next");
    let next = api.item(&api.post(&sample.path, &body).token(&item.token).write().await.expect(201)).await;
    assert!(next.text("created_at") > item.text("created_at"));
}

async fn a_list_ignores_tokens(service: &Service, sample: &Sample) {
    let api = service.api();
    api.get(&sample.list("limit=1")).token("never given out").send().await.expect(200);
}

async fn what_has_not_arrived_is_a_503_unless_the_client_is_lenient(service: &Service, sample: &Sample) {
    if !service.variant.is_queued() {
        return; // Without a queue no version is pending.
    }
    let api = service.api();
    let item = api.any(sample).await;
    // A write with `If-Match` for a future version waits for that version.
    let waiting = api.patch(&item.path, &sample.patch("Later")).if_match("\"999\"").send().await.expect(202);
    let token = waiting.token();
    let command = waiting.header("location");
    assert_eq!(api.get(command).send().await.expect(200).json()["status"], "pending");

    let refused = api.get(&item.path).token(&token).send().await;
    assert!(refused.header("retry-after").parse::<u32>().is_ok(), "{refused}");
    assert_eq!(refused.kind(503), "not-yet-consistent");

    let since = Instant::now();
    let lenient = api.get(&item.path).token(&token).prefer("handling=lenient").send().await.expect(200);
    assert!(since.elapsed() < Duration::from_secs(4), "a lenient client waited for {:?}", since.elapsed());
    assert_eq!(lenient.json(), item.body);
    assert_eq!(lenient.header("preference-applied"), "handling=lenient");
}
