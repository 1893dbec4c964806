//! Turns HTTP requests into events of API Gateway in payload format 2.0, and a function's answers into HTTP responses.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, HOST, HeaderName, SET_COOKIE, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::Full;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::jwt::Claims;

/// The account that owns everything on this machine.
const ACCOUNT_ID: &str = "000000000000";
/// The id of the API.
const API_ID: &str = "local";
/// Headers that belong to a connection and not to a message. They are not passed on, in either direction.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// The type of an answer that names none.
const CONTENT_TYPE_DEFAULT: HeaderValue = HeaderValue::from_static("text/plain;charset=UTF-8");

/// The gateway's knowledge of a request, besides the request itself.
#[derive(Debug)]
pub struct Origin<'a> {
    /// The route of the request.
    pub route_key: &'a str,
    /// The parameters in its path.
    pub path_parameters: &'a BTreeMap<&'static str, String>,
    /// The result of the authorizer, if the route has one: the claims, and the scopes of the route.
    pub authorization: Option<(&'a Claims, &'a [String])>,
    /// The address of the client.
    pub source_ip: IpAddr,
    /// The port of the gateway.
    pub port: u16,
    /// The gateway's id of the request.
    pub request_id: &'a str,
}

/// The error of a function response that is no HTTP response.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// The response is not JSON.
    #[error("the response of the function is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// The response has a part that HTTP forbids.
    #[error("the response of the function has an invalid {0}")]
    Invalid(&'static str),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    version: &'static str,
    route_key: &'a str,
    raw_path: &'a str,
    raw_query_string: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cookies: Vec<String>,
    headers: BTreeMap<&'a str, Cow<'a, str>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    query_string_parameters: BTreeMap<String, String>,
    request_context: RequestContext<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    path_parameters: &'a BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Cow<'a, str>>,
    is_base64_encoded: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestContext<'a> {
    account_id: &'static str,
    api_id: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorizer: Option<Authorizer<'a>>,
    domain_name: &'a str,
    domain_prefix: &'a str,
    http: Http<'a>,
    request_id: &'a str,
    route_key: &'a str,
    stage: &'static str,
    time: String,
    time_epoch: i64,
}

#[derive(Serialize)]
struct Authorizer<'a> {
    jwt: Jwt<'a>,
}

#[derive(Serialize)]
struct Jwt<'a> {
    claims: &'a Claims,
    scopes: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Http<'a> {
    method: &'a str,
    path: &'a str,
    protocol: &'static str,
    source_ip: String,
    user_agent: Cow<'a, str>,
}

/// Returns the event of a request.
///
/// # Errors
/// No request causes one: serialising text into memory does not fail.
pub fn event(head: &Parts, body: &Bytes, origin: &Origin<'_>) -> Result<Bytes, serde_json::Error> {
    let path = decoded_path(head.uri.path());
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let domain_name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let now = Timestamp::now();
    let headers = event_headers(&head.headers, body.len(), origin);
    let (body, is_base64_encoded) = event_body(&head.headers, body);
    let raw_query_string = head.uri.query().unwrap_or_default();
    let event = Event {
        version: "2.0",
        route_key: origin.route_key,
        raw_path: &path,
        raw_query_string,
        cookies: cookies(&head.headers),
        headers,
        query_string_parameters: query_parameters(raw_query_string),
        request_context: RequestContext {
            account_id: ACCOUNT_ID,
            api_id: API_ID,
            authorizer: origin.authorization.map(|(claims, scopes)| Authorizer { jwt: Jwt { claims, scopes } }),
            domain_name,
            domain_prefix: domain_name.split('.').next().unwrap_or_default(),
            http: Http {
                method: head.method.as_str(),
                path: &path,
                protocol: "HTTP/1.1",
                source_ip: origin.source_ip.to_string(),
                user_agent: head.headers.get(USER_AGENT).map(text).unwrap_or_default(),
            },
            request_id: origin.request_id,
            route_key: origin.route_key,
            stage: "$default",
            time: now.to_zoned(TimeZone::UTC).strftime("%d/%b/%Y:%H:%M:%S +0000").to_string(),
            time_epoch: now.as_millisecond(),
        },
        path_parameters: origin.path_parameters,
        body,
        is_base64_encoded,
    };
    serde_json::to_vec(&event).map(Bytes::from)
}

/// Decodes the path, as an HTTP API does and a function URL does not. A path that is not text afterwards stays encoded.
fn decoded_path(path: &str) -> Cow<'_, str> {
    percent_decode_str(path).decode_utf8().unwrap_or(Cow::Borrowed(path))
}

