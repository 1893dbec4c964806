//! The queue poller, which does the work of Lambda's event source mapping for an SQS queue.
//! <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html>

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, MessageAttributeValue, MessageSystemAttributeName};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::environments::{InvokeError, Pool};
use crate::options::QueueType;
use crate::queue::Queue;
use crate::runtime_api::PAYLOAD_BYTES_MAX;

/// The maximum number of messages of one invocation.
const BATCH_MAX: i32 = 10;
/// The time in which a batch fills, if the queue keeps no order.
const BATCH_WINDOW: Duration = Duration::from_millis(100);
/// The time that a receive waits for a message, in seconds: the maximum of SQS.
const WAIT_SECONDS: i32 = 20;
/// The pause after a failed invocation or receive.
const FAILURE_PAUSE: Duration = Duration::from_millis(500);
/// The maximum number of simultaneous batches.
const CONCURRENCY_MAX: usize = 4;
/// The maximum number of attempts to delete messages. SQS delivers the remaining messages again.
const DELETES_MAX: usize = 3;
/// The maximum size of the records of one invocation, in bytes: the limit of Lambda, less the text around the records.
const EVENT_BYTES_MAX: usize = PAYLOAD_BYTES_MAX - 64;
/// The region of everything on this machine.
const REGION: &str = "us-east-1";

/// The queue to poll, and the function to invoke.
#[derive(Debug, Clone)]
pub struct Poller {
    /// The client for the queue.
    pub client: Client,
    /// The queue.
    pub queue: Queue,
    /// The type of the queue.
    pub queue_type: QueueType,
    /// The function.
    pub pool: Pool,
}

#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "Records")]
    records: &'a [Box<RawValue>],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    message_id: &'a str,
    receipt_handle: &'a str,
    body: &'a str,
    attributes: BTreeMap<&'a str, &'a str>,
    message_attributes: BTreeMap<&'a str, Attribute<'a>>,
    md5_of_body: &'a str,
    event_source: &'static str,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: &'a str,
    aws_region: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attribute<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    string_value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binary_value: Option<String>,
    string_list_values: [&'static str; 0],
    binary_list_values: [&'static str; 0],
    data_type: &'a str,
}

/// The response of a function to a batch.
#[derive(Deserialize)]
struct BatchResponse {
    #[serde(rename = "batchItemFailures", default)]
    failures: Option<Vec<Failure>>,
}

#[derive(Deserialize)]
struct Failure {
    #[serde(rename = "itemIdentifier")]
    identifier: Option<String>,
}

/// The result of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BatchResult {
    /// The function has processed all messages except these, by message id.
    AllBut(BTreeSet<String>),
    /// The function has processed no message.
    Nothing,
}

/// Reads the response to a batch of messages with these ids, by the rules of `ReportBatchItemFailures`. An empty response means
/// complete success, a malformed one complete failure.
/// <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>
#[must_use]
pub fn batch_result(response: &[u8], ids: &BTreeSet<&str>) -> BatchResult {
    if response.trim_ascii().is_empty() {
        return BatchResult::AllBut(BTreeSet::new());
    }
    // Otherwise a list would be read as a struct.
    let Ok(fields) = serde_json::from_slice::<Option<serde_json::Map<_, _>>>(response) else {
        return BatchResult::Nothing;
    };
    let fields = serde_json::Value::Object(fields.unwrap_or_default());
    let Ok(BatchResponse { failures }) = serde_json::from_value(fields) else { return BatchResult::Nothing };
    let failures = failures.unwrap_or_default();
    let known = |failure: Failure| failure.identifier.filter(|id| ids.contains(id.as_str()));
    failures.into_iter().map(known).collect::<Option<_>>().map_or(BatchResult::Nothing, BatchResult::AllBut)
}

/// Polls until `stop`, then finishes the batches under way.
pub async fn run(poller: Poller, concurrency: usize, stop: CancellationToken) {
    let workers = TaskTracker::new();
    for _ in 0..concurrency.clamp(1, CONCURRENCY_MAX) {
        workers.spawn(poller.clone().poll(stop.clone()));
    }
    workers.close();
    workers.wait().await;
}

impl Poller {
    async fn poll(self, stop: CancellationToken) {
        while let Some(batch) = stop.run_until_cancelled(self.receive_batch()).await {
            let done = match batch {
                Ok(batch) if batch.is_empty() => true,
                Ok(batch) => self.deliver(&batch).await,
                Err(error) => {
                    eprintln!("poller | cannot receive messages: {error}");
                    false
                }
            };
            if !done {
                stop.run_until_cancelled(sleep(FAILURE_PAUSE)).await;
            }
        }
    }

    /// Waits for a message. If the queue keeps no order, it waits a little longer for more.
    async fn receive_batch(&self) -> Result<Vec<Message>, String> {
        let mut batch = self.receive(BATCH_MAX, WAIT_SECONDS).await?;
        let deadline = Instant::now() + BATCH_WINDOW;
        while self.queue_type == QueueType::Standard && !batch.is_empty() && Instant::now() < deadline {
            let room = BATCH_MAX - i32::try_from(batch.len()).unwrap_or(BATCH_MAX);
            if room <= 0 {
                break;
            }
            // If this receive fails, the messages received so far are delivered.
            match self.receive(room, 0).await {
                Ok(more) if more.is_empty() => sleep(BATCH_WINDOW / 5).await,
                Ok(more) => batch.extend(more),
                Err(_) => break,
            }
        }
        Ok(batch)
    }

