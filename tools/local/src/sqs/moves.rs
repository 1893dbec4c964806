//! Move tasks: they move dead letters to their source queue or to another one, no faster than requested.
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_StartMessageMoveTask.html>

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use super::SqsServer;
use super::error::SqsError;
use super::queue::{Queue, name_in_arn};
use super::store::{Store, now};

/// The messages that a task moves in a second, unless the client sets a rate.
const RATE_DEFAULT: u64 = 500;
/// The steps of a task in a second.
const TICKS_PER_SECOND: u64 = 10;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct StartMove {
    source_arn: String,
    #[serde(default)]
    destination_arn: Option<String>,
    #[serde(default)]
    max_number_of_messages_per_second: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListMoves {
    source_arn: String,
    #[serde(default)]
    max_results: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CancelMove {
    task_handle: String,
}

/// A task with its progress. Tasks are in memory, so they end with the process. Moved messages stay moved.
#[derive(Debug, Clone)]
pub(super) struct MoveTask {
    handle: String,
    status: &'static str,
    source_arn: String,
    destination_arn: Option<String>,
    rate: Option<u64>,
    moved: u64,
    to_move: u64,
    started_at: u64,
    failure: Option<String>,
}

/// The tasks of a server, latest first.
pub(super) type MoveTasks = Arc<Mutex<Vec<MoveTask>>>;

const RUNNING: &str = "RUNNING";
const CANCELLED: &str = "CANCELLED";

impl SqsServer {
    pub(super) async fn start_move(&self, request: StartMove) -> Result<Value, SqsError> {
        let (source_arn, destination_arn) = (request.source_arn.clone(), request.destination_arn.clone());
        let prepare = move |store: &mut Store| prepare(store, &source_arn, destination_arn.as_deref());
        let (from, to, to_move) = self.with_store(prepare).await?;
        let rate = request.max_number_of_messages_per_second;
        if rate.is_some_and(|rate| !(1..=500).contains(&rate)) {
            return Err(SqsError::invalid_parameter("MaxNumberOfMessagesPerSecond must be between 1 and 500."));
        }
        let handle = uuid::Uuid::new_v4().to_string();
        let task = MoveTask {
            handle: handle.clone(),
            status: RUNNING,
            source_arn: request.source_arn,
            destination_arn: request.destination_arn,
            rate,
            moved: 0,
            to_move,
            started_at: now(),
            failure: None,
        };
        self.register(task)?;
        tokio::spawn(self.clone().run_move(handle.clone(), from, to, rate.unwrap_or(RATE_DEFAULT)));
        Ok(json!({ "TaskHandle": handle }))
    }

    /// Adds a task. Each source has one running task at most.
    fn register(&self, task: MoveTask) -> Result<(), SqsError> {
        let mut tasks = self.moves.lock().unwrap_or_else(PoisonError::into_inner);
        if tasks.iter().any(|other| other.source_arn == task.source_arn && other.status == RUNNING) {
            return Err(SqsError::unsupported("There is already a task running for this source queue."));
        }
        tasks.insert(0, task);
        Ok(())
    }

    async fn run_move(self, handle: String, from: Queue, to: Option<Queue>, rate: u64) {
        // A slow rate moves one message in each step, in longer steps.
        let (share, pause) = match rate / TICKS_PER_SECOND {
            0 => (1, Duration::from_secs(1) / u32::try_from(rate).unwrap_or(1)),
            share => (share, Duration::from_secs(1) / u32::try_from(TICKS_PER_SECOND).unwrap_or(1)),
        };
        let mut ticks = interval(pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.status(&handle) != Some(RUNNING) {
                return;
            }
            let (from, to) = (from.clone(), to.clone());
            let max = usize::try_from(share).unwrap_or(1);
            let moved = self.with_store(move |store| store.redrive(&from, to.as_ref(), max)).await;
            self.arrivals.notify_waiters();
            match moved {
                Ok(0) => return self.update(&handle, |task| task.status = "COMPLETED"),
                Ok(moved) => self.update(&handle, |task| task.moved += moved),
                Err(error) => {
                    return self.update(&handle, |task| {
                        task.status = "FAILED";
                        task.failure = Some(error.message);
                    });
                }
            }
        }
    }

    fn status(&self, handle: &str) -> Option<&'static str> {
        let tasks = self.moves.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.iter().find(|task| task.handle == handle).map(|task| task.status)
    }

    fn update(&self, handle: &str, change: impl FnOnce(&mut MoveTask)) {
        let mut tasks = self.moves.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.iter_mut().find(|task| task.handle == handle).map(change);
    }

    pub(super) fn list_moves(&self, request: &ListMoves) -> Result<Value, SqsError> {
        let max = request.max_results.unwrap_or(1);
        if !(1..=10).contains(&max) {
            return Err(SqsError::invalid_parameter("MaxResults must be between 1 and 10."));
        }
        name_in_arn(&request.source_arn)?;
        let tasks = self.moves.lock().unwrap_or_else(PoisonError::into_inner);
        let of_source = tasks.iter().filter(|task| task.source_arn == request.source_arn);
        Ok(json!({ "Results": of_source.take(max).map(MoveTask::to_json).collect::<Vec<_>>() }))
    }

    pub(super) fn cancel_move(&self, request: &CancelMove) -> Result<Value, SqsError> {
        let mut tasks = self.moves.lock().unwrap_or_else(PoisonError::into_inner);
        let running = |task: &&mut MoveTask| task.handle == request.task_handle && task.status == RUNNING;
        let task = tasks.iter_mut().find(running).ok_or_else(|| SqsError::not_found("The task is not running."))?;
        task.status = CANCELLED;
        Ok(json!({ "ApproximateNumberOfMessagesMoved": task.moved }))
    }
}

fn prepare(
    store: &mut Store,
    source_arn: &str,
    destination_arn: Option<&str>,
) -> Result<(Queue, Option<Queue>, u64), SqsError> {
    let missing = |_| SqsError::not_found("The resource that you specified does not exist.");
    let from = store.queue(name_in_arn(source_arn)?).map_err(missing)?;
    let to = destination_arn.map(|arn| store.queue(name_in_arn(arn)?).map_err(missing)).transpose()?;
    let is_dead_letter_queue = store
        .queues()?
        .iter()
        .any(|queue| queue.attributes.redrive().is_some_and(|redrive| redrive.dead_letter_arn == source_arn));
    if !is_dead_letter_queue {
        return Err(SqsError::unsupported("Source queue must be configured as a Dead Letter Queue."));
    }
    let to_move = store.counts(&from)?.visible;
    Ok((from, to, to_move))
}

impl MoveTask {
    fn to_json(&self) -> Value {
        let mut document = json!({
            "Status": self.status,
            "SourceArn": self.source_arn,
            "ApproximateNumberOfMessagesMoved": self.moved,
            "ApproximateNumberOfMessagesToMove": self.to_move,
            "StartedTimestamp": self.started_at,
        });
        let mut add = |name: &str, value: Option<Value>| {
            if let (Some(value), Some(document)) = (value, document.as_object_mut()) {
                document.insert(name.to_owned(), value);
            }
        };
        // Only a running task has a handle, to cancel it.
        add("TaskHandle", (self.status == RUNNING).then(|| json!(self.handle)));
        add("DestinationArn", self.destination_arn.as_ref().map(|arn| json!(arn)));
        add("MaxNumberOfMessagesPerSecond", self.rate.map(|rate| json!(rate)));
        add("FailureReason", self.failure.as_ref().map(|reason| json!(reason)));
        document
    }
}
