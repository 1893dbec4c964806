//! Routes, methods, and the content types of requests and answers.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::json;
use uuid::Uuid;

use crate::harness::{Service, unique};
use crate::sample::Sample;

on_every_variant!(
    the_service_says_that_it_lives,
    an_unknown_route_is_a_404,
    a_wrong_method_is_a_405_that_names_the_right_ones,
    options_tells_the_methods_of_a_path,
    an_id_that_is_no_hyphenated_uuid_is_refused,
    an_id_in_upper_case_is_the_same_item,
    a_client_that_does_not_accept_json_is_refused,
    another_content_type_is_refused_and_the_right_one_named,
    an_encoded_body_is_refused_and_identity_named,
    a_malformed_trace_is_ignored,
);

async fn the_service_says_that_it_lives(service: &Service, _: &Sample) {
    let answer = service.api().get("/health").send().await.expect(200);
    assert!(answer.find("cache-status").is_none());
}

async fn an_unknown_route_is_a_404(service: &Service, sample: &Sample) {
    let api = service.api();
    let id = Uuid::now_v7();
    let inside = format!("{}/friends", sample.resource.item(id));
    for path in [
        "/",
        "/nope",
        &sample.path[..sample.path.len() - 1],
        &format!("{}/", sample.path),
        &sample.path.to_uppercase(),
        "/commands",
        "/commands/",
        &inside,
        "/health/x",
        &format!("/{}", sample.path),
    ] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let answer = api.call(method.clone(), path).send().await;
            assert_eq!(answer.status, 404, "{method} {path}: {answer}");
        }
    }
}

