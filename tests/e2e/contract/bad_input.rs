//! Bodies that are not what they should be.

use serde_json::{Value, json};

use crate::harness::client::Call;
use crate::harness::{Api, Stack, unique};

/// The longest body.
const BODY_BYTES_MAX: usize = 64 * 1024;

on_every_variant!(
    what_is_not_json_is_refused,
    what_is_not_utf_8_is_refused,
    twenty_thousand_nested_brackets_are_refused,
    json_that_is_no_object_is_refused,
    everything_that_is_wrong_is_named_at_once,
    an_unknown_field_is_named_with_an_escaped_pointer,
    a_field_has_a_type_and_a_length,
    control_characters_are_refused,
    null_is_refused_in_a_patch,
    a_body_of_64_kib_is_taken_and_one_byte_more_is_not,
);

/// The body in each kind of write that takes one.
async fn with_body(api: &Api, body: &[u8]) -> [Call; 3] {
    let user = api.any_user().await;
    let calls =
        [api.post("/users", &Value::Null), api.put(&user.path, &Value::Null), api.patch(&user.path, &Value::Null)];
    calls.map(|call| call.body(body))
}

async fn what_is_not_json_is_refused(stack: &Stack) {
    let api = stack.api();
    for body in ["", " ", "nope", "{", "{\"name\":\"A\",}", "{'name':'A'}", "{\"name\":\"A\"}}", "\u{feff}{}", "NaN"] {
        for call in with_body(&api, body.as_bytes()).await {
            let answer = call.send().await;
            assert_eq!(answer.status, 400, "{body:?}: {answer}");
        }
    }
}

async fn what_is_not_utf_8_is_refused(stack: &Stack) {
    let api = stack.api();
    for body in [&b"\xff\xfe"[..], b"{\"name\":\"\xff\",\"email\":\"a@example.com\"}", b"{\"name\":\"\xed\xa0\x80\"}"] {
        for call in with_body(&api, body).await {
            call.send().await.expect(400);
        }
    }
}

async fn twenty_thousand_nested_brackets_are_refused(stack: &Stack) {
    let api = stack.api();
    let (open, close) = ("[".repeat(20_000), "]".repeat(20_000));
    let objects = format!("{}1{}", "{\"a\":".repeat(9_000), "}".repeat(9_000));
    for body in [open.clone(), format!("{open}{close}"), format!("{{\"name\":{open}{close}}}"), objects] {
        for call in with_body(&api, body.as_bytes()).await {
            call.send().await.expect(400);
        }
    }
}

async fn json_that_is_no_object_is_refused(stack: &Stack) {
    let api = stack.api();
    for body in ["[]", "\"name\"", "42", "null", "true", "[{\"name\":\"A\"}]"] {
        for call in with_body(&api, body.as_bytes()).await {
            assert_eq!(call.send().await.wrong_fields(), [""]);
        }
    }
}

async fn everything_that_is_wrong_is_named_at_once(stack: &Stack) {
    let api = stack.api();
    let body = json!({"name": 7, "status": "asleep", "id": "x", "version": 3});
    let [post, put, patch] = with_body(&api, body.to_string().as_bytes()).await;
    assert_eq!(post.send().await.wrong_fields(), ["/email", "/id", "/name", "/status", "/version"]);
    assert_eq!(put.send().await.wrong_fields(), ["/email", "/id", "/name", "/status", "/version"]);
    assert_eq!(patch.send().await.wrong_fields(), ["/id", "/name", "/status", "/version"]);
    let [post, put, patch] = with_body(&api, b"{}").await;
    assert_eq!(post.send().await.wrong_fields(), ["/email", "/name"]);
    assert_eq!(put.send().await.wrong_fields(), ["/email", "/name"]);
    patch.write().await.expect(200);
}

