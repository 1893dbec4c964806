//! The service, running at a stage with packaged functions, in front of stores that outlive it.

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

/// How long the service may take until it is ready, and until it has ended.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is asked for what is awaited.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Processes per function at most.
const ENVIRONMENTS_MAX: &str = "8";

/// Where the programs are.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    pub(crate) watershed_local: PathBuf,
    pub(crate) functions_dir: PathBuf,
}

/// Tables and queues that a service finds at its start and leaves behind, each behind a proxy that counts.
#[derive(Debug)]
pub(crate) struct Stores {
    pub(crate) dynamodb: Meter,
    pub(crate) sqs: Meter,
    queue: local::queue::Server,
    end: tokio::sync::oneshot::Sender<()>,
}

/// One running service; killed where it is dropped.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) client: Client,
    process: Child,
    _output: Lines<BufReader<ChildStdout>>,
}

impl Stores {
    /// New, empty ones.
    pub(crate) async fn start() -> Result<Self, BenchError> {
        let database = Database::memory().map_err(|error| BenchError::Stores(error.to_string()))?;
        let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // It works where it serves: on a thread of its own it holds nobody else up.
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
        Ok(Self { dynamodb: Meter::before(&url).await?, sqs: Meter::before(&queue.url).await?, queue, end })
    }

    /// Begins to count anew.
    pub(crate) fn forget(&self) {
        drop((self.dynamodb.take(), self.sqs.take()));
    }

    /// Ends them.
    pub(crate) async fn stop(self) {
        // It may have ended by itself.
        let _ = self.end.send(());
        self.queue.stop().await;
    }
}

impl Service {
    /// Starts it, and waits until it is ready.
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
            // Credentials and endpoints of whoever runs this are not for it.
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
        match timeout(PATIENCE, until_ready(&mut output)).await {
            Ok(Some(url)) => Ok(Self { client: Client::new(&url)?, process, _output: output }),
            Ok(None) | Err(_) => Err(BenchError::NotStarting(stage.to_owned(), last_lines.joined())),
        }
    }

    /// What it tells about itself.
    pub(crate) async fn status(&self) -> Result<Value, BenchError> {
        self.client.document("/_local/status").await
    }

    /// A counter of all functions together.
    pub(crate) async fn counter(&self, name: &str) -> Result<usize, BenchError> {
        let status = self.status().await?;
        let functions =
            status.get("functions").and_then(Value::as_object).into_iter().flat_map(|functions| functions.values());
        let counts = functions.filter_map(|counters| counters[name].as_u64());
        Ok(counts.map(|count| usize::try_from(count).unwrap_or(usize::MAX)).sum())
    }

    /// The processes, by function.
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

    /// Waits until the queue is empty: what was accepted has been applied and projected.
    pub(crate) async fn settle(&self) -> Result<(), BenchError> {
        let is_empty = |status: &Value| {
            let queue = &status["queue"];
            queue.is_null() || ["visible", "in_flight", "delayed"].iter().all(|count| queue[*count] == 0)
        };
        self.until("the queue is empty", is_empty).await
    }

    /// Waits until no environment is left.
    pub(crate) async fn cool_down(&self) -> Result<(), BenchError> {
        let is_idle = |status: &Value| status["environments"].as_array().is_none_or(Vec::is_empty);
        self.until("all environments have ended", is_idle).await
    }

    async fn until(&self, what: &'static str, is_so: impl Fn(&Value) -> bool) -> Result<(), BenchError> {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(&self.status().await?) {
            if Instant::now() > deadline {
                return Err(BenchError::NeverSo(what));
            }
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }

    /// Ends it, and all that it has started.
    pub(crate) async fn stop(mut self) -> Result<(), BenchError> {
        if let Some(pid) = self.process.id().and_then(|pid| i32::try_from(pid).ok()) {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        if timeout(PATIENCE, self.process.wait()).await.is_err() {
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
