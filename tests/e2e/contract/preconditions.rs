//! `If-Match` and `If-None-Match` of writes.

use futures::future::join_all;
use serde_json::json;

use crate::harness::{Service, unique};
use crate::sample::{PATH, TEXT, UNIQUE, full_body, value};

on_every_variant!(
    a_write_on_top_of_the_current_version_is_carried_out,
    a_write_on_top_of_an_older_version_is_refused_and_changes_nothing,
    a_tag_with_its_projection_and_the_version_alone_are_one_precondition,
    a_star_asks_only_that_the_user_exists,
    a_precondition_that_is_no_strong_tag_never_lets_a_write_through,
    of_eight_writes_on_top_of_one_version_one_is_carried_out,
    a_write_that_excludes_the_current_version_is_refused_and_changes_nothing,
    a_write_that_excludes_other_versions_is_carried_out,
    a_list_of_excluded_tags_that_is_malformed_never_lets_a_write_through,
    a_create_is_not_stopped_by_if_none_match,
);

async fn a_write_on_top_of_the_current_version_is_carried_out(service: &Service) {
    let api = service.api();
    let user = api.any_user().await;
    let patch = api.patch(&user.path, &json!({TEXT: "Two"})).if_match("\"1\"");
    assert_eq!(patch.write().await.expect(200).version, Some(2));
    let body = full_body("Three", user.text(UNIQUE));
    let put = api.put(&user.path, &body).if_match("\"2\"");
    assert_eq!(put.write().await.expect(200).version, Some(3));
    api.delete(&user.path).if_match("\"3\"").write().await.expect(204);
}

async fn a_write_on_top_of_an_older_version_is_refused_and_changes_nothing(service: &Service) {
    let api = service.api();
    let user = api.any_user().await;
    let user = api.user(&api.patch(&user.path, &json!({TEXT: "Two"})).write().await.expect(200)).await;
    let body = full_body("Three", &value(&unique("three")));
    let calls = [api.patch(&user.path, &json!({TEXT: "Three"})), api.put(&user.path, &body), api.delete(&user.path)];
    for call in calls {
        assert_eq!(call.if_match("\"1\"").write().await.kind(412), "version-conflict");
    }
    assert_eq!(api.reread(&user).await.body, user.body);
}

async fn a_tag_with_its_projection_and_the_version_alone_are_one_precondition(service: &Service) {
    let api = service.api();
    let (user, key) = (api.any_user().await, unique("key"));
    let tag = api.get(&user.path).token(&user.token).send().await.header("etag").to_owned();
    assert_eq!(tag, "\"1-v1\"");
    let patch = |tag: &str| api.patch(&user.path, &json!({TEXT: "Two"})).idempotency_key(&key).if_match(tag);
    assert_eq!(patch(&tag).write().await.expect(200).version, Some(2));
    // A client keeps a tag while another projection is put in the place of this one.
    for same in ["\"1\"", "\"1-v2\""] {
        let again = patch(same).write().await.expect(200);
        assert_eq!((again.version, again.answer.header("idempotency-replayed")), (Some(2), "true"));
    }
    patch("\"2-v1\"").send().await.expect(422);
    let stale = api.patch(&user.path, &json!({TEXT: "Three"})).if_match(&tag).write().await;
    assert_eq!(stale.kind(412), "version-conflict");
}

async fn a_star_asks_only_that_the_user_exists(service: &Service) {
    let api = service.api();
    let user = api.any_user().await;
    api.patch(&user.path, &json!({TEXT: "Two"})).if_match("*").write().await.expect(200);
    api.delete(&user.path).if_match("*").write().await.expect(204);
    let refused = api.patch(&user.path, &json!({TEXT: "Three"})).if_match("*").write().await;
    assert_eq!(refused.kind(404), "not-found");
}

async fn a_precondition_that_is_no_strong_tag_never_lets_a_write_through(service: &Service) {
    let api = service.api();
    let user = api.any_user().await;
    for tag in
        ["W/\"1\"", "\"1\", \"2\"", "1", "\"one\"", "\"\"", "\"01\"", "\"+1\"", "\"-1\"", "\"1-v0\"", "\"1-1\"", ""]
    {
        let refused = api.patch(&user.path, &json!({TEXT: "Two"})).if_match(tag).write().await;
        assert!([400, 412].contains(&refused.status), "{tag}: {}", refused.answer);
    }
    assert_eq!(api.reread(&user).await.body, user.body);
}

