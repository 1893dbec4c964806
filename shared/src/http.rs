//! The parts of HTTP that reads and writes share: the request for handlers, problems, headers, and the table of routes.

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

/// The header of a consistency token, in requests and in answers.
pub const CONSISTENCY_TOKEN: HeaderName = HeaderName::from_static("consistency-token");
/// The header of an idempotency key (draft-ietf-httpapi-idempotency-key-header).
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header that marks the repetition of an earlier answer.
pub const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// The header of the request id, which is also in the log.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The header with the results of the caches (RFC 9211).
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// The header of the request's trace (W3C Trace Context).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header that lists the applied preferences (RFC 7240).
pub const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The media type of all bodies except patches (RFC 8259).
pub const JSON_TYPE: &str = "application/json";
/// The media type of patches (RFC 7396).
pub const MERGE_PATCH_TYPE: &str = "application/merge-patch+json";

/// Sets a header to a text that the service has made.
pub fn set(response: &mut Response, name: HeaderName, value: impl AsRef<str>) {
    // These texts hold visible ASCII only. For any other text, no header is better than a broken one.
    if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
        response.headers_mut().insert(name, value);
    }
}
