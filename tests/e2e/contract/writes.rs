//! POST, PUT, PATCH and DELETE.

use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use super::{CHECKED, Checked};
use crate::harness::client::kind_of;
use crate::harness::{Service, unique};
use crate::sample::{Defaulted, Sample};

on_every_variant!(
    a_create_is_acknowledged_and_the_item_can_be_read,
    a_field_with_a_default_can_be_given_at_creation,
    texts_of_every_script_come_back_as_they_were_given,
    a_content_type_may_have_parameters_and_any_case,
    a_put_replaces_all_fields,
    a_put_sets_what_it_leaves_out_to_the_default,
    a_put_never_creates,
    a_patch_changes_only_what_it_names,
    an_empty_patch_changes_no_field,
    a_delete_answers_204_and_the_item_is_gone,
    a_deleted_item_takes_no_more_writes,
    each_write_makes_the_next_version,
    a_value_that_is_unique_belongs_to_one_item_in_any_case,
    a_taken_value_refuses_a_change_to_it_and_nothing_else_is_changed,
    a_value_that_was_given_up_is_free_again,
    an_item_may_keep_or_respell_its_own_value,
);

async fn a_create_is_acknowledged_and_the_item_can_be_read(service: &Service, sample: &Sample) {
    let api = service.api();
    let given = sample.body(&unique("Ada Lovelace"));
    let written = api.post(&sample.path, &given).write().await.expect(201);

    let acknowledged = &written.answer;
    let id = written.id.clone().unwrap();
    assert!(!acknowledged.token().is_empty());
    let body = acknowledged.json();
    if service.variant.is_queued() {
        assert_eq!(acknowledged.status, 202);
        let command = body["command_id"].as_str().unwrap();
        assert_eq!(acknowledged.header("location"), format!("/commands/{command}"));
        assert_eq!(acknowledged.header("retry-after"), "1");
        assert_eq!(body, json!({"command_id": command, (&sample.id): id, "status": "pending"}));
    } else {
        assert_eq!(acknowledged.status, 201);
        assert_eq!(acknowledged.header("location"), sample.resource.item(&id));
        assert_eq!(acknowledged.header("etag"), "\"1-v1\"");
        assert_eq!(acknowledged.header("content-type"), "application/json");
    }
    assert_eq!(Uuid::parse_str(&id).unwrap().get_version_num(), 7);

    let item = api.item(&written).await;
    let at = item.text("created_at").to_owned();
    let mut expected = sample.after(&given, &[]).unwrap();
    for (name, value) in [("id", &id), ("created_at", &at), ("updated_at", &at)] {
        expected[name] = value.as_str().into();
    }
    assert_eq!(item.body, expected);
    assert!(at.contains('T') && at.ends_with('Z'), "{at} is not RFC 3339 in UTC");
    if !service.variant.is_queued() {
        assert_eq!(body, expected);
    }
}

async fn a_field_with_a_default_can_be_given_at_creation(service: &Service, sample: &Sample) -> Checked {
    let Defaulted { name, other, .. } = sample.defaulted.as_ref()?;
    let body = sample.with(name, other);
    let item = service.api().create(sample, &body).await;
    assert_eq!(item.body[name], *other);
    CHECKED
}

async fn texts_of_every_script_come_back_as_they_were_given(service: &Service, sample: &Sample) -> Checked {
    let field = sample.text?.name;
    let text = "Zoë 李 🦀 \"q\" \\ / <b> é\u{301}\u{200d}\u{feff}";
    let item = service.api().create(sample, &sample.with(field, &text.into())).await;
    assert_eq!(item.text(field), text);
    CHECKED
}

async fn a_content_type_may_have_parameters_and_any_case(service: &Service, sample: &Sample) {
    let api = service.api();
    let body = sample.body("C");
    let create = api.post(&sample.path, &body).header("content-type", "Application/JSON; charset=utf-8");
    let item = api.item(&create.write().await.expect(201)).await;
    let patch = api.patch(&item.path, &sample.patch("D"));
    patch.header("content-type", "application/merge-patch+json;charset=UTF-8").write().await.expect(200);
    // Parameters have no effect on JSON, not even a charset (RFC 8259, section 11).
    for parameter in ["charset=utf8", "charset=iso-8859-1", "charset=\"utf-16\"; x=y", "charset"] {
        let put = api.put(&item.path, &body).header("content-type", &format!("application/json; {parameter}"));
        put.write().await.expect(200);
    }
}

async fn a_put_replaces_all_fields(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.create(sample, &sample.body("Before")).await;
    let body = sample.body("After");
    let written = api.put(&item.path, &body).write().await.expect(200);
    assert_eq!(written.version, Some(2));
    let replaced = api.item(&written).await;
    replaced.shows(&body);
    assert_eq!(replaced.text("created_at"), item.text("created_at"));
    assert!(replaced.text("updated_at") > item.text("updated_at"));
}

async fn a_put_sets_what_it_leaves_out_to_the_default(service: &Service, sample: &Sample) -> Checked {
    let Defaulted { name, default, other } = sample.defaulted.as_ref()?;
    let api = service.api();
    let item = api.create(sample, &sample.with(name, other)).await;
    let mut body = sample.body("After");
    body.as_object_mut().unwrap().remove(*name);
    let replaced = api.item(&api.put(&item.path, &body).write().await.expect(200)).await;
    assert_eq!(replaced.body[name], *default);
    CHECKED
}