async fn of_eight_writes_on_top_of_one_version_one_is_carried_out(service: &Service) {
    let api = service.api();
    let user = api.any_user().await;
    let rename = |n: usize| api.patch(&user.path, &json!({TEXT: format!("writer {n}")})).if_match("\"1\"").write();
    let written = join_all((0..8).map(rename)).await;
    let winners: Vec<usize> = (0..8).filter(|n| written[*n].status == 200).collect();
    assert_eq!(winners.len(), 1, "{written:?}");
    let after = api.user(&written[winners[0]]).await;
    for refused in written.into_iter().filter(|written| written.status != 200) {
        assert_eq!(refused.kind(412), "version-conflict");
    }
    assert_eq!(after.version(), 2);
    assert_eq!(after.text(TEXT), format!("writer {}", winners[0]));
}

async fn a_write_that_excludes_the_current_version_is_refused_and_changes_nothing(service: &Service) {
    let api = service.api();
    let user = api.any_user().await;
    let body = full_body("Two", &value(&unique("two")));
    for tags in ["*", "\"1\"", "W/\"1\"", "\"7\", \"a,b\" ,\"1\""] {
        for call in [api.put(&user.path, &body), api.patch(&user.path, &body), api.delete(&user.path)] {
            assert_eq!(call.if_none_match(tags).write().await.kind(412), "precondition-failed", "{tags}");
        }
    }
    assert_eq!(api.reread(&user).await.body, user.body);
    // `If-Match` is looked at first (RFC 9110, section 13.2.2).
    let stale = api.delete(&user.path).if_match("\"1\"").if_none_match("*").write().await;
    assert_eq!(stale.kind(412), "precondition-failed");
    api.patch(&user.path, &json!({TEXT: "Two"})).write().await.expect(200);
    let stale = api.delete(&user.path).if_match("\"1\"").if_none_match("*").write().await;
    assert_eq!(stale.kind(412), "version-conflict");
    api.delete(&user.path).write().await.expect(204);
    assert_eq!(api.delete(&user.path).if_none_match("*").write().await.kind(404), "not-found");
}

async fn a_write_that_excludes_other_versions_is_carried_out(service: &Service) {
    let api = service.api();
    let (user, key) = (api.any_user().await, unique("key"));
    let patch = || api.patch(&user.path, &json!({TEXT: "Two"})).idempotency_key(&key);
    assert_eq!(patch().if_none_match("\"2\", \"9\"").write().await.expect(200).version, Some(2));
    // The same versions in another order are the same request; others are not.
    let again = patch().if_none_match("W/\"9\", \"2\"").write().await.expect(200);
    assert_eq!((again.version, again.answer.header("idempotency-replayed")), (Some(2), "true"));
    for other in ["\"3\"", "*", "\"2\""] {
        patch().if_none_match(other).send().await.expect(422);
    }
    patch().send().await.expect(422);
    let patch = api.patch(&user.path, &json!({TEXT: "Three"})).if_match("\"2\"").if_none_match("\"1\", \"tag\"");
    assert_eq!(patch.write().await.expect(200).version, Some(3));
    api.delete(&user.path).if_none_match("\"2\"").write().await.expect(204);
}

async fn a_list_of_excluded_tags_that_is_malformed_never_lets_a_write_through(service: &Service) {
    let api = service.api();
    let user = api.any_user().await;
    for tags in ["1", "\"1", "*, \"1\"", "\"a\"b\"", "k\u{fc}"] {
        api.patch(&user.path, &json!({TEXT: "Two"})).if_none_match(tags).send().await.expect(400);
    }
    assert_eq!(api.reread(&user).await.body, user.body);
}

async fn a_create_is_not_stopped_by_if_none_match(service: &Service) {
    let api = service.api();
    for tags in ["*", "\"1\""] {
        let word = unique("create");
        api.post(PATH, &full_body(&word, &value(&word))).if_none_match(tags).write().await.expect(201);
    }
}
