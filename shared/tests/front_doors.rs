//! Each front door's event becomes the same request, and the answer has the form that the front door expects.
//!
//! The events in `front_doors/` are those of AWS's documentation. A test changes the path, the method, the accepted types
//! and the sender:
//! - `http-api.json` and `rest-api.json`, payload formats 2.0 and 1.0:
//!   <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>
//! - `function-url.json`: <https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads>
//! - `alb.json` and `alb-multi-value.json`:
//!   <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html>

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

use axum::Router;
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::routing::get;
use http::{StatusCode, Uri};
use lambda_runtime::{Context, LambdaEvent};
use percent_encoding::percent_decode_str;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use service::resources::RESOURCES;
use shared::front_door::{self, Entrance};
use shared::http::incoming::{Identity, Incoming};
use shared::http::middleware;
use shared::http::path::BasePath;
use shared::metrics::Metrics;
use tower::ServiceExt;

#[path = "../../fuzz/src/events.rs"]
#[expect(unreachable_pub, reason = "it is a part of another crate as well")]
mod fuzz;

/// Answers with the request that it got, and with a repeated header.
async fn echo(uri: Uri, incoming: Incoming) -> Response {
    let Incoming { identity, base, param, query, headers, body, .. } = incoming;
    let values = |name: &str| headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
    let seen = json!({
        "tenant": identity.tenant.to_string(),
        "subject": identity.subject.to_string(),
        "path": percent_decode_str(uri.path()).decode_utf8().unwrap(),
        "base": base.to_string(),
        "param": param,
        "query": query,
        "header2": values("header2"),
        "cookie": values("cookie"),
        "body": String::from_utf8_lossy(&body),
    });
    (StatusCode::CREATED, AppendHeaders([("warning", "a"), ("warning", "b")]), seen.to_string()).into_response()
}

/// Returns a function that echoes requests, at a front door with a base path. `behind_alb` is the identity of requests
/// through a load balancer.
fn entrance(base: BasePath, behind_alb: Option<Identity>) -> Entrance {
    let router = Router::new().route(&path("{id}"), get(echo).post(echo)).route("/health", get("well"));
    Entrance { router: middleware::finish(router, Metrics::read(&|_| None).unwrap()), base, behind_alb }
}

/// Returns the function's answer to an event.
async fn answer_of(entrance: Entrance, event: Box<RawValue>) -> Value {
    let event = LambdaEvent::new(event, Context::default());
    let answer = front_door::service(entrance).oneshot(event).await.unwrap();
    serde_json::to_value(answer).unwrap()
}

/// Returns the answer to an event, if requests through a load balancer have this identity.
async fn answer_behind_alb(event: &Value, behind_alb: Option<Identity>) -> Value {
    answer_of(entrance(BasePath::default(), behind_alb), to_raw_value(event).unwrap()).await
}

async fn answer(event: &Value) -> Value {
    answer_behind_alb(event, None).await
}

async fn answer_under(base: &str, event: &Value) -> Value {
    answer_of(entrance(base.parse().unwrap(), None), to_raw_value(event).unwrap()).await
}

/// Returns the text before the path, and the path.
fn split(answer: &Value) -> (String, String) {
    let seen = seen(answer);
    (seen["base"].as_str().unwrap().to_owned(), seen["path"].as_str().unwrap().to_owned())
}

#[track_caller]
fn assert_refused(answer: &Value, event: &str) {
    let event: String = event.chars().take(300).collect();
    assert_eq!(answer["statusCode"], 400, "{event}: {answer}");
    let header = |name: &str| match &answer["headers"][name] {
        Value::Null => answer["multiValueHeaders"][name][0].clone(),
        one => one.clone(),
    };
    assert_eq!(header("content-type"), "application/problem+json", "{event}: {answer}");
    assert!(header("x-request-id").is_string(), "{event}: {answer}");
    assert_eq!(seen(answer)["status"], 400, "{event}: {answer}");
}

/// Returns more header lines than a `HeaderMap` holds.
fn too_many_headers() -> Value {
    (0..40_000).map(|n| (format!("x-{n}"), json!("y"))).collect::<serde_json::Map<_, _>>().into()
}

fn seen(answer: &Value) -> Value {
    serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
}