    async fn receive(&self, messages_max: i32, wait_seconds: i32) -> Result<Vec<Message>, String> {
        let seconds = u64::try_from(wait_seconds).unwrap_or_default() + 5;
        let limit = TimeoutConfig::builder()
            .operation_timeout(Duration::from_secs(seconds))
            .operation_attempt_timeout(Duration::from_secs(seconds))
            .build();
        let received = self
            .client
            .receive_message()
            .queue_url(&self.queue.url)
            .max_number_of_messages(messages_max)
            .wait_time_seconds(wait_seconds)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All")
            .customize()
            .config_override(aws_sdk_sqs::config::Builder::new().timeout_config(limit))
            .send()
            .await;
        match received {
            Ok(received) => Ok(received.messages.unwrap_or_default()),
            Err(error) => Err(aws_sdk_sqs::error::DisplayErrorContext(error).to_string()),
        }
    }

    /// Invokes the function with a batch, in as many parts as its size requires. Returns `false` as soon as one invocation
    /// fails. Unprocessed messages become visible again by themselves.
    async fn deliver(&self, batch: &[Message]) -> bool {
        let Ok(records) = records(batch, &self.queue.arn) else { return false };
        let mut rest = batch;
        for records in by_size(&records, EVENT_BYTES_MAX) {
            let (messages, later) = rest.split_at(records.len());
            rest = later;
            match self.invoke(messages, records).await {
                BatchResult::Nothing => return false,
                // On a FIFO queue, later messages must not overtake the failed ones.
                BatchResult::AllBut(left) if !left.is_empty() && self.queue_type == QueueType::Fifo => break,
                BatchResult::AllBut(_) => {}
            }
        }
        true
    }

    /// Invokes the function once, and deletes the processed messages.
    async fn invoke(&self, batch: &[Message], records: &[Box<RawValue>]) -> BatchResult {
        let Ok(event) = serde_json::to_vec(&Event { records }) else { return BatchResult::Nothing };
        let ids = batch.iter().filter_map(Message::message_id).collect();
        let result = match self.pool.invoke(event.into()).await {
            Ok(response) => batch_result(&response, &ids),
            Err(InvokeError::ShuttingDown) => return BatchResult::Nothing,
            Err(error) => {
                eprintln!("poller | {} messages will be retried, because {error}", batch.len());
                return BatchResult::Nothing;
            }
        };
        match &result {
            BatchResult::Nothing => {
                eprintln!(
                    "poller | {} messages will be retried, because the response to their batch is malformed",
                    batch.len()
                );
            }
            BatchResult::AllBut(left) => {
                let done = |message: &&Message| message.message_id().is_some_and(|id| !left.contains(id));
                self.delete(batch.iter().filter(done)).await;
            }
        }
        result
    }

    async fn delete(&self, messages: impl Iterator<Item = &Message>) {
        let mut entries: Vec<_> = messages.enumerate().filter_map(|(n, message)| deletion(n, message)).collect();
        for _ in 0..DELETES_MAX {
            if entries.is_empty() {
                return;
            }
            let request = self.client.delete_message_batch().queue_url(&self.queue.url);
            match request.set_entries(Some(entries.clone())).send().await {
                Ok(response) => {
                    let failed: BTreeSet<_> = response.failed.into_iter().map(|failed| failed.id).collect();
                    entries.retain(|entry| failed.contains(&entry.id));
                }
                Err(error) => {
                    eprintln!("poller | cannot delete messages: {}", aws_sdk_sqs::error::DisplayErrorContext(error));
                }
            }
        }
        if !entries.is_empty() {
            eprintln!("poller | {} messages could not be deleted, so SQS will deliver them again", entries.len());
        }
    }
}

fn deletion(index: usize, message: &Message) -> Option<DeleteMessageBatchRequestEntry> {
    let receipt_handle = message.receipt_handle()?;
    DeleteMessageBatchRequestEntry::builder().id(index.to_string()).receipt_handle(receipt_handle).build().ok()
}

/// Returns the records of a batch:
/// <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html#example-standard-queue-message-event>
fn records(batch: &[Message], queue_arn: &str) -> Result<Vec<Box<RawValue>>, serde_json::Error> {
    batch.iter().map(|message| to_raw_value(&record(message, queue_arn))).collect()
}

/// Splits records into groups of at most `bytes_max` each. A larger record is a group of its own.
fn by_size(records: &[Box<RawValue>], bytes_max: usize) -> impl Iterator<Item = &[Box<RawValue>]> {
    let mut bytes = 0;
    records.chunk_by(move |one, next| {
        bytes += one.get().len() + ",".len();
        let fits = bytes + next.get().len() <= bytes_max;
        if !fits {
            bytes = 0;
        }
        fits
    })
}

fn record<'a>(message: &'a Message, queue_arn: &'a str) -> Record<'a> {
    let attributes = message.attributes().into_iter().flatten();
    let message_attributes = message.message_attributes().into_iter().flatten();
    Record {
        message_id: message.message_id().unwrap_or_default(),
        receipt_handle: message.receipt_handle().unwrap_or_default(),
        body: message.body().unwrap_or_default(),
        attributes: attributes.map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        message_attributes: message_attributes.map(|(name, value)| (name.as_str(), attribute(value))).collect(),
        md5_of_body: message.md5_of_body().unwrap_or_default(),
        event_source: "aws:sqs",
        event_source_arn: queue_arn,
        aws_region: REGION,
    }
}

fn attribute(value: &MessageAttributeValue) -> Attribute<'_> {
    Attribute {
        string_value: value.string_value(),
        binary_value: value.binary_value().map(|binary| STANDARD.encode(binary.as_ref())),
        string_list_values: [],
        binary_list_values: [],
        data_type: value.data_type(),
    }
}

#[cfg(test)]
mod tests;
