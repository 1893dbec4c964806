//! The fuzz targets for whole Lambda events, of every front door. They panic if a property does not hold.
//!
//! `shared/tests/front_doors.rs` includes this file too, to run the seeds without a fuzzer.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::{StatusCode, Uri};
use lambda_runtime::{Context, LambdaEvent};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use service::resources::RESOURCES;
use shared::front_door::{self, Entrance};
use shared::http::incoming::{Identity, Incoming};
use shared::http::middleware;
use shared::metrics::Metrics;
use tower::ServiceExt;

/// A fuzz target. It panics if a property does not hold.
pub type Target = fn(&[u8]);

/// The fuzz targets of this file, with their names.
pub const TARGETS: [(&str, Target); 2] = [("event", event), ("event_parts", event_parts)];

/// The status that the handlers answer with. No front door answers with it itself.
const HANDLED: StatusCode = StatusCode::IM_A_TEAPOT;

/// Checks that any JSON, taken as an event, gets a valid answer.
pub fn event(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(event) = RawValue::from_string(text.to_owned()) {
        answer(event);
    }
}

/// Builds an event of each front door from the lines of the input, and checks that each gets a valid answer. The first character
/// of a line says which part of the event it is.
pub fn event_parts(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut parts = Parts::default();
    for line in text.split('\n') {
        let mut characters = line.chars();
        let kind = characters.next().unwrap_or_default();
        parts.add(kind, characters.as_str());
    }
    for event in [parts.http_api(), parts.rest_api(), parts.load_balancer()] {
        answer(serde_json::value::to_raw_value(&event).unwrap());
    }
}

#[derive(Default)]
struct Parts {
    path: String,
    query: Vec<(String, String)>,
    raw_query: String,
    headers: Vec<(String, String)>,
    cookies: Vec<String>,
    method: String,
    stage: String,
    domain: Option<String>,
    claims: Vec<(String, Value)>,
    body: Option<String>,
    is_base64_encoded: bool,
}

impl Parts {
    fn add(&mut self, kind: char, rest: &str) {
        let pair = || {
            let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
            (name.to_owned(), value.to_owned())
        };
        match kind {
            '/' => self.path = format!("/{rest}"),
            'p' => rest.clone_into(&mut self.path),
            'q' => self.query.push(pair()),
            '?' => rest.clone_into(&mut self.raw_query),
            'h' => self.headers.push(pair()),
            // Shortcuts for the headers that the conversions read.
            'o' => self.headers.push(("host".to_owned(), rest.to_owned())),
            's' => self.headers.push(("X-Forwarded-Proto".to_owned(), rest.to_owned())),
            'c' => self.cookies.push(rest.to_owned()),
            'm' => rest.clone_into(&mut self.method),
            'g' => rest.clone_into(&mut self.stage),
            'd' => self.domain = Some(rest.to_owned()),
            't' => self.claims.push(("tenant_id".to_owned(), serde_json::from_str(rest).unwrap_or(json!(rest)))),
            'u' => self.claims.push(("sub".to_owned(), json!(rest))),
            'b' => self.body = Some(rest.to_owned()),
            '6' => (self.body, self.is_base64_encoded) = (Some(rest.to_owned()), true),
            _ => {}
        }
    }

    fn http_api(&self) -> Value {
        json!({
            "version": "2.0", "rawPath": self.path, "rawQueryString": self.raw_query, "cookies": self.cookies,
            "headers": one(&self.headers), "body": self.body, "isBase64Encoded": self.is_base64_encoded,
            "requestContext": {
                "http": { "method": self.method }, "stage": self.stage, "domainName": self.domain,
                "authorizer": { "jwt": { "claims": self.claims.iter().cloned().collect::<serde_json::Map<_, _>>() } },
            },
        })
    }

    fn rest_api(&self) -> Value {
        json!({
            "version": "1.0", "path": self.path, "httpMethod": self.method, "headers": one(&self.headers),
            "multiValueHeaders": many(&self.headers), "queryStringParameters": one(&self.query),
            "multiValueQueryStringParameters": many(&self.query), "body": self.body,
            "isBase64Encoded": self.is_base64_encoded,
            "requestContext": {
                "httpMethod": self.method, "stage": self.stage, "domainName": self.domain,
                "path": format!("/{}{}", self.stage, self.path),
                "authorizer": { "claims": self.claims.iter().cloned().collect::<serde_json::Map<_, _>>() },
            },
        })
    }

    fn load_balancer(&self) -> Value {
        json!({
            "path": self.path, "httpMethod": self.method, "multiValueHeaders": many(&self.headers),
            "queryStringParameters": one(&self.query), "body": self.body, "isBase64Encoded": self.is_base64_encoded,
            "requestContext": { "elb": { "targetGroupArn": self.stage } },
        })
    }
}

/// Returns an object with one value for each name: the last one.
fn one(pairs: &[(String, String)]) -> Value {
    pairs.iter().map(|(name, value)| (name.clone(), json!(value))).collect::<serde_json::Map<_, _>>().into()
}

/// Returns an object with all values of each name.
fn many(pairs: &[(String, String)]) -> Value {
    let mut lists = serde_json::Map::new();
    for (name, value) in pairs {
        if let Value::Array(values) = lists.entry(name.clone()).or_insert_with(|| json!([])) {
            values.push(json!(value));
        }
    }
    lists.into()
}

/// Sends an event through the front door. Asserts that the answer has one of the expected statuses; `handle` asserts that only
/// known paths reach it.
fn answer(event: Box<RawValue>) {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        static ENTRANCE: Entrance = entrance();
    }
    let service = front_door::service(ENTRANCE.with(Clone::clone));
    let event = LambdaEvent::new(event, Context::default());
    let answer = RUNTIME.with(|runtime| runtime.block_on(service.oneshot(event))).unwrap();
    let answer = serde_json::to_value(answer).unwrap();
    let status = answer["statusCode"].as_u64().unwrap();
    let expected = [200, 400, 401, 404, 405, 406, 413, u64::from(HANDLED.as_u16())];
    assert!(expected.contains(&status), "{answer}");
    assert!(answer["body"].is_string() || answer["body"].is_null(), "{answer}");
}

fn entrance() -> Entrance {
    let (all, one) = (RESOURCES[0].path(), RESOURCES[0].item("{id}"));
    let router = Router::new().route(&all, any(handle)).route(&one, any(handle)).route("/health", any("well"));
    let behind_alb = Identity { tenant: "acme".parse().unwrap(), subject: "container".parse().unwrap(), scopes: None };
    let router = middleware::finish(router, Metrics::read(&|_| None).unwrap());
    Entrance { router, base: "/v1".parse().unwrap(), behind_alb: Some(behind_alb) }
}

async fn handle(uri: Uri, incoming: Incoming) -> Response {
    let path = uri.path();
    assert!(path.starts_with(&RESOURCES[0].path()), "{path}");
    let link = incoming.base.link(path);
    assert!(link.starts_with('/') && link.ends_with(path), "{link}");
    (HANDLED, "handled").into_response()
}