fn sample(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn set(event: &mut Value, pointer: &str, value: impl Into<Value>) {
    *event.pointer_mut(pointer).unwrap() = value.into();
}

fn claims() -> Value {
    json!({ "tenant_id": "acme", "sub": "ada" })
}

/// Returns the path of one item.
fn path(id: &str) -> String {
    RESOURCES[0].item(id)
}

#[tokio::test]
async fn an_http_api_is_understood() {
    let mut event = sample(include_str!("front_doors/http-api.json"));
    set(&mut event, "/rawPath", path("7"));
    set(&mut event, "/requestContext/authorizer/jwt/claims", claims());
    let answer = answer(&event).await;
    assert_eq!(answer["statusCode"], 201, "{answer}");
    let query = "parameter1=value1&parameter1=value2&parameter2=value";
    assert_eq!(answer["headers"]["warning"], "a, b", "{answer}");
    assert_eq!((&answer["isBase64Encoded"], answer.get("cookies")), (&json!(false), None));
    let expected = json!({
        "tenant": "acme", "subject": "ada", "path": path("7"), "base": "", "param": "7", "query": query,
        "header2": ["value1,value2"], "cookie": ["cookie1; cookie2"], "body": "Hello from Lambda",
    });
    assert_eq!(seen(&answer), expected);
}

#[tokio::test]
async fn a_claim_that_is_not_a_name_gives_no_identity() {
    let mut event = sample(include_str!("front_doors/http-api.json"));
    set(&mut event, "/rawPath", path("7"));
    for (claim, nothing) in [
        "null",
        "nil",
        "<nil>",
        "undefined",
        "true",
        "false",
        "[]",
        "[acme]",
        "[acme umbrella]",
        "{}",
        "map[]",
        "map[a:b]",
        "",
        "a#b",
    ]
    .into_iter()
    .flat_map(|nothing| [("tenant_id", nothing), ("sub", nothing)])
    {
        let mut claims = claims();
        claims[claim] = json!(nothing);
        set(&mut event, "/requestContext/authorizer/jwt/claims", claims);
        assert_eq!(answer(&event).await["statusCode"], 401, "{claim}: {nothing}");
    }
    for nothing in [json!(false), json!(7), json!(["acme"]), json!({}), Value::Null] {
        let mut claims = claims();
        claims["tenant_id"] = nothing.clone();
        set(&mut event, "/requestContext/authorizer/jwt/claims", claims);
        assert_eq!(answer(&event).await["statusCode"], 401, "{nothing}");
    }
    for authorizer in
        [Value::Null, json!({}), json!({ "jwt": null }), json!({ "jwt": {} }), json!({ "lambda": claims() })]
    {
        set(&mut event, "/requestContext/authorizer", authorizer.clone());
        assert_eq!(answer(&event).await["statusCode"], 401, "{authorizer}");
    }
}

/// An HTTP API passes a number as its digits.
#[tokio::test]
async fn a_number_and_a_name_of_digits_are_the_same() {
    let mut event = sample(include_str!("front_doors/http-api.json"));
    set(&mut event, "/rawPath", path("7"));
    set(&mut event, "/requestContext/authorizer/jwt/claims", json!({ "tenant_id": "7", "sub": "8" }));
    assert_eq!(seen(&answer(&event).await)["tenant"], "7");
}

#[tokio::test]
async fn an_invalid_event_of_an_http_api_is_a_400() {
    let mut sample = sample(include_str!("front_doors/http-api.json"));
    set(&mut sample, "/rawPath", path("7"));
    set(&mut sample, "/requestContext/authorizer/jwt/claims", claims());
    sample["headers"]["host"] = json!("api.example.com");
    let long = format!("/{}", "x".repeat(70_000));
    for (pointer, value) in [
        ("/headers/host", json!("x:99999")),
        ("/headers/host", json!("a.example,b.example")),
        ("/headers/host", json!("")),
        ("/headers", json!({ "HOST": "u@x" })),
        ("/headers", json!({ "x-forwarded-proto": "ht tp" })),
        ("/headers", json!({ "X-Forwarded-Proto": "javascript" })),
        ("/headers", json!({ "a b": "c" })),
        ("/headers", json!({ "": "c" })),
        ("/headers", json!({ "é": "c" })),
        ("/headers", json!({ "a": "b\nc" })),
        ("/headers", json!({ "a": "\u{0}" })),
        ("/headers", json!({ "a": null })),
        ("/headers", json!({ "a": 7 })),
        ("/headers", json!([])),
        ("/headers", too_many_headers()),
        ("/cookies", json!(["a=1", "b=\r"])),
        ("/cookies", json!("a=1")),
        ("/rawQueryString", json!("a b")),
        ("/rawQueryString", json!("a#b")),
        ("/rawQueryString", json!("\u{7f}")),
        ("/rawQueryString", json!(long)),
        ("/rawPath", json!("users/7")),
        ("/rawPath", json!("")),
        ("/rawPath", json!("*")),
        ("/rawPath", json!(long)),
        ("/rawPath", json!(null)),
        ("/isBase64Encoded", json!(true)),
        ("/isBase64Encoded", json!("true")),
        ("/body", json!({})),
        ("/requestContext/http/method", json!("")),
        ("/requestContext/http/method", json!("G T")),
        ("/requestContext/http", json!(null)),
        ("/requestContext", json!(null)),
        ("/requestContext/authorizer", json!("acme")),
    ] {
        let mut event = sample.clone();
        set(&mut event, pointer, value);
        assert_refused(&answer(&event).await, &format!("{pointer} {}", event.pointer(pointer).unwrap()));
    }
}

#[tokio::test]
async fn missing_parts_of_an_http_apis_event_are_missing_in_the_request() {
    let mut sample = sample(include_str!("front_doors/http-api.json"));
    set(&mut sample, "/rawPath", path("7"));
    set(&mut sample, "/requestContext/authorizer/jwt/claims", claims());
    for (pointer, value) in [
        ("/headers", json!({})),
        ("/headers", Value::Null),
        ("/headers", json!({ "a": [] })),
        ("/cookies", json!([])),
        ("/cookies", Value::Null),
        ("/body", Value::Null),
        ("/rawQueryString", json!("")),
        ("/rawQueryString", Value::Null),
        ("/requestContext/stage", Value::Null),
    ] {
        let mut event = sample.clone();
        set(&mut event, pointer, value);
        let answer = answer(&event).await;
        assert_eq!(answer["statusCode"], 201, "{pointer}: {answer}");
    }
    set(&mut sample, "/isBase64Encoded", true);
    set(&mut sample, "/body", "/w==");
    assert_eq!(seen(&answer(&sample).await)["body"], "\u{fffd}");
}

/// The events include those of other services, and JSON that is no event.
#[tokio::test]
async fn no_event_makes_the_handler_panic() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_claim = format!(
        r#"{{"rawPath":"/","requestContext":{{"http":{{"method":"GET"}},"authorizer":{{"jwt":{{"claims":{deep}}}}}}}}}"#
    );
    let many = too_many_headers();
    let rest =
        json!({"httpMethod": "GET", "path": "/", "multiValueHeaders": many, "requestContext": {"httpMethod": "GET"}});
    let alb = json!({"httpMethod": "GET", "path": "/", "headers": many, "requestContext": {"elb": {}}});
    for event in [
        "null",
        "true",
        "7",
        r#""GET /""#,
        "[]",
        "{}",
        &deep,
        &deep_claim,
        r#"{"key1":"value1","key2":"value2","key3":"value3"}"#,
        r#"{"requestContext":{}}"#,
        r#"{"rawPath":"/","requestContext":{"http":{}}}"#,
        r#"{"rawPath":"/","rawPath":"/","requestContext":{"http":{"method":"GET"}}}"#,
        r#"{"Records":[{"eventSource":"aws:sqs","body":"{}"}]}"#,
        r#"{"httpMethod":"GET","path":"/","requestContext":{"elb":null}}"#,
        r#"{"httpMethod":"GET","requestContext":{"elb":{}}}"#,
        r#"{"httpMethod":"GET","path":"x:99999/","requestContext":{"httpMethod":"GET","stage":"$default"}}"#,
        r#"{"httpMethod":"","path":null,"requestContext":{"httpMethod":""}}"#,
        &rest.to_string(),
        &alb.to_string(),
    ] {
        let raw = RawValue::from_string(event.to_owned()).unwrap();
        let answer = answer_of(entrance(BasePath::default(), None), raw).await;
        assert_refused(&answer, event);
    }
}

