//! The service at a stage, with packaged functions. Its stores outlive it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use dynoxide::Database;
use local::supervise::{LastLines, keep_output};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::BenchError;
use crate::load::Client;
use crate::meter::Meter;

/// The longest wait until the service is ready, until it reaches a state, and until it has ended.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The pause between two checks of an awaited state.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);
/// The maximum number of processes per function.
const ENVIRONMENTS_MAX: &str = "8";

/// The paths of the programs.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) watershed_local: PathBuf,
    pub(crate) functions_dir: PathBuf,
}

/// Tables and queues that outlive a service, each behind a proxy that counts.
#[derive(Debug)]
pub(crate) struct Stores {
    pub(crate) dynamodb: Meter,
    pub(crate) sqs: Meter,
    queue: local::queue::Server,
    end: tokio::sync::oneshot::Sender<()>,
}

/// One running service. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) client: Client,
    process: Child,
    _output: Lines<BufReader<ChildStdout>>,
}

impl Stores {
    /// Starts new, empty stores.
    pub(crate) async fn start() -> Result<Self, BenchError> {
        let database = Database::memory().map_err(|error| BenchError::Stores(error.to_string()))?;
        let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // The database works on the thread that serves it. A thread of its own blocks no other work.
        std::thread::spawn(move || {
            runtime.block_on(async move {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
                tokio::select! {
                    _ = dynoxide::server::serve_with_shutdown(listener, database, std::future::pending()) => {}
                    _ = ended => {}
                }
            });
        });
        let queue = local::queue::Server::start(None).await.map_err(|error| BenchError::Stores(error.to_string()))?;
        Ok(Self { dynamodb: Meter::start(&url).await?, sqs: Meter::start(&queue.url).await?, queue, end })
    }

    /// Resets the counts.
    pub(crate) fn reset_counts(&self) {
        drop((self.dynamodb.take(), self.sqs.take()));
    }

    /// Stops the stores.
    pub(crate) async fn stop(self) {
        // The database may have ended already.
        let _ = self.end.send(());
        self.queue.stop().await;
    }
}

impl Service {
    /// Starts the service, and waits until it is ready.
    pub(crate) async fn start(
        programs: &Programs,
        stage: &str,
        idle_seconds: u32,
        stores: &Stores,
    ) -> Result<Self, BenchError> {
        let arguments: [OsString; 2] = ["--functions-dir".into(), programs.functions_dir.clone().into()];
        let mut process = Command::new(&programs.watershed_local)
            .args(["leash", "--parent", &std::process::id().to_string()])
            .arg(&programs.watershed_local)
            .args(["--", "--port", "0", "--ephemeral", "--stage", stage, "--max-environments", ENVIRONMENTS_MAX])
            .args(["--idle-seconds", &idle_seconds.to_string()])
            .args(["--dynamodb-url", &stores.dynamodb.url, "--sqs-url", &stores.sqs.url])
            .args(arguments)
            // The service must not get the credentials and endpoints of its user.
            .env_clear()
            .envs(["HOME", "PATH", "TMPDIR"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let last_lines = LastLines::default();
        let output = process.stdout.take().ok_or_else(|| BenchError::NotStarting(stage.to_owned(), String::new()))?;
        keep_output(&mut process, &last_lines);
        let mut output = BufReader::new(output).lines();
        match timeout(TIMEOUT, until_ready(&mut output)).await {
            Ok(Some(url)) => Ok(Self { client: Client::new(&url)?, process, _output: output }),
            Ok(None) | Err(_) => Err(BenchError::NotStarting(stage.to_owned(), last_lines.joined())),
        }
    }

    /// Returns the status document of the local stack.
    pub(crate) async fn status(&self) -> Result<Value, BenchError> {
        self.client.document("/_local/status").await
    }

    /// Returns a counter, summed over all functions.
    pub(crate) async fn counter(&self, name: &str) -> Result<usize, BenchError> {
        let status = self.status().await?;
        let functions =
            status.get("functions").and_then(Value::as_object).into_iter().flat_map(|functions| functions.values());
        let counts = functions.filter_map(|counters| counters[name].as_u64());
        Ok(counts.map(|count| usize::try_from(count).unwrap_or(usize::MAX)).sum())
    }

    /// Returns the ids of the processes, by function.
    pub(crate) async fn processes(&self) -> Result<BTreeMap<String, BTreeSet<u64>>, BenchError> {
        let status = self.status().await?;
        let mut processes: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for environment in status.get("environments").and_then(Value::as_array).into_iter().flatten() {
            if let (Some(function), Some(pid)) = (environment["function"].as_str(), environment["pid"].as_u64()) {
                processes.entry(function.to_owned()).or_default().insert(pid);
            }
        }
        Ok(processes)
    }

    /// Waits until the queue is empty, so all accepted commands have been applied and projected.
    pub(crate) async fn settle(&self) -> Result<(), BenchError> {
        let is_empty = |status: &Value| {
            let queue = &status["queue"];
            queue.is_null() || ["visible", "in_flight", "delayed"].iter().all(|count| queue[*count] == 0)
        };
        self.until("the queue was empty", is_empty).await
    }

    /// Waits until no environment is left.
    pub(crate) async fn cool_down(&self) -> Result<(), BenchError> {
        let is_idle = |status: &Value| status["environments"].as_array().is_none_or(Vec::is_empty);
        self.until("all environments had ended", is_idle).await
    }

    async fn until(&self, state: &'static str, is_reached: impl Fn(&Value) -> bool) -> Result<(), BenchError> {
        let deadline = Instant::now() + TIMEOUT;
        while !is_reached(&self.status().await?) {
            if Instant::now() > deadline {
                return Err(BenchError::TimedOut(state));
            }
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
        Ok(())
    }

    /// Stops the service, and all processes that it has started.
    pub(crate) async fn stop(mut self) -> Result<(), BenchError> {
        if let Some(pid) = self.process.id().and_then(|pid| i32::try_from(pid).ok()) {
            // The process may have ended already.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        if timeout(TIMEOUT, self.process.wait()).await.is_err() {
            self.process.kill().await?;
        }
        Ok(())
    }
}

async fn until_ready(output: &mut Lines<BufReader<ChildStdout>>) -> Option<String> {
    while let Some(line) = output.next_line().await.ok()? {
        if let Some(url) = line.strip_prefix("ready ") {
            return Some(url.trim().to_owned());
        }
    }
    None
}
