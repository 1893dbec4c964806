//! Actions: `POST` to a path below an item, which changes the item's state.

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::{CHECKED, Checked};
use crate::harness::client::kind_of;
use crate::harness::{Answer, Api, Item, Service, unique};
use crate::sample::{Machine, Sample};

on_every_variant!(
    an_action_changes_the_state_and_nothing_else,
    an_action_that_the_state_does_not_allow_is_refused_and_the_state_is_named,
    an_action_takes_no_body_or_an_object_without_fields,
    an_action_heeds_preconditions,
    a_repeated_action_is_done_once,
    an_action_is_a_command_with_a_status,
    a_client_that_waits_gets_the_result_of_an_action,
    no_body_sets_the_state,
    an_unknown_action_is_a_404,
    actions_of_a_session_end_as_if_sent_one_after_the_other,
);

/// Applies actions one after another. Returns the item.
async fn done(api: &Api, item: &Item, actions: &[&str]) -> Item {
    let mut item = item.clone();
    for action in actions {
        let written = api.act(&item, action).token(&item.token).write().await.expect(200);
        item = api.item(&written).await;
    }
    item
}

/// Checks the answer to an accepted action. It is never a 201, because an action creates no item.
fn assert_is_result(service: &Service, sample: &Sample, answer: &Answer, item: &Item) {
    assert!(!answer.token().is_empty());
    if service.variant.is_queued() {
        assert_eq!(answer.status, 202, "{answer}");
        assert!(answer.header("location").starts_with("/commands/"), "{answer}");
        assert_eq!((&answer.json()[&sample.id], &answer.json()["status"]), (&json!(item.id), &json!("pending")));
    } else {
        assert_eq!(answer.status, 200, "{answer}");
        assert_eq!(answer.find("location"), None);
        assert_eq!(answer.header("etag"), format!("\"{}-v1\"", item.version()));
        assert_eq!(answer.json(), item.body);
    }
}

async fn an_action_changes_the_state_and_nothing_else(service: &Service, sample: &Sample) -> Checked {
    let Machine { state, walk, .. } = sample.machine.as_ref()?;
    let api = service.api();
    let body = sample.body("Acted on");
    let mut item = api.create(sample, &body).await;
    for (number, action) in walk.iter().enumerate() {
        let written = api.act(&item, action).token(&item.token).write().await.expect(200);
        let after = api.item(&written).await;
        assert_is_result(service, sample, &written.answer, &after);
        let mut expected = item.body.clone();
        expected["version"] = json!(number + 2);
        expected["updated_at"] = after.body["updated_at"].clone();
        expected[state] = sample.after(&body, &walk[..=number]).unwrap()[state].clone();
        assert_eq!(after.body, expected, "{action}");
        assert_eq!(written.version, Some(after.version()));
        assert!(after.text("updated_at") > item.text("updated_at"));
        item = after;
    }
    CHECKED
}

async fn an_action_that_the_state_does_not_allow_is_refused_and_the_state_is_named(
    service: &Service,
    sample: &Sample,
) -> Checked {
    let Machine { state, refused: (before, action), .. } = sample.machine.as_ref()?;
    let api = service.api();
    let item = done(&api, &api.any(sample).await, before).await;
    let refused = api.act(&item, action).token(&item.token).write().await.expect(409);
    let problem = refused.problem.unwrap();
    assert_eq!(kind_of(&problem), "wrong-state");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(item.text(state)), "{detail:?} does not name {}", item.text(state));
    assert_eq!(api.reread(&item).await.body, item.body);
    CHECKED
}

async fn an_action_takes_no_body_or_an_object_without_fields(service: &Service, sample: &Sample) -> Checked {
    let Machine { walk, .. } = sample.machine.as_ref()?;
    let (api, action) = (service.api(), walk[0]);
    let item = api.any(sample).await;
    let with = |body: &str| api.post(&format!("{}/{action}", item.path), &Value::Null).body(body);
    let field = sample.changed.name;
    for (body, wrong) in [
        (json!({"reason": "none"}), "/reason"),
        (json!({field: item.body[field]}), &format!("/{field}")),
        (json!({"a/b~c": 1}), "/a~1b~0c"),
        (json!([]), ""),
        (json!("x"), ""),
        (Value::Null, ""),
    ] {
        assert_eq!(with(&body.to_string()).send().await.wrong_fields(), [wrong], "{body}");
    }
    for body in [" ", "{", "nope"] {
        with(body).send().await.expect(400);
    }
    let typed = with("{}").header("content-type", "text/plain").send().await.expect(415);
    assert_eq!(typed.header("accept-post"), "application/json");
    with(&format!("{{}}{}", " ".repeat(64 * 1024))).send().await.expect(413);
    assert_eq!(api.reread(&item).await.body, item.body);

    with(" {} ").write().await.expect(200);
    let item = api.any(sample).await;
    api.act(&item, action).write().await.expect(200);
    let item = api.any(sample).await;
    // Without a body, the content type has no effect.
    api.act(&item, action).header("content-type", "text/plain").write().await.expect(200);
    CHECKED
}

