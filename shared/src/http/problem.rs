//! Problems (RFC 9457). A 5xx does not name its internal cause. The log names it, under the same request id.

use ::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use kernel::apply::ApplyError;
use kernel::error_chain::ErrorChain;
use kernel::ports::PortError;
use kernel::problem::{FieldError, Problem};
use kernel::query::QueryError;
use kernel::submit::SubmitError;
use kernel::token::TokenError;
use serde::Serialize;

use super::{JSON_TYPE, routes};

/// The start of each `type` URI. The rest is a heading of docs/errors.md.
const TYPE_PREFIX: &str = "urn:watershed:problem:";

/// The time after which a client should retry, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// An answer that reports a problem.
#[derive(Debug, Clone)]
pub struct HttpProblem {
    /// The problem.
    pub problem: Box<Problem>,
    /// The headers that belong to it.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// A body of type `application/problem+json`.
#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

impl<'a> Document<'a> {
    fn of(problem: &'a Problem, request_id: Option<&str>) -> Self {
        Self {
            r#type: format!("{TYPE_PREFIX}{}", problem.code),
            title: &problem.title,
            status: problem.status,
            detail: &problem.detail,
            instance: request_id.map(|id| format!("urn:watershed:request:{id}")),
            errors: &problem.errors,
        }
    }
}

/// Returns a problem as a part of another document.
#[must_use]
pub fn embedded(problem: &Problem) -> serde_json::Value {
    serde_json::to_value(Document::of(problem, None)).unwrap_or_default()
}

/// A problem whose body is not written yet. The body needs the request id, which the middleware knows.
#[derive(Debug, Clone)]
pub(super) struct Unwritten(Problem);

impl Unwritten {
    /// Returns the body for the answer to this request.
    pub(super) fn write(&self, request_id: &str) -> Vec<u8> {
        serde_json::to_vec(&Document::of(&self.0, Some(request_id))).unwrap_or_default()
    }
}

impl IntoResponse for HttpProblem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.extend(self.headers);
        response.extensions_mut().insert(Unwritten(*self.problem));
        response
    }
}

impl From<Problem> for HttpProblem {
    fn from(problem: Problem) -> Self {
        Self { problem: Box::new(problem), headers: Vec::new() }
    }
}

impl HttpProblem {
    fn new(code: &'static str, status: u16, title: &'static str, detail: impl Into<String>) -> Self {
        Problem::new(code, status, title, detail).into()
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// 400: a part of the request other than the body's fields is wrong.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new("bad-request", 400, "Bad request", detail)
    }

    /// 400: the body is not JSON.
    pub fn not_json(detail: impl Into<String>) -> Self {
        Self::new("not-json", 400, "Not JSON", detail)
    }

    /// 401: the front door passed a request without an identity.
    #[must_use]
    pub fn unauthenticated() -> Self {
        let detail = "the front door sent no valid claims `tenant_id` and `sub`: put a JWT authorizer before this \
            function, and check that the token has both claims";
        Self::new("unauthenticated", 401, "Unauthenticated", detail)
    }

    /// 403: the access token lacks a scope.
    #[must_use]
    pub fn lacks_scope(scope: &str) -> Self {
        Self::new("forbidden", 403, "Forbidden", format!("the access token lacks the scope {scope}"))
    }

    /// 404: the route does not exist.
    #[must_use]
    pub fn no_route() -> Self {
        Self::new("no-route", 404, "No such route", "the service has no such path: docs/http.md lists all paths")
    }

    /// 404: the item or the command does not exist.
    #[must_use]
    pub fn not_found() -> Self {
        Problem::not_found().into()
    }

    /// 405: the route does not take this method.
    #[must_use]
    pub fn method_not_allowed(method: &Method, allowed: &[&str]) -> Self {
        let allowed = routes::allow(allowed);
        let detail = format!("{method} is not allowed here: use one of {allowed}");
        let problem = Self::new("method-not-allowed", 405, "Method not allowed", detail);
        match HeaderValue::from_str(&allowed) {
            Ok(allowed) => problem.with(header::ALLOW, allowed),
            Err(_) => problem,
        }
    }

    /// 406: the client does not accept JSON.
    #[must_use]
    pub fn not_acceptable() -> Self {
        Self::new("not-acceptable", 406, "Not acceptable", "accept application/json and application/problem+json")
    }

    /// 408: the body did not arrive in time.
    #[must_use]
    pub fn request_timeout() -> Self {
        let detail = "the body did not arrive in time: send the request again on another connection";
        let problem = Self::new("request-timeout", 408, "Request timeout", detail);
        // RFC 9110, section 15.5.9.
        problem.with(header::CONNECTION, HeaderValue::from_static("close"))
    }

