//! The request for the handlers: its sender, its content, and the time at which its answer is due.

use ::http::request::Parts;
use ::http::{HeaderMap, HeaderName, header};
use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use kernel::ids::{AggregateId, Subject, Tenant};
use tokio::time::Instant;

use super::list::{self, Backslash};
use super::path::BasePath;
use super::problem::HttpProblem;

/// The maximum size of a body, in bytes. A larger body is refused before it is parsed.
pub const BODY_BYTES_MAX: usize = 64 * 1024;

/// The sender of a request. It comes from the claims that the front door has verified. If the front door verifies none, it
/// comes from the configuration. The rest of the request never sets it.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The claim `tenant_id`.
    pub tenant: Tenant,
    /// The claim `sub`.
    pub subject: Subject,
    /// The claim `scope` (RFC 8693, section 4.2) or `scp`; `None` if the front door passes neither.
    pub scopes: Option<String>,
}

impl Identity {
    /// Returns whether the sender's token has a scope. A sender without scopes may do all that the front door allows.
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        // API Gateway passes a list as `[a b]`.
        let separate = |c: char| c.is_whitespace() || matches!(c, ',' | '[' | ']');
        self.scopes.as_ref().is_none_or(|scopes| scopes.split(separate).any(|given| given == scope))
    }
}

/// The time at which the answer to a request is due.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(pub Instant);

/// A request of a known sender.
#[derive(Debug)]
pub struct Incoming {
    /// The sender.
    pub identity: Identity,
    /// The time at which the answer is due.
    pub deadline: Instant,
    /// The text before each path at the front door. Links begin with it.
    pub base: BasePath,
    /// The variable part of the path; empty if there is none.
    pub param: String,
    /// The query string, raw; empty if there is none.
    pub query: String,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, of at most [`BODY_BYTES_MAX`].
    pub body: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for Incoming {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let head = Head::of(&mut parts, state).await.map_err(IntoResponse::into_response)?;
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|_| HttpProblem::too_large(BODY_BYTES_MAX).into_response())?.to_bytes();
        if !body.is_empty() && !is_plain(&parts.headers) {
            return Err(HttpProblem::unsupported_encoding().into_response());
        }
        Ok(Self {
            identity: head.identity,
            deadline: head.deadline,
            param: head.param,
            base: parts.extensions.remove().unwrap_or_default(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers,
            body,
        })
    }
}

/// The parts of a request that are known before its body is read.
struct Head {
    identity: Identity,
    deadline: Instant,
    param: String,
}

impl Head {
    async fn of<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Self, HttpProblem> {
        let identity = parts.extensions.get::<Identity>().cloned().ok_or_else(HttpProblem::unauthenticated)?;
        let deadline = parts.extensions.get::<Deadline>().ok_or_else(HttpProblem::internal)?.0;
        if !accepts_json(&parts.headers) {
            return Err(HttpProblem::not_acceptable());
        }
        let params = RawPathParams::from_request_parts(parts, state).await;
        let params = params.map_err(|_| HttpProblem::bad_request("the path is not UTF-8"))?;
        let param = params.iter().next().map(|(_, value)| value.to_owned()).unwrap_or_default();
        Ok(Self { identity, deadline, param })
    }
}

impl Incoming {
    /// Returns the text of a header that may occur only once.
    pub fn header(&self, name: &HeaderName) -> Result<Option<&str>, HttpProblem> {
        let mut values = self.headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => {
                let text = value.to_str().map_err(|_| HttpProblem::bad_request(format!("{name} is not ASCII")))?;
                Ok(Some(text.trim()))
            }
            (Some(_), Some(_)) => Err(HttpProblem::bad_request(format!("{name} is given twice"))),
        }
    }

    /// Returns the id in the path. `name` is the name of the resource, for the error message.
    pub fn id(&self, name: &str) -> Result<AggregateId, HttpProblem> {
        let wrong = |error| HttpProblem::bad_request(format!("the {name} id {error}: use an id from the service"));
        self.param.parse().map_err(wrong)
    }

    /// Refuses a body of another type than `accepted`. The answer names the accepted type in `header`.
    pub fn expect_content_type(&self, accepted: &'static str, header: HeaderName) -> Result<(), HttpProblem> {
        let given = self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        // Parameters have no meaning for JSON, not even `charset` (RFC 8259, section 11).
        let essence = given.split(';').next().unwrap_or_default();
        match essence.trim().eq_ignore_ascii_case(accepted) {
            true => Ok(()),
            false => Err(HttpProblem::unsupported_media_type(accepted, header)),
        }
    }
}

