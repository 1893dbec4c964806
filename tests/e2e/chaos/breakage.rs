//! The faults of the chaos test, and their schedule.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::time::sleep;

use crate::harness::{Stack, eventually, program};

/// How long Redis stays stopped.
const STOPPED: Duration = Duration::from_secs(5);
/// The pause between two faults, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 200..900;
/// The pause between two faults that affect more than one environment, in milliseconds.
const GAP_MS: std::ops::Range<u64> = 1_000..2_500;
/// The timeout for a command to Redis.
const OBEDIENCE: Duration = Duration::from_secs(5);

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// Kills one environment of any function. The number selects it.
    KillEnvironment(u32),
    /// Kills Redis. It restarts empty.
    KillRedis,
    /// Stops Redis with a signal, so that it does not answer.
    StopRedis,
    /// Continues a stopped Redis, with the data that it had.
    ContinueRedis,
    /// Deletes all data in Redis.
    FlushRedis,
    /// Kills the whole service, and restarts it with its stored data.
    KillStack,
}

impl Fault {
    fn name(self) -> &'static str {
        match self {
            Self::KillEnvironment(_) => "environments killed",
            Self::KillRedis => "Redis killed",
            Self::StopRedis => "Redis stopped",
            Self::ContinueRedis => "Redis continued",
            Self::FlushRedis => "Redis flushed",
            Self::KillStack => "stack killed",
        }
    }
}

/// Returns the schedule of a seed for this duration: the pause before each fault, and the fault.
fn schedule(seed: u64, length: Duration) -> Vec<(Duration, Fault)> {
    let mut chance = SmallRng::seed_from_u64(seed);
    let (mut steps, mut round) = (Vec::new(), Vec::new());
    let (mut now, mut stopped_until) = (Duration::ZERO, None);
    let mut next = Duration::from_millis(chance.random_range(GAP_MS));
    while now < length {
        let pause = Duration::from_millis(chance.random_range(PAUSE_MS));
        now += pause;
        if round.is_empty() {
            round = vec![Fault::KillRedis, Fault::StopRedis, Fault::FlushRedis, Fault::KillStack];
            round.shuffle(&mut chance);
        }
        let fault = match stopped_until {
            Some(until) if now >= until => {
                (stopped_until, next) = (None, now + Duration::from_millis(chance.random_range(GAP_MS)));
                Fault::ContinueRedis
            }
            None if now >= next => {
                next = now + Duration::from_millis(chance.random_range(GAP_MS));
                let fault = round.pop().unwrap();
                stopped_until = (fault == Fault::StopRedis).then_some(now + STOPPED);
                fault
            }
            Some(_) | None => Fault::KillEnvironment(chance.random()),
        };
        steps.push((pause, fault));
    }
    steps.extend(stopped_until.map(|until| (until.saturating_sub(now), Fault::ContinueRedis)));
    steps
}

/// The number of injected faults of each kind.
#[derive(Debug, Default)]
pub struct Strikes(BTreeMap<&'static str, usize>);

impl Strikes {
    /// Returns whether each kind of fault was injected.
    pub fn are_complete(&self) -> bool {
        let all = [Fault::KillEnvironment(0), Fault::KillRedis, Fault::StopRedis, Fault::FlushRedis, Fault::KillStack];
        all.iter().all(|fault| self.0.contains_key(fault.name()))
    }
}

impl fmt::Display for Strikes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let strikes: Vec<_> = self.0.iter().map(|(name, count)| format!("{name} {count}")).collect();
        f.write_str(&strikes.join(", "))
    }
}

/// Injects the faults of a schedule into a stack.
#[derive(Debug)]
pub struct Breakage {
    steps: Vec<(Duration, Fault)>,
    port: u16,
    data_dir: String,
    /// The process id of the stopped Redis.
    stopped: Option<u32>,
    strikes: Strikes,
}

impl Breakage {
    pub fn new(seed: u64, length: Duration, stack: &Stack, data_dir: &Path) -> Self {
        Self {
            steps: schedule(seed, length),
            port: stack.port(),
            data_dir: data_dir.to_str().unwrap().to_owned(),
            stopped: None,
            strikes: Strikes::default(),
        }
    }

    /// Injects all scheduled faults. Returns the running stack; the drop of `_until` signals the end to the clients.
    pub async fn strike_all(mut self, mut stack: Stack, _until: watch::Sender<()>) -> (Stack, Strikes) {
        for (pause, fault) in std::mem::take(&mut self.steps) {
            sleep(pause).await;
            if fault == Fault::KillStack {
                stack.kill();
                stack = self.start_again(&stack).await;
                *self.strikes.0.entry(fault.name()).or_default() += 1;
            } else if self.strike(&stack, fault).await {
                *self.strikes.0.entry(fault.name()).or_default() += 1;
            }
        }
        (stack, self.strikes)
    }

    /// Restarts the service with its stored data at the same port, so that clients need no new address.
    async fn start_again(&self, killed: &Stack) -> Stack {
        let arguments = ["--data-dir", self.data_dir.as_str()];
        eventually("the service starts again", async || {
            let started = Stack::try_start_at(killed.service.variant, self.port, &arguments);
            started.inspect_err(|why| eprintln!("{why}")).ok()
        })
        .await
    }

    /// Injects a fault. Returns false if it had no target.
    async fn strike(&mut self, stack: &Stack, fault: Fault) -> bool {
        match fault {
            Fault::KillEnvironment(drawn) => return kill_environment(stack, drawn).await,
            Fault::KillRedis => program::send_signal(redis(stack).await, Signal::SIGKILL),
            Fault::StopRedis => {
                let pid = redis(stack).await;
                program::send_signal(pid, Signal::SIGSTOP);
                self.stopped = Some(pid);
            }
            Fault::ContinueRedis => {
                let Some(pid) = self.stopped.take() else { return false };
                program::send_signal(pid, Signal::SIGCONT);
            }
            Fault::FlushRedis => flush(stack).await,
            Fault::KillStack => return false,
        }
        true
    }
}

async fn kill_environment(stack: &Stack, drawn: u32) -> bool {
    let status = stack.status().await;
    let environments = status["environments"].as_array().unwrap();
    let pids: Vec<u32> = environments.iter().map(|one| one["pid"].as_u64().unwrap().try_into().unwrap()).collect();
    if pids.is_empty() {
        return false;
    }
    program::send_signal(pids[drawn as usize % pids.len()], Signal::SIGKILL);
    true
}

/// Waits until the stack's Redis runs, and returns its process id.
async fn redis(stack: &Stack) -> u32 {
    eventually("Redis runs", async || stack.status().await["redis"]["pid"].as_u64()).await.try_into().unwrap()
}

async fn flush(stack: &Stack) {
    eventually("Redis obeys", async || {
        let status = stack.status().await;
        let address = status["redis"]["url"].as_str().unwrap().trim_start_matches("redis://").to_owned();
        let mut connection = TcpStream::connect(address).ok()?;
        connection.set_read_timeout(Some(OBEDIENCE)).unwrap();
        connection.write_all(b"FLUSHALL\r\n").ok()?;
        let mut answer = [0; 5];
        connection.read_exact(&mut answer).ok()?;
        (answer == *b"+OK\r\n").then_some(())
    })
    .await;
}
