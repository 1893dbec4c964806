//! `If-Match`.

use futures::future::join_all;
use serde_json::json;

use crate::harness::{Service, unique};
use crate::sample::{TEXT, UNIQUE, full_body, value};

on_every_variant!(
    a_write_on_top_of_the_current_version_is_carried_out,
    a_write_on_top_of_an_older_version_is_refused_and_changes_nothing,
    a_star_asks_only_that_the_user_exists,
    a_precondition_that_is_no_strong_tag_never_lets_a_write_through,
    of_eight_writes_on_top_of_one_version_one_is_carried_out,
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
    for tag in ["W/\"1\"", "\"1\", \"2\"", "1", "\"one\"", "\"\"", "\"01\"", "\"+1\"", "\"-1\"", ""] {
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