async fn an_action_heeds_preconditions(service: &Service, sample: &Sample) -> Checked {
    let Machine { walk, .. } = sample.machine.as_ref()?;
    let (api, action) = (service.api(), walk[0]);
    let item = api.any(sample).await;
    let item = api.item(&api.patch(&item.path, &sample.patch("Two")).write().await.expect(200)).await;
    let act = || api.act(&item, action);
    assert_eq!(act().if_match("\"1\"").write().await.kind(412), "version-conflict");
    for tags in ["*", "\"2\"", "\"9\", W/\"2-v1\""] {
        assert_eq!(act().if_none_match(tags).write().await.kind(412), "precondition-failed", "{tags}");
    }
    act().if_match("2").send().await.expect(400);
    assert_eq!(api.reread(&item).await.body, item.body);
    let written = act().if_match("\"2-v1\"").if_none_match("\"1\"").write().await.expect(200);
    assert_eq!(written.version, Some(3));
    let stale = api.act(&api.any(sample).await, action).token(&item.token).send().await;
    assert_eq!(stale.kind(400), "bad-token");
    CHECKED
}

async fn a_repeated_action_is_done_once(service: &Service, sample: &Sample) -> Checked {
    let Machine { walk, refused: (before, refused), .. } = sample.machine.as_ref()?;
    let (api, key) = (service.api(), unique("key"));
    let (item, other) = (api.any(sample).await, api.any(sample).await);
    let act = |body: &str| {
        let call = api.act(&item, walk[0]).idempotency_key(&key).body(body);
        call.header("content-type", "application/json").write()
    };
    let first = act("").await.expect(200);
    assert_eq!(first.answer.find("idempotency-replayed"), None);
    // A request without a body and one with an empty object are the same.
    for body in ["", "{}"] {
        let again = act(body).await.expect(200);
        assert_eq!(again.answer.header("idempotency-replayed"), "true");
        assert_eq!((again.id, again.version), (first.id.clone(), Some(2)));
    }
    assert_eq!(api.item(&first).await.version(), 2);
    // Another item, another action or another method makes another command.
    let elsewhere = api.act(&other, walk[0]).idempotency_key(&key).write().await.expect(200);
    assert_eq!(elsewhere.answer.find("idempotency-replayed"), None);
    if let Some(second) = walk.get(1) {
        let written =
            api.act(&item, second).token(&first.token.unwrap()).idempotency_key(&key).write().await.expect(200);
        assert_eq!((written.answer.find("idempotency-replayed"), written.version), (None, Some(3)));
    }
    // A rejection is replayed too.
    let item = done(&api, &api.any(sample).await, before).await;
    for is_replay in [false, true] {
        let written = api.act(&item, refused).token(&item.token).idempotency_key(&key).write().await;
        assert_eq!(written.answer.find("idempotency-replayed").is_some(), is_replay, "{}", written.answer);
        assert_eq!(written.kind(409), "wrong-state");
    }
    CHECKED
}

async fn an_action_is_a_command_with_a_status(service: &Service, sample: &Sample) -> Checked {
    let Machine { walk, refused: (before, refused), .. } = sample.machine.as_ref()?;
    if !service.variant.is_queued() {
        return CHECKED; // Answers do not name commands.
    }
    let api = service.api();
    let item = api.any(sample).await;
    let status = async |action: &str, item: &Item| {
        let accepted = api.act(item, action).token(&item.token).send().await.expect(202);
        let location = accepted.header("location").to_owned();
        let first = api.get(&location).send().await.expect(200).json();
        assert_eq!(first["command_id"], accepted.json()["command_id"]);
        api.outcome(accepted.json()["command_id"].as_str().unwrap()).await
    };
    let document = status(walk[0], &item).await;
    assert_eq!((&document["status"], &document["version"]), (&json!("applied"), &json!(2)), "{document}");
    assert_eq!((&document[&sample.id], &document["href"]), (&json!(item.id), &json!(item.path)), "{document}");
    let token = document["consistency_token"].as_str().unwrap();
    assert_eq!(api.get(&item.path).token(token).send().await.expect(200).json()["version"], 2);

    let item = done(&api, &api.any(sample).await, before).await;
    let document = status(refused, &item).await;
    assert_eq!(document["status"], "rejected", "{document}");
    assert_eq!((&*kind_of(&document["problem"]), &document["problem"]["status"]), ("wrong-state", &json!(409)));
    CHECKED
}

