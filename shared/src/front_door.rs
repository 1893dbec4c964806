//! Between the front door's events and `http` requests: the handlers behind know neither Lambda nor a server.
//!
//! An HTTP API's events are read, and a Function URL's, which are of the same form; with the features `apigw_rest` and
//! `alb` those of REST APIs and of load balancers as well.

use std::convert::Infallible;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::http::{Request, Response, Uri};
use axum::Router;
use axum::body::Body;
use http_body_util::{BodyExt, Collected};
use kernel::ids::{Subject, Tenant};
use lambda_http::request::RequestContext;
use lambda_http::{RequestExt, Service, service_fn};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use tokio::time::Instant;
use tower::ServiceExt;

use crate::config;
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
    let behind_alb = cfg!(feature = "alb").then(|| Identity::read(&config::process)).transpose()?;
    lambda_http::run_concurrent(service(router, behind_alb)).await
}

/// Answers events. Requests that come through a load balancer are `behind_alb`'s, whatever they say.
#[must_use]
pub fn service(
    router: Router,
    behind_alb: Option<Identity>,
) -> impl Service<lambda_http::Request, Response = Answer, Error = Infallible, Future: Send> + Clone {
    service_fn(move |event: lambda_http::Request| {
        let (router, behind_alb) = (router.clone(), behind_alb.clone());
        async move { Ok(answer(router, behind_alb, event).await) }
    })
}

type Answer = Response<lambda_http::Body>;

async fn answer(router: Router, behind_alb: Option<Identity>, event: lambda_http::Request) -> Answer {
    // A router is infallible: what its handlers cannot do they say in a response.
    let response = router.oneshot(to_request(event, behind_alb)).await.unwrap_or_else(|never| match never {});
    let (parts, body) = response.into_parts();
    // Every body of ours is in memory already, and is text.
    let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
    let body = String::from_utf8(body.into()).map_or(lambda_http::Body::Empty, lambda_http::Body::Text);
    Response::from_parts(parts, body)
}

fn to_request(event: lambda_http::Request, behind_alb: Option<Identity>) -> Request<Body> {
    let context = event.lambda_context_ref();
    let request_id = context.map(|context| RequestId(context.request_id.clone()));
    let deadline = Deadline(context.map_or_else(Instant::now, |context| due(context.deadline)));
    let identity = event.request_context_ref().and_then(|context| identity(context, behind_alb));
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

/// The URI with its path, without the name of the API's stage. API Gateway hands over the path decoded; one that no URI
/// can hold as it is must be encoded again, or it would be taken for another path.
fn with_path(uri: &Uri, raw_path: &str) -> Uri {
    if uri.path() == raw_path {
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
fn identity(context: &RequestContext, behind_alb: Option<Identity>) -> Option<Identity> {
    match context {
        RequestContext::ApiGatewayV2(context) => {
            let claims = &context.authorizer.as_ref()?.jwt.as_ref()?.claims;
            claimed(|name| claims.get(name).map(String::as_str))
        }
        #[cfg(feature = "apigw_rest")]
        RequestContext::ApiGatewayV1(context) => {
            let claims = context.authorizer.fields.get("claims")?;
            claimed(|name| claims.get(name)?.as_str())
        }
        // A load balancer, the only other front door that is compiled in. It tells of the sender in headers, as any
        // sender can: they are not believed.
        _ => behind_alb,
    }
}

fn claimed<'a>(claim: impl Fn(&str) -> Option<&'a str>) -> Option<Identity> {
    let claim = |name| claim(name).filter(|text| is_name(text));
    let tenant: Tenant = claim(TENANT_CLAIM)?.parse().ok()?;
    let subject: Subject = claim(SUBJECT_CLAIM)?.parse().ok()?;
    Some(Identity { tenant, subject })
}

/// An HTTP API hands over every claim as a text, also one that is none, such as a list: `[a b]`. How it writes a null is not
/// documented. Such a text must not become the one tenant of all whose issuer gives out no name.
fn is_name(claim: &str) -> bool {
    !claim.starts_with(['[', '{', '<']) && !claim.starts_with("map[") && !["null", "nil", "undefined"].contains(&claim)
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
        let staged: Uri = "https://x/prod/users/7?a=1".parse().unwrap();
        assert_eq!(with_path(&staged, "/users/7").to_string(), "/users/7?a=1");
    }
}
