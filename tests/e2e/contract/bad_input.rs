//! Invalid bodies.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{CHECKED, Checked};
use crate::harness::client::Call;
use crate::harness::{Api, Service};
use crate::sample::Sample;

/// The maximum length of a body, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

on_every_variant!(
    what_is_not_json_is_refused,
    what_is_not_utf_8_is_refused,
    twenty_thousand_nested_brackets_are_refused,
    json_that_is_no_object_is_refused,
    everything_that_is_wrong_is_named_at_once,
    a_key_that_is_given_twice_is_named_and_nothing_is_done,
    an_unknown_field_is_named_with_an_escaped_pointer,
    control_characters_are_refused,
    null_is_refused_in_a_patch,
    a_body_of_64_kib_is_taken_and_one_byte_more_is_not,
);

/// Returns each kind of write that takes a body, with this body.
async fn with_body(api: &Api, sample: &Sample, body: &[u8]) -> [Call; 3] {
    let item = api.any(sample).await;
    let calls =
        [api.post(&sample.path, &Value::Null), api.put(&item.path, &Value::Null), api.patch(&item.path, &Value::Null)];
    calls.map(|call| call.body(body))
}

/// Returns the JSON pointers to the fields, sorted.
fn pointers<'a>(fields: impl IntoIterator<Item = &'a &'a str>) -> Vec<String> {
    let pointers: BTreeSet<_> = fields.into_iter().map(|field| format!("/{field}")).collect();
    pointers.into_iter().collect()
}

async fn what_is_not_json_is_refused(service: &Service, sample: &Sample) {
    let api = service.api();
    for body in ["", " ", "nope", "{", "{\"name\":\"A\",}", "{'name':'A'}", "{\"name\":\"A\"}}", "\u{feff}{}", "NaN"] {
        for call in with_body(&api, sample, body.as_bytes()).await {
            let answer = call.send().await;
            assert_eq!(answer.status, 400, "{body:?}: {answer}");
        }
    }
}

async fn what_is_not_utf_8_is_refused(service: &Service, sample: &Sample) {
    let api = service.api();
    for body in [&b"\xff\xfe"[..], b"{\"name\":\"\xff\",\"email\":\"a@example.com\"}", b"{\"name\":\"\xed\xa0\x80\"}"] {
        for call in with_body(&api, sample, body).await {
            call.send().await.expect(400);
        }
    }
}

async fn twenty_thousand_nested_brackets_are_refused(service: &Service, sample: &Sample) {
    let api = service.api();
    let (open, close) = ("[".repeat(20_000), "]".repeat(20_000));
    let objects = format!("{}1{}", "{\"a\":".repeat(9_000), "}".repeat(9_000));
    for body in [open.clone(), format!("{open}{close}"), format!("{{\"name\":{open}{close}}}"), objects] {
        for call in with_body(&api, sample, body.as_bytes()).await {
            call.send().await.expect(400);
        }
    }
}

async fn json_that_is_no_object_is_refused(service: &Service, sample: &Sample) {
    let api = service.api();
    for body in ["[]", "\"name\"", "42", "null", "true", "[{\"name\":\"A\"}]"] {
        for call in with_body(&api, sample, body.as_bytes()).await {
            assert_eq!(call.send().await.wrong_fields(), [""]);
        }
    }
}

async fn everything_that_is_wrong_is_named_at_once(service: &Service, sample: &Sample) -> Checked {
    let api = service.api();
    let text = sample.text?.name;
    let wrong = sample.defaulted.as_ref().map_or("id", |field| field.name);
    let body = json!({text: 7, wrong: {}, "id": "x", "version": 3});
    let [post, put, patch] = with_body(&api, sample, body.to_string().as_bytes()).await;
    let (given, required) = ([text, wrong, "id", "version"], sample.required());
    let all = pointers(given.iter().chain(&required));
    assert_eq!(post.send().await.wrong_fields(), all);
    assert_eq!(put.send().await.wrong_fields(), all);
    assert_eq!(patch.send().await.wrong_fields(), pointers(&given));
    let [post, put, patch] = with_body(&api, sample, b"{}").await;
    assert_eq!(post.send().await.wrong_fields(), pointers(&required));
    assert_eq!(put.send().await.wrong_fields(), pointers(&required));
    patch.write().await.expect(200);
    CHECKED
}

