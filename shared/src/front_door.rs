//! Between the front door's events and `http` requests: the handlers behind know neither Lambda nor a server.
//!
//! An HTTP API's events are read, and a Function URL's, which are of the same form; with the features `apigw_rest` and
//! `alb` those of REST APIs and of load balancers as well. A request that is wrong is answered by 400, whatever the event
//! holds: nothing received panics (docs/adr/0020-an-adapter-of-our-own-for-http-apis.md).

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
use lambda_runtime::{Context, LambdaEvent, service_fn};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tower::{Service, ServiceExt};

use crate::config;
use crate::http::incoming::{Deadline, Identity};
use crate::http::middleware::{RequestId, refused};
use crate::http::path::{self, BasePath};
use crate::http::problem::HttpProblem;

/// How long before the function's time is up the answer is due.
const ANSWER_MARGIN: Duration = Duration::from_millis(300);

/// The way of requests from the front door to the handlers.
#[derive(Debug, Clone)]
pub struct Entrance {
    /// The handlers.
    pub router: Router,
    /// The path that the front door serves the service under.
    pub base: BasePath,
    /// The identity of requests that come through a load balancer, whatever they say.
    pub behind_alb: Option<Identity>,
}

/// A request, as the event of a front door has it.
struct Received {
    /// Method, headers and body.
    request: Request<Body>,
    /// The path without the stage, decoded or not.
    path: String,
    /// The raw query; empty if there is none.
    query: String,
    /// The text that the stage of an API puts before the path.
    stage: BasePath,
    /// The identity that the front door has checked.
    identity: Option<Identity>,
}

/// An answer in the form of the front door that the event came from.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Answer {
    /// Payload format 2.0.
    HttpApi(http_api::Answer),
    /// A form of `lambda_http`.
    Other(Box<RawValue>),
}

/// The front doors whose events have another form than those of an HTTP API.
#[cfg(any(feature = "apigw_rest", feature = "alb"))]
#[derive(Debug, Clone, Copy)]
enum Door {
    #[cfg(feature = "apigw_rest")]
    RestApi,
    #[cfg(feature = "alb")]
    LoadBalancer,
}

/// Serves invocations until the environment ends; several at a time where the platform wants that.
pub async fn run(router: Router) -> Result<(), lambda_runtime::Error> {
    let base = BasePath::read(&config::env_var)?;
    let behind_alb = cfg!(feature = "alb").then(|| Identity::read(&config::env_var)).transpose()?;
    lambda_runtime::run_concurrent(service(Entrance { router, base, behind_alb })).await
}

/// Answers events. An error means that an answer cannot be written.
#[must_use]
pub fn service(
    entrance: Entrance,
) -> impl Service<LambdaEvent<Box<RawValue>>, Response = Answer, Error = lambda_runtime::Error, Future: Send> + Clone {
    service_fn(move |event: LambdaEvent<Box<RawValue>>| {
        let entrance = entrance.clone();
        async move { answer(entrance, event.payload.get(), event.context).await }
    })
}

async fn answer(entrance: Entrance, event: &str, context: Context) -> Result<Answer, lambda_runtime::Error> {
    #[cfg(any(feature = "apigw_rest", feature = "alb"))]
    if let Some(door) = Door::of(event) {
        return Ok(Answer::Other(by_lambda_http::answer(door, entrance, event, context).await?));
    }
    Ok(Answer::HttpApi(http_api::Answer::of(entrance.answer(http_api::request(event), context).await)))
}

#[cfg(any(feature = "apigw_rest", feature = "alb"))]
impl Door {
    /// The front door of an event, by the parts that only its events have. `None` for all others.
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
    /// Answers a request, or its refusal. A refusal passes the middleware as well.
    async fn answer(self, received: Result<Received, HttpProblem>, context: Context) -> Response<String> {
        let mut request = received.and_then(|received| self.enter(received)).unwrap_or_else(refused);
        request.extensions_mut().insert(Deadline(due(context.deadline)));
        request.extensions_mut().insert(RequestId(context.request_id));
        // A router is infallible: what its handlers cannot do they say in a response.
        let response = self.router.oneshot(request).await.unwrap_or_else(|never| match never {});
        let (parts, body) = response.into_parts();
        // Every body of ours is in memory already, and is text.
        let body = body.collect().await.map(Collected::to_bytes).unwrap_or_default();
        Response::from_parts(parts, String::from_utf8(body.into()).unwrap_or_default())
    }

    /// Makes the request that the handlers know.
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

/// When the answer is due, given when the function's time is up, in milliseconds since 1970.
fn due(deadline: u64) -> Instant {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Instant::now() + Duration::from_millis(deadline).saturating_sub(now).saturating_sub(ANSWER_MARGIN)
}