async fn an_unknown_field_is_named_with_an_escaped_pointer(stack: &Stack) {
    let body = json!({"name": "U", "email": format!("{}@example.com", unique("u")), "a/b~c": 1, "created_at": "now"});
    let refused = stack.api().post("/users", &body).send().await;
    assert_eq!(refused.wrong_fields(), ["/a~1b~0c", "/created_at"]);
}

async fn a_field_has_a_type_and_a_length(stack: &Stack) {
    let api = stack.api();
    let user = api.any_user().await;
    let long = |n: usize| "x".repeat(n);
    for (field, wrong) in [
        ("name", json!("")),
        ("name", json!(long(101))),
        ("name", json!("ü".repeat(101))),
        ("name", json!(long(50_000))),
        ("name", json!(["A"])),
        ("name", json!({"first": "A"})),
        ("name", json!(true)),
        ("email", json!("ada")),
        ("email", json!("ada@")),
        ("email", json!("ada@example..com")),
        ("email", json!("ada lovelace@example.com")),
        ("email", json!("ada@example.com\n")),
        ("email", json!(format!("{}@{}.{}.{}.{}.com", long(64), long(63), long(63), long(63), long(63)))),
        ("email", json!(1)),
        ("status", json!("ACTIVE")),
        ("status", json!("")),
        ("status", json!(0)),
    ] {
        let answer = api.patch(&user.path, &json!({field: wrong})).send().await;
        assert_eq!(answer.status, 422, "{field}: {wrong}: {answer}");
        assert_eq!(answer.wrong_fields(), [format!("/{field}")]);
    }
    let longest = json!({"name": "ü".repeat(100), "email": format!("{}@{}.example.com", long(64 - 20) + &unique("e")[..4], long(63))});
    api.patch(&user.path, &longest).write().await.expect(200);
}

async fn control_characters_are_refused(stack: &Stack) {
    let api = stack.api();
    let user = api.any_user().await;
    for control in ["\\u0000", "\\n", "\\r", "\\t", "\\u001b", "\\u007f", "\\u0085"] {
        let body = format!("{{\"name\":\"a{control}b\"}}");
        let answer = api.patch(&user.path, &Value::Null).body(body).send().await;
        assert_eq!(answer.status, 422, "{control}: {answer}");
        assert_eq!(answer.wrong_fields(), ["/name"]);
    }
    // In JSON they must be escaped.
    api.patch(&user.path, &Value::Null).body("{\"name\":\"a\u{1}b\"}").send().await.expect(400);
    // Half of a surrogate pair is no character.
    api.patch(&user.path, &Value::Null).body("{\"name\":\"\\ud800\"}").send().await.expect(400);
}

async fn null_is_refused_in_a_patch(stack: &Stack) {
    let api = stack.api();
    let user = api.any_user().await;
    let patch = json!({"name": null, "email": null, "status": null, "nickname": null});
    let refused = api.patch(&user.path, &patch).send().await;
    assert_eq!(refused.wrong_fields(), ["/email", "/name", "/nickname", "/status"]);
    assert_eq!(api.reread(&user).await.body, user.body);
}

async fn a_body_of_64_kib_is_taken_and_one_byte_more_is_not(stack: &Stack) {
    let api = stack.api();
    let body = |bytes: usize| {
        let body = json!({"name": "Large", "email": format!("{}@example.com", unique("large"))}).to_string();
        // White space behind it is still JSON.
        format!("{body}{}", " ".repeat(bytes - body.len()))
    };
    api.post("/users", &Value::Null).body(body(BODY_BYTES_MAX)).write().await.expect(201);
    api.post("/users", &Value::Null).body(body(BODY_BYTES_MAX + 1)).send().await.expect(413);
    // Refused before it is parsed, whatever it is.
    for call in with_body(&api, &vec![b'['; BODY_BYTES_MAX + 1]).await {
        call.send().await.expect(413);
    }
    for call in with_body(&api, &vec![0xff; 2 * BODY_BYTES_MAX]).await {
        call.send().await.expect(413);
    }
}
