//! REST APIs and load balancers, through the crate `lambda_http`.
//!
//! The crate's conversion panics on some events. This module finds those events first, and answers 400.

use std::collections::BTreeMap;
use std::convert::Infallible;

use axum::body::Body;
use lambda_http::aws_lambda_events::query_map::QueryMap;
use lambda_http::request::{LambdaRequest, RequestContext};
use lambda_http::{Adapter, LambdaEvent, RequestExt};
use lambda_runtime::{Context, service_fn};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use tower::ServiceExt;
use url::Url;

use super::{Door, Entrance, Received, checks, claims};
use crate::http::host;
use crate::http::path::BasePath;
use crate::http::problem::HttpProblem;

/// The maximum length of path and query together, in bytes as they stand in the event. Encoded and with a host, they stay
/// below the 65,534 bytes of a URI in the crate `http`. API Gateway accepts 10,240 bytes of request line and headers, a
/// load balancer a request line of 16 KiB.
const TARGET_BYTES_MAX: usize = 16 * 1024;
/// The maximum length of the name of a host (RFC 1035, section 2.3.4) with a port, in bytes.
const HOST_BYTES_MAX: usize = 253 + ":65535".len();

/// The parts of an event on which the conversion could panic.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    path: Option<String>,
    #[serde(default)]
    headers: checks::Pairs,
    #[serde(default)]
    multi_value_headers: checks::Pairs,
    #[serde(default)]
    query_string_parameters: checks::Pairs,
    #[serde(default)]
    multi_value_query_string_parameters: Option<BTreeMap<String, Vec<String>>>,
    request_context: EventContext,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EventContext {
    stage: Option<String>,
    domain_name: Option<String>,
}

/// Returns whether `lambda_http` can convert a host. The rules of URLs are narrower than those of HTTP: for example, a URL
/// cannot hold `1.2.3.999`, neither as an address nor as a name.
fn is_convertible_host(text: &str) -> bool {
    text.len() <= HOST_BYTES_MAX && host::is_host(text) && Url::parse(&format!("https://{text}/")).is_ok()
}

/// Answers an event in the form of its front door.
pub(super) async fn answer(
    door: Door,
    entrance: Entrance,
    event: &str,
    context: Context,
) -> Result<Box<RawValue>, serde_json::Error> {
    let (event, refusal) = match readable(event) {
        Ok(event) => (event, None),
        Err(problem) => (door.blank(), Some(problem)),
    };
    let event = LambdaEvent::new(event, context.clone());
    let handler = service_fn(move |request: lambda_http::Request| {
        let (entrance, refusal, context) = (entrance.clone(), refusal.clone(), context.clone());
        async move {
            let received = refusal.map_or_else(|| Ok(received(request, &entrance)), Err);
            let (parts, body) = entrance.answer(received, context).await.into_parts();
            let body = if body.is_empty() { lambda_http::Body::Empty } else { lambda_http::Body::Text(body) };
            Ok::<_, Infallible>(lambda_http::Response::from_parts(parts, body))
        }
    });
    let answer = Adapter::from(handler).oneshot(event).await;
    to_raw_value(&answer.unwrap_or_else(|never| match never {}))
}

impl Door {
    /// Returns an empty event of this front door. The answer to it has the form that the front door expects.
    fn blank(self) -> LambdaRequest {
        match self {
            #[cfg(feature = "apigw_rest")]
            Self::RestApi => {
                LambdaRequest::ApiGatewayV1(lambda_http::aws_lambda_events::apigw::ApiGatewayProxyRequest::default())
            }
            #[cfg(feature = "alb")]
            Self::LoadBalancer => {
                LambdaRequest::Alb(lambda_http::aws_lambda_events::alb::AlbTargetGroupRequest::default())
            }
        }
    }
}

/// Reads an event. Refuses it if `lambda_http` cannot convert it.
fn readable(event: &str) -> Result<LambdaRequest, HttpProblem> {
    let unreadable = |error: serde_json::Error| {
        tracing::warn!(line = error.line(), column = error.column(), "an event cannot be read");
        HttpProblem::bad_request("the event is not from a REST API or a load balancer")
    };
    check(serde_json::from_str(event).map_err(unreadable)?)?;
    serde_json::from_str(event).map_err(unreadable)
}

/// Refuses an event on which the conversion of `lambda_http` 1.3 would panic:
///
/// - `build_request_uri` parses a URL of scheme, host and path.
/// - `Request::builder` takes that URL with the query, in which each parameter has a first value.
/// - `Body::from_maybe_encoded` decodes the body.
/// - A `HeaderMap` takes the headers.
fn check(event: Event) -> Result<(), HttpProblem> {
    let headers = checks::headers(event.headers.iter().chain(event.multi_value_headers.iter()))?;
    let hosts = headers.get_all(::http::header::HOST).iter().filter_map(|host| host.to_str().ok());
    if hosts.chain(event.request_context.domain_name.as_deref()).any(|host| !is_convertible_host(host)) {
        return Err(HttpProblem::bad_request("Host is not valid"));
    }
    let path = event.path.as_deref().unwrap_or_default();
    if !path.starts_with('/') {
        return Err(HttpProblem::bad_request("the path does not begin with a slash"));
    }
    let several = event.multi_value_query_string_parameters.unwrap_or_default();
    if several.values().any(Vec::is_empty) {
        return Err(HttpProblem::bad_request("a parameter of the query has no value"));
    }
    let several = several.iter().flat_map(|(name, values)| values.iter().map(move |value| (&**name, &**value)));
    let parameters = event.query_string_parameters.iter().chain(several);
    let query: usize = parameters.map(|(name, value): (&str, &str)| name.len() + value.len() + "&=".len()).sum();
    let stage = event.request_context.stage.as_ref().map_or(0, String::len);
    if path.len() + query + stage > TARGET_BYTES_MAX {
        return Err(HttpProblem::bad_request("the path and the query are too long"));
    }
    checks::body(event.body.unwrap_or_default(), event.is_base64_encoded.unwrap_or_default())?;
    Ok(())
}

#[cfg_attr(not(feature = "alb"), expect(unused_variables, reason = "only a load balancer has an entrance's identity"))]
fn received(event: lambda_http::Request, entrance: &Entrance) -> Received {
    let path = event.raw_http_path().to_owned();
    // The URI does not hold the whole query if the path contains a `?` or `#`.
    let query = event.query_string_parameters_ref().map(QueryMap::to_query_string).unwrap_or_default();
    let (stage, identity) = match event.request_context_ref() {
        #[cfg(feature = "apigw_rest")]
        Some(RequestContext::ApiGatewayV1(context)) => {
            // The path of the context is the one that the client sent. The path of the event lacks the stage.
            let stage = context.path.as_deref().and_then(|full| full.strip_suffix(path.as_str())?.parse().ok());
            let claims = context.authorizer.fields.get("claims");
            let identity = claims.and_then(|claims| claims::identity(|name| claims.get(name)?.as_str()));
            (stage.unwrap_or_default(), identity)
        }
        // A load balancer describes the sender in headers. Any client can send them, so this code ignores them.
        #[cfg(feature = "alb")]
        Some(RequestContext::Alb(_)) => (BasePath::default(), entrance.behind_alb.clone()),
        _ => (BasePath::default(), None),
    };
    let request = event.map(|body| match body {
        lambda_http::Body::Text(text) => Body::from(text),
        lambda_http::Body::Binary(bytes) => Body::from(bytes),
        _ => Body::empty(),
    });
    Received { request, path, query, stage, identity }
}
