//! Amazon SQS on one machine: the operations that this service uses, over the AWS JSON 1.0 protocol, stored in SQLite.
//!
//! An accepted message survives a kill of the process. Only a crash of the machine may lose the last messages (SQLite's
//! WAL, `synchronous = NORMAL`). One conformance suite runs against this server and another implementation, so that
//! differences show up.
//!
//! Call [`SqsServer::open`] or [`SqsServer::in_memory`], then [`SqsServer::serve`].

mod attributes;
mod error;
mod message;
mod moves;
mod operations;
mod queue;
mod store;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{HeaderMap, HeaderValue, header};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use self::error::SqsError;
use self::moves::MoveTasks;
use self::store::Store;

/// The maximum size of a request, in bytes. Ten messages may have 1 MiB together, and escapes of JSON may double that.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The media type of the protocol. <https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html>
const MEDIA_TYPE: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.0");

/// The server.
#[derive(Debug, Clone)]
pub struct SqsServer {
    store: Arc<Mutex<Store>>,
    /// Notified when a message becomes visible, so that waiting receives try again.
    arrivals: Arc<Notify>,
    moves: MoveTasks,
}

/// The error of a file that cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the queues")]
pub struct OpenError(#[from] rusqlite::Error);

impl SqsServer {
    /// Opens a server that keeps its queues in a file. It creates the file if it does not exist.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Ok(Self::over(Store::open(path)?))
    }

    /// Creates a server that keeps its queues in memory.
    pub fn in_memory() -> Result<Self, OpenError> {
        Ok(Self::over(Store::in_memory()?))
    }

    fn over(store: Store) -> Self {
        Self { store: Arc::new(Mutex::new(store)), arrivals: Arc::default(), moves: MoveTasks::default() }
    }

    /// Serves until `shutdown`, then finishes the requests under way.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let router = Router::new().route("/", post(answer)).fallback(post(answer)).with_state(self);
        let router = router.layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX));
        axum::serve(listener, router).with_graceful_shutdown(shutdown).await
    }

    /// Runs `work` on the store, on a thread that may block.
    async fn with_store<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Store) -> Result<T, SqsError> + Send + 'static,
    ) -> Result<T, SqsError> {
        let store = Arc::clone(&self.store);
        let done = tokio::task::spawn_blocking(move || work(&mut lock(&store))).await;
        done.unwrap_or_else(|lost| Err(SqsError::internal(lost)))
    }
}

/// Locks the store, also after a panic elsewhere. A panic cannot leave half a change, because changes are transactions.
fn lock(store: &Mutex<Store>) -> MutexGuard<'_, Store> {
    store.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(State(server): State<SqsServer>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let call = operations::Call { server, base_url: format!("http://{host}") };
    let result = match target.strip_prefix("AmazonSQS.") {
        Some(operation) => call.run(operation, &body).await,
        None => Err(SqsError::invalid_action(target)),
    };
    match result {
        Ok(document) => {
            let mut response = Response::new(Body::from(document.to_string()));
            response.headers_mut().insert(header::CONTENT_TYPE, MEDIA_TYPE);
            response
        }
        Err(error) => error.into_response(),
    }
}