async fn a_put_never_creates(service: &Service, sample: &Sample) {
    let api = service.api();
    // The id is not a UUID version 7, so no stage waits for a create.
    let path = sample.resource.item(Uuid::from_u128(rand::random::<u128>() & !(0xf << 76) | (0x4 << 76)));
    let body = sample.body("N");
    let actions = sample.resource.actions.iter().map(|action| api.call(Method::POST, &format!("{path}/{action}")));
    let calls = [api.put(&path, &body), api.patch(&path, &sample.patch("N")), api.delete(&path)];
    for call in calls.into_iter().chain(actions) {
        assert_eq!(call.write().await.kind(404), "not-found");
    }
    assert_eq!(api.get(&path).send().await.kind(404), "not-found");
}

async fn a_patch_changes_only_what_it_names(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    let patch = sample.patch("Patched");
    let written = api.patch(&item.path, &patch).write().await.expect(200);
    assert_eq!(written.version, Some(2));
    let patched = api.item(&written).await;
    let mut expected = item.body.clone();
    expected[sample.changed.name] = patch[sample.changed.name].clone();
    expected["version"] = 2.into();
    expected["updated_at"] = patched.body["updated_at"].clone();
    assert_eq!(patched.body, expected);
    assert!(patched.text("updated_at") > item.text("updated_at"));
    if !service.variant.is_queued() {
        assert_eq!(written.answer.json(), expected);
        assert_eq!(written.answer.header("etag"), "\"2-v1\"");
    }
}

async fn an_empty_patch_changes_no_field(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    let patched = api.item(&api.patch(&item.path, &json!({})).write().await.expect(200)).await;
    for field in sample.resource.fields.iter().map(|field| field.name).chain(["id", "created_at"]) {
        assert_eq!(patched.body[field], item.body[field]);
    }
}

async fn a_delete_answers_204_and_the_item_is_gone(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    let written = api.delete(&item.path).write().await.expect(204);
    let acknowledged = &written.answer;
    assert!(!acknowledged.token().is_empty());
    if service.variant.is_queued() {
        assert_eq!(acknowledged.status, 202);
        assert_eq!(acknowledged.json()[&sample.id], *item.id);
        assert_eq!(written.version, Some(2));
    } else {
        assert_eq!(acknowledged.status, 204);
        assert!(acknowledged.body.is_empty());
    }
    let gone = api.get(&item.path).token(&written.token.unwrap()).send().await;
    assert_eq!(kind_of(&gone.problem(404)), "not-found");
}

async fn a_deleted_item_takes_no_more_writes(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    api.delete(&item.path).write().await.expect(204);
    let body = sample.keeping(&item.body, "Again");
    let actions = sample.resource.actions.iter().map(|action| api.act(&item, action));
    let calls = [api.put(&item.path, &body), api.patch(&item.path, &sample.patch("A")), api.delete(&item.path)];
    for call in calls.into_iter().chain(actions) {
        assert_eq!(call.write().await.kind(404), "not-found");
    }
}

async fn each_write_makes_the_next_version(service: &Service, sample: &Sample) {
    let api = service.api();
    let mut item = api.any(sample).await;
    for version in 2..=5 {
        let patch = sample.patch(&format!("version {version}"));
        let written = api.patch(&item.path, &patch).token(&item.token).write().await.expect(200);
        assert_eq!(written.version, Some(version));
        item = api.item(&written).await;
        assert_eq!(item.version(), version);
        item.shows(&patch);
    }
}

async fn a_value_that_is_unique_belongs_to_one_item_in_any_case(service: &Service, sample: &Sample) -> Checked {
    let (field, taken) = sample.unique?;
    let api = service.api();
    let holder = api.any(sample).await;
    let value = &holder.body[field.name];
    for again in [Some(value.clone()), sample.respelt(field, value)].into_iter().flatten() {
        let refused = api.post(&sample.path, &sample.with(field.name, &again)).write().await;
        assert_eq!(refused.kind(409), taken);
    }
    if let Some(held) = sample.held(&holder.body) {
        let listed = api.get(&sample.list(&held)).send().await.expect(200).json();
        assert_eq!(listed["items"], json!([holder.body]));
    }
    CHECKED
}

async fn a_taken_value_refuses_a_change_to_it_and_nothing_else_is_changed(
    service: &Service,
    sample: &Sample,
) -> Checked {
    let (_, taken) = sample.unique?;
    let api = service.api();
    let (first, second) = (api.any(sample).await, api.any(sample).await);
    let patch = sample.keeping(&first.body, "Thief");
    for call in [api.patch(&second.path, &patch), api.put(&second.path, &patch)] {
        assert_eq!(call.write().await.kind(409), taken);
    }
    assert_eq!(api.reread(&second).await.body, second.body);
    CHECKED
}

async fn a_value_that_was_given_up_is_free_again(service: &Service, sample: &Sample) -> Checked {
    let (field, _) = sample.unique?;
    let api = service.api();
    let word = unique("free");
    let (old, new) = (sample.value(field, &word), sample.value(field, &format!("{word}-new")));
    let item = api.create(sample, &sample.with(field.name, &old)).await;
    api.patch(&item.path, &json!({field.name: new})).write().await.expect(200);
    api.create(sample, &sample.with(field.name, &old)).await;
    api.delete(&item.path).write().await.expect(204);
    api.create(sample, &sample.with(field.name, &new)).await;
    CHECKED
}

async fn an_item_may_keep_or_respell_its_own_value(service: &Service, sample: &Sample) -> Checked {
    let (field, _) = sample.unique?;
    let api = service.api();
    let item = api.any(sample).await;
    api.put(&item.path, &sample.keeping(&item.body, "Holder")).write().await.expect(200);
    let respelt = sample.respelt(field, &item.body[field.name])?;
    let written = api.patch(&item.path, &json!({field.name: respelt})).write().await.expect(200);
    assert_eq!(api.item(&written).await.body[field.name], respelt);
    CHECKED
}
