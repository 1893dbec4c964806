//! The service, running.

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

/// How long the service may take until it is ready: the machine may be busy.
const START_MAX: Duration = Duration::from_secs(60);
/// How long the service may take to end.
const END_MAX: Duration = Duration::from_secs(20);
/// How long children may outlive a killed runner.
const ORPHANS_MAX: Duration = Duration::from_secs(5);
/// Lines of output that are kept for the message of a failed test.
const LINES_MAX: usize = 400;

/// Which stage, and which queue, the service runs in.
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

    /// Whether a write is acknowledged before it is applied.
    pub fn is_queued(self) -> bool {
        matches!(self, Self::Cqrs | Self::CqrsFifo)
    }

    /// Whether reads go through memory.
    pub fn has_caches(self) -> bool {
        !matches!(self, Self::SingleResponsibility | Self::LambdaLith | Self::ReadWrite)
    }
}

/// The service, wherever it runs.
#[derive(Debug, Clone)]
pub struct Service {
    pub url: String,
    pub variant: Variant,
    /// The credentials of its clients, where it asks for some.
    pub bearer: Option<String>,
}

impl Service {
    /// Something that speaks HTTP with it; good for one test, because connections belong to the test's runtime.
    pub fn api(&self) -> Api {
        let api = Api::new(&self.url);
        match &self.bearer {
            Some(token) => api.with_bearer(token),
            None => api,
        }
    }
}

/// The service on one machine, in processes of its own, which end with this one.
#[derive(Debug)]
pub struct Stack {
    pub service: Service,
    process: Leashed,
    /// The lines that it printed before it was ready: its URLs.
    announced: Vec<String>,
    output: Arc<Output>,
}

impl Stack {
    /// Starts the service with these arguments besides port, stage and queue, and waits until it is ready.
    pub fn try_start(variant: Variant, arguments: &[&str]) -> Result<Self, String> {
        Self::try_start_at(variant, 0, arguments)
    }

    /// As [`Stack::try_start`], at this port; 0 is any free one.
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
            // It may have closed one stream before the output on the other is read.
            for collector in collectors {
                collector.join().unwrap();
            }
            return Err(format!("it did not say `ready`, but:\n{}", output.last()));
        };
        Ok(Self { service: Service { url, variant, bearer: None }, process, announced, output })
    }

    /// As [`Stack::try_start`].
    pub fn start(variant: Variant, arguments: &[&str]) -> Self {
        Self::try_start(variant, arguments).unwrap_or_else(|why| panic!("the service does not start: {why}"))
    }

    /// As [`Service::api`].
    pub fn api(&self) -> Api {
        self.service.api()
    }

    /// What it tells about itself.
    pub async fn status(&self) -> Value {
        let answer = self.api().get("/_local/status").send_unchecked().await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()
    }

    /// Deploys a row of the table of stages, and waits until nothing of the deployment before is left.
    pub async fn deploy(&self, row: &str) {
        let read_table = self.status().await["variables"]["READ_TABLE"].clone();
        let deployment = json!({ "STAGE": row, "READ_TABLE": read_table });
        let answer = self.api().put("/_local/deployment", &deployment).send_unchecked().await;
        assert_eq!(answer.status, 200, "{answer}");
        eventually("the deployment before is gone", async || (self.status().await["draining"] == 0).then_some(()))
            .await;
    }

    /// The processes of a function's environments.
    pub async fn environments(&self, function: &str) -> Vec<u32> {
        let status = self.status().await;
        let environments = status["environments"].as_array().unwrap_or_else(|| panic!("no environments in {status}"));
        let of_function = environments.iter().filter(|environment| environment["function"] == function);
        of_function.map(|environment| environment["pid"].as_u64().unwrap().try_into().unwrap()).collect()
    }

    /// Kills all environments of a function, as a crash would; returns how many.
    pub async fn kill_environments(&self, function: &str) -> usize {
        let pids = self.environments(function).await;
        for pid in &pids {
            program::send_signal(*pid, Signal::SIGKILL);
        }
        let survivors = program::survivors(&pids, END_MAX);
        assert!(survivors.is_empty(), "{survivors:?} survived a SIGKILL");
        pids.len()
    }

    /// The URL that it printed for a part.
    pub fn endpoint(&self, part: &str) -> String {
        let url =
            |line: &String| Some(line.strip_prefix(part)?.split_whitespace().next()?.trim_end_matches(',').to_owned());
        self.announced.iter().find_map(url).unwrap_or_else(|| panic!("no {part} in {:?}", self.announced))
    }

    /// The service's own process.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The port at which it serves.
    pub fn port(&self) -> u16 {
        self.service.url.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// Kills the service's own process, as a crash would; what it had started must end with it.
    pub fn kill(&self) {
        let children = program::descendants(self.pid());
        assert!(children.len() >= 2, "the runner has no children");
        self.signal(Signal::SIGKILL);
        let survivors = program::survivors(&children, ORPHANS_MAX);
        assert!(survivors.is_empty(), "{survivors:?} of {children:?} outlived the runner");
    }

    /// Sends a signal to the service's own process.
    pub fn signal(&self, signal: Signal) {
        program::send_signal(self.pid(), signal);
    }

    /// Waits until the service has ended.
    pub fn wait(&self, patience: Duration) -> Option<ExitStatus> {
        self.process.wait(patience)
    }

    /// What it wrote last.
    pub fn last_output(&self) -> String {
        self.output.last()
    }
}

/// What it says before it is ready, and where it serves.
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

/// The last lines that a process wrote.
#[derive(Debug, Default)]
struct Output(Mutex<VecDeque<String>>);

impl Output {
    /// Keeps what comes, in a thread that ends when no process can write there any more.
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
