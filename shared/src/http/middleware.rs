//! The work around every handler: the request id, the bodies of problems, panics and metrics.

use std::panic::AssertUnwindSafe;

use ::http::{Method, StatusCode, header};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use tokio::time::Instant;
use tracing::Instrument;

use super::incoming::Identity;
use super::problem::{HttpProblem, Unwritten};
use super::{REQUEST_ID, routes, set};
use crate::metrics::{CacheReports, Measured, Metrics};

/// The id of a request, from the front door. It is in every log line of the request and in its answer.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

/// The problem with which a request is refused before the handlers see it.
#[derive(Debug, Clone)]
struct Refused(HttpProblem);

/// Returns a placeholder for a refused request. It does not reach the handlers, but its answer passes through the
/// middleware.
#[must_use]
pub fn refused(problem: HttpProblem) -> Request {
    let mut request = Request::new(Body::empty());
    request.extensions_mut().insert(Refused(problem));
    request
}

/// Adds the middleware to a function's routes. Requests outside these routes get 404 if the service does not know the path,
/// 204 for `OPTIONS`, and 405 otherwise.
pub fn finish(router: Router, metrics: Metrics) -> Router {
    let router = router.fallback(unserved).method_not_allowed_fallback(unserved).layer(from_fn(around));
    match metrics.are_wanted() {
        true => router.layer(from_fn_with_state(metrics, measure)),
        false => router,
    }
}

async fn unserved(request: Request) -> Result<Response, HttpProblem> {
    let allowed = routes::allowed(request.uri().path()).ok_or_else(HttpProblem::no_route)?;
    match *request.method() {
        Method::OPTIONS => Ok(options(allowed)),
        ref method => Err(HttpProblem::method_not_allowed(method, allowed)),
    }
}

/// Returns the methods of a path (RFC 9110, section 9.3.7). The front door adds the headers of CORS.
fn options(allowed: &[&str]) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    set(&mut response, header::ALLOW, routes::allow(allowed));
    response
}

async fn around(mut request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().map_or_else(new_id, |id| id.0.clone());
    let is_head = request.method() == Method::HEAD;
    let span = tracing::info_span!("request", request_id = id);
    let answer = match request.extensions_mut().remove::<Refused>() {
        Some(Refused(problem)) => Ok(problem.into_response()),
        None => AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone()).await,
    };
    let mut response = answer.unwrap_or_else(|_| {
        span.in_scope(|| tracing::error!("a handler panicked"));
        HttpProblem::internal().into_response()
    });
    if let Some(unwritten) = response.extensions_mut().remove::<Unwritten>()
        && !is_head
    {
        *response.body_mut() = Body::from(unwritten.write(&id));
    }
    set(&mut response, REQUEST_ID, id);
    response
}

async fn measure(State(metrics): State<Metrics>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let route = routes::of(request.method(), request.uri().path());
    let tenant = request.extensions().get::<Identity>().map(|identity| identity.tenant.clone());
    let response = next.run(request).await;
    let request_id = response.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let caches = response.extensions().get::<CacheReports>();
    metrics.request(Measured {
        route,
        status: response.status(),
        latency: began.elapsed(),
        caches: caches.map(|reports| reports.0.as_slice()).unwrap_or_default(),
        request_id: request_id.unwrap_or_default(),
        tenant: tenant.as_ref(),
    });
    response
}

fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}
