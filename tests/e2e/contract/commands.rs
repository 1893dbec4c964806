//! GET of a command.

use serde_json::json;
use uuid::Uuid;

use super::{CHECKED, Checked};
use crate::harness::client::{assert_is_problem, kind_of};
use crate::harness::{Service, unique};
use crate::sample::Sample;

on_every_variant!(
    a_command_is_known_from_its_acknowledgement_on,
    an_applied_command_says_what_it_made,
    a_rejected_command_says_why,
    a_command_that_was_not_given_out_is_a_404,
);

async fn a_command_is_known_from_its_acknowledgement_on(service: &Service, sample: &Sample) {
    if !service.variant.is_queued() {
        return; // Answers do not name commands.
    }
    let api = service.api();
    for call in [
        api.post(&sample.path, &sample.body("Commanded")),
        api.post(&sample.path, &sample.body("Commanded")).idempotency_key(&unique("key")),
    ] {
        let accepted = call.send().await.expect(202);
        let answer = api.get(accepted.header("location")).send().await.expect(200);
        assert_eq!(answer.header("cache-control"), "no-store");
        let document = answer.json();
        assert_eq!(document["command_id"], accepted.json()["command_id"]);
        assert!(["pending", "applied"].contains(&document["status"].as_str().unwrap()), "{document}");
        assert!(document["accepted_at"].is_string(), "{document}");
    }
}

async fn an_applied_command_says_what_it_made(service: &Service, sample: &Sample) {
    if !service.variant.is_queued() {
        return;
    }
    let api = service.api();
    let written = api.post(&sample.path, &sample.body("Commanded")).write().await.expect(201);
    let acknowledged = written.answer.json();
    let document = api.get(written.answer.header("location")).send().await.expect(200).json();
    let id = acknowledged[&sample.id].as_str().unwrap();
    assert_eq!(document["command_id"], acknowledged["command_id"]);
    assert_eq!(document["status"], "applied");
    assert_eq!(document[&sample.id], id);
    assert_eq!(document["version"], 1);
    assert_eq!(document["href"], sample.resource.item(id));
    assert!(document.get("problem").is_none(), "{document}");
    assert!(document["completed_at"].as_str() >= document["accepted_at"].as_str(), "{document}");
    let token = document["consistency_token"].as_str().unwrap();
    let item = api.get(document["href"].as_str().unwrap()).token(token).send().await.expect(200).json();
    assert_eq!(item["created_at"], document["accepted_at"]);
}

async fn a_rejected_command_says_why(service: &Service, sample: &Sample) -> Checked {
    let (_, taken) = sample.unique?;
    if !service.variant.is_queued() {
        return CHECKED;
    }
    let api = service.api();
    let item = api.any(sample).await;
    let again = sample.keeping(&item.body, "Again");
    let written = api.post(&sample.path, &again).write().await.expect(409);
    let document = api.get(written.answer.header("location")).send().await.expect(200).json();
    assert_eq!(document["status"], "rejected");
    assert!(document.get("version").is_none_or(serde_json::Value::is_u64), "{document}");
    assert_is_problem(&document["problem"]);
    assert_eq!((&*kind_of(&document["problem"]), &document["problem"]["status"]), (taken, &json!(409)));
    assert!(document["completed_at"].is_string(), "{document}");
    CHECKED
}

async fn a_command_that_was_not_given_out_is_a_404(service: &Service, sample: &Sample) {
    let api = service.api();
    let mut unknown = vec![Uuid::now_v7().to_string(), Uuid::nil().to_string(), "nope".to_owned(), "a".repeat(500)];
    if service.variant.is_queued() {
        let command = api.post(&sample.path, &sample.body("Commanded")).write().await.answer.json()["command_id"]
            .as_str()
            .unwrap()
            .to_owned();
        let last = if command.ends_with('A') { "B" } else { "A" };
        unknown.extend([command[..36].to_owned(), format!("{}{last}{last}", &command[..command.len() - 2])]);
        unknown.push(command.to_uppercase());
    }
    for command in unknown {
        let problem = api.get(&format!("/commands/{command}")).send().await.problem(404);
        assert_eq!(kind_of(&problem), "not-found", "{problem}");
    }
}
