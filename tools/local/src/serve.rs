//! HTTP/1.1 on a listener, with limits and a graceful shutdown.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The time in which a client must send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The maximum size of the head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The pause after a connection could not be accepted, for example because no file descriptor was free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop`, then lets the requests under way finish.
pub(crate) async fn serve<F, Reply>(listener: TcpListener, connections_max: usize, stop: CancellationToken, handle: F)
where
    F: Fn(SocketAddr, Request<Incoming>) -> Reply + Clone + Send + Sync + 'static,
    Reply: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(connections_max));
    let connections = TaskTracker::new();
    while let Some(permit) = stop.run_until_cancelled(Arc::clone(&permits).acquire_owned()).await {
        match stop.run_until_cancelled(listener.accept()).await {
            None => break,
            Some(Err(_)) => tokio::time::sleep(ACCEPT_PAUSE).await,
            Some(Ok((stream, peer))) => {
                let (stop, handle) = (stop.clone(), handle.clone());
                connections.spawn(async move {
                    let _permit = permit;
                    connection(stream, stop, move |request| handle(peer, request)).await;
                });
            }
        }
    }
    connections.close();
    connections.wait().await;
}

async fn connection<F, Reply>(stream: TcpStream, stop: CancellationToken, handle: F)
where
    F: Fn(Request<Incoming>) -> Reply,
    Reply: Future<Output = Response<Full<Bytes>>>,
{
    // Otherwise small answers wait for the client's delayed acknowledgement.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(|request| {
        let reply = handle(request);
        async move { Ok::<_, Infallible>(reply.await) }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    // An error here comes from the client: it disconnected, or it sent no HTTP and got an error.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}
