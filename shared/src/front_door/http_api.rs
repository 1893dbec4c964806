//! HTTP APIs and function URLs: payload format 2.0.
//!
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html#urls-payloads>

use ::http::{HeaderMap, Method, Request, Response, header};
use axum::body::Body;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::{Received, checks, claims};
use crate::http::path::BasePath;
use crate::http::problem::HttpProblem;
use crate::http::routes;

/// The parts of an event that become the request. `aws_lambda_events` has a type for the whole event, but that type panics
/// if there are more headers than a `HeaderMap` holds.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    raw_path: String,
    raw_query_string: Option<String>,
    cookies: Option<Vec<String>>,
    #[serde(default)]
    headers: checks::Pairs,
    request_context: Context,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
}

#[derive(Deserialize)]
struct Context {
    stage: Option<String>,
    http: Http,
    authorizer: Option<Authorizer>,
}

#[derive(Deserialize)]
struct Http {
    method: String,
}

#[derive(Deserialize)]
struct Authorizer {
    jwt: Option<Jwt>,
}

#[derive(Deserialize)]
struct Jwt {
    claims: Option<Value>,
}

/// Builds a request from an event, or refuses it with 400.
pub(super) fn request(event: &str) -> Result<Received, HttpProblem> {
    let event: Event = serde_json::from_str(event).map_err(|error| {
        tracing::warn!(line = error.line(), column = error.column(), "an event cannot be read");
        HttpProblem::bad_request("the event is not from an HTTP API or a function URL (payload format 2.0)")
    })?;
    let method = Method::from_bytes(event.request_context.http.method.as_bytes());
    let method = method.map_err(|_| HttpProblem::bad_request("the method is not valid"))?;
    let mut headers = checks::headers(event.headers.iter())?;
    if let Some(cookies) = event.cookies.filter(|cookies| !cookies.is_empty()) {
        headers.insert(header::COOKIE, checks::value(&cookies.join("; "))?);
    }
    let body = checks::body(event.body.unwrap_or_default(), event.is_base64_encoded.unwrap_or_default())?;
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = method;
    *request.headers_mut() = headers;
    let claims = event.request_context.authorizer.and_then(|authorizer| authorizer.jwt?.claims);
    let identity = claims.and_then(|claims| claims::identity(|name| claims.get(name)?.as_str()));
    let (stage, path) = without_stage(&event.raw_path, event.request_context.stage.as_deref());
    let query = event.raw_query_string.unwrap_or_default();
    Ok(Received { request, path: path.to_owned(), query, stage, identity })
}

/// Splits a raw path into the stage of the API and the path of the service. A path has no stage if the stage is `$default`,
/// or behind a custom domain. So a raw path that is a route already stays whole, even if the stage has the name of a
/// collection.
fn without_stage<'path>(raw_path: &'path str, stage: Option<&str>) -> (BasePath, &'path str) {
    let stage = stage.filter(|stage| *stage != "$default" && routes::allowed(raw_path).is_none());
    let stage = stage.and_then(|stage| format!("/{stage}").parse::<BasePath>().ok());
    stage.unwrap_or_default().split(raw_path)
}

/// A reply in payload format 2.0. It has no cookies, because the service sets none.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HttpApiReply {
    status_code: u16,
    #[serde(serialize_with = "one_text_each")]
    headers: HeaderMap,
    #[serde(skip_serializing_if = "String::is_empty")]
    body: String,
    is_base64_encoded: bool,
}

impl HttpApiReply {
    pub(super) fn of(response: Response<String>) -> Self {
        let (parts, body) = response.into_parts();
        Self { status_code: parts.status.as_u16(), headers: parts.headers, body, is_base64_encoded: false }
    }
}

/// Writes one text for each name, as the format requires. Commas join several values (RFC 9110, section 5.3).
fn one_text_each<S: Serializer>(headers: &HeaderMap, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(headers.keys_len()))?;
    for name in headers.keys() {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        map.serialize_entry(name.as_str(), &values.collect::<Vec<_>>().join(", "))?;
    }
    map.end()
}
