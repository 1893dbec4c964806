//! Each front door's event becomes the same request, and its answer what that door understands.
//!
//! The events in `front_doors/` are those of AWS's documentation; a test changes the path, the method, what is accepted, and
//! whose it is:
//! - `http-api.json` and `rest-api.json`, payload formats 2.0 and 1.0:
//!   <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>
//! - `function-url.json`: <https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads>
//! - `alb.json` and `alb-multi-value.json`:
//!   <https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html>

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use axum::Router;
use axum::response::{AppendHeaders, IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use lambda_http::{Adapter, LambdaEvent};
use serde_json::{Value, json};
use shared::front_door;
use shared::http::incoming::{Identity, Incoming};
use shared::http::middleware;
use shared::http::routes::ITEM;
use shared::metrics::Metrics;
use tower::ServiceExt;

/// Answers with what it was asked, and with a header that comes twice.
async fn echo(incoming: Incoming) -> Response {
    let Incoming { identity, param, query, headers, body, .. } = incoming;
    let values = |name: &str| headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
    let seen = json!({
        "tenant": identity.tenant.to_string(),
        "subject": identity.subject.to_string(),
        "param": param,
        "query": query,
        "header2": values("header2"),
        "cookie": values("cookie"),
        "body": String::from_utf8(body.to_vec()).unwrap(),
    });
    (StatusCode::CREATED, AppendHeaders([("warning", "a"), ("warning", "b")]), seen.to_string()).into_response()
}

/// What the function answers to an event, and whose requests are that come through an ALB.
async fn answer_behind_alb(event: &Value, behind_alb: Option<Identity>) -> Value {
    let router = Router::new().route(ITEM, get(echo).post(echo)).route("/health", get("well"));
    let router = middleware::finish(router, Metrics::read(&|_| None).unwrap());
    let function = Adapter::from(front_door::service(router, behind_alb));
    let event = serde_json::from_value(event.clone()).unwrap();
    let answer = function.oneshot(LambdaEvent::new(event, lambda_http::Context::default())).await.unwrap();
    serde_json::to_value(answer).unwrap()
}

async fn answer(event: &Value) -> Value {
    answer_behind_alb(event, None).await
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

/// The path of one thing.
fn path(id: &str) -> String {
    ITEM.replace("{id}", id)
}

#[tokio::test]
async fn an_http_api_is_understood() {
    let mut event = sample(include_str!("front_doors/http-api.json"));
    set(&mut event, "/rawPath", path("7"));
    set(&mut event, "/requestContext/authorizer/jwt/claims", claims());
    let answer = answer(&event).await;
    assert_eq!(answer["statusCode"], 201, "{answer}");
    let query = "parameter1=value1&parameter1=value2&parameter2=value";
    let expected = json!({
        "tenant": "acme", "subject": "ada", "param": "7", "query": query,
        "header2": ["value1,value2"], "cookie": ["cookie1; cookie2"], "body": "Hello from Lambda",
    });
    assert_eq!(seen(&answer), expected);
}

#[tokio::test]
async fn a_claim_that_is_no_name_is_nobodys() {
    let mut event = sample(include_str!("front_doors/http-api.json"));
    set(&mut event, "/rawPath", path("7"));
    for (claim, nothing) in
        ["null", "nil", "<nil>", "undefined", "[]", "[acme]", "[acme umbrella]", "{}", "map[]", "map[a:b]", "", "a#b"]
            .into_iter()
            .flat_map(|nothing| [("tenant_id", nothing), ("sub", nothing)])
    {
        let mut claims = claims();
        claims[claim] = json!(nothing);
        set(&mut event, "/requestContext/authorizer/jwt/claims", claims);
        assert_eq!(answer(&event).await["statusCode"], 401, "{claim}: {nothing}");
    }
}

/// The same payload as an HTTP API's; but its callers are IAM's, who are of no tenant.
#[tokio::test]
async fn a_function_url_is_understood_and_its_callers_are_nobodys_users() {
    let mut event = sample(include_str!("front_doors/function-url.json"));
    // The documentation's `<url-id>` is no name of a host.
    set(&mut event, "/requestContext/domainName", "url-id.lambda-url.us-west-2.on.aws");
    set(&mut event, "/rawPath", path("7"));
    assert_eq!(answer(&event).await["statusCode"], 401);
    set(&mut event, "/rawPath", "/health");
    set(&mut event, "/requestContext/http/method", "GET");
    assert_eq!(answer(&event).await["statusCode"], 200);
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

    /// A REST API has a stage in its URL, which is no part of the path.
    #[tokio::test]
    async fn the_name_of_a_rest_apis_stage_is_no_part_of_the_path() {
        let mut event = event();
        set(&mut event, "/requestContext/stage", "prod");
        set(&mut event, "/requestContext/path", format!("/prod{}", path("7")));
        let answer = answer(&event).await;
        assert_eq!(seen(&answer)["param"], "7", "{answer}");
    }

    #[tokio::test]
    async fn what_an_authorizer_says_elsewhere_than_in_the_claims_is_not_believed() {
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
        Identity { tenant: "acme".parse().unwrap(), subject: "container".parse().unwrap() }
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
    async fn an_albs_headers_with_several_values_all_arrive() {
        let mut event = sample(include_str!("front_doors/alb-multi-value.json"));
        set(&mut event, "/path", path("7"));
        set(&mut event, "/multiValueHeaders/accept", json!(["application/json"]));
        let answer = answer_behind_alb(&event, Some(configured())).await;
        assert_eq!(seen(&answer)["cookie"], json!(["name1=value1", "name2=value2"]));
        assert_eq!(seen(&answer)["query"], "myKey=val1&myKey=val2");
    }

    /// Whoever reaches the load balancer where it does not authenticate can send these headers.
    #[tokio::test]
    async fn what_an_albs_headers_say_of_the_sender_is_not_believed() {
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

    /// The identity is the load balancer's alone: an API without an authorizer does not have it.
    #[tokio::test]
    async fn another_front_door_beside_an_alb_must_say_whose_a_request_is() {
        let mut event = sample(include_str!("front_doors/http-api.json"));
        set(&mut event, "/rawPath", path("7"));
        set(&mut event, "/requestContext/authorizer", Value::Null);
        assert_eq!(answer_behind_alb(&event, Some(configured())).await["statusCode"], 401);
    }
}