#[tokio::test]
async fn the_stage_of_an_http_api_and_a_base_path_are_no_part_of_the_path() {
    let mut event = sample(include_str!("front_doors/http-api.json"));
    set(&mut event, "/requestContext/authorizer/jwt/claims", claims());
    let (item, collection) = (path("7"), RESOURCES[0].path());
    for (stage, base, raw_path, before) in [
        ("$default", "/v1", item.clone(), ""),
        ("$default", "/v1", format!("/v1{item}"), "/v1"),
        ("prod", "/v1", format!("/prod{item}"), "/prod"),
        ("prod", "/v1", format!("/prod/v1{item}"), "/prod/v1"),
        // A custom domain.
        ("prod", "/v1/api", format!("/v1/api{item}"), "/v1/api"),
        ("prod", "/v1", item.clone(), ""),
        (RESOURCES[0].collection, "/v1", item.clone(), ""),
        (RESOURCES[0].collection, "/v1", format!("{collection}{item}"), collection.as_str()),
    ] {
        set(&mut event, "/requestContext/stage", stage);
        set(&mut event, "/rawPath", raw_path.clone());
        let answer = answer_under(base, &event).await;
        assert_eq!(split(&answer), (before.to_owned(), item.clone()), "{stage} {base} {raw_path}");
    }
    // Health needs no base path. A path that only begins like the stage is another path.
    for (raw_path, status) in [("/prod/health", 200), ("/health", 200), ("/production/health", 404), ("/prod", 404)] {
        set(&mut event, "/requestContext/stage", "prod");
        set(&mut event, "/requestContext/http/method", "GET");
        set(&mut event, "/rawPath", raw_path);
        assert_eq!(answer(&event).await["statusCode"], status, "{raw_path}");
    }
}

