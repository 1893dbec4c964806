//! Secrets are read over the wire: from a scripted server, and from ministack if `WATERSHED_MINISTACK_URL` has its address.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use adapters::clients;
use adapters::secrets::{self, SecretError};
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use kernel::error_chain::ErrorChain;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Serves three secrets, one of them binary.
async fn answer(headers: HeaderMap, body: String) -> (StatusCode, String) {
    assert_eq!(headers.get("x-amz-target").unwrap(), "secretsmanager.GetSecretValue");
    let request: Value = serde_json::from_str(&body).unwrap();
    let (status, answer) = match request.get("SecretId").and_then(Value::as_str).unwrap() {
        "text" => (StatusCode::OK, json!({ "SecretString": "k1:secret" })),
        "bytes" => (StatusCode::OK, json!({ "SecretBinary": "AAAA" })),
        "forbidden" => (StatusCode::BAD_REQUEST, json!({ "__type": "AccessDeniedException", "message": "not you" })),
        _ => (StatusCode::BAD_REQUEST, json!({ "__type": "ResourceNotFoundException", "message": "no such secret" })),
    };
    (status, answer.to_string())
}

#[tokio::test]
async fn a_secret_is_its_text_or_an_error_that_says_why_not() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let aws = clients::local(&format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(answer))).await });
    assert_eq!(secrets::read(&aws, "text").await.unwrap(), "k1:secret");
    assert!(matches!(secrets::read(&aws, "bytes").await, Err(SecretError::NoText)));
    for (id, reason) in [("absent", "no such secret"), ("forbidden", "AccessDeniedException")] {
        let output = ErrorChain(&secrets::read(&aws, id).await.unwrap_err()).to_string();
        assert!(output.contains(reason), "{output}");
    }
}

#[tokio::test]
async fn ministack_gives_a_secret_by_name_and_by_arn() {
    let Ok(url) = std::env::var("WATERSHED_MINISTACK_URL") else {
        println!("skipped: WATERSHED_MINISTACK_URL does not say where ministack serves");
        return;
    };
    let aws = clients::local(&url);
    let (client, name) = (aws_sdk_secretsmanager::Client::new(&aws), format!("keys-{:08x}", rand::random::<u32>()));
    let created = client.create_secret().name(&name).secret_string("k1:first").send().await.unwrap();
    let arn = created.arn.unwrap();
    for id in [&name, &arn] {
        assert_eq!(secrets::read(&aws, id).await.unwrap(), "k1:first");
    }
    client.put_secret_value().secret_id(&name).secret_string("k2:second").send().await.unwrap();
    assert_eq!(secrets::read(&aws, &arn).await.unwrap(), "k2:second");
    let output = ErrorChain(&secrets::read(&aws, "absent").await.unwrap_err()).to_string();
    assert!(output.contains("ResourceNotFoundException"), "{output}");
}
