//! A running service.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::client::Api;
use super::poll::eventually;
use super::program::{self, Leashed};

/// The timeout of a start. The machine may be busy.
const START_MAX: Duration = Duration::from_secs(60);
/// The timeout of a shutdown.
const END_MAX: Duration = Duration::from_secs(20);
/// How long child processes may outlive a killed runner.
const ORPHANS_MAX: Duration = Duration::from_secs(5);
/// The number of output lines that are kept for a failed test.
const LINES_MAX: usize = 400;

/// The stage and the type of queue with which the service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    SingleResponsibility,
    LambdaLith,
    ReadWrite,
    MemoryCache,
    RedisCache,
    ReadStore,
    Cqrs,
    CqrsFifo,
}

impl Variant {
    pub fn stage(self) -> &'static str {
        match self {
            Self::SingleResponsibility => "single-responsibility",
            Self::LambdaLith => "lambda-lith",
            Self::ReadWrite => "read-write",
            Self::MemoryCache => "memory-cache",
            Self::RedisCache => "redis-cache",
            Self::ReadStore => "read-store",
            Self::Cqrs | Self::CqrsFifo => "cqrs",
        }
    }

    pub fn queue(self) -> &'static str {
        if self == Self::CqrsFifo { "fifo" } else { "standard" }
    }

    /// Returns whether a write is acknowledged before it is applied.
    pub fn is_queued(self) -> bool {
        matches!(self, Self::Cqrs | Self::CqrsFifo)
    }

    /// Returns whether reads use the memory cache.
    pub fn has_caches(self) -> bool {
        !matches!(self, Self::SingleResponsibility | Self::LambdaLith | Self::ReadWrite)
    }
}

/// A service, on this machine or elsewhere.
#[derive(Debug, Clone)]
pub struct Service {
    pub url: String,
    pub variant: Variant,
    /// The clients' bearer token, if the service requires one.
    pub bearer: Option<String>,
}

impl Service {
    /// Returns a client of the service. Use it in one test only, because connections belong to the test's runtime.
    pub fn api(&self) -> Api {
        let api = Api::new(&self.url);
        match &self.bearer {
            Some(token) => api.with_bearer(token),
            None => api,
        }
    }
}

/// A service on this machine. Its processes end with this one.
#[derive(Debug)]
pub struct Stack {
    pub service: Service,
    process: Leashed,
    /// The lines that it printed before it was ready: its URLs.
    announced: Vec<String>,
    output: Arc<Output>,
}

impl Stack {
    /// Starts the service with these arguments, besides port, stage and queue. Waits until it is ready.
    pub fn try_start(variant: Variant, arguments: &[&str]) -> Result<Self, String> {
        Self::try_start_at(variant, 0, arguments)
    }

    /// Starts the service like [`Stack::try_start`], at this port; 0 means any free one.
    pub fn try_start_at(variant: Variant, port: u16, arguments: &[&str]) -> Result<Self, String> {
        let place = ["--port", &port.to_string(), "--stage", variant.stage(), "--queue", variant.queue()];
        let (process, outputs) =
            Leashed::start(program::watershed_local(), &[&place, arguments].concat(), Stdio::piped);
        let output = Arc::new(Output::default());
        let (lines, announcement) = mpsc::channel();
        let collectors = [
            output.collect(outputs.0.unwrap(), move |line| drop(lines.send(line.to_owned()))),
            output.collect(outputs.1.unwrap(), |_| {}),
        ];
        let Some((announced, url)) = until_ready(&announcement) else {
            process.kill();
            // The process may close one stream before the output on the other is read.
            for collector in collectors {
                collector.join().unwrap();
            }
            return Err(format!("it did not say `ready`, but:\n{}", output.last()));
        };
        Ok(Self { service: Service { url, variant, bearer: None }, process, announced, output })
    }

    /// Starts the service like [`Stack::try_start`]; panics if that fails.
    pub fn start(variant: Variant, arguments: &[&str]) -> Self {
        Self::try_start(variant, arguments).unwrap_or_else(|why| panic!("the service does not start: {why}"))
    }

    /// Returns a client, like [`Service::api`].
    pub fn api(&self) -> Api {
        self.service.api()
    }