async fn a_client_that_waits_gets_the_result_of_an_action(service: &Service, sample: &Sample) -> Checked {
    let Machine { walk, refused: (before, refused), .. } = sample.machine.as_ref()?;
    let api = service.api();
    let item = api.any(sample).await;
    let acted = api.act(&item, walk[0]).prefer("wait=10").send().await.expect(200);
    assert_eq!((&acted.json()["id"], &acted.json()["version"]), (&json!(item.id), &json!(2)), "{acted}");
    assert_eq!((acted.header("etag"), acted.find("location")), ("\"2-v1\"", None));
    let read = api.get(&item.path).token(&acted.token()).send().await.expect(200);
    assert_eq!(read.json(), acted.json());
    let item = done(&api, &api.any(sample).await, before).await;
    assert_eq!(api.act(&item, refused).token(&item.token).prefer("wait=10").send().await.kind(409), "wrong-state");
    CHECKED
}

async fn no_body_sets_the_state(service: &Service, sample: &Sample) -> Checked {
    let Machine { state, walk, .. } = sample.machine.as_ref()?;
    let api = service.api();
    let item = api.any(sample).await;
    let body = sample.body("State");
    let moved = sample.after(&body, &walk[..1]).unwrap();
    // A body may not set the state, not even to the current one.
    for value in [&moved[state], &item.body[state]] {
        let mut full = sample.keeping(&item.body, "State");
        full[state] = value.clone();
        for call in
            [api.post(&sample.path, &full), api.put(&item.path, &full), api.patch(&item.path, &json!({*state: value}))]
        {
            assert_eq!(call.send().await.wrong_fields(), [format!("/{state}")]);
        }
    }
    // A replace keeps the state.
    let item = done(&api, &item, &walk[..1]).await;
    let full = sample.keeping(&item.body, "Replaced");
    let replaced = api.item(&api.put(&item.path, &full).token(&item.token).write().await.expect(200)).await;
    replaced.shows(&full);
    assert_eq!(replaced.body[state], moved[state]);
    CHECKED
}

async fn an_unknown_action_is_a_404(service: &Service, sample: &Sample) -> Checked {
    sample.machine.as_ref()?;
    let api = service.api();
    let item = api.any(sample).await;
    let known = sample.resource.actions[0];
    for unknown in ["nope", &known.to_uppercase(), &format!("{known}/"), &format!("{known}/{known}")] {
        api.act(&item, unknown).send().await.expect(404);
    }
    // A path without an item takes no action.
    api.call(Method::POST, &format!("{}/{known}", sample.path)).send().await.expect(405);
    assert_eq!(api.reread(&item).await.body, item.body);
    CHECKED
}

/// Each client sends a create, all actions, and one action too many. Each request carries the token of the answer before. No client
/// waits for an outcome.
async fn actions_of_a_session_end_as_if_sent_one_after_the_other(service: &Service, sample: &Sample) -> Checked {
    const SESSIONS: usize = 12;
    let Machine { state, walk, .. } = sample.machine.as_ref()?;
    let api = service.api();
    // The state does not allow the last action, unless it may be done twice.
    let sent: Vec<_> = walk.iter().chain([&walk[0]]).copied().collect();
    let session = || async {
        let body = sample.body("Session");
        let created = api.post(&sample.path, &body).send().await;
        let created = created.expect(if service.variant.is_queued() { 202 } else { 201 });
        let id = created.json()[if created.status == 202 { sample.id.as_str() } else { "id" }].clone();
        let path = sample.resource.item(id.as_str().unwrap());
        let (mut token, mut answers) = (created.token(), Vec::new());
        for action in &sent {
            let answer = api.call(Method::POST, &format!("{path}/{action}")).token(&token).send().await;
            assert!(!service.variant.is_queued() || answer.status == 202, "{answer}");
            // An immediate rejection returns no new token.
            token = answer.find("consistency-token").map_or(token, str::to_owned);
            answers.push(answer);
        }
        let mut after = sample.after(&body, &[]).unwrap();
        for (number, answer) in answers.into_iter().enumerate() {
            let expected = sample.after(&body, &sent[..=number]);
            let status = match answer.status {
                202 => {
                    let document = api.outcome(answer.json()["command_id"].as_str().unwrap()).await;
                    match document["status"].as_str() {
                        Some("applied") => 200,
                        _ => document["problem"]["status"].as_u64().unwrap_or_else(|| panic!("{document}")),
                    }
                }
                status => status.into(),
            };
            assert_eq!(status, if expected.is_some() { 200 } else { 409 }, "{}: {answer}", sent[number]);
            after = expected.unwrap_or(after);
        }
        let read = api.get(&path).token(&token).send().await.expect(200).json();
        assert_eq!(read[state], after[state], "{read}");
    };
    join_all((0..SESSIONS).map(|_| session())).await;
    CHECKED
}
