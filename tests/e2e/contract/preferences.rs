//! `Prefer` on writes (RFC 7240).

use super::{CHECKED, Checked};
use crate::harness::Service;
use crate::harness::client::shows;
use crate::sample::Sample;

on_every_variant!(
    a_client_that_waits_gets_the_answer_of_the_synchronous_api,
    a_client_that_waits_gets_the_refusal_of_the_synchronous_api,
    a_client_may_ask_not_to_wait,
    preferences_that_mean_nothing_are_ignored,
    a_preference_between_quotes_is_none,
);

async fn a_client_that_waits_gets_the_answer_of_the_synchronous_api(service: &Service, sample: &Sample) {
    let api = service.api();
    let applied = |answer: &crate::harness::Answer| {
        // If every answer is synchronous, the preference has no effect.
        let waited = answer.find("preference-applied").is_some_and(|applied| applied.contains("wait=10"));
        assert!(waited || !service.variant.is_queued(), "{answer}");
    };
    let created = api.post(&sample.path, &sample.body("Preferring")).prefer("wait=10").send().await.expect(201);
    applied(&created);
    let item = created.json();
    let path = sample.resource.item(item["id"].as_str().unwrap());
    assert_eq!((created.header("location"), created.header("etag")), (&*path, "\"1-v1\""));
    let read = api.get(&path).token(&created.token()).send().await.expect(200);
    assert_eq!(read.json(), item);

    let patch = sample.patch("Patched");
    let patched = api.patch(&path, &patch).prefer("foo, wait=10").send().await.expect(200);
    applied(&patched);
    shows(&patched.json(), &patch);
    assert_eq!(patched.header("etag"), "\"2-v1\"");

    let put = sample.keeping(&item, "Put");
    let replaced = api.put(&path, &put).prefer("WAIT=10").send().await.expect(200);
    assert_eq!(replaced.json()["version"], 3);

    let deleted = api.delete(&path).prefer("wait=10").send().await.expect(204);
    applied(&deleted);
    assert!(deleted.body.is_empty());
    api.get(&path).token(&deleted.token()).send().await.expect(404);
}

async fn a_client_that_waits_gets_the_refusal_of_the_synchronous_api(service: &Service, sample: &Sample) -> Checked {
    let (_, taken) = sample.unique?;
    let api = service.api();
    let item = api.any(sample).await;
    let again = sample.keeping(&item.body, "Again");
    let refused = api.post(&sample.path, &again).prefer("wait=10").send().await;
    assert_eq!(refused.kind(409), taken);
    let stale = api.patch(&item.path, &sample.patch("P")).if_match("\"0\"").prefer("wait=10").send().await;
    stale.expect(412);
    CHECKED
}

async fn a_client_may_ask_not_to_wait(service: &Service, sample: &Sample) {
    let created = service.api().post(&sample.path, &sample.body("Preferring")).prefer("respond-async").send().await;
    if service.variant.is_queued() {
        assert_eq!(created.status, 202, "{created}");
        assert_eq!(created.header("preference-applied"), "respond-async");
    } else {
        assert_eq!(created.status, 201, "{created}");
        assert_eq!(created.find("preference-applied"), None);
    }
}

async fn preferences_that_mean_nothing_are_ignored(service: &Service, sample: &Sample) {
    let api = service.api();
    for preference in ["wait=soon", "wait", "wait=-1", "wait=99999999999999999999", ";;=,", "return=minimal", ""] {
        let created = api.post(&sample.path, &sample.body("Preferring")).prefer(preference).send().await;
        assert!([201, 202].contains(&created.status), "{preference}: {created}");
    }
}

async fn a_preference_between_quotes_is_none(service: &Service, sample: &Sample) {
    let api = service.api();
    for quoted in ["note=\"a, wait=3, b\"", "note=\"\\\", respond-async\"", "note=\";wait=3\""] {
        let created = api.post(&sample.path, &sample.body("Preferring")).prefer(quoted).send().await;
        assert_eq!(created.status, if service.variant.is_queued() { 202 } else { 201 }, "{quoted}: {created}");
        assert_eq!(created.find("preference-applied"), None, "{quoted}");
    }
}