fn text(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

fn cookies(headers: &HeaderMap) -> Vec<String> {
    let split = |value: &HeaderValue| text(value).split(';').map(|one| one.trim().to_owned()).collect::<Vec<_>>();
    headers.get_all(COOKIE).iter().flat_map(split).filter(|cookie| !cookie.is_empty()).collect()
}

/// Returns the headers of an event. Names are in lower case, and a comma joins several values of one name. The gateway adds
/// its own headers.
fn event_headers<'a>(
    headers: &'a HeaderMap,
    body_bytes: usize,
    origin: &Origin<'_>,
) -> BTreeMap<&'a str, Cow<'a, str>> {
    let mut all: BTreeMap<&str, Cow<str>> = BTreeMap::new();
    for (name, value) in headers {
        if *name == COOKIE || HOP_BY_HOP.contains(&name.as_str()) {
            continue;
        }
        all.entry(name.as_str())
            .and_modify(|earlier| *earlier = format!("{earlier},{}", text(value)).into())
            .or_insert_with(|| text(value));
    }
    let source_ip = origin.source_ip.to_string();
    let forwarded = match all.get("x-forwarded-for") {
        Some(earlier) => format!("{earlier}, {source_ip}"),
        None => source_ip,
    };
    all.insert("x-forwarded-for", forwarded.into());
    all.insert("x-forwarded-port", origin.port.to_string().into());
    all.insert("x-forwarded-proto", "http".into());
    all.entry("x-amzn-trace-id").or_insert_with(|| crate::runtime_api::trace_id().into());
    // Also for a body in chunks, whose request has no such header.
    all.insert("content-length", body_bytes.to_string().into());
    all
}

fn query_parameters(query: &str) -> BTreeMap<String, String> {
    let decode = |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
    let mut parameters: BTreeMap<String, String> = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value);
        parameters
            .entry(decode(name))
            .and_modify(|earlier| *earlier = format!("{earlier},{value}"))
            .or_insert_with(|| value.clone());
    }
    parameters
}

/// Returns a body as text if its type is text and it is UTF-8, and in Base64 otherwise.
fn event_body<'a>(headers: &HeaderMap, body: &'a Bytes) -> (Option<Cow<'a, str>>, bool) {
    if body.is_empty() {
        return (None, false);
    }
    let is_text = headers.get(CONTENT_TYPE).is_some_and(|content_type| is_text_type(&text(content_type)));
    match std::str::from_utf8(body) {
        Ok(body) if is_text => (Some(body.into()), false),
        _ => (Some(STANDARD.encode(body).into()), true),
    }
}

fn is_text_type(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || ["application/json", "application/javascript", "application/xml"].contains(&essence.as_str())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FunctionResponse<'a> {
    status_code: Value,
    #[serde(default)]
    headers: Option<BTreeMap<String, Value>>,
    #[serde(default)]
    cookies: Option<Vec<String>>,
    #[serde(borrow, default)]
    body: Option<Cow<'a, str>>,
    #[serde(default)]
    is_base64_encoded: Option<bool>,
}

/// Returns the HTTP response for a function's answer.
///
/// JSON without a status code is the body of a 200, as with API Gateway.
pub fn response(payload: &Bytes) -> Result<Response<Full<Bytes>>, ResponseError> {
    match serde_json::from_slice::<FunctionResponse<'_>>(payload) {
        Ok(parsed) => structured(parsed),
        Err(_) => inferred(payload),
    }
}

fn structured(parsed: FunctionResponse<'_>) -> Result<Response<Full<Bytes>>, ResponseError> {
    let status = match &parsed.status_code {
        Value::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    // A gateway cannot pass on a 1xx.
    let status = status.filter(|status| *status >= 200).and_then(|status| StatusCode::from_u16(status).ok());
    let body = match (parsed.body, parsed.is_base64_encoded) {
        (None, _) => Bytes::new(),
        (Some(body), Some(true)) => {
            STANDARD.decode(body.as_bytes()).map_err(|_| ResponseError::Invalid("body"))?.into()
        }
        (Some(body), _) => Bytes::from(body.into_owned()),
    };
    let headers = response_headers(parsed.headers.unwrap_or_default(), parsed.cookies.unwrap_or_default())?;
    let mut response = Response::new(Full::new(body.clone()));
    *response.status_mut() = status.ok_or(ResponseError::Invalid("status code"))?;
    *response.headers_mut() = headers;
    if !body.is_empty() {
        response.headers_mut().entry(CONTENT_TYPE).or_insert(CONTENT_TYPE_DEFAULT);
    }
    Ok(response)
}

fn response_headers(headers: BTreeMap<String, Value>, cookies: Vec<String>) -> Result<HeaderMap, ResponseError> {
    let mut all = HeaderMap::with_capacity(headers.len() + cookies.len() + 2);
    for (name, value) in headers {
        let name = HeaderName::try_from(name).map_err(|_| ResponseError::Invalid("header name"))?;
        if HOP_BY_HOP.contains(&name.as_str()) || name == http::header::CONTENT_LENGTH {
            continue;
        }
        let value = match value {
            Value::String(text) => text,
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => return Err(ResponseError::Invalid("header value")),
        };
        all.append(name, HeaderValue::try_from(value).map_err(|_| ResponseError::Invalid("header value"))?);
    }
    for cookie in cookies {
        all.append(SET_COOKIE, HeaderValue::try_from(cookie).map_err(|_| ResponseError::Invalid("cookie"))?);
    }
    Ok(all)
}

fn inferred(payload: &Bytes) -> Result<Response<Full<Bytes>>, ResponseError> {
    let parsed: Value = serde_json::from_slice(payload).map_err(ResponseError::NotJson)?;
    if parsed.get("statusCode").is_some() {
        return Err(ResponseError::Invalid("form"));
    }
    let mut response = Response::new(Full::new(payload.clone()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

#[cfg(test)]
mod tests;
