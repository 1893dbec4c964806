//! `Prefer` on writes (RFC 7240).

use serde_json::json;

use crate::harness::{Service, unique};
use crate::sample::{PATH, TAKEN, TEXT, UNIQUE, full_body, value};

on_every_variant!(
    a_client_that_waits_gets_the_answer_of_the_synchronous_api,
    a_client_that_waits_gets_the_refusal_of_the_synchronous_api,
    a_client_may_ask_not_to_wait,
    preferences_that_mean_nothing_are_ignored,
    a_preference_between_quotes_is_none,
);

fn body() -> serde_json::Value {
    full_body("Preferring", &value(&unique("prefer")))
}

async fn a_client_that_waits_gets_the_answer_of_the_synchronous_api(service: &Service) {
    let api = service.api();
    let applied = |answer: &crate::harness::Answer| {
        // Where every answer is synchronous there is nothing to apply.
        let waited = answer.find("preference-applied").is_some_and(|applied| applied.contains("wait=10"));
        assert!(waited || !service.variant.is_queued(), "{answer}");
    };
    let created = api.post(PATH, &body()).prefer("wait=10").send().await.expect(201);
    applied(&created);
    let user = created.json();
    let path = format!("{PATH}/{}", user["id"].as_str().unwrap());
    assert_eq!((created.header("location"), created.header("etag")), (&*path, "\"1-v1\""));
    let read = api.get(&path).token(&created.token()).send().await.expect(200);
    assert_eq!(read.json(), user);

    let patched = api.patch(&path, &json!({TEXT: "Patched"})).prefer("foo, wait=10").send().await.expect(200);
    applied(&patched);
    assert_eq!((&patched.json()[TEXT], patched.header("etag")), (&json!("Patched"), "\"2-v1\""));

    let put = full_body("Put", user[UNIQUE].as_str().unwrap());
    let replaced = api.put(&path, &put).prefer("WAIT=10").send().await.expect(200);
    assert_eq!(replaced.json()["version"], 3);

    let deleted = api.delete(&path).prefer("wait=10").send().await.expect(204);
    applied(&deleted);
    assert!(deleted.body.is_empty());
    api.get(&path).token(&deleted.token()).send().await.expect(404);
}

async fn a_client_that_waits_gets_the_refusal_of_the_synchronous_api(service: &Service) {
    let api = service.api();
    let user = api.any_user().await;
    let again = full_body("Again", user.text(UNIQUE));
    let refused = api.post(PATH, &again).prefer("wait=10").send().await;
    assert_eq!(refused.kind(409), TAKEN);
    let stale = api.patch(&user.path, &json!({TEXT: "P"})).if_match("\"0\"").prefer("wait=10").send().await;
    stale.expect(412);
}

async fn a_client_may_ask_not_to_wait(service: &Service) {
    let created = service.api().post(PATH, &body()).prefer("respond-async").send().await;
    if service.variant.is_queued() {
        assert_eq!(created.status, 202, "{created}");
        assert_eq!(created.header("preference-applied"), "respond-async");
    } else {
        assert_eq!(created.status, 201, "{created}");
        assert_eq!(created.find("preference-applied"), None);
    }
}

async fn preferences_that_mean_nothing_are_ignored(service: &Service) {
    let api = service.api();
    for preference in ["wait=soon", "wait", "wait=-1", "wait=99999999999999999999", ";;=,", "return=minimal", ""] {
        let created = api.post(PATH, &body()).prefer(preference).send().await;
        assert!([201, 202].contains(&created.status), "{preference}: {created}");
    }
}

async fn a_preference_between_quotes_is_none(service: &Service) {
    let api = service.api();
    for quoted in ["note=\"a, wait=3, b\"", "note=\"\\\", respond-async\"", "note=\";wait=3\""] {
        let created = api.post(PATH, &body()).prefer(quoted).send().await;
        assert_eq!(created.status, if service.variant.is_queued() { 202 } else { 201 }, "{quoted}: {created}");
        assert_eq!(created.find("preference-applied"), None, "{quoted}");
    }
}
