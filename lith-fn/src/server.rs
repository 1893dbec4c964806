//! The plain HTTP server. It has no authorizer in front, so it serves one tenant and one sender, both from its configuration. Put
//! it behind a proxy that authenticates clients (docs/front-doors.md).

mod patience;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Request, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use shared::config::Lookup;
use shared::http::host;
use shared::http::incoming::{BODY_BYTES_MAX, Deadline, Identity};
use shared::http::middleware::refused;
use shared::http::path::{self, BasePath};
use shared::http::problem::HttpProblem;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};
use tower::ServiceExt;

use patience::Patient;

/// The default of `LISTEN_ADDR`. Only this machine can connect to it.
const LISTEN_ADDR_DEFAULT: &str = "127.0.0.1:8080";
/// How long a request may take, from the end of its head.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(15);
/// How long the body of a request may take to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a connection may be open without a request. It exceeds the minute after which a load balancer, such as an ALB, closes
/// idle connections. So the load balancer closes first.
const IDLE_TIME_MAX: Duration = Duration::from_secs(75);
/// How long all requests together may take to end after SIGTERM. It exceeds the time for one head, its body and its answer.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(25);
/// The pause after a connection that cannot be accepted, for example if no file descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

type Error = Box<dyn std::error::Error + Send + Sync>;

/// The handlers, and the properties that all requests share.
#[derive(Debug)]
struct Server {
    router: Router,
    identity: Identity,
    base: BasePath,
}

/// Serves connections until a signal. Then finishes the running requests, within [`DRAIN_TIME_MAX`].
pub(crate) async fn run(router: Router, lookup: Lookup<'_>) -> Result<(), Error> {
    let server = Arc::new(Server { router, identity: Identity::read(lookup)?, base: BasePath::read(lookup)? });
    let address = lookup("LISTEN_ADDR").unwrap_or_else(|| LISTEN_ADDR_DEFAULT.to_owned());
    let address: SocketAddr =
        address.parse().map_err(|error| format!("LISTEN_ADDR must be an address with a port: {error}"))?;
    let listener = TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}"))?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    let mut stop = std::pin::pin!(stop_signal()?);
    let connections = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.as_mut() => break,
        };
        match accepted {
            Ok((stream, _)) => drop(tokio::spawn(Arc::clone(&server).serve(stream, connections.watcher()))),
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
    }
    drop(listener);
    if timeout(DRAIN_TIME_MAX, connections.shutdown()).await.is_err() {
        tracing::warn!("closed connections that did not end in time");
    }
    Ok(())
}

impl Server {
    async fn serve(self: Arc<Self>, stream: TcpStream, watcher: Watcher) {
        // Without this option, small answers wait for the client's delayed acknowledgement.
        if stream.set_nodelay(true).is_err() {
            return;
        }
        let (stream, progress) = Patient::new(stream);
        let service = service_fn(move |request| {
            let (server, request_under_way) = (Arc::clone(&self), progress.begin());
            async move {
                let response = server.answer(request).await;
                drop(request_under_way);
                Ok::<_, Infallible>(response)
            }
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(IDLE_TIME_MAX);
        // An error here is the client's: it closed the connection, or sent no valid HTTP and got an error response.
        let _ = watcher.watch(builder.serve_connection(TokioIo::new(stream), service)).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let deadline = Deadline(Instant::now() + REQUEST_TIME_MAX);
        let mut request = self.enter(request).await.unwrap_or_else(refused);
        request.extensions_mut().insert(deadline);
        self.router.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
    }

    /// Makes the request for the handlers. Checks the head, and waits for the body.
    async fn enter(&self, request: Request<Incoming>) -> Result<Request<Body>, HttpProblem> {
        let (mut parts, body) = request.into_parts();
        if !host::is_named(parts.version, &parts.headers) {
            return Err(HttpProblem::bad_request("send one valid Host header"));
        }
        let (base, path) = self.base.split(parts.uri.path());
        let uri = path::uri(path, parts.uri.query().unwrap_or_default());
        parts.uri = uri.ok_or_else(|| HttpProblem::bad_request("the path is not valid"))?;
        parts.extensions.insert(base);
        parts.extensions.insert(self.identity.clone());
        let body = timeout(BODY_TIME_MAX, Limited::new(body, BODY_BYTES_MAX).collect()).await;
        let body = body.map_err(|_| HttpProblem::request_timeout())?.map_err(|error| {
            match error.is::<LengthLimitError>() {
                true => HttpProblem::too_large(BODY_BYTES_MAX),
                false => HttpProblem::bad_request("the body is incomplete: send the request again"),
            }
        })?;
        Ok(Request::from_parts(parts, Body::from(body.to_bytes())))
    }
}

/// Returns a future that ends at the first SIGTERM or SIGINT.
fn stop_signal() -> Result<impl Future<Output = ()>, Error> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