/// A Function URL does not decode the path.
#[tokio::test]
async fn an_id_is_the_same_in_any_spelling() {
    let mut event = sample(include_str!("front_doors/http-api.json"));
    set(&mut event, "/requestContext/authorizer/jwt/claims", claims());
    for spelling in ["7 a", "7%20a", "%37%20a"] {
        set(&mut event, "/rawPath", path(spelling));
        assert_eq!(split(&answer(&event).await).1, path("7 a"), "{spelling}");
    }
}

#[test]
fn no_seed_of_an_event_breaks_what_its_target_asserts() {
    for (name, target) in fuzz::TARGETS {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(name);
        let seeds: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!seeds.is_empty(), "{name}");
        for seed in seeds {
            println!("{}", seed.display());
            target(&std::fs::read(&seed).unwrap());
        }
    }
}

/// The payload is that of an HTTP API, but the callers belong to IAM and have no tenant.
#[tokio::test]
async fn a_function_url_is_understood_and_its_callers_have_no_identity() {
    let mut event = sample(include_str!("front_doors/function-url.json"));
    set(&mut event, "/rawPath", path("7"));
    assert_eq!(answer(&event).await["statusCode"], 401);
    set(&mut event, "/rawPath", "/health");
    set(&mut event, "/requestContext/http/method", "GET");
    assert_eq!(answer(&event).await["statusCode"], 200);
}

/// Returns faults for an event that has both forms of headers and of parameters.
#[cfg(any(feature = "apigw_rest", feature = "alb"))]
fn wrong_for_lambda_http() -> Vec<(&'static str, Value)> {
    let long = "x".repeat(20_000);
    vec![
        ("/headers", json!({ "host": "x:99999" })),
        ("/headers", json!({ "Host": "a,b" })),
        ("/headers", json!({ "host": "1.2.3.999" })),
        ("/headers", json!({ "host": "xn--a" })),
        ("/headers", json!({ "host": "x".repeat(300) })),
        ("/headers", json!({ "host": "x", "x-forwarded-proto": "ht tp" })),
        ("/headers", json!({ "host": "x", "X-Forwarded-Proto": "x".repeat(100) })),
        ("/headers", json!({ "a b": "c" })),
        ("/headers", json!({ "a": "b\nc" })),
        ("/headers", json!({ "a": 7 })),
        ("/headers", too_many_headers()),
        ("/path", json!("users/7")),
        ("/path", json!(":99999/")),
        ("/path", json!("")),
        ("/path", Value::Null),
        ("/path", json!(format!("/{long}"))),
        ("/queryStringParameters", json!({ "a": long })),
        ("/queryStringParameters", json!({ "a": 7 })),
        ("/isBase64Encoded", json!(true)),
        ("/requestContext", Value::Null),
        ("/httpMethod", json!("G T")),
    ]
}

#[cfg(feature = "apigw_rest")]
mod rest_api {
    use super::*;