async fn a_wrong_method_is_a_405_that_names_the_right_ones(service: &Service, sample: &Sample) {
    let api = service.api();
    let id = Uuid::now_v7();
    let (item, command) = (sample.resource.item(id), format!("/commands/{id}"));
    let actions: Vec<_> = sample.resource.actions.iter().map(|action| sample.resource.action(id, action)).collect();
    let body = sample.body("M");
    let of_actions =
        actions.iter().map(|path| (path.as_str(), &["OPTIONS", "POST"][..], &["GET", "PUT", "PATCH", "DELETE"][..]));
    let paths = [
        (sample.path.as_str(), &["GET", "HEAD", "OPTIONS", "POST"][..], &["PUT", "PATCH", "DELETE"][..]),
        (&item, &["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "PUT"], &["POST"]),
        (&command, &["GET", "HEAD", "OPTIONS"], &["POST", "PUT", "PATCH", "DELETE"]),
        ("/health", &["GET", "HEAD", "OPTIONS"], &["POST", "PUT", "PATCH", "DELETE"]),
    ];
    for (path, allowed, wrong) in paths.into_iter().chain(of_actions) {
        for method in wrong {
            let answer = api.post(path, &body).with_method(method).send().await;
            assert_eq!(answer.status, 405, "{answer}");
            let named: BTreeSet<&str> = answer.header("allow").split(',').map(str::trim).collect();
            assert_eq!(named, allowed.iter().copied().collect(), "{answer}");
        }
    }
}

async fn options_tells_the_methods_of_a_path(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = sample.resource.item(Uuid::now_v7());
    let actions = sample.resource.actions.iter().map(|action| format!("{item}/{action}"));
    for action in actions {
        let answer = api.call(Method::OPTIONS, &action).send().await.expect(204);
        assert_eq!(answer.header("allow"), "POST, OPTIONS");
    }
    for (path, allowed) in [
        (sample.path.as_str(), "GET, HEAD, POST, OPTIONS"),
        (&item, "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"),
        ("/health", "GET, HEAD, OPTIONS"),
    ] {
        let answer = api.call(Method::OPTIONS, path).send().await.expect(204);
        assert_eq!(answer.header("allow"), allowed);
    }
    api.call(Method::OPTIONS, "/nope").send().await.expect(404);
}

async fn an_id_that_is_no_hyphenated_uuid_is_refused(service: &Service, sample: &Sample) {
    let api = service.api();
    let id = Uuid::now_v7();
    let wrong_ids = [
        "1".to_owned(),
        "nobody".to_owned(),
        id.simple().to_string(),
        id.braced().to_string(),
        id.urn().to_string(),
        format!("{id}x"),
        "x".repeat(2_000),
        "%00".to_owned(),
        "%FF".to_owned(),
    ];
    for wrong in wrong_ids {
        let path = sample.resource.item(wrong);
        let actions = sample.resource.actions.iter().map(|action| api.call(Method::POST, &format!("{path}/{action}")));
        let calls = [api.get(&path), api.patch(&path, &sample.patch("I")), api.delete(&path)];
        for call in calls.into_iter().chain(actions) {
            call.send().await.expect(400);
        }
    }
}

async fn an_id_in_upper_case_is_the_same_item(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    let upper = sample.resource.item(item.id.to_uppercase());
    let read = api.get(&upper).token(&item.token).send().await.expect(200);
    assert_eq!(read.json(), item.body);

    // Two spellings of one request are the same command.
    let key = unique("key");
    let patched = sample.patch("Patched");
    let patch = |path: &str| api.patch(path, &patched).idempotency_key(&key).write();
    let (first, second) = (patch(&upper).await.expect(200), patch(&item.path).await.expect(200));
    assert_eq!((first.id.as_ref(), first.version), (Some(&item.id), Some(2)));
    assert_eq!(second.version, Some(2));
    assert_eq!(second.answer.header("idempotency-replayed"), "true");

    let body = sample.keeping(&item.body, "Put");
    assert_eq!(api.put(&upper, &body).write().await.expect(200).version, Some(3));
    api.delete(&upper).write().await.expect(204);
    let deleted = api.delete(&item.path).write().await;
    assert_eq!(deleted.kind(404), "not-found");
}

async fn a_client_that_does_not_accept_json_is_refused(service: &Service, sample: &Sample) {
    let api = service.api();
    let body = sample.body("Accept");
    for accept in ["text/html", "application/xml, text/*;q=0.5", "application/json;q=0", "text/plain;a=\"b, */*, c\""] {
        api.get(&sample.list("limit=1")).header("accept", accept).send().await.expect(406);
        api.post(&sample.path, &body).header("accept", accept).send().await.expect(406);
    }
    if let Some(held) = sample.held(&body) {
        assert_eq!(api.get(&sample.list(&held)).send().await.json()["items"], json!([]));
    }
    for accept in
        ["application/json", "*/*", "application/*", "text/html, */*;q=0.1", "Application/JSON; charset=utf-8"]
    {
        let answer = api.get(&sample.list("limit=1")).header("accept", accept).send().await;
        assert_eq!(answer.status, 200, "{accept}: {answer}");
    }
}

async fn another_content_type_is_refused_and_the_right_one_named(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    let body = sample.keeping(&item.body, "T");
    for wrong in [Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application"), None] {
        let with_type = |call: crate::harness::client::Call| match wrong {
            Some(content_type) => call.header("content-type", content_type),
            None => call.without_header("content-type"),
        };
        let post = with_type(api.post(&sample.path, &body)).send().await.expect(415);
        assert_eq!(post.header("accept-post"), "application/json");
        with_type(api.put(&item.path, &body)).send().await.expect(415);
        let patch = with_type(api.patch(&item.path, &body)).send().await.expect(415);
        assert_eq!(patch.header("accept-patch"), "application/merge-patch+json");
    }
    api.patch(&item.path, &body).header("content-type", "application/json-patch+json").send().await.expect(415);
    assert_eq!(api.reread(&item).await.body, item.body);
}

async fn an_encoded_body_is_refused_and_identity_named(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    let body = sample.keeping(&item.body, "E");
    let calls = || [api.post(&sample.path, &body), api.put(&item.path, &body), api.patch(&item.path, &body)];
    for wrong in ["gzip", "br, identity", "x-unknown"] {
        for call in calls() {
            let refused = call.header("content-encoding", wrong).send().await;
            assert_eq!(refused.header("accept-encoding"), "identity", "{refused}");
            refused.expect(415);
        }
    }
    assert_eq!(api.reread(&item).await.body, item.body);
    api.put(&item.path, &body).header("content-encoding", "Identity").write().await.expect(200);
    // Without a body, the content encoding has no effect.
    api.delete(&item.path).header("content-encoding", "gzip").write().await.expect(204);
}

async fn a_malformed_trace_is_ignored(service: &Service, sample: &Sample) {
    let api = service.api();
    let item = api.any(sample).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let zeros = format!("00-{}-b7ad6b7169203331-01", "0".repeat(32));
    for given in [trace, "", "nope", &zeros, &trace.to_uppercase(), &"x".repeat(1_000), "k\u{fc}"] {
        api.patch(&item.path, &sample.patch("T")).header("traceparent", given).write().await.expect(200);
        api.get(&item.path).header("traceparent", given).send().await.expect(200);
    }
    let twice = api.patch(&item.path, &sample.patch("T")).header("traceparent", trace).and_header("traceparent", trace);
    twice.write().await.expect(200);
}
