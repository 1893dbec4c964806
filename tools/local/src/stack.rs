//! The whole stack: the order in which its parts start, and how they stop.

use std::fs::File;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backends::{BackendError, Backends};
use crate::cors;
use crate::deployment::{Deployment, DeploymentError, Deployments};
use crate::gateway::{self, Gateway};
use crate::jwt::{Authorizer, KeySetError};
use crate::keys;
use crate::options::StackOptions;
use crate::status::Status;
use crate::supervise::{Spawner, shutdown_signal};

/// The time in which the work under way must finish at the end.
const DRAIN: Duration = Duration::from_secs(5);
/// The number of threads that serve. The functions have processes of their own.
const WORKERS: usize = 2;

/// The error of a stack that does not start.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// Another program uses the port.
    #[error("port {0} is in use: choose another with --port")]
    PortInUse(u16),
    /// Another run uses the directory.
    #[error("{} is in use by another run: choose another with --data-dir, or use --ephemeral", .0.display())]
    DataDirInUse(PathBuf),
    /// The directory cannot be used.
    #[error("cannot use the data directory {}: {cause}", .path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// The error of the system.
        cause: io::Error,
    },
    /// The keys that verify tokens are unusable.
    #[error("cannot use the key set {}: {cause}", .path.display())]
    KeySet {
        /// The file.
        path: PathBuf,
        /// The error in the file.
        cause: KeySetError,
    },
    /// The table of CORS headers is wrong.
    #[error("cannot use shared/cors.json: {0}")]
    Cors(#[from] serde_json::Error),
    /// A backend is unavailable.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The first deployment fails.
    #[error(transparent)]
    Deployment(#[from] DeploymentError),
    /// The system refuses something that all parts need.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Serves until a signal, then finishes the work under way.
pub fn run(options: &StackOptions) -> Result<(), StackError> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(WORKERS).enable_all().build()?;
    runtime.block_on(async {
        let mut first = std::pin::pin!(shutdown_signal()?);
        let runner = std::env::current_exe()?;
        let stack = tokio::select! {
            started = Stack::start(options, &runner) => started?,
            () = first.as_mut() => return Ok(()),
        };
        stack.announce(&mut io::stdout().lock())?;
        first.await;
        eprintln!("stopping when the work under way is done; press Ctrl-C again to stop at once");
        // A second signal ends the wait. No child outlives this process in any case.
        let second = shutdown_signal()?;
        tokio::select! {
            () = stack.stop() => {}
            () = second => {}
        }
        Ok(())
    })
}

/// The running parts.
#[derive(Debug)]
pub struct Stack {
    url: String,
    lines: Vec<String>,
    deployments: Arc<Deployments>,
    stop: CancellationToken,
    serving: TaskTracker,
    _data_dir: Option<File>,
}

impl Stack {
    /// Starts all parts. `runner` is the path of this program.
    pub async fn start(options: &StackOptions, runner: &Path) -> Result<Self, StackError> {
        let authorizer = authorizer(options)?;
        let cors = cors::layer(&options.cors)?;
        let listener = bind(options.port).await?;
        let port = listener.local_addr()?.port();
        let first = Deployment::first(options)?;
        let (data_dir, signing_keys) = data_dir(options)?;
        let spawner = Spawner::start(runner)?;
        let backends = Backends::start(options, &spawner, signing_keys, &first.0.tables()).await?;
        let deployments = Arc::new(Deployments::start(options, spawner, backends, first).await?);
        let (stop, serving) = (CancellationToken::new(), TaskTracker::new());
        let status = Status { deployments: deployments.clone() };
        let gateway = Arc::new(Gateway { status, authorizer, port });
        serving.spawn(gateway::serve(listener, gateway, cors, stop.clone()));
        serving.close();
        let (url, lines) = (format!("http://127.0.0.1:{port}"), deployments.lines().await);
        Ok(Self { url, lines, deployments, stop, serving, _data_dir: data_dir })
    }

    /// Returns the URL of the gateway.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Prints the parts with their addresses, and reports that the stack is ready.
    pub fn announce(&self, output: &mut impl Write) -> io::Result<()> {
        for line in &self.lines {
            writeln!(output, "{line}")?;
        }
        writeln!(output, "status     {}/_local/status", self.url)?;
        writeln!(output, "ready {}", self.url)?;
        output.flush()
    }

    /// Stops new requests and messages, finishes those under way, and ends all processes.
    pub async fn stop(self) {
        self.stop.cancel();
        let under_way = futures::future::join(self.serving.wait(), self.deployments.stop_polling());
        let _ = tokio::time::timeout(DRAIN, under_way).await;
        self.deployments.stop().await;
    }
}

fn authorizer(options: &StackOptions) -> Result<Authorizer, StackError> {
    match &options.jwks {
        None => Ok(Authorizer::fixed(&options.issuer, &options.audience)),
        Some(path) => Authorizer::verifying(path, &options.issuer, &options.audience)
            .map_err(|cause| StackError::KeySet { path: path.clone(), cause }),
    }
}

async fn bind(port: u16) -> Result<TcpListener, StackError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => StackError::PortInUse(port),
        _ => StackError::System(error),
    })
}

/// Returns the locked data directory, if there is one, and the signing keys.
fn data_dir(options: &StackOptions) -> Result<(Option<File>, String), StackError> {
    let Some(dir) = options.persistent_dir() else { return Ok((None, keys::generate())) };
    let failed = |cause| StackError::DataDir { path: dir.to_owned(), cause };
    std::fs::create_dir_all(dir).map_err(failed)?;
    let lock = File::create(dir.join("lock")).map_err(failed)?;
    lock.try_lock().map_err(|error| match error {
        std::fs::TryLockError::WouldBlock => StackError::DataDirInUse(dir.to_owned()),
        std::fs::TryLockError::Error(error) => failed(error),
    })?;
    Ok((Some(lock), keys::load_or_create(dir).map_err(failed)?))
}
