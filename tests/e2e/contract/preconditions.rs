//! `If-Match` and `If-None-Match` of writes.

use crate::harness::{Service, unique};
use crate::sample::Sample;
use futures::future::join_all;

on_every_variant!(
    a_write_on_top_of_the_current_version_is_carried_out,
    a_write_on_top_of_an_older_version_is_refused_and_changes_nothing,
    a_tag_with_its_projection_and_the_version_alone_are_one_precondition,
    a_star_asks_only_that_the_item_exists,
    a_precondition_that_is_no_strong_tag_never_lets_a_write_through,
    of_eight_writes_on_top_of_one_version_one_is_carried_out,
    a_write_that_excludes_the_current_version_is_refused_and_changes_nothing,
    a_write_that_excludes_other_versions_is_carried_out,
    a_list_of_excluded_tags_that_is_malformed_never_lets_a_write_through,
    a_create_is_not_stopped_by_if_none_match,
);

async fn a_write_on_top_of_the_current_version_is_carried_out(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    let patch = api.patch(&item.path, &sample.patch("Two")).if_match("\"1\"");
    assert_eq!(patch.write().await.expect(200).version, Some(2));
    let body = sample.keeping(&item.body, "Three");
    let put = api.put(&item.path, &body).if_match("\"2\"");
    assert_eq!(put.write().await.expect(200).version, Some(3));
    api.delete(&item.path).if_match("\"3\"").write().await.expect(204);
}

async fn a_write_on_top_of_an_older_version_is_refused_and_changes_nothing(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    let item = api.item(&api.patch(&item.path, &sample.patch("Two")).write().await.expect(200)).await;
    let body = sample.body("Three");
    let calls = [api.patch(&item.path, &sample.patch("Three")), api.put(&item.path, &body), api.delete(&item.path)];
    for call in calls {
        assert_eq!(call.if_match("\"1\"").write().await.kind(412), "version-conflict");
    }
    assert_eq!(api.reread(&item).await.body, item.body);
}

async fn a_tag_with_its_projection_and_the_version_alone_are_one_precondition(service: &Service, sample: &Sample) {
    let api = service.api();
    let (item, key) = (api.any(sample).await, unique("key"));
    let tag = api.get(&item.path).token(&item.token).send().await.header("etag").to_owned();
    assert_eq!(tag, "\"1-v1\"");
    let two = sample.patch("Two");
    let patch = |tag: &str| api.patch(&item.path, &two).idempotency_key(&key).if_match(tag);
    assert_eq!(patch(&tag).write().await.expect(200).version, Some(2));
    // A client may hold a tag of another projection, from before or after a cutover.
    for same in ["\"1\"", "\"1-v2\""] {
        let again = patch(same).write().await.expect(200);
        assert_eq!((again.version, again.answer.header("idempotency-replayed")), (Some(2), "true"));
    }
    patch("\"2-v1\"").send().await.expect(422);
    let stale = api.patch(&item.path, &sample.patch("Three")).if_match(&tag).write().await;
    assert_eq!(stale.kind(412), "version-conflict");
}

async fn a_star_asks_only_that_the_item_exists(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    api.patch(&item.path, &sample.patch("Two")).if_match("*").write().await.expect(200);
    api.delete(&item.path).if_match("*").write().await.expect(204);
    let refused = api.patch(&item.path, &sample.patch("Three")).if_match("*").write().await;
    assert_eq!(refused.kind(404), "not-found");
}

async fn a_precondition_that_is_no_strong_tag_never_lets_a_write_through(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    for tag in
        ["W/\"1\"", "\"1\", \"2\"", "1", "\"one\"", "\"\"", "\"01\"", "\"+1\"", "\"-1\"", "\"1-v0\"", "\"1-1\"", ""]
    {
        let refused = api.patch(&item.path, &sample.patch("Two")).if_match(tag).write().await;
        assert!([400, 412].contains(&refused.status), "{tag}: {}", refused.answer);
    }
    assert_eq!(api.reread(&item).await.body, item.body);
}

async fn of_eight_writes_on_top_of_one_version_one_is_carried_out(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    let patches: Vec<_> = (0..8).map(|n| sample.patch(&format!("writer {n}"))).collect();
    let written = join_all(patches.iter().map(|patch| api.patch(&item.path, patch).if_match("\"1\"").write())).await;
    let winners: Vec<usize> = (0..8).filter(|n| written[*n].status == 200).collect();
    assert_eq!(winners.len(), 1, "{written:?}");
    let after = api.item(&written[winners[0]]).await;
    for refused in written.into_iter().filter(|written| written.status != 200) {
        assert_eq!(refused.kind(412), "version-conflict");
    }
    assert_eq!(after.version(), 2);
    after.shows(&patches[winners[0]]);
}

async fn a_write_that_excludes_the_current_version_is_refused_and_changes_nothing(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    let body = sample.body("Two");
    for tags in ["*", "\"1\"", "W/\"1\"", "\"7\", \"a,b\" ,\"1\""] {
        for call in [api.put(&item.path, &body), api.patch(&item.path, &body), api.delete(&item.path)] {
            assert_eq!(call.if_none_match(tags).write().await.kind(412), "precondition-failed", "{tags}");
        }
    }
    assert_eq!(api.reread(&item).await.body, item.body);
    // `If-Match` has precedence (RFC 9110, section 13.2.2).
    let stale = api.delete(&item.path).if_match("\"1\"").if_none_match("*").write().await;
    assert_eq!(stale.kind(412), "precondition-failed");
    api.patch(&item.path, &sample.patch("Two")).write().await.expect(200);
    let stale = api.delete(&item.path).if_match("\"1\"").if_none_match("*").write().await;
    assert_eq!(stale.kind(412), "version-conflict");
    api.delete(&item.path).write().await.expect(204);
    assert_eq!(api.delete(&item.path).if_none_match("*").write().await.kind(404), "not-found");
}

async fn a_write_that_excludes_other_versions_is_carried_out(service: &Service, sample: &Sample) {
    let api = service.api();
    let (item, key) = (api.any(sample).await, unique("key"));
    let two = sample.patch("Two");
    let patch = || api.patch(&item.path, &two).idempotency_key(&key);
    assert_eq!(patch().if_none_match("\"2\", \"9\"").write().await.expect(200).version, Some(2));
    // The same versions in another order make the same request. Other versions do not.
    let again = patch().if_none_match("W/\"9\", \"2\"").write().await.expect(200);
    assert_eq!((again.version, again.answer.header("idempotency-replayed")), (Some(2), "true"));
    for other in ["\"3\"", "*", "\"2\""] {
        patch().if_none_match(other).send().await.expect(422);
    }
    patch().send().await.expect(422);
    let patch = api.patch(&item.path, &sample.patch("Three")).if_match("\"2\"").if_none_match("\"1\", \"tag\"");
    assert_eq!(patch.write().await.expect(200).version, Some(3));
    api.delete(&item.path).if_none_match("\"2\"").write().await.expect(204);
}

async fn a_list_of_excluded_tags_that_is_malformed_never_lets_a_write_through(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    for tags in ["1", "\"1", "*, \"1\"", "\"a\"b\"", "k\u{fc}"] {
        api.patch(&item.path, &sample.patch("Two")).if_none_match(tags).send().await.expect(400);
    }
    assert_eq!(api.reread(&item).await.body, item.body);
}

async fn a_create_is_not_stopped_by_if_none_match(service: &Service, sample: &Sample) {
    let api = service.api();
    for tags in ["*", "\"1\""] {
        api.post(&sample.path, &sample.body("Create")).if_none_match(tags).write().await.expect(201);
    }
}
