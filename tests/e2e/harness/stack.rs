//! The service, running.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::client::Api;
use super::program;

/// How long the service may take until it is ready: the machine may be busy.
const START_MAX: Duration = Duration::from_secs(60);
/// How long the service may take to end.
const END_MAX: Duration = Duration::from_secs(20);
/// Lines of output that are kept for the message of a failed test.
const LINES_MAX: usize = 400;

/// Which stage, and which queue, the service runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    LambdaLith,
    ReadWrite,
    Cqrs,
    CqrsFifo,
}

impl Variant {
    pub fn stage(self) -> &'static str {
        match self {
            Self::LambdaLith => "lambda-lith",
            Self::ReadWrite => "read-write",
            Self::Cqrs | Self::CqrsFifo => "cqrs",
        }
    }

    pub fn queue(self) -> &'static str {
        match self {
            Self::CqrsFifo => "fifo",
            Self::LambdaLith | Self::ReadWrite | Self::Cqrs => "standard",
        }
    }

    /// Whether a write is acknowledged before it is applied.
    pub fn is_queued(self) -> bool {
        matches!(self, Self::Cqrs | Self::CqrsFifo)
    }

    /// Whether reads go through caches.
    pub fn has_caches(self) -> bool {
        self.is_queued()
    }
}

/// The service on one machine, in a process of its own, under a guard that kills it when this test process ends,
/// however it ends.
#[derive(Debug)]
pub struct Stack {
    pub url: String,
    pub variant: Variant,
    guard: Mutex<Child>,
    output: Arc<Output>,
}

impl Stack {
    /// Starts the service with these arguments besides port, stage and queue, and waits until it is ready.
    pub fn try_start(variant: Variant, arguments: &[&str]) -> Result<Self, String> {
        let program = program::watershed_local();
        let mut command = guarded(program.to_str().ok_or("the program's path is not UTF-8")?);
        command.args(["--port", "0", "--stage", variant.stage(), "--queue", variant.queue()]).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut guard = command.spawn().map_err(|error| error.to_string())?;
        let output = Arc::new(Output::default());
        let (lines, ready) = mpsc::channel();
        output.collect(guard.stderr.take().unwrap(), |_| {});
        output.collect(guard.stdout.take().unwrap(), move |line| drop(lines.send(line.to_owned())));
        let Some(url) = wait_until_ready(&ready) else {
            drop(guard.stdin.take());
            wait(&mut guard, END_MAX);
            return Err(format!("it did not say `ready`, but:\n{}", output.last()));
        };
        Ok(Self { url, variant, guard: Mutex::new(guard), output })
    }

    /// As [`Stack::try_start`].
    pub fn start(variant: Variant, arguments: &[&str]) -> Self {
        Self::try_start(variant, arguments).unwrap_or_else(|why| panic!("the service does not start: {why}"))
    }

    /// Something that speaks HTTP with it; good for one test, because connections belong to the test's runtime.
    pub fn api(&self) -> Api {
        Api::new(&self.url)
    }

    /// What it tells about itself.
    pub async fn status(&self) -> Value {
        let answer = self.api().get("/_local/status").send_unchecked().await;
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()
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

    /// The service's own process.
    pub fn pid(&self) -> u32 {
        let guard = self.guard.lock().unwrap().id();
        let descendants = program::descendants(guard);
        *descendants.first().unwrap_or_else(|| panic!("the guard has no child; {}", self.output.last()))
    }

    /// Sends a signal to the service's own process.
    pub fn signal(&self, signal: Signal) {
        program::send_signal(self.pid(), signal);
    }

    /// Waits until the service has ended.
    pub fn wait(&self, patience: Duration) -> Option<ExitStatus> {
        wait(&mut self.guard.lock().unwrap(), patience)
    }

    /// What it wrote last.
    pub fn last_output(&self) -> String {
        self.output.last()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let mut guard = self.guard.lock().unwrap();
        drop(guard.stdin.take());
        if wait(&mut guard, END_MAX).is_none() {
            let _ = guard.kill();
            eprintln!("the guard had to be killed");
        }
    }
}

/// A command that runs `program` under the guard: closing its standard input kills it.
pub fn guarded(program: &str) -> Command {
    let mut command = Command::new(program::watershed_local());
    command.args(["guard", "--", program]);
    // Whatever the machine's owner has set, such as credentials or endpoints, is not for the test.
    command.env_clear();
    for name in ["HOME", "PATH", "TMPDIR"] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command.stdin(Stdio::piped());
    command
}

fn wait_until_ready(lines: &mpsc::Receiver<String>) -> Option<String> {
    let deadline = Instant::now() + START_MAX;
    loop {
        let line = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())).ok()?;
        if let Some(url) = line.strip_prefix("ready ") {
            return Some(url.trim().to_owned());
        }
    }
}

/// Waits for a process to end.
pub fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return Some(status),
            None if Instant::now() > deadline => return None,
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// The last lines that a process wrote.
#[derive(Debug, Default)]
struct Output(Mutex<VecDeque<String>>);

impl Output {
    fn collect(self: &Arc<Self>, from: impl Read + Send + 'static, on_line: impl Fn(&str) + Send + 'static) {
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
        });
    }

    fn last(&self) -> String {
        self.0.lock().unwrap().iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}
