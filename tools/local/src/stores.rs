//! `DynamoDB`: the embedded server, and the status of its tables.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::time::Duration;

use dynoxide::{Database, DynoxideError, server};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The name of the file in the data directory.
const FILE_NAME: &str = "dynamodb.sqlite";
/// The interval at which expired items are deleted. `DynamoDB` may take days.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);
/// The time in which the requests under way must finish at the end.
const GRACE: Duration = Duration::from_secs(2);

/// The error of an embedded `DynamoDB` that does not start.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened.
    #[error("cannot open the tables: {0}")]
    Open(#[from] DynoxideError),
    /// No port is free.
    #[error("cannot serve the tables: {0}")]
    Serve(#[from] io::Error),
}

/// A running embedded `DynamoDB`.
pub(crate) struct Store {
    /// The URL of the server.
    pub(crate) url: String,
    database: Database,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("url", &self.url).finish_non_exhaustive()
    }
}

/// The size of a table.
#[derive(Debug, Serialize)]
pub(crate) struct TableStatus {
    items: i64,
    bytes: u64,
}

impl Store {
    /// Opens the file in `data_dir`, or a database in memory, and serves it.
    pub(crate) fn start(data_dir: Option<&Path>) -> Result<Self, StoreError> {
        let database = match data_dir {
            Some(data_dir) => Database::new(&data_dir.join(FILE_NAME).to_string_lossy())?,
            None => Database::memory()?,
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let serving = tasks.track_future(serve(listener, database.clone(), stop.clone()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // The server reads and writes the file in its requests. On its own thread it does not block the other parts.
        std::thread::Builder::new().name("dynamodb".to_owned()).spawn(move || {
            if let Err(error) = runtime.block_on(serving) {
                eprintln!("dynamodb | the server failed: {error}");
            }
        })?;
        tasks.spawn(sweep(database.clone(), stop.clone()));
        tasks.close();
        Ok(Self { url, database, stop, tasks })
    }

    /// Returns the sizes of the tables.
    pub(crate) async fn tables(&self) -> BTreeMap<String, TableStatus> {
        let database = self.database.clone();
        let stats = tokio::task::spawn_blocking(move || database.table_stats()).await;
        let stats = stats.ok().and_then(Result::ok).unwrap_or_default();
        let status = |table: dynoxide::TableStats| {
            (table.table_name, TableStatus { items: table.item_count, bytes: table.size_bytes })
        };
        stats.into_iter().map(status).collect()
    }

    /// Finishes the requests under way.
    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        if tokio::time::timeout(GRACE, self.tasks.wait()).await.is_err() {
            eprintln!("dynamodb | stopped while requests were still under way");
        }
    }
}

async fn serve(listener: TcpListener, database: Database, stop: CancellationToken) -> Result<(), String> {
    let listener = tokio::net::TcpListener::from_std(listener).map_err(|error| error.to_string())?;
    server::serve_with_shutdown(listener, database, stop.cancelled_owned()).await
}

async fn sweep(database: Database, stop: CancellationToken) {
    while stop.run_until_cancelled(tokio::time::sleep(SWEEP_INTERVAL)).await.is_some() {
        let database = database.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || database.sweep_ttl()).await {
            eprintln!("dynamodb | cannot delete expired items: {error}");
        }
    }
}
