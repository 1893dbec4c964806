//! Turns events of the front doors into `http` requests, and responses into answers to the events. The handlers know
//! neither Lambda nor a server.
//!
//! It reads the events of HTTP APIs and of function URLs, which have the same form. The features `apigw_rest` and `alb` add
//! those of REST APIs and of load balancers. A malformed event gets 400, whatever it holds: no input makes this code panic
//! (docs/adr/0020-an-adapter-of-our-own-for-http-apis.md).

#[cfg(any(feature = "apigw_rest", feature = "alb"))]
mod by_lambda_http;
mod checks;
mod claims;
mod http_api;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::http::{Request, Response};
use axum::Router;
use axum::body::Body;
use http_body_util::{BodyExt, Collected};
use kernel::ingest::ANSWER_MARGIN;
use lambda_runtime::{Context, LambdaEvent, service_fn};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tower::{Service, ServiceExt};

use self::http_api::HttpApiReply;
use crate::config;
use crate::http::incoming::{Deadline, Identity};
use crate::http::middleware::{RequestId, refused};
use crate::http::path::{self, BasePath};
use crate::http::problem::HttpProblem;

/// The entrance of the service: it passes requests from the front door to the handlers.
#[derive(Debug, Clone)]
pub struct Entrance {
    /// The handlers.
    pub router: Router,
    /// The path under which the front door serves the service.
    pub base: BasePath,
    /// The identity of all requests through a load balancer. The content of a request does not change it.
    pub behind_alb: Option<Identity>,
}

/// A request, read from the event of a front door.
struct Received {
    /// Method, headers and body.
    request: Request<Body>,
    /// The path without the stage. It may be percent-encoded.
    path: String,
    /// The raw query; empty if there is none.
    query: String,
    /// The text that the stage of an API adds before the path.
    stage: BasePath,
    /// The identity that the front door has verified.
    identity: Option<Identity>,
}

/// A reply to an event, in the form that the front door of the event expects.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// Payload format 2.0.
    HttpApi(HttpApiReply),
    /// A form of `lambda_http`, for REST APIs and load balancers.
    Other(Box<RawValue>),
}

/// The front doors whose events differ from those of an HTTP API.
#[cfg(any(feature = "apigw_rest", feature = "alb"))]
#[derive(Debug, Clone, Copy)]
enum Door {
    #[cfg(feature = "apigw_rest")]
    RestApi,
    #[cfg(feature = "alb")]
    LoadBalancer,
}

/// Serves invocations until the environment ends; several at a time if the platform asks for that.
pub async fn run(router: Router) -> Result<(), lambda_runtime::Error> {
    let base = BasePath::read(&config::env_var)?;
    let behind_alb = cfg!(feature = "alb").then(|| Identity::read(&config::env_var)).transpose()?;
    lambda_runtime::run_concurrent(service(Entrance { router, base, behind_alb })).await
}

/// Returns a service that answers events. An error means that it cannot write an answer.
#[must_use]
pub fn service(
    entrance: Entrance,
) -> impl Service<LambdaEvent<Box<RawValue>>, Response = Reply, Error = lambda_runtime::Error, Future: Send> + Clone {
    service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let entrance = entrance.clone();
        async move { answer(entrance, event.payload.get(), event.context).await }
    })
}

async fn answer(entrance: Entrance, event: &str, context: Context) -> Result<Reply, lambda_runtime::Error> {
    #[cfg(any(feature = "apigw_rest", feature = "alb"))]
    if let Some(door) = Door::of(event) {
        return Ok(Reply::Other(by_lambda_http::answer(door, entrance, event, context).await?));
    }
    Ok(Reply::HttpApi(HttpApiReply::of(entrance.answer(http_api::request(event), context).await)))
}

#[cfg(any(feature = "apigw_rest", feature = "alb"))]
impl Door {
    /// Finds the front door of an event by the fields that only its events have. Returns `None` for all other events.
    fn of(event: &str) -> Option<Self> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Marks {
            http_method: Option<serde::de::IgnoredAny>,
            request_context: Option<ContextMarks>,
        }
        #[derive(serde::Deserialize)]
        struct ContextMarks {
            elb: Option<serde::de::IgnoredAny>,
        }
        let marks: Marks = serde_json::from_str(event).ok()?;
        let is_behind_alb = marks.request_context.is_some_and(|context| context.elb.is_some());
        #[cfg(feature = "alb")]
        if is_behind_alb {
            return Some(Self::LoadBalancer);
        }
        #[cfg(feature = "apigw_rest")]
        if marks.http_method.is_some() && !is_behind_alb {
            return Some(Self::RestApi);
        }
        None
    }
}

impl Entrance {
    /// Answers a request, or the refusal of one. A refusal passes through the middleware too.
    async fn answer(self, received: Result<Received, HttpProblem>, context: Context) -> Response<String> {
        let mut request = received.and_then(|received| self.enter(received)).unwrap_or_else(refused);
        request.extensions_mut().insert(Deadline(due(context.deadline)));
        request.extensions_mut().insert(RequestId(context.request_id));
        // A router is infallible: a handler reports its errors in the response.
        let response = self.router.oneshot(request).await.unwrap_or_else(|never| match never {});
        let (parts, body) = response.into_parts();
        // The body of every response is text, and is in memory already.
        let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
        Response::from_parts(parts, String::from_utf8(body.into()).unwrap_or_default())
    }

    /// Builds the request for the handlers.
    fn enter(&self, received: Received) -> Result<Request<Body>, HttpProblem> {
        let Received { mut request, path, query, stage, identity } = received;
        let (base, path) = self.base.split(&path);
        let uri = path::uri(path, &query);
        *request.uri_mut() = uri.ok_or_else(|| HttpProblem::bad_request("the path or the query is not valid"))?;
        let extensions = request.extensions_mut();
        extensions.clear();
        extensions.insert(stage.join(&base));
        identity.map(|identity| extensions.insert(identity));
        Ok(request)
    }
}

/// Returns the time at which the answer is due. `deadline` is the end of the function's time, in milliseconds since 1970.
fn due(deadline: u64) -> Instant {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Instant::now() + Duration::from_millis(deadline).saturating_sub(now).saturating_sub(ANSWER_MARGIN)
}