async fn a_key_that_is_given_twice_is_named_and_nothing_is_done(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    let (full, changed) = (sample.keeping(&item.body, "Twice"), sample.changed.name);
    let fields = full.to_string();
    let with = |more: &str| fields.replacen('{', &format!("{{{more},"), 1);
    let calls = || {
        [api.post(&sample.path, &Value::Null), api.put(&item.path, &Value::Null), api.patch(&item.path, &Value::Null)]
    };
    for (body, expected) in [
        (with(&format!(r#""{changed}":{}"#, full[changed])), pointers(&[changed])),
        (
            with(&format!(r#""{changed}":{{"a":[{{"b":1,"b":2}}]}}"#)),
            pointers(&[changed, format!("{changed}/a/0/b").as_str()]),
        ),
    ] {
        for call in calls() {
            assert_eq!(call.body(body.clone()).send().await.wrong_fields(), expected, "{body}");
        }
    }
    assert_eq!(api.reread(&item).await.body, item.body);
}

async fn an_unknown_field_is_named_with_an_escaped_pointer(service: &Service, sample: &Sample) {
    let mut body = sample.body("U");
    body["a/b~c"] = 1.into();
    body["created_at"] = "now".into();
    let refused = service.api().post(&sample.path, &body).send().await;
    assert_eq!(refused.wrong_fields(), ["/a~1b~0c", "/created_at"]);
}

async fn control_characters_are_refused(service: &Service, sample: &Sample) -> Checked {
    let text = sample.text?.name;
    let api = service.api();
    let item = api.any(sample).await;
    for control in ["\\u0000", "\\n", "\\r", "\\t", "\\u001b", "\\u007f", "\\u0085"] {
        let body = format!("{{\"{text}\":\"a{control}b\"}}");
        let answer = api.patch(&item.path, &Value::Null).body(body).send().await;
        assert_eq!(answer.status, 422, "{control}: {answer}");
        assert_eq!(answer.wrong_fields(), pointers(&[text]));
    }
    // JSON requires that control characters are escaped.
    api.patch(&item.path, &Value::Null).body(format!("{{\"{text}\":\"a\u{1}b\"}}")).send().await.expect(400);
    // Half of a surrogate pair is not a character.
    api.patch(&item.path, &Value::Null).body(format!("{{\"{text}\":\"\\ud800\"}}")).send().await.expect(400);
    CHECKED
}

async fn null_is_refused_in_a_patch(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    let fields: Vec<_> = sample.resource.fields.iter().map(|field| field.name).chain(["nickname"]).collect();
    let patch: Value = fields.iter().map(|field| ((*field).to_owned(), Value::Null)).collect();
    let refused = api.patch(&item.path, &patch).send().await;
    assert_eq!(refused.wrong_fields(), pointers(&fields));
    assert_eq!(api.reread(&item).await.body, item.body);
}

async fn a_body_of_64_kib_is_taken_and_one_byte_more_is_not(service: &Service, sample: &Sample) {
    let api = service.api();
    let body = |bytes: usize| {
        let body = sample.body("Large").to_string();
        // JSON allows white space after the value.
        format!("{body}{}", " ".repeat(bytes - body.len()))
    };
    api.post(&sample.path, &Value::Null).body(body(BODY_BYTES_MAX)).write().await.expect(201);
    api.post(&sample.path, &Value::Null).body(body(BODY_BYTES_MAX + 1)).send().await.expect(413);
    // A body that is too long is refused before it is parsed.
    for call in with_body(&api, sample, &vec![b'['; BODY_BYTES_MAX + 1]).await {
        call.send().await.expect(413);
    }
    for call in with_body(&api, sample, &vec![0xff; 2 * BODY_BYTES_MAX]).await {
        call.send().await.expect(413);
    }
}
