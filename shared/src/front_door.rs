//! Between the front door's events and `http` requests: the handlers behind know neither Lambda nor a server.

use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::http::uri::PathAndQuery;
use ::http::{Request, Response, Uri};
use axum::Router;
use axum::body::Body;
use http_body_util::{BodyExt, Collected};
use kernel::ids::{Subject, Tenant};
use lambda_http::request::RequestContext;
use lambda_http::{RequestExt, service_fn};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::time::Instant;
use tower::ServiceExt;

use crate::http::incoming::{Deadline, Identity};
use crate::http::middleware::RequestId;

/// How long before the function's time is up the answer is due.
const ANSWER_MARGIN: Duration = Duration::from_millis(300);

/// What cannot stand in a path as it is (RFC 3986, section 3.3).
const NOT_IN_PATHS: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'?').add(b'`').add(b'{').add(b'}');

/// The claim that names the tenant.
const TENANT_CLAIM: &str = "tenant_id";
/// The claim that names the sender (RFC 7519, section 4.1.2).
const SUBJECT_CLAIM: &str = "sub";

/// Serves invocations until the environment ends; several at a time where the platform wants that.
pub async fn run(router: Router) -> Result<(), lambda_http::Error> {
    let handler = service_fn(move |event: lambda_http::Request| {
        let router = router.clone();
        async move { Ok::<_, Infallible>(answer(router, event).await) }
    });
    lambda_http::run_concurrent(handler).await
}

async fn answer(router: Router, event: lambda_http::Request) -> Response<lambda_http::Body> {
    // A router is infallible: what its handlers cannot do they say in a response.
    let response = router.oneshot(to_request(event)).await.unwrap_or_else(|never| match never {});
    let (parts, body) = response.into_parts();
    // Every body of ours is in memory already, and is text.
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let body = String::from_utf8(body.into()).map_or(lambda_http::Body::Empty, lambda_http::Body::Text);
    Response::from_parts(parts, body)
}

fn to_request(event: lambda_http::Request) -> Request<Body> {
    let context = event.lambda_context_ref();
    let request_id = context.map(|context| RequestId(context.request_id.clone()));
    let deadline = Deadline(context.map_or_else(Instant::now, |context| due(context.deadline)));
    let identity = event.request_context_ref().and_then(identity);
    let raw_path = event.raw_http_path().to_owned();
    let (mut parts, body) = event.into_parts();
    parts.uri = with_path(&parts.uri, &raw_path);
    parts.extensions.insert(deadline);
    parts.extensions.extend(extensions(request_id, identity));
    let body = match body {
        lambda_http::Body::Text(text) => Body::from(text),
        lambda_http::Body::Binary(bytes) => Body::from(bytes),
        _ => Body::empty(),
    };
    Request::from_parts(parts, body)
}

/// The URI with its path. API Gateway hands over the path decoded; one that no URI can hold as it is must be encoded
/// again, or it would be taken for another path.
fn with_path(uri: &Uri, raw_path: &str) -> Uri {
    if raw_path.parse::<PathAndQuery>().is_ok_and(|path| path.path() == raw_path) {
        return uri.clone();
    }
    let path = utf8_percent_encode(raw_path, NOT_IN_PATHS).to_string();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{path}{query}").parse().unwrap_or_else(|_| uri.clone())
}

fn extensions(request_id: Option<RequestId>, identity: Option<Identity>) -> ::http::Extensions {
    let mut extensions = ::http::Extensions::new();
    request_id.map(|id| extensions.insert(id));
    identity.map(|identity| extensions.insert(identity));
    extensions
}

/// When the answer is due, given when the function's time is up, in milliseconds since 1970.
fn due(deadline: u64) -> Instant {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Instant::now() + Duration::from_millis(deadline).saturating_sub(now).saturating_sub(ANSWER_MARGIN)
}

/// Who the front door says it is. Claims of a shape that we do not take are no claims.
fn identity(context: &RequestContext) -> Option<Identity> {
    let claims = &context.authorizer()?.jwt.as_ref()?.claims;
    let tenant: Tenant = claims.get(TENANT_CLAIM)?.parse().ok()?;
    let subject: Subject = claims.get(SUBJECT_CLAIM)?.parse().ok()?;
    Some(Identity { tenant, subject })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_no_uri_can_hold_is_encoded_and_others_are_left_alone() {
        let given: Uri = "https://x/?a=1".parse().unwrap();
        assert_eq!(with_path(&given, "/users/a b\0#?").to_string(), "/users/a%20b%00%23%3F?a=1");
        let plain: Uri = "https://x/users/7?a=1".parse().unwrap();
        assert_eq!(with_path(&plain, "/users/7"), plain);
    }
}
