//! Execution environments: a pool of processes per function, one invocation at a time each.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::runtime_api::{Outcome, PAYLOAD_BYTES_MAX};
use crate::supervise::Spawner;
pub use process::Function;
use process::{Deployed, Environment};

mod process;

/// How long a new process may take to ask for its first invocation, as in Lambda.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Requests that wait for an environment at most, per function.
const WAITING_MAX: usize = 1000;
/// How often an invocation that a process did not take is handed to another.
const HANDOVERS_MAX: usize = 3;
/// The pause after a process could not initialise; it doubles with each failure in a row.
const RETRY_PAUSE_FIRST: Duration = Duration::from_millis(500);
/// The longest pause.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);
/// How often a pool looks after itself.
const TICK: Duration = Duration::from_millis(250);

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// All environments were busy for too long: try later.
    #[error("all environments are busy")]
    Throttled,
    /// The event is larger than Lambda takes.
    #[error("the event exceeds 6 MB")]
    EventTooLarge,
    /// The function did not answer in time; its process was killed.
    #[error("the function timed out")]
    TimedOut,
    /// The process ended while it worked.
    #[error("the function's process ended")]
    Died,
    /// The function reported an error, or an answer too large.
    #[error("the function failed")]
    Failed,
    /// No process gets as far as to take an invocation.
    #[error("the function does not start")]
    NotStarting,
    /// The function was removed before anything was handed to a process: look for what answers now.
    #[error("the function is deployed no longer")]
    Retired,
    /// The pool is being closed.
    #[error("shutting down")]
    ShuttingDown,
}

/// The bounds of a pool.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Processes at most.
    pub environments_max: usize,
    /// How long a process may be idle.
    pub idle: Duration,
    /// How long a request waits for an environment while all are busy.
    pub wait: Duration,
}

/// What has happened so far.
#[derive(Debug, Default, Serialize)]
pub struct Counters {
    /// Invocations that were handed to a process.
    pub invocations: AtomicU64,
    /// Invocations that the function failed or during which its process ended, timeouts included.
    pub errors: AtomicU64,
    /// Invocations that took too long.
    pub timeouts: AtomicU64,
    /// Requests that found no environment in time.
    pub throttles: AtomicU64,
    /// Processes that got ready.
    pub cold_starts: AtomicU64,
    /// Processes that did not get ready.
    pub init_failures: AtomicU64,
}

impl Counters {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// One environment, for the status page.
#[derive(Debug, Serialize)]
pub struct EnvironmentStatus {
    /// The function.
    pub function: String,
    /// The process.
    pub pid: u32,
    /// Invocations that it has taken.
    pub invocations: u64,
    /// Whether it is of an earlier deployment, and ends when it has done what it does.
    pub draining: bool,
    /// Seconds since it started.
    pub age_seconds: u64,
}

/// The environments of one function.
#[derive(Debug, Clone)]
pub struct Pool(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    function: Function,
    limits: Limits,
    spawner: Spawner,
    counters: Counters,
    state: Mutex<State>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    deployment: Arc<Deployed>,
    /// Whether the function is deployed no longer.
    retired: bool,
    /// Those whose process runs, also while it initialises.
    environments: BTreeMap<u64, Arc<Environment>>,
    /// Those without work, the one used last at the end: it is used first, so that those not needed stay idle.
    idle: Vec<Idle>,
    waiting: VecDeque<oneshot::Sender<Result<Arc<Environment>, InvokeError>>>,
    /// Started, not yet ready.
    starting: usize,
    /// Started, not yet ended.
    alive: usize,
    last_id: u64,
    init_failures_in_a_row: u32,
    retry_at: Option<Instant>,
}

#[derive(Debug)]
struct Idle {
    environment: Arc<Environment>,
    since: Instant,
}

impl Pool {
    /// A pool without any process: they start on demand. Must be called within a runtime.
    #[must_use]
    pub fn new(function: Function, limits: Limits, spawner: Spawner) -> Self {
        let pool = Self(Arc::new(Inner {
            function,
            limits,
            spawner,
            counters: Counters::default(),
            state: Mutex::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        }));
        pool.0.tasks.spawn(Arc::clone(&pool.0).look_after());
        pool
    }

    /// The function's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.function.name()
    }

    /// What has happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// The processes, oldest first.
    #[must_use]
    pub fn environments(&self) -> Vec<EnvironmentStatus> {
        let state = self.0.lock();
        let status = |environment: &Arc<Environment>| EnvironmentStatus {
            function: self.0.function.name().to_owned(),
            pid: environment.pid,
            invocations: environment.invocations.load(Ordering::Relaxed),
            draining: !state.is_current(environment),
            age_seconds: environment.started.elapsed().as_secs(),
        };
        state.environments.values().map(status).collect()
    }