    /// 412: the precondition names a tag that the service never issued.
    #[must_use]
    pub fn unknown_tag() -> Self {
        let detail = "the service never gave out the tag in If-Match: send the ETag of your last read";
        Self::new("version-conflict", 412, "Version conflict", detail)
    }

    /// 412: `If-Match` of a read names another tag than the current one.
    #[must_use]
    pub fn other_tag(current: &str) -> Self {
        let detail = format!("the current tag is {current}, and If-Match names another one: read again without it");
        Self::new("version-conflict", 412, "Version conflict", detail)
    }

    /// 413: the body is too large.
    #[must_use]
    pub fn too_large(limit: usize) -> Self {
        Self::new("too-large", 413, "Body too large", format!("send at most {limit} bytes"))
    }

    /// 415: the route does not accept the type of the body.
    #[must_use]
    pub fn unsupported_media_type(accepted: &'static str, accept_header: HeaderName) -> Self {
        let problem = Self::new("unsupported-media-type", 415, "Unsupported media type", format!("send {accepted}"));
        problem.with(accept_header, HeaderValue::from_static(accepted))
    }

    /// 415: the body is compressed, or encoded in another way (RFC 9110, section 15.5.16).
    #[must_use]
    pub fn unsupported_encoding() -> Self {
        let detail = "send the body without Content-Encoding";
        Self::new("unsupported-media-type", 415, "Unsupported media type", detail)
            .with(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))
    }

    /// 422: fields of the body are invalid.
    #[must_use]
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let mut problem = Problem::new("invalid", 422, "Invalid fields", "correct the fields that `errors` lists");
        problem.errors = errors;
        problem.into()
    }

    /// 500: a bug.
    #[must_use]
    pub fn internal() -> Self {
        Self::new("internal", 500, "Internal error", "this is a bug of the service: report it with the request id")
    }

    /// 503: a part of the service does not answer.
    #[must_use]
    pub fn unavailable(detail: &'static str) -> Self {
        Self::new("unavailable", 503, "Unavailable", detail).with(header::RETRY_AFTER, RETRY_AFTER)
    }

    /// 503: the write that a token stands for, or that a write follows, has not arrived.
    fn not_yet_consistent(detail: &'static str) -> Self {
        Self::new("not-yet-consistent", 503, "Not yet consistent", detail).with(header::RETRY_AFTER, RETRY_AFTER)
    }
}

const READ_AGAIN: &str = "a part of the service does not answer: send the request again in a moment";
const WRITE_AGAIN: &str = "it is unknown whether the command was accepted: send it again under the same \
    Idempotency-Key; without a key it may be applied twice";

impl From<TokenError> for HttpProblem {
    fn from(error: TokenError) -> Self {
        Self::new("bad-token", 400, "Bad Consistency-Token", format!("{error}: leave it out and read again"))
    }
}

impl From<QueryError> for HttpProblem {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::Token(error) => error.into(),
            QueryError::Cursor(error) => {
                Self::new("bad-cursor", 400, "Bad cursor", format!("{error}: start the list again without one"))
            }
            QueryError::NotYetConsistent => Self::not_yet_consistent(
                "the write behind your Consistency-Token is not readable yet: send the request again in a moment, or with \
                 `Prefer: handling=lenient` if an older answer is good enough",
            ),
            QueryError::Port(error) => unanswered(&error, READ_AGAIN),
        }
    }
}

impl From<PortError> for HttpProblem {
    fn from(error: PortError) -> Self {
        unanswered(&error, READ_AGAIN)
    }
}

impl From<SubmitError> for HttpProblem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Token(error) => error.into(),
            SubmitError::KeyReused => {
                let detail = "you sent this key with another request before: use a new key for each new request";
                Self::new("idempotency-key-reused", 422, "Idempotency key reused", detail)
            }
            SubmitError::PredecessorPending => Self::not_yet_consistent(
                "an earlier write may still be in the queue, so this one was not accepted: send it again in a moment",
            ),
            SubmitError::TooLarge | SubmitError::Apply(ApplyError::TooLarge(_)) => {
                Self::new("too-large", 413, "Command too large", "send less in one request")
            }
            SubmitError::Port(error) => unanswered(&error, WRITE_AGAIN),
            SubmitError::Apply(error) => unanswered(&error, WRITE_AGAIN),
        }
    }
}

/// Logs the whole chain of causes, once, at this boundary. The client only learns what to do next.
fn unanswered(error: &(dyn std::error::Error + 'static), detail: &'static str) -> HttpProblem {
    tracing::error!(error = %ErrorChain(error), "answered 503");
    HttpProblem::unavailable(detail)
}

/// Returns an answer in JSON.
#[must_use]
pub fn json(status: StatusCode, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON_TYPE));
    response
}
