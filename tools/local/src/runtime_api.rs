//! The Lambda Runtime API, for one execution environment.
//!
//! Each environment has its own address, because a request to this API does not name its environment.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::serve;

/// The maximum size of an event and of an answer, in bytes: 6 MB, as in Lambda.
pub const PAYLOAD_BYTES_MAX: usize = 6 * 1024 * 1024;
/// The maximum number of connections of one environment. The runtime uses one, an extension would use another.
const CONNECTIONS_MAX: usize = 8;
/// The start of all paths of the API.
const PREFIX: &str = "/2018-06-01/runtime/";

/// The result of an invocation.
#[derive(Debug)]
pub enum InvocationResult {
    /// The function answered.
    Answered(Bytes),
    /// The function reported an error, as JSON.
    Failed(Bytes),
    /// The answer exceeds the limit of Lambda.
    TooLarge,
    /// The process ended during the invocation.
    Died,
    /// The process ended before it took the event, so it has done nothing.
    NotTaken,
}

/// The exchange with an environment's process: invocations wait in it, and answers arrive in it.
#[derive(Debug)]
pub struct Mailbox {
    function_arn: HeaderValue,
    state: Mutex<State>,
    arrived: Notify,
    ready: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: Option<Invocation>,
    taken: Option<Invocation>,
    init_error: Option<Bytes>,
    closed: bool,
}

#[derive(Debug)]
struct Invocation {
    /// The request id of Lambda. It is also the id of the invocation, which the runtime sends back. So a late answer to a
    /// timed-out invocation never passes for the answer to the next one.
    id: String,
    payload: Bytes,
    deadline_milliseconds: u128,
    result: oneshot::Sender<InvocationResult>,
}

impl Mailbox {
    /// Returns a mailbox for one environment of this function.
    #[must_use]
    pub fn new(function: &str) -> Arc<Self> {
        let arn = format!("arn:aws:lambda:us-east-1:000000000000:function:{function}");
        let function_arn = HeaderValue::try_from(arn).unwrap_or(HeaderValue::from_static("unknown"));
        Arc::new(Self { function_arn, state: Mutex::default(), arrived: Notify::new(), ready: Notify::new() })
    }

    /// Passes an invocation to the process. No other invocation may be under way.
    pub fn post(&self, payload: Bytes, timeout: Duration) -> oneshot::Receiver<InvocationResult> {
        let (result, receiver) = oneshot::channel();
        let deadline = SystemTime::now() + timeout;
        let deadline_milliseconds = deadline.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let invocation = Invocation { id: Uuid::now_v7().to_string(), payload, deadline_milliseconds, result };
        let mut state = self.lock();
        if state.closed {
            let _ = invocation.result.send(InvocationResult::NotTaken);
        } else {
            state.waiting = Some(invocation);
            self.arrived.notify_one();
        }
        receiver
    }

    /// Waits until the process requests its first invocation, which ends its initialisation.
    pub async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Returns the error that the process reported when it did not initialise.
    pub fn init_error(&self) -> Option<Bytes> {
        self.lock().init_error.clone()
    }

