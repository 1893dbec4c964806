//! POST, PUT, PATCH and DELETE.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::client::kind_of;
use crate::harness::{Service, unique};
use crate::sample::{
    FIELDS, ID, PATH, STATUS, STATUS_DEFAULT, STATUS_OTHER, TAKEN, TEXT, UNIQUE, full_body, held, value,
};

on_every_variant!(
    a_create_is_acknowledged_and_the_user_can_be_read,
    a_status_can_be_given_at_creation,
    names_of_every_script_come_back_as_they_were_given,
    a_content_type_may_have_parameters_and_any_case,
    a_put_replaces_all_fields_and_the_status_defaults_to_active,
    a_put_never_creates,
    a_patch_changes_only_what_it_names,
    an_empty_patch_changes_no_field,
    a_delete_answers_204_and_the_user_is_gone,
    a_deleted_user_takes_no_more_writes,
    each_write_makes_the_next_version,
    a_value_that_is_unique_belongs_to_one_user_in_any_case,
    a_taken_value_refuses_a_change_to_it_and_nothing_else_is_changed,
    a_value_that_was_given_up_is_free_again,
    a_user_may_keep_or_respell_its_own_value,
);

async fn a_create_is_acknowledged_and_the_user_can_be_read(service: &Service) {
    let api = service.api();
    let word = unique("Ada Lovelace");
    let given = full_body(&word, &value(&unique("ada")));
    let written = api.post(PATH, &given).write().await.expect(201);

    let acknowledged = &written.answer;
    let id = written.id.clone().unwrap();
    assert!(!acknowledged.token().is_empty());
    let body = acknowledged.json();
    if service.variant.is_queued() {
        assert_eq!(acknowledged.status, 202);
        let command = body["command_id"].as_str().unwrap();
        assert_eq!(acknowledged.header("location"), format!("/commands/{command}"));
        assert_eq!(acknowledged.header("retry-after"), "1");
        assert_eq!(body, json!({"command_id": command, ID: id, "status": "pending"}));
    } else {
        assert_eq!(acknowledged.status, 201);
        assert_eq!(acknowledged.header("location"), format!("{PATH}/{id}"));
        assert_eq!(acknowledged.header("etag"), "\"1-v1\"");
        assert_eq!(acknowledged.header("content-type"), "application/json");
    }
    assert_eq!(Uuid::parse_str(&id).unwrap().get_version_num(), 7);

    let user = api.user(&written).await;
    let at = user.text("created_at").to_owned();
    let mut expected = json!({"id": id, STATUS: STATUS_DEFAULT, "created_at": at, "updated_at": at, "version": 1});
    expected.as_object_mut().unwrap().extend(given.as_object().unwrap().clone());
    assert_eq!(user.body, expected);
    assert!(at.contains('T') && at.ends_with('Z'), "{at} is not RFC 3339 in UTC");
    if !service.variant.is_queued() {
        assert_eq!(body, expected);
    }
}

async fn a_status_can_be_given_at_creation(service: &Service) {
    let mut body = full_body("S", &value(&unique("s")));
    body[STATUS] = STATUS_OTHER.into();
    let user = service.api().user_of(&body).await;
    assert_eq!(user.text(STATUS), STATUS_OTHER);
}

async fn names_of_every_script_come_back_as_they_were_given(service: &Service) {
    let name = "Zoë 李 🦀 \"q\" \\ / <b> é\u{301}\u{200d}\u{feff}";
    let user = service.api().user_of(&full_body(name, &value(&unique("z")))).await;
    assert_eq!(user.text(TEXT), name);
}

async fn a_content_type_may_have_parameters_and_any_case(service: &Service) {
    let api = service.api();
    let body = full_body("C", &value(&unique("c")));
    let create = api.post(PATH, &body).header("content-type", "Application/JSON; charset=utf-8");
    let user = api.user(&create.write().await.expect(201)).await;
    let patch = api.patch(&user.path, &json!({TEXT: "D"}));
    patch.header("content-type", "application/merge-patch+json;charset=UTF-8").write().await.expect(200);
    // Not even a charset means anything to JSON (RFC 8259, section 11).
    for parameter in ["charset=utf8", "charset=iso-8859-1", "charset=\"utf-16\"; x=y", "charset"] {
        let put = api.put(&user.path, &body).header("content-type", &format!("application/json; {parameter}"));
        put.write().await.expect(200);
    }
}

async fn a_put_replaces_all_fields_and_the_status_defaults_to_active(service: &Service) {
    let api = service.api();
    let (before, after) = (unique("before"), unique("after"));
    let mut body = full_body("Before", &value(&before));
    body[STATUS] = STATUS_OTHER.into();
    let user = api.user_of(&body).await;
    let body = full_body("After", &value(&after));
    let written = api.put(&user.path, &body).write().await.expect(200);
    assert_eq!(written.version, Some(2));
    let replaced = api.user(&written).await;
    assert_eq!((replaced.text(TEXT), replaced.text(STATUS)), ("After", STATUS_DEFAULT));
    assert_eq!(replaced.text(UNIQUE), value(&after));
    assert_eq!(replaced.text("created_at"), user.text("created_at"));
    assert!(replaced.text("updated_at") > user.text("updated_at"));
}