    /// Environments of earlier deployments; all of them where the function is deployed no longer.
    #[must_use]
    pub fn draining(&self) -> usize {
        let state = self.0.lock();
        state.environments.values().filter(|environment| !state.is_current(environment)).count()
    }

    /// Has environments start with these variables from now on. Those that there are finish what they do, and end.
    pub fn deploy(&self, variables: Vec<(String, String)>) {
        let mut state = self.0.lock();
        state.deployment = Arc::new(Deployed { number: state.deployment.number + 1, variables });
        for idle in state.idle.drain(..) {
            idle.environment.end();
        }
    }

    /// Takes no more invocations: the function is deployed no longer. Environments finish what they do, and end.
    pub fn retire(&self) {
        let mut state = self.0.lock();
        state.retired = true;
        for waiting in state.waiting.drain(..) {
            let _ = waiting.send(Err(InvokeError::Retired));
        }
        for idle in state.idle.drain(..) {
            idle.environment.end();
        }
    }

    /// Invokes the function with an event and waits for the answer. The work goes on where the caller does not wait.
    pub async fn invoke(&self, event: Bytes) -> Result<Bytes, InvokeError> {
        if event.len() > PAYLOAD_BYTES_MAX {
            return Err(InvokeError::EventTooLarge);
        }
        let work = self.0.tasks.spawn(Arc::clone(&self.0).invoke(event));
        work.await.unwrap_or(Err(InvokeError::ShuttingDown))
    }

