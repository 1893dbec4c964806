//! Execution environments: for each function a pool of processes, each with one invocation at a time.

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

use crate::runtime_api::{InvocationResult, PAYLOAD_BYTES_MAX};
use crate::supervise::Spawner;
pub use process::Function;
use process::{Deployed, Environment};

mod process;

/// The time in which a new process must request its first invocation, as in Lambda.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum number of requests that wait for an environment of one function.
const WAITING_MAX: usize = 1000;
/// The maximum number of processes that an invocation is offered to.
const HANDOVERS_MAX: usize = 3;
/// The pause after a process did not initialise. It doubles with each failure in a row.
const RETRY_PAUSE_FIRST: Duration = Duration::from_millis(500);
/// The maximum pause after a failure.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);
/// The interval at which a pool ends idle processes and starts missing ones.
const TICK: Duration = Duration::from_millis(250);

/// The error of an invocation without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvokeError {
    /// All environments were busy for too long. Try later.
    #[error("all environments are busy")]
    Throttled,
    /// The event exceeds the limit of Lambda.
    #[error("the event exceeds 6 MB")]
    EventTooLarge,
    /// The function did not answer in time, and its process was killed.
    #[error("the function timed out")]
    TimedOut,
    /// The process ended during the invocation.
    #[error("the function's process ended")]
    Died,
    /// The function reported an error, or its answer is too large.
    #[error("the function failed")]
    Failed,
    /// No process starts.
    #[error("the function does not start")]
    NotStarting,
    /// The function was removed before a process got the event. Find the function that serves the route now.
    #[error("the function is no longer deployed")]
    Retired,
    /// The pool is being closed.
    #[error("the service is shutting down")]
    ShuttingDown,
}

/// The limits of a pool.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The maximum number of processes.
    pub environments_max: usize,
    /// The time after which an idle process ends.
    pub idle: Duration,
    /// The time that a request waits for an environment while all are busy.
    pub wait: Duration,
}

/// Counts since the start of the pool.
#[derive(Debug, Default, Serialize)]
pub struct Counters {
    /// Invocations that a process took.
    pub invocations: AtomicU64,
    /// Invocations that failed, including timeouts and ended processes.
    pub errors: AtomicU64,
    /// Invocations that took too long.
    pub timeouts: AtomicU64,
    /// Requests that got no environment in time.
    pub throttles: AtomicU64,
    /// Processes that became ready.
    pub cold_starts: AtomicU64,
    /// Processes that did not become ready.
    pub init_failures: AtomicU64,
}

impl Counters {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// An environment, for the status page.
#[derive(Debug, Serialize)]
pub struct EnvironmentStatus {
    /// The function.
    pub function: String,
    /// The id of the process.
    pub pid: u32,
    /// The number of invocations that it has taken.
    pub invocations: u64,
    /// Whether it belongs to an earlier deployment. Then it ends after its invocation.
    pub draining: bool,
    /// The seconds since it started.
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
    /// Whether the function is no longer deployed.
    retired: bool,
    /// The environments with a running process, also while it initialises.
    environments: BTreeMap<u64, Arc<Environment>>,
    /// The idle environments, the one used last at the end. It is used again first, so that the others stay idle and end.
    idle: Vec<Idle>,
    waiting: VecDeque<oneshot::Sender<Result<Arc<Environment>, InvokeError>>>,
    /// The number of processes that are not ready yet.
    starting: usize,
    /// The number of processes that have not ended yet.
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
    /// Returns a pool without processes: they start on demand. Call it within a runtime.
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
        pool.0.tasks.spawn(Arc::clone(&pool.0).maintain());
        pool
    }

