//! The fields of resources: their valid values, and the lists that find them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{CHECKED, Checked};
use crate::harness::{Answer, Api, Service, unique};
use crate::sample::{Sample, beginning, of_value};

on_every_variant!(
    a_wrong_value_of_a_field_is_refused_and_the_field_is_named,
    a_text_has_a_length_in_characters,
    items_with_one_text_are_all_in_the_list,
    a_unique_value_finds_its_item_in_any_case,
    a_beginning_finds_texts_in_any_case_and_in_either_spelling_of_an_accent,
);

async fn a_wrong_value_of_a_field_is_refused_and_the_field_is_named(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    for field in sample.settable() {
        for wrong in field.wrong {
            let body = format!("{{\"{}\":{wrong}}}", field.name);
            let answer = api.patch(&item.path, &Value::Null).body(body.clone()).send().await;
            match answer.status {
                // The service does not read it as a JSON number.
                400 => assert!(serde_json::from_str::<Value>(&body).is_err(), "{body}: {answer}"),
                _ => assert_eq!(answer.wrong_fields(), [format!("/{}", field.name)], "{body}"),
            }
        }
    }
    assert_eq!(api.reread(&item).await.body, item.body);
}

async fn a_text_has_a_length_in_characters(service: &Service, sample: &Sample) -> Checked {
    let field = sample.text?;
    let api = service.api();
    let item = api.any(sample).await;
    let max = sample.chars_max(field);
    for long in ["x".repeat(max + 1), "ü".repeat(max + 1), "x".repeat(50_000)] {
        let refused = api.patch(&item.path, &json!({field.name: long})).send().await;
        assert_eq!(refused.wrong_fields(), [format!("/{}", field.name)]);
    }
    let longest = json!({field.name: "ü".repeat(max)});
    let written = api.patch(&item.path, &longest).write().await.expect(200);
    api.item(&written).await.shows(&longest);
    CHECKED
}

async fn list(api: &Api, sample: &Sample, query: &str) -> Answer {
    api.get(&sample.list(query)).send().await.expect(200)
}

/// Returns the values of a field on a page.
fn values(page: &Answer, field: &str) -> Vec<Value> {
    page.json()["items"].as_array().unwrap().iter().map(|item| item[field].clone()).collect()
}

async fn items_with_one_text_are_all_in_the_list(service: &Service, sample: &Sample) -> Checked {
    let field = sample.sorted?;
    let api = service.api();
    let text = unique("same");
    for _ in 0..3 {
        api.create(sample, &sample.with(field.name, &text.as_str().into())).await;
    }
    let query = format!("{}&limit=2", beginning(field, &text));
    let first = list(&api, sample, &query).await;
    let cursor = first.json()["next_cursor"].as_str().unwrap().to_owned();
    let second = list(&api, sample, &format!("{query}&cursor={cursor}")).await;
    let ids: Vec<_> = [&first, &second].into_iter().flat_map(|page| values(page, "id")).collect();
    assert_eq!((ids.len(), values(&first, "id").len()), (3, 2), "{first} {second}");
    assert_eq!(ids.iter().map(Value::to_string).collect::<BTreeSet<_>>().len(), 3, "{first} {second}");
    CHECKED
}

async fn a_unique_value_finds_its_item_in_any_case(service: &Service, sample: &Sample) -> Checked {
    let (field, _) = sample.unique?;
    let api = service.api();
    let item = api.any(sample).await;
    sample.held(&item.body)?;
    let value = &item.body[field.name];
    for spelling in [Some(value.clone()), sample.respelt(field, value)].into_iter().flatten() {
        let found = list(&api, sample, &of_value(field, &spelling)).await;
        assert_eq!(found.json()["items"], json!([item.body]), "{found}");
    }
    let another = sample.value(field, &unique("another"));
    assert_eq!(list(&api, sample, &of_value(field, &another)).await.json()["items"], json!([]));
    CHECKED
}

async fn a_beginning_finds_texts_in_any_case_and_in_either_spelling_of_an_accent(
    service: &Service,
    sample: &Sample,
) -> Checked {
    let field = sample.sorted?;
    let api = service.api();
    let word = unique("prefix");
    let upper = format!("{} ZOË Upper", word.to_uppercase());
    let lower = format!("{word} zoë lower");
    // The accent is a separate combining character here. The service answers with the composed form.
    let apart = format!("{word} zoe\u{308} middle");
    for text in [&upper, &apart, &lower, &format!("{word} other"), &format!("x {word}")] {
        let body = sample.with(field.name, &text.as_str().into());
        api.item(&api.post(&sample.path, &body).write().await.expect(201)).await;
    }
    let together = format!("{word} zoë middle");
    for spelling in [format!("{word} zoë"), format!("{word} Zoe\u{308}"), format!("{} ZOË", word.to_uppercase())] {
        let found = list(&api, sample, &beginning(field, &spelling)).await;
        assert_eq!(values(&found, field.name), [lower.as_str(), &together, &upper], "{spelling}");
    }
    let one = list(&api, sample, &beginning(field, &format!("{} zoë UP", word.to_uppercase()))).await;
    assert_eq!(values(&one, field.name), [upper]);
    assert_eq!(values(&list(&api, sample, &beginning(field, &format!("{word}%"))).await, field.name), [""; 0]);
    CHECKED
}
