//! What both sides share of HTTP: the request as handlers see it, problems, headers, and the table of routes.

pub mod conditional;
pub mod host;
mod idempotency;
pub mod incoming;
mod list;
pub mod middleware;
pub mod path;
pub mod prefer;
pub mod problem;
pub mod routes;
mod trace_context;

use ::http::{HeaderName, HeaderValue};
use axum::response::Response;

/// The header that carries a consistency token, in both directions.
pub const CONSISTENCY_TOKEN: HeaderName = HeaderName::from_static("consistency-token");
/// The header that carries an idempotency key (draft-ietf-httpapi-idempotency-key-header).
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header that says that an answer repeats an earlier one.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The header that names the request in the log.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header that says what caches did (RFC 9211).
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// The header that names the trace of a request (W3C Trace Context).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header that says what preferences did (RFC 7240).
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The media type of bodies, except for patches (RFC 8259).
pub const JSON_TYPE: &str = "application/json";
/// The media type of patches (RFC 7396).
pub const MERGE_PATCH_TYPE: &str = "application/merge-patch+json";

/// Sets a header to a text of our own making.
pub fn set(response: &mut Response, name: HeaderName, value: impl AsRef<str>) {
    // Our own texts hold visible ASCII only; one that did not is better left out than sent broken.
    if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
        response.headers_mut().insert(name, value);
    }
}