    fn event() -> Value {
        let mut event = sample(include_str!("front_doors/rest-api.json"));
        set(&mut event, "/path", path("7"));
        set(&mut event, "/requestContext/authorizer/claims", claims());
        event
    }

    #[tokio::test]
    async fn a_rest_api_is_understood_with_the_claims_of_its_authorizer() {
        let answer = answer(&event()).await;
        assert_eq!(answer["statusCode"], 201, "{answer}");
        assert_eq!(answer["multiValueHeaders"]["warning"], json!(["a", "b"]));
        let seen = seen(&answer);
        assert_eq!((&seen["tenant"], &seen["subject"], &seen["param"]), (&json!("acme"), &json!("ada"), &json!("7")));
        let mut pairs: Vec<_> = seen["query"].as_str().unwrap().split('&').collect();
        pairs.sort_unstable();
        assert_eq!(pairs, ["parameter1=value1", "parameter1=value2", "parameter2=value"]);
    }

    /// The URL of a REST API contains its stage, which is not part of the path.
    #[tokio::test]
    async fn the_name_of_a_rest_apis_stage_is_no_part_of_the_path() {
        let mut event = event();
        set(&mut event, "/requestContext/stage", "prod");
        set(&mut event, "/requestContext/path", format!("/prod{}", path("7")));
        assert_eq!(split(&answer(&event).await), ("/prod".to_owned(), path("7")));
        // Behind a custom domain, both paths have its base path.
        set(&mut event, "/path", format!("/v1{}", path("7")));
        set(&mut event, "/requestContext/path", format!("/v1{}", path("7")));
        assert_eq!(split(&answer_under("/v1", &event).await), ("/v1".to_owned(), path("7")));
    }

    #[tokio::test]
    async fn an_invalid_event_of_a_rest_api_is_a_400() {
        for (pointer, value) in super::wrong_for_lambda_http() {
            let mut event = event();
            set(&mut event, pointer, value);
            assert_refused(&answer(&event).await, &format!("{pointer} {}", event.pointer(pointer).unwrap()));
        }
        for (pointer, value) in [
            ("/requestContext/domainName", json!("<url-id>.lambda-url.us-west-2.on.aws")),
            ("/requestContext/domainName", json!("x:99999")),
            ("/requestContext/httpMethod", json!("G T")),
            ("/requestContext/stage", json!("x".repeat(20_000))),
            ("/multiValueQueryStringParameters", json!({ "a": [] })),
        ] {
            let mut event = event();
            set(&mut event, pointer, value);
            assert_refused(&answer(&event).await, &format!("{pointer} {}", event.pointer(pointer).unwrap()));
        }
    }

    #[tokio::test]
    async fn the_query_of_a_rest_api_is_not_mixed_with_its_path() {
        let mut event = event();
        set(&mut event, "/path", path("7?x=1#y"));
        let answer = answer(&event).await;
        assert_eq!(seen(&answer)["param"], "7?x=1#y", "{answer}");
        assert!(seen(&answer)["query"].as_str().unwrap().contains("parameter2=value"), "{answer}");
    }

    #[tokio::test]
    async fn only_the_claims_of_an_authorizer_name_the_sender() {
        let mut event = event();
        set(&mut event, "/requestContext/authorizer", claims());
        assert_eq!(answer(&event).await["statusCode"], 401);
        set(&mut event, "/requestContext/authorizer", json!({ "claims": null, "scopes": null }));
        assert_eq!(answer(&event).await["statusCode"], 401);
        set(&mut event, "/requestContext/authorizer", json!({ "claims": { "tenant_id": 7, "sub": "ada" } }));
        assert_eq!(answer(&event).await["statusCode"], 401);
    }
}

#[cfg(feature = "alb")]
mod alb {
    use super::*;

    fn event() -> Value {
        let mut event = sample(include_str!("front_doors/alb.json"));
        set(&mut event, "/path", path("7"));
        set(&mut event, "/headers/accept", "application/json");
        event
    }

    fn configured() -> Identity {
        Identity { tenant: "acme".parse().unwrap(), subject: "container".parse().unwrap(), scopes: None }
    }