async fn a_put_never_creates(service: &Service) {
    let api = service.api();
    // Not a v7: nothing can be behind, at any stage.
    let path = format!("{PATH}/{}", Uuid::from_u128(rand::random::<u128>() & !(0xf << 76) | (0x4 << 76)));
    let body = full_body("N", &value(&unique("n")));
    for call in [api.put(&path, &body), api.patch(&path, &json!({TEXT: "N"})), api.delete(&path)] {
        assert_eq!(call.write().await.kind(404), "not-found");
    }
    assert_eq!(api.get(&path).send().await.kind(404), "not-found");
}

async fn a_patch_changes_only_what_it_names(service: &Service) {
    let api = service.api();
    let user = api.any_user().await;
    let written = api.patch(&user.path, &json!({STATUS: STATUS_OTHER})).write().await.expect(200);
    assert_eq!(written.version, Some(2));
    let patched = api.user(&written).await;
    let mut expected = user.body.clone();
    expected[STATUS] = STATUS_OTHER.into();
    expected["version"] = 2.into();
    expected["updated_at"] = patched.body["updated_at"].clone();
    assert_eq!(patched.body, expected);
    assert!(patched.text("updated_at") > user.text("updated_at"));
    if !service.variant.is_queued() {
        assert_eq!(written.answer.json(), expected);
        assert_eq!(written.answer.header("etag"), "\"2-v1\"");
    }
}

async fn an_empty_patch_changes_no_field(service: &Service) {
    let api = service.api();
    let user = api.any_user().await;
    let patched = api.user(&api.patch(&user.path, &json!({})).write().await.expect(200)).await;
    for field in FIELDS.iter().chain(&["id", "created_at"]) {
        assert_eq!(patched.body[*field], user.body[*field]);
    }
}

async fn a_delete_answers_204_and_the_user_is_gone(service: &Service) {
    let api = service.api();
    let user = api.any_user().await;
    let written = api.delete(&user.path).write().await.expect(204);
    let acknowledged = &written.answer;
    assert!(!acknowledged.token().is_empty());
    if service.variant.is_queued() {
        assert_eq!(acknowledged.status, 202);
        assert_eq!(acknowledged.json()[ID], *user.id);
        assert_eq!(written.version, Some(2));
    } else {
        assert_eq!(acknowledged.status, 204);
        assert!(acknowledged.body.is_empty());
    }
    let gone = api.get(&user.path).token(&written.token.unwrap()).send().await;
    assert_eq!(kind_of(&gone.problem(404)), "not-found");
}

async fn a_deleted_user_takes_no_more_writes(service: &Service) {
    let api = service.api();
    let user = api.any_user().await;
    api.delete(&user.path).write().await.expect(204);
    let body = full_body("Again", user.text(UNIQUE));
    for call in [api.put(&user.path, &body), api.patch(&user.path, &json!({TEXT: "A"})), api.delete(&user.path)] {
        assert_eq!(call.write().await.kind(404), "not-found");
    }
}

async fn each_write_makes_the_next_version(service: &Service) {
    let api = service.api();
    let mut user = api.any_user().await;
    for version in 2..=5 {
        let name = format!("version {version}");
        let written = api.patch(&user.path, &json!({TEXT: name})).token(&user.token).write().await.expect(200);
        assert_eq!(written.version, Some(version));
        user = api.user(&written).await;
        assert_eq!((user.version(), user.text(TEXT)), (version, &*name));
    }
}

fn holding(value: &str) -> Value {
    full_body("Holder", value)
}

async fn a_value_that_is_unique_belongs_to_one_user_in_any_case(service: &Service) {
    let api = service.api();
    let taken = value(&unique("taken"));
    api.user_of(&holding(&taken)).await;
    for again in [taken.clone(), taken.to_uppercase()] {
        let refused = api.post(PATH, &holding(&again)).write().await;
        assert_eq!(refused.kind(409), TAKEN);
    }
    let listed = api.get(&format!("{PATH}?{}", held(&taken))).send().await.expect(200).json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{listed}");
}

async fn a_taken_value_refuses_a_change_to_it_and_nothing_else_is_changed(service: &Service) {
    let api = service.api();
    let (first, second) = (api.any_user().await, api.any_user().await);
    let patch = full_body("Thief", first.text(UNIQUE));
    for call in [api.patch(&second.path, &patch), api.put(&second.path, &patch)] {
        assert_eq!(call.write().await.kind(409), TAKEN);
    }
    assert_eq!(api.reread(&second).await.body, second.body);
}

async fn a_value_that_was_given_up_is_free_again(service: &Service) {
    let api = service.api();
    let word = unique("free");
    let (old, new) = (value(&word), value(&format!("{word}-new")));
    let user = api.user_of(&holding(&old)).await;
    api.patch(&user.path, &json!({UNIQUE: new})).write().await.expect(200);
    api.user_of(&holding(&old)).await;
    api.delete(&user.path).write().await.expect(204);
    api.user_of(&holding(&new)).await;
}

async fn a_user_may_keep_or_respell_its_own_value(service: &Service) {
    let api = service.api();
    let user = api.any_user().await;
    api.put(&user.path, &holding(user.text(UNIQUE))).write().await.expect(200);
    let respelt = user.text(UNIQUE).to_uppercase();
    let written = api.patch(&user.path, &json!({UNIQUE: respelt})).write().await.expect(200);
    assert_eq!(api.user(&written).await.text(UNIQUE), respelt);
}
