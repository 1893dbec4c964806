//! The plain HTTP server. There is no authorizer in front of it, so it serves one tenant and one sender, both from its
//! configuration: put it behind something that checks who is asking (docs/front-doors.md).

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Request};
use axum::middleware::{Next, from_fn};
use shared::config::Lookup;
use shared::http::incoming::{Deadline, Identity};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

/// Where it listens unless `LISTEN_ADDR` says otherwise: this machine only.
const LISTEN_ADDR_DEFAULT: &str = "127.0.0.1:8080";
/// How long a request may take.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(15);

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Serves connections until it is told to stop, then finishes what it has begun.
pub(crate) async fn run(router: Router, lookup: Lookup<'_>) -> Result<(), Error> {
    let identity = Identity::read(lookup)?;
    let address = lookup("LISTEN_ADDR").unwrap_or_else(|| LISTEN_ADDR_DEFAULT.to_owned());
    let address: SocketAddr = address.parse().map_err(|error| format!("LISTEN_ADDR {error}"))?;
    let listener = TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}"))?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    let router = router.layer(from_fn(set_deadline)).layer(Extension(identity));
    axum::serve(listener, router).with_graceful_shutdown(told_to_stop()?).await?;
    Ok(())
}

async fn set_deadline(mut request: Request, next: Next) -> axum::response::Response {
    request.extensions_mut().insert(Deadline(Instant::now() + REQUEST_TIME_MAX));
    next.run(request).await
}

/// Ends at the first SIGTERM or SIGINT.
fn told_to_stop() -> Result<impl Future<Output = ()>, Error> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