    /// Returns the status of the local stack.
    pub async fn status(&self) -> Value {
        let answer = self.api().get("/_local/status").send_unchecked().await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()
    }

    /// Deploys a stage, and waits until no environment of the earlier deployment runs.
    pub async fn deploy(&self, row: &str) {
        let read_table = self.status().await["variables"]["READ_TABLE"].clone();
        let deployment = json!({ "STAGE": row, "READ_TABLE": read_table });
        let answer = self.api().put("/_local/deployment", &deployment).send_unchecked().await;
        assert_eq!(answer.status, 200, "{answer}");
        eventually("the deployment before is gone", async || (self.status().await["draining"] == 0).then_some(()))
            .await;
    }

    /// Returns the process ids of a function's environments.
    pub async fn environments(&self, function: &str) -> Vec<u32> {
        let status = self.status().await;
        let environments = status["environments"].as_array().unwrap_or_else(|| panic!("no environments in {status}"));
        let of_function = environments.iter().filter(|environment| environment["function"] == function);
        of_function.map(|environment| environment["pid"].as_u64().unwrap().try_into().unwrap()).collect()
    }

    /// Kills all environments of a function, as a crash would. Returns their number.
    pub async fn kill_environments(&self, function: &str) -> usize {
        let pids = self.environments(function).await;
        for pid in &pids {
            program::send_signal(*pid, Signal::SIGKILL);
        }
        let survivors = program::survivors(&pids, END_MAX);
        assert!(survivors.is_empty(), "{survivors:?} survived a SIGKILL");
        pids.len()
    }

    /// Returns the URL that the stack printed for a part.
    pub fn endpoint(&self, part: &str) -> String {
        let url =
            |line: &String| Some(line.strip_prefix(part)?.split_whitespace().next()?.trim_end_matches(',').to_owned());
        self.announced.iter().find_map(url).unwrap_or_else(|| panic!("no {part} in {:?}", self.announced))
    }

    /// Returns the id of the stack's main process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Returns the service's port.
    pub fn port(&self) -> u16 {
        self.service.url.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// Kills the stack's main process, as a crash would. Asserts that all its child processes end too.
    pub fn kill(&self) {
        let children = program::descendants(self.pid());
        assert!(children.len() >= 2, "the runner has no children");
        self.signal(Signal::SIGKILL);
        let survivors = program::survivors(&children, ORPHANS_MAX);
        assert!(survivors.is_empty(), "{survivors:?} of {children:?} outlived the runner");
    }

    /// Sends a signal to the stack's main process.
    pub fn signal(&self, signal: Signal) {
        program::send_signal(self.pid(), signal);
    }

    /// Waits until the stack has ended.
    pub fn wait(&self, patience: Duration) -> Option<ExitStatus> {
        self.process.wait(patience)
    }

    /// Returns the last output.
    pub fn last_output(&self) -> String {
        self.output.last()
    }
}

/// Reads lines until the service is ready. Returns them, and the service's URL.
fn until_ready(lines: &mpsc::Receiver<String>) -> Option<(Vec<String>, String)> {
    let deadline = Instant::now() + START_MAX;
    let mut announced = Vec::new();
    loop {
        let line = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()?;
        if let Some(url) = line.strip_prefix("ready ") {
            return Some((announced, url.trim().to_owned()));
        }
        announced.push(line);
    }
}

/// The last lines of a process's output.
#[derive(Debug, Default)]
struct Output(Mutex<VecDeque<String>>);

impl Output {
    /// Collects output, in a thread that ends when no process can write to the stream any more.
    fn collect(
        self: &Arc<Self>,
        from: impl Read + Send + 'static,
        on_line: impl Fn(&str) + Send + 'static,
    ) -> JoinHandle<()> {
        let this = Arc::clone(self);
        std::thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n') {
                let Ok(line) = line else { return };
                let line = String::from_utf8_lossy(&line).into_owned();
                on_line(&line);
                let mut lines = this.0.lock().unwrap();
                if lines.len() == LINES_MAX {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
        })
    }

    fn last(&self) -> String {
        self.0.lock().unwrap().iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}
