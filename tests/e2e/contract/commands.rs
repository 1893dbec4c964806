//! GET of a command.

use serde_json::json;
use uuid::Uuid;

use crate::harness::client::{assert_is_problem, kind_of};
use crate::harness::{Service, unique};
use crate::sample::{ID, PATH, TAKEN, UNIQUE, full_body, value};

on_every_variant!(
    a_command_is_known_from_its_acknowledgement_on,
    an_applied_command_says_what_it_made,
    a_rejected_command_says_why,
    a_command_that_was_not_given_out_is_a_404,
);

fn body() -> serde_json::Value {
    full_body("Commanded", &value(&unique("command")))
}

async fn a_command_is_known_from_its_acknowledgement_on(service: &Service) {
    if !service.variant.is_queued() {
        return; // Answers name no command.
    }
    let api = service.api();
    for call in [api.post(PATH, &body()), api.post(PATH, &body()).idempotency_key(&unique("key"))] {
        let accepted = call.send().await.expect(202);
        let answer = api.get(accepted.header("location")).send().await.expect(200);
        assert_eq!(answer.header("cache-control"), "no-store");
        let document = answer.json();
        assert_eq!(document["command_id"], accepted.json()["command_id"]);
        assert!(["pending", "applied"].contains(&document["status"].as_str().unwrap()), "{document}");
        assert!(document["accepted_at"].is_string(), "{document}");
    }
}

async fn an_applied_command_says_what_it_made(service: &Service) {
    if !service.variant.is_queued() {
        return;
    }
    let api = service.api();
    let written = api.post(PATH, &body()).write().await.expect(201);
    let acknowledged = written.answer.json();
    let document = api.get(written.answer.header("location")).send().await.expect(200).json();
    let id = acknowledged[ID].as_str().unwrap();
    assert_eq!(document["command_id"], acknowledged["command_id"]);
    assert_eq!(document["status"], "applied");
    assert_eq!(document[ID], id);
    assert_eq!(document["version"], 1);
    assert_eq!(document["href"], format!("{PATH}/{id}"));
    assert!(document.get("problem").is_none(), "{document}");
    assert!(document["completed_at"].as_str() >= document["accepted_at"].as_str(), "{document}");
    let token = document["consistency_token"].as_str().unwrap();
    let user = api.get(document["href"].as_str().unwrap()).token(token).send().await.expect(200).json();
    assert_eq!(user["created_at"], document["accepted_at"]);
}

async fn a_rejected_command_says_why(service: &Service) {
    if !service.variant.is_queued() {
        return;
    }
    let api = service.api();
    let user = api.any_user().await;
    let again = full_body("Again", user.text(UNIQUE));
    let written = api.post(PATH, &again).write().await.expect(409);
    let document = api.get(written.answer.header("location")).send().await.expect(200).json();
    assert_eq!(document["status"], "rejected");
    assert!(document.get("version").is_none_or(serde_json::Value::is_u64), "{document}");
    assert_is_problem(&document["problem"]);
    assert_eq!((&*kind_of(&document["problem"]), &document["problem"]["status"]), (TAKEN, &json!(409)));
    assert!(document["completed_at"].is_string(), "{document}");
}

async fn a_command_that_was_not_given_out_is_a_404(service: &Service) {
    let api = service.api();
    let mut unknown = vec![Uuid::now_v7().to_string(), Uuid::nil().to_string(), "nope".to_owned(), "a".repeat(500)];
    if service.variant.is_queued() {
        let command = api.post(PATH, &body()).write().await.answer.json()["command_id"].as_str().unwrap().to_owned();
        let last = if command.ends_with('A') { "B" } else { "A" };
        unknown.extend([command[..36].to_owned(), format!("{}{last}{last}", &command[..command.len() - 2])]);
        unknown.push(command.to_uppercase());
    }
    for command in unknown {
        let problem = api.get(&format!("/commands/{command}")).send().await.problem(404);
        assert_eq!(kind_of(&problem), "not-found", "{problem}");
    }
}
