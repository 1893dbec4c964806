//! The separation of resources: the tokens, ids and cursors of one are not valid for another.

use serde_json::json;

use super::Checked;
use crate::harness::{Item, Service, unique};
use crate::sample::Sample;

on_every_variant!(
    an_id_is_of_no_use_to_another_resource,
    a_token_is_of_no_use_to_another_resource_but_for_a_create,
    a_cursor_is_of_no_use_to_another_resource,
    one_key_for_two_resources_is_two_commands,
    values_of_two_resources_do_not_meet,
);

async fn an_id_is_of_no_use_to_another_resource(service: &Service, sample: &Sample) -> Checked {
    let api = service.api();
    let item = api.any(sample).await;
    let others: Vec<_> = sample.others().collect();
    for other in &others {
        let path = other.resource.item(&item.id);
        assert_eq!(api.get(&path).send().await.kind(404), "not-found");
        if service.variant.is_queued() {
            continue; // A create with this id may be pending, so a write waits for it.
        }
        let body = other.body("Other");
        let actions =
            other.resource.actions.iter().map(|action| api.act(&Item { path: path.clone(), ..item.clone() }, action));
        let calls = [api.put(&path, &body), api.patch(&path, &other.patch("Other")), api.delete(&path)];
        for call in calls.into_iter().chain(actions) {
            assert_eq!(call.send().await.kind(404), "not-found");
        }
    }
    assert_eq!(api.reread(&item).await.body, item.body);
    others.first().map(drop)
}

async fn a_token_is_of_no_use_to_another_resource_but_for_a_create(service: &Service, sample: &Sample) -> Checked {
    let api = service.api();
    let item = api.any(sample).await;
    let others: Vec<_> = sample.others().collect();
    for other in &others {
        let target = api.any(other).await;
        let actions = other.resource.actions.iter().map(|action| api.act(&target, action));
        let calls = [
            api.get(&target.path),
            api.put(&target.path, &other.keeping(&target.body, "Other")),
            api.patch(&target.path, &other.patch("Other")),
            api.delete(&target.path),
            // The token is not valid for another resource's item with the same id.
            api.get(&other.resource.item(&item.id)),
        ];
        for call in calls.into_iter().chain(actions) {
            assert_eq!(call.token(&item.token).send().await.kind(400), "bad-token");
        }
        assert_eq!(api.reread(&target).await.body, target.body);
        // A session may create items of any resource. Each item is younger than the one before.
        let next = api.post(&other.path, &other.body("Next")).token(&item.token).write().await.expect(201);
        assert!(api.item(&next).await.text("created_at") > item.text("created_at"));
    }
    others.first().map(drop)
}

async fn a_cursor_is_of_no_use_to_another_resource(service: &Service, sample: &Sample) -> Checked {
    let api = service.api();
    for _ in 0..2 {
        api.any(sample).await;
    }
    let page = api.get(&sample.list("limit=1")).send().await.expect(200).json();
    let cursor = page["next_cursor"].as_str().unwrap_or_else(|| panic!("{page}"));
    let others: Vec<_> = sample.others().collect();
    for other in &others {
        let of_other = other.finding(&api.any(other).await.body);
        for query in of_other.iter().map(|query| format!("{query}&")).chain([String::new()]) {
            let answer = api.get(&other.list(&format!("{query}cursor={cursor}"))).send().await;
            assert_eq!(answer.kind(400), "bad-cursor");
        }
    }
    others.first().map(drop)
}

async fn one_key_for_two_resources_is_two_commands(service: &Service, sample: &Sample) -> Checked {
    let (api, key) = (service.api(), unique("key"));
    let first = api.post(&sample.path, &sample.body("Key")).idempotency_key(&key).write().await.expect(201);
    let others: Vec<_> = sample.others().collect();
    for other in &others {
        let body = other.body("Key");
        let written = api.post(&other.path, &body).idempotency_key(&key).write().await.expect(201);
        assert_eq!(written.answer.find("idempotency-replayed"), None);
        assert_ne!(written.id, first.id);
        api.item(&written).await.shows(&body);
    }
    others.first().map(drop)
}

/// Two resources may have items with the same values. Neither finds a conflict, and no list shows both.
async fn values_of_two_resources_do_not_meet(service: &Service, sample: &Sample) -> Checked {
    let api = service.api();
    let word = unique("shared");
    let body_of = |sample: &Sample| {
        let mut body = sample.body(&word);
        if let Some((field, _)) = sample.unique {
            let email = json!(format!("{word}@example.com"));
            body[field.name] = if sample.takes(field, &email) { email } else { sample.value(field, &word) };
        }
        body
    };
    let item = api.create(sample, &body_of(sample)).await;
    let others: Vec<_> = sample.others().collect();
    for other in &others {
        // The checks of two resources run in parallel, each with its own words.
        let another = api.create(other, &body_of(other)).await;
        for (sample, item) in [(sample, &item), (*other, &another)] {
            if let Some(held) = sample.held(&item.body) {
                let listed = api.get(&sample.list(&held)).send().await.expect(200).json();
                assert_eq!(listed["items"], json!([item.body]));
            }
            let own = sample.sorted.map(|field| crate::sample::beginning(field, &word));
            if let Some(own) = own.filter(|_| sample.sorted.map(|field| field.name) == Some(sample.changed.name)) {
                let listed = api.get(&sample.list(&own)).send().await.expect(200).json();
                assert_eq!(listed["items"], json!([item.body]));
            }
        }
    }
    others.first().map(drop)
}