    #[tokio::test]
    async fn an_alb_is_understood_and_answered_in_both_forms_of_headers() {
        let mut event = event();
        set(&mut event, "/queryStringParameters", json!({ "name": "a%26b%20c" }));
        let answer = answer_behind_alb(&event, Some(configured())).await;
        assert_eq!((&answer["statusCode"], &answer["statusDescription"]), (&json!(201), &json!("201 Created")));
        assert_eq!(answer["isBase64Encoded"], false);
        assert_eq!(answer["multiValueHeaders"]["warning"], json!(["a", "b"]));
        assert!(answer["headers"]["warning"].is_string(), "{answer}");
        let seen = seen(&answer);
        assert_eq!(
            (&seen["tenant"], &seen["param"], &seen["body"]),
            (&json!("acme"), &json!("7"), &json!("request_body"))
        );
        assert!(["name=a%26b%20c", "name=a%26b+c"].contains(&seen["query"].as_str().unwrap()), "{seen}");
    }

    #[tokio::test]
    async fn an_invalid_event_of_an_alb_is_a_400() {
        for (pointer, value) in super::wrong_for_lambda_http() {
            let mut event = event();
            set(&mut event, pointer, value);
            let answer = answer_behind_alb(&event, Some(configured())).await;
            assert_refused(&answer, &format!("{pointer} {}", event.pointer(pointer).unwrap()));
        }
        let mut event = sample(include_str!("front_doors/alb-multi-value.json"));
        for headers in [json!({ "host": ["x:99999"] }), json!({ "host": ["x"], "a": ["b\n"] }), too_many_headers()] {
            set(&mut event, "/multiValueHeaders", headers);
            let answer = answer_behind_alb(&event, Some(configured())).await;
            assert_refused(&answer, &event["multiValueHeaders"].to_string());
        }
        let mut event = sample(include_str!("front_doors/alb-multi-value.json"));
        set(&mut event, "/multiValueQueryStringParameters", json!({ "a": ["b"], "c": [] }));
        assert_refused(&answer_behind_alb(&event, Some(configured())).await, "a parameter without a value");
    }

    #[tokio::test]
    async fn a_base_path_is_no_part_of_the_path_behind_an_alb() {
        let mut event = event();
        set(&mut event, "/path", format!("/v1{}", path("7")));
        let entrance = entrance("/v1".parse().unwrap(), Some(configured()));
        let answer = answer_of(entrance, to_raw_value(&event).unwrap()).await;
        assert_eq!(split(&answer), ("/v1".to_owned(), path("7")));
    }

    #[tokio::test]
    async fn an_albs_headers_with_several_values_all_arrive() {
        let mut event = sample(include_str!("front_doors/alb-multi-value.json"));
        set(&mut event, "/path", path("7"));
        set(&mut event, "/multiValueHeaders/accept", json!(["application/json"]));
        let answer = answer_behind_alb(&event, Some(configured())).await;
        assert_eq!(seen(&answer)["cookie"], json!(["name1=value1", "name2=value2"]));
        assert_eq!(seen(&answer)["query"], "myKey=val1&myKey=val2");
    }

    /// If the load balancer does not authenticate, any client that reaches it can send these headers.
    #[tokio::test]
    async fn the_headers_of_an_alb_do_not_name_the_sender() {
        let mut event = event();
        // {"alg":"none"} and {"tenant_id":"victim","sub":"mallory"}.
        let forged = "eyJhbGciOiJub25lIn0.eyJ0ZW5hbnRfaWQiOiJ2aWN0aW0iLCJzdWIiOiJtYWxsb3J5In0.";
        event["headers"]["x-amzn-oidc-data"] = json!(forged);
        event["headers"]["x-amzn-oidc-identity"] = json!("mallory");
        event["headers"]["authorization"] = json!(format!("Bearer {forged}"));
        let answer = answer_behind_alb(&event, Some(configured())).await;
        assert_eq!((&seen(&answer)["tenant"], &seen(&answer)["subject"]), (&json!("acme"), &json!("container")));
        assert_eq!(super::answer(&event).await["statusCode"], 401);
    }

    /// This identity is for requests through the load balancer only. An API without an authorizer does not get it.
    #[tokio::test]
    async fn another_front_door_beside_an_alb_must_name_the_identity_of_a_request() {
        let mut event = sample(include_str!("front_doors/http-api.json"));
        set(&mut event, "/rawPath", path("7"));
        set(&mut event, "/requestContext/authorizer", Value::Null);
        assert_eq!(answer_behind_alb(&event, Some(configured())).await["statusCode"], 401);
    }
}