    /// Ends the exchange after the end of the process. Callers that wait for an answer get a result.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        if let Some(waiting) = state.waiting.take() {
            let _ = waiting.result.send(InvocationResult::NotTaken);
        }
        if let Some(taken) = state.taken.take() {
            let _ = taken.result.send(InvocationResult::Died);
        }
        self.arrived.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes the waiting invocation to the process. If the process has taken one before and asks again, that one was lost
    /// on its way: the process can no longer answer it.
    fn take(&self) -> Option<Response<Full<Bytes>>> {
        let mut state = self.lock();
        if state.closed {
            return Some(refusal(StatusCode::GONE, "EnvironmentEnded", "this environment has ended"));
        }
        if let Some(lost) = state.taken.take() {
            let _ = lost.result.send(InvocationResult::Died);
        }
        let invocation = state.waiting.take()?;
        let response = self.delivery(&invocation);
        state.taken = Some(invocation);
        Some(response)
    }

    fn delivery(&self, invocation: &Invocation) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(invocation.payload.clone()));
        let headers = response.headers_mut();
        let text = |text: &str| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""));
        headers.insert("content-type", HeaderValue::from_static("application/json"));
        headers.insert("lambda-runtime-aws-request-id", text(&invocation.id));
        headers.insert("lambda-runtime-invocation-id", text(&invocation.id));
        headers.insert("lambda-runtime-deadline-ms", text(&invocation.deadline_milliseconds.to_string()));
        headers.insert("lambda-runtime-invoked-function-arn", self.function_arn.clone());
        headers.insert("lambda-runtime-trace-id", text(&trace_id()));
        response
    }

    /// Returns the invocation under way, if `id` and the echoed id belong to it.
    fn finish(&self, id: &str, headers: &HeaderMap) -> Option<Invocation> {
        let echo = headers.get("lambda-runtime-invocation-id").map(HeaderValue::as_bytes);
        let is_it = |invocation: &mut Invocation| {
            invocation.id == id && echo.is_none_or(|echo| echo == invocation.id.as_bytes())
        };
        self.lock().taken.take_if(is_it)
    }

    async fn next(&self) -> Response<Full<Bytes>> {
        self.ready.notify_one();
        loop {
            if let Some(response) = self.take() {
                return response;
            }
            self.arrived.notified().await;
        }
    }

    async fn complete(
        &self,
        id: &str,
        headers: &HeaderMap,
        body: Incoming,
        result: fn(Bytes) -> InvocationResult,
    ) -> Response<Full<Bytes>> {
        let body = Limited::new(body, PAYLOAD_BYTES_MAX).collect().await;
        let Some(invocation) = self.finish(id, headers) else {
            return refusal(StatusCode::BAD_REQUEST, "InvalidRequestID", "no invocation with this id is under way");
        };
        match body {
            Ok(body) => {
                let _ = invocation.result.send(result(body.to_bytes()));
                accepted()
            }
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                let _ = invocation.result.send(InvocationResult::TooLarge);
                refusal(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", "the response exceeds 6 MB")
            }
            Err(_) => {
                let _ = invocation.result.send(InvocationResult::Died);
                refusal(StatusCode::BAD_REQUEST, "TruncatedBody", "the body ended early")
            }
        }
    }

    async fn init_failed(&self, body: Incoming) -> Response<Full<Bytes>> {
        if let Ok(body) = Limited::new(body, PAYLOAD_BYTES_MAX).collect().await {
            self.lock().init_error = Some(body.to_bytes());
        }
        accepted()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (head, body) = request.into_parts();
        let unknown = || refusal(StatusCode::NOT_FOUND, "NotFound", "the Runtime API has no such path");
        let Some(path) = head.uri.path().strip_prefix(PREFIX) else { return unknown() };
        let invocation = path.strip_prefix("invocation/").and_then(|rest| rest.split_once('/'));
        match (head.method, path, invocation) {
            (Method::GET, "invocation/next", _) => self.next().await,
            (Method::POST, "init/error", _) => self.init_failed(body).await,
            (Method::POST, _, Some((id, "response"))) => {
                self.complete(id, &head.headers, body, InvocationResult::Answered).await
            }
            (Method::POST, _, Some((id, "error"))) => {
                self.complete(id, &head.headers, body, InvocationResult::Failed).await
            }
            _ => unknown(),
        }
    }
}

/// Serves the API for one environment until `stop`.
pub async fn serve(listener: TcpListener, mailbox: Arc<Mailbox>, stop: CancellationToken) {
    serve::serve(listener, CONNECTIONS_MAX, stop, move |_, request| {
        let mailbox = Arc::clone(&mailbox);
        async move { mailbox.answer(request).await }
    })
    .await;
}

/// Returns a new trace id for an invocation, not sampled:
/// <https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html>
#[must_use]
pub fn trace_id() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let random: u128 = rand::random();
    let (root, parent) = (random >> 32, rand::random::<u64>());
    format!("Root=1-{seconds:08x}-{root:024x};Parent={parent:016x};Sampled=0")
}

fn accepted() -> Response<Full<Bytes>> {
    json(StatusCode::ACCEPTED, Bytes::from_static(br#"{"status":"OK"}"#))
}

fn refusal(status: StatusCode, kind: &str, message: &str) -> Response<Full<Bytes>> {
    json(status, serde_json::json!({"errorType": kind, "errorMessage": message}).to_string().into())
}

fn json(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    response
}