/// Returns whether the body is not encoded: `Content-Encoding` is absent, or `identity` (RFC 9110, section 12.5.3).
fn is_plain(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    let is_identity = |coding: &str| coding.trim().is_empty() || coding.trim().eq_ignore_ascii_case("identity");
    values.all(|value| value.to_str().is_ok_and(|codings| codings.split(',').all(is_identity)))
}

/// Returns whether `Accept` (RFC 9110, section 12.5.1) allows JSON, or is absent. The most specific range decides.
fn accepts_json(headers: &HeaderMap) -> bool {
    let mut given = list::values(headers, header::ACCEPT).peekable();
    if given.peek().is_none() {
        return true;
    }
    let ranges: Vec<_> = given.flat_map(|value| list::split(value, ',', Backslash::Escapes)).map(is_taken).collect();
    let most_specific_first = ["application/json", "application/problem+json", "application/*", "*/*"];
    let decides = |media: &&str| ranges.iter().find(|(range, _)| range == media);
    most_specific_first.iter().find_map(decides).is_some_and(|(_, is_taken)| *is_taken)
}

/// Returns a media range, and whether its weight is above 0.
fn is_taken(range: &str) -> (String, bool) {
    let mut parts = list::split(range, ';', Backslash::Escapes);
    let media = parts.next().unwrap_or_default().to_ascii_lowercase();
    let weight = parts.find_map(|part| part.to_ascii_lowercase().strip_prefix("q=")?.parse::<f32>().ok());
    (media, weight.is_none_or(|weight| weight > 0.0))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns a request with these headers.
    pub(in crate::http) fn with_headers<'a>(headers: impl Iterator<Item = (HeaderName, &'a str)>) -> Incoming {
        Incoming {
            identity: Identity { tenant: "t".parse().unwrap(), subject: "s".parse().unwrap(), scopes: None },
            deadline: Instant::now(),
            base: BasePath::default(),
            param: String::new(),
            query: String::new(),
            headers: headers.map(|(name, value)| (name, value.parse().unwrap())).collect(),
            body: Bytes::new(),
        }
    }

    #[test]
    fn a_scope_is_found_in_the_token_however_its_scopes_are_listed() {
        let has = |scopes: Option<&str>, scope| {
            let scopes = scopes.map(str::to_owned);
            Identity { tenant: "t".parse().unwrap(), subject: "s".parse().unwrap(), scopes }.has_scope(scope)
        };
        for given in ["users:read orders:read", "[users:read orders:read]", "orders:read,users:read"] {
            assert!(has(Some(given), "orders:read") && !has(Some(given), "orders:write"), "{given}");
            assert!(!has(Some(given), "orders"), "{given}");
        }
        assert!(has(None, "orders:read") && !has(Some(""), "orders:read"));
    }

    #[test]
    fn the_parameters_of_a_content_type_mean_nothing() {
        let is_json = |given: &str| {
            let incoming = with_headers([(header::CONTENT_TYPE, given)].into_iter());
            incoming.expect_content_type("application/json", header::ACCEPT).is_ok()
        };
        for right in ["application/json", "Application/JSON ; charset=latin1", "application/json;charset=\"utf-16;x\""]
        {
            assert!(is_json(right), "{right}");
        }
        for wrong in ["", "application", "text/plain; charset=utf-8", "application/json, application/json"] {
            assert!(!is_json(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_body_is_plain_without_an_encoding_and_with_identity() {
        let plain =
            |given: &[&str]| is_plain(&given.iter().map(|v| (header::CONTENT_ENCODING, v.parse().unwrap())).collect());
        for yes in [&[][..], &["identity"], &["IDENTITY, identity"], &[""]] {
            assert!(plain(yes), "{yes:?}");
        }
        for no in [&["gzip"][..], &["identity, gzip"], &["identity", "br"], &["x"]] {
            assert!(!plain(no), "{no:?}");
        }
    }

    #[test]
    fn accept_takes_json_if_the_most_specific_range_does() {
        let takes = |values: &[&str]| {
            accepts_json(&values.iter().map(|value| (header::ACCEPT, value.parse().unwrap())).collect())
        };
        for yes in [
            &[][..],
            &["*/*"],
            &["text/html, application/json;q=0.5"],
            &["text/html", "Application/*"],
            &["*/*;q=0, application/json"],
        ] {
            assert!(takes(yes), "{yes:?}");
        }
        for no in [
            &["text/html"][..],
            &["application/json;q=0"],
            &["application/json;Q=0"],
            &["*/*", "application/json;q=0"],
            &["application/*;q=0, */*"],
            &["application/xml, text/*"],
        ] {
            assert!(!takes(no), "{no:?}");
        }
        assert!(!takes(&["text/plain;p=\"a, */*, b\""]), "a comma between quotes does not separate");
        assert!(takes(&["application/json;p=\"a;q=0;b\""]), "a semicolon between quotes does not separate");
    }
}