    /// Takes no more invocations and ends all processes.
    pub async fn close(&self) {
        self.0.closing.cancel();
        self.0.lock().waiting.clear();
        for environment in self.0.lock().environments.values() {
            environment.end();
        }
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

impl State {
    fn is_current(&self, environment: &Environment) -> bool {
        !self.retired && environment.deployment.number == self.deployment.number
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn invoke(self: Arc<Self>, event: Bytes) -> Result<Bytes, InvokeError> {
        for _ in 0..HANDOVERS_MAX {
            let environment = self.acquire().await.inspect_err(|error| {
                if *error == InvokeError::Throttled {
                    Counters::add(&self.counters.throttles);
                }
            })?;
            if let Some(result) = self.run(environment, event.clone()).await {
                Counters::add(&self.counters.invocations);
                if result.is_err() {
                    Counters::add(&self.counters.errors);
                }
                return result;
            }
        }
        Err(InvokeError::Died)
    }

    /// `None` if the process ended before it took the event.
    async fn run(self: &Arc<Self>, environment: Arc<Environment>, event: Bytes) -> Option<Result<Bytes, InvokeError>> {
        let limit = self.function.timeout;
        let outcome = environment.mailbox.post(event, limit);
        let Ok(outcome) = timeout(limit, outcome).await else {
            Counters::add(&self.counters.timeouts);
            eprintln!(
                "{} {} | timed out after {} s: killed",
                self.function.name(),
                environment.pid,
                limit.as_secs_f32()
            );
            environment.end();
            return Some(Err(InvokeError::TimedOut));
        };
        let outcome = outcome.unwrap_or(Outcome::Died);
        if !matches!(outcome, Outcome::NotTaken) {
            environment.invocations.fetch_add(1, Ordering::Relaxed);
        }
        match outcome {
            Outcome::NotTaken => return None,
            Outcome::Died => return Some(Err(InvokeError::Died)),
            Outcome::Answered(answer) => {
                self.offer(environment);
                return Some(Ok(answer));
            }
            Outcome::Failed(error) => {
                eprintln!(
                    "{} {} | reported {}",
                    self.function.name(),
                    environment.pid,
                    String::from_utf8_lossy(&error)
                );
            }
            Outcome::TooLarge => {
                eprintln!("{} {} | answered more than 6 MB", self.function.name(), environment.pid);
            }
        }
        self.offer(environment);
        Some(Err(InvokeError::Failed))
    }

    async fn acquire(self: &Arc<Self>) -> Result<Arc<Environment>, InvokeError> {
        let mut waiting = {
            let mut state = self.lock();
            if self.closing.is_cancelled() {
                return Err(InvokeError::ShuttingDown);
            }
            if state.retired {
                return Err(InvokeError::Retired);
            }
            if let Some(idle) = state.idle.pop() {
                return Ok(idle.environment);
            }
            if state.alive == 0 && state.retry_at.is_some_and(|at| Instant::now() < at) {
                return Err(InvokeError::NotStarting);
            }
            if state.waiting.len() >= WAITING_MAX {
                return Err(InvokeError::Throttled);
            }
            let (offer, waiting) = oneshot::channel();
            state.waiting.push_back(offer);
            self.start_where_needed(&mut state);
            waiting
        };
        let since = Instant::now();
        loop {
            if let Ok(offered) = timeout(self.limits.wait, &mut waiting).await {
                return offered.unwrap_or(Err(InvokeError::ShuttingDown));
            }
            // A cold start takes as long as it takes.
            if self.lock().starting == 0 || since.elapsed() > INIT_TIMEOUT {
                waiting.close();
                // It may have been offered just before.
                return waiting.try_recv().unwrap_or(Err(InvokeError::Throttled));
            }
        }
    }

    /// Starts an environment for each request that waits for one, within the limit.
    fn start_where_needed(self: &Arc<Self>, state: &mut State) {
        state.waiting.retain(|waiting| !waiting.is_closed());
        let blocked = self.closing.is_cancelled() || state.retry_at.is_some_and(|at| Instant::now() < at);
        while !blocked && state.starting < state.waiting.len() && state.alive < self.limits.environments_max {
            state.starting += 1;
            state.alive += 1;
            state.last_id += 1;
            self.tasks.spawn(Arc::clone(self).live(state.last_id));
        }
    }

    /// Gives an environment without work to whoever has waited longest.
    fn offer(&self, mut environment: Arc<Environment>) {
        let mut state = self.lock();
        if !state.environments.contains_key(&environment.id) {
            return;
        }
        if !state.is_current(&environment) {
            return environment.end();
        }
        while let Some(waiting) = state.waiting.pop_front() {
            match waiting.send(Ok(environment)) {
                Err(Ok(refused)) => environment = refused,
                Ok(()) | Err(Err(_)) => return,
            }
        }
        state.idle.push(Idle { environment, since: Instant::now() });
    }

    /// The life of one environment, from its start to its end.
    async fn live(self: Arc<Self>, id: u64) {
        let deployment = Arc::clone(&self.lock().deployment);
        let started = Environment::start(id, &self.function, deployment, &self.spawner).await;
        let (environment, mut child) = match started {
            Ok(started) => started,
            Err(error) => return self.init_failed(&format!("cannot be started: {error}")),
        };
        self.lock().environments.insert(id, Arc::clone(&environment));
        if self.closing.is_cancelled() {
            environment.end();
        }
        let ready = environment.until_ready(&mut child, INIT_TIMEOUT).await;
        match ready {
            Ok(()) => {
                self.became_ready(&environment);
                environment.until_end(&mut child).await;
                self.ended(id);
            }
            Err(_) if self.closing.is_cancelled() => {
                self.lock().starting -= 1;
                self.ended(id);
            }
            Err(report) => {
                self.lock().environments.remove(&id);
                self.init_failed(&report);
            }
        }
    }

    fn became_ready(&self, environment: &Arc<Environment>) {
        Counters::add(&self.counters.cold_starts);
        {
            let mut state = self.lock();
            state.starting -= 1;
            state.init_failures_in_a_row = 0;
            state.retry_at = None;
        }
        self.offer(Arc::clone(environment));
    }

    fn ended(self: &Arc<Self>, id: u64) {
        let mut state = self.lock();
        state.alive -= 1;
        state.environments.remove(&id);
        state.idle.retain(|idle| idle.environment.id != id);
        self.start_where_needed(&mut state);
    }

    /// Tells it once, with the reason, and lets nobody wait for what does not come.
    fn init_failed(&self, report: &str) {
        Counters::add(&self.counters.init_failures);
        let mut state = self.lock();
        state.starting -= 1;
        state.alive -= 1;
        let pause = RETRY_PAUSE_FIRST.saturating_mul(1 << state.init_failures_in_a_row.min(16)).min(RETRY_PAUSE_MAX);
        state.init_failures_in_a_row += 1;
        state.retry_at = Some(Instant::now() + pause);
        eprintln!("{} {report}; it is tried again after {} s", self.function.name(), pause.as_secs_f32());
        if state.alive == 0 {
            for waiting in state.waiting.drain(..) {
                let _ = waiting.send(Err(InvokeError::NotStarting));
            }
        }
    }

    /// Ends what has been idle for too long, and starts what is still waited for after a pause.
    async fn look_after(self: Arc<Self>) {
        while self.closing.run_until_cancelled(tokio::time::sleep(TICK)).await.is_some() {
            let mut state = self.lock();
            let idle_since = |idle: &mut Idle| idle.since.elapsed() >= self.limits.idle;
            for idle in state.idle.extract_if(.., idle_since) {
                idle.environment.end();
            }
            self.start_where_needed(&mut state);
        }
    }
}