    /// Returns the function's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.function.name()
    }

    /// Returns the counts since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }

    /// Returns the environments, oldest first.
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

    /// Returns the number of environments of earlier deployments. If the function is no longer deployed, all of them count.
    #[must_use]
    pub fn draining(&self) -> usize {
        let state = self.0.lock();
        state.environments.values().filter(|environment| !state.is_current(environment)).count()
    }

    /// Has environments start with these variables from now on. The present ones finish their invocations, and end.
    pub fn deploy(&self, variables: Vec<(String, String)>) {
        let mut state = self.0.lock();
        state.deployment = Arc::new(Deployed { number: state.deployment.number + 1, variables });
        for idle in state.idle.drain(..) {
            idle.environment.end();
        }
    }

    /// Accepts no more invocations, because the function is no longer deployed. Environments finish theirs, and end.
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

    /// Invokes the function with an event, and waits for the answer. The work continues even if the caller stops waiting.
    pub async fn invoke(&self, event: Bytes) -> Result<Bytes, InvokeError> {
        if event.len() > PAYLOAD_BYTES_MAX {
            return Err(InvokeError::EventTooLarge);
        }
        let work = self.0.tasks.spawn(Arc::clone(&self.0).invoke(event));
        work.await.unwrap_or(Err(InvokeError::ShuttingDown))
    }

    /// Accepts no more invocations, and ends all processes.
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

    /// Returns `None` if the process ended before it took the event.
    async fn run(self: &Arc<Self>, environment: Arc<Environment>, event: Bytes) -> Option<Result<Bytes, InvokeError>> {
        let limit = self.function.timeout;
        let result = environment.mailbox.post(event, limit);
        let Ok(result) = timeout(limit, result).await else {
            Counters::add(&self.counters.timeouts);
            eprintln!(
                "{} {} | timed out after {} s, and was killed",
                self.function.name(),
                environment.pid,
                limit.as_secs_f32()
            );
            environment.end();
            return Some(Err(InvokeError::TimedOut));
        };
        let result = result.unwrap_or(InvocationResult::Died);
        if !matches!(result, InvocationResult::NotTaken) {
            environment.invocations.fetch_add(1, Ordering::Relaxed);
        }
        match result {
            InvocationResult::NotTaken => return None,
            InvocationResult::Died => return Some(Err(InvokeError::Died)),
            InvocationResult::Answered(response) => {
                self.offer(environment);
                return Some(Ok(response));
            }
            InvocationResult::Failed(error) => {
                eprintln!(
                    "{} {} | reported an error: {}",
                    self.function.name(),
                    environment.pid,
                    String::from_utf8_lossy(&error)
                );
            }
            InvocationResult::TooLarge => {
                eprintln!("{} {} | its response exceeds 6 MB", self.function.name(), environment.pid);
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
            self.start_if_needed(&mut state);
            waiting
        };
        let since = Instant::now();
        loop {
            if let Ok(offered) = timeout(self.limits.wait, &mut waiting).await {
                return offered.unwrap_or(Err(InvokeError::ShuttingDown));
            }
            // A cold start may take longer than the wait.
            if self.lock().starting == 0 || since.elapsed() > INIT_TIMEOUT {
                waiting.close();
                // An environment may have been offered just before.
                return waiting.try_recv().unwrap_or(Err(InvokeError::Throttled));
            }
        }
    }

    /// Starts an environment for each waiting request, within the limit.
    fn start_if_needed(self: &Arc<Self>, state: &mut State) {
        state.waiting.retain(|waiting| !waiting.is_closed());
        let blocked = self.closing.is_cancelled() || state.retry_at.is_some_and(|at| Instant::now() < at);
        while !blocked && state.starting < state.waiting.len() && state.alive < self.limits.environments_max {
            state.starting += 1;
            state.alive += 1;
            state.last_id += 1;
            self.tasks.spawn(Arc::clone(self).follow(state.last_id));
        }
    }

    /// Gives an idle environment to the request that has waited longest.
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

    /// Follows one environment from its start to its end.
    async fn follow(self: Arc<Self>, id: u64) {
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
        self.start_if_needed(&mut state);
    }

    /// Reports the failure once, with its reason. If no process is left, the waiting requests fail at once.
    fn init_failed(&self, report: &str) {
        Counters::add(&self.counters.init_failures);
        let mut state = self.lock();
        state.starting -= 1;
        state.alive -= 1;
        let pause = RETRY_PAUSE_FIRST.saturating_mul(1 << state.init_failures_in_a_row.min(16)).min(RETRY_PAUSE_MAX);
        state.init_failures_in_a_row += 1;
        state.retry_at = Some(Instant::now() + pause);
        eprintln!("{} {report}; next attempt in {} s", self.function.name(), pause.as_secs_f32());
        if state.alive == 0 {
            for waiting in state.waiting.drain(..) {
                let _ = waiting.send(Err(InvokeError::NotStarting));
            }
        }
    }

    /// Ends environments that have been idle for too long. Starts environments for requests that wait after a pause.
    async fn maintain(self: Arc<Self>) {
        while self.closing.run_until_cancelled(tokio::time::sleep(TICK)).await.is_some() {
            let mut state = self.lock();
            let idle_since = |idle: &mut Idle| idle.since.elapsed() >= self.limits.idle;
            for idle in state.idle.extract_if(.., idle_since) {
                idle.environment.end();
            }
            self.start_if_needed(&mut state);
        }
    }
}
