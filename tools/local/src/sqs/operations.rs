//! The operations. <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_Operations.html>

#![expect(clippy::needless_pass_by_value, reason = "an operation is handed its request")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout_at};

use super::SqsServer;
use super::attributes::{MESSAGE_BYTES_MAX, QueueAttributes, is_fifo};
use super::error::SqsError;
use super::message::{self, Attributes};
use super::queue::{ACCOUNT, Queue, is_name, name_in_url};
use super::store::{NewMessage, ReceiptHandle, Store, StoredMessage, now};

/// The maximum number of entries of a batch, and of messages of a receive.
const BATCH_MAX: usize = 10;
/// The maximum time that a message can be hidden, in seconds.
const VISIBILITY_SECONDS_MAX: u64 = 43_200;

type OperationResult = Result<Value, SqsError>;

/// A request.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) server: SqsServer,
    /// The address that the client uses for this server. Queue URLs begin with it.
    pub(super) base_url: String,
}

impl Call {
    pub(super) async fn run(&self, operation: &str, body: &[u8]) -> OperationResult {
        match operation {
            "CreateQueue" => self.store(body, create_queue(self.base_url.clone())).await,
            "GetQueueUrl" => self.store(body, get_queue_url(self.base_url.clone())).await,
            "ListQueues" => self.store(body, list_queues(self.base_url.clone())).await,
            "GetQueueAttributes" => self.store(body, get_queue_attributes).await,
            "SetQueueAttributes" => self.store(body, set_queue_attributes).await,
            "PurgeQueue" => self.store(body, |store, QueueRequest { queue_url }| purge_queue(store, &queue_url)).await,
            "DeleteQueue" => {
                self.store(body, |store, QueueRequest { queue_url }| delete_queue(store, &queue_url)).await
            }
            "SendMessage" => self.arrival(self.store(body, send_message).await),
            "SendMessageBatch" => self.arrival(self.store(body, send_message_batch).await),
            "ReceiveMessage" => self.receive_message(parse(body)?).await,
            "DeleteMessage" => self.store(body, delete_message).await,
            "DeleteMessageBatch" => self.store(body, delete_message_batch).await,
            "ChangeMessageVisibility" => self.arrival(self.store(body, change_visibility).await),
            "ChangeMessageVisibilityBatch" => self.arrival(self.store(body, change_visibility_batch).await),
            "StartMessageMoveTask" => self.server.start_move(parse(body)?).await,
            "ListMessageMoveTasks" => self.server.list_moves(&parse(body)?),
            "CancelMessageMoveTask" => self.server.cancel_move(&parse(body)?),
            other => Err(SqsError::invalid_action(other)),
        }
    }

    async fn store<T: DeserializeOwned + Send + 'static>(
        &self,
        body: &[u8],
        operation: impl FnOnce(&mut Store, T) -> OperationResult + Send + 'static,
    ) -> OperationResult {
        let request = parse(body)?;
        self.server.with_store(move |store| operation(store, request)).await
    }

    /// Wakes the receives that wait for messages.
    fn arrival(&self, result: OperationResult) -> OperationResult {
        self.server.arrivals.notify_waiters();
        result
    }

    async fn receive_message(&self, request: ReceiveMessage) -> OperationResult {
        let max = request.max_number_of_messages.unwrap_or(1);
        if !(1..=BATCH_MAX).contains(&max) {
            return Err(out_of_range("MaxNumberOfMessages", &format!("between 1 and {BATCH_MAX}")));
        }
        let name = name_in_url(&request.queue_url)?.to_owned();
        let found = self.server.with_store(move |store| store.queue(&name)).await?;
        let seconds = request.wait_time_seconds;
        let seconds = seconds.unwrap_or_else(|| found.attributes.number("ReceiveMessageWaitTimeSeconds"));
        if seconds > 20 {
            return Err(out_of_range("WaitTimeSeconds", "between 0 and 20"));
        }
        let hidden = hidden_millis(request.visibility_timeout, &found)?;
        let until = Instant::now() + Duration::from_secs(seconds);
        loop {
            // This subscription precedes the read, so that no arrival between them is missed.
            let arrival = self.server.arrivals.notified();
            let queue = found.clone();
            let look =
                move |store: &mut Store| Ok((store.receive(&queue, max, hidden)?, store.next_visible_at(&queue.name)?));
            let (received, next_visible_at) = self.server.with_store(look).await?;
            if !received.is_empty() || Instant::now() >= until {
                let messages: Result<Vec<_>, _> = received.iter().map(|received| request.show(received)).collect();
                return Ok(json!({ "Messages": messages? }));
            }
            let reappears =
                next_visible_at.map(|at| Instant::now() + Duration::from_millis(at.saturating_sub(now()) + 1));
            let _ = timeout_at(reappears.map_or(until, |at| at.min(until)), arrival).await;
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, SqsError> {
    let body = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body).map_err(|error| SqsError::malformed(error.to_string()))
}

fn out_of_range(parameter: &str, range: &str) -> SqsError {
    SqsError::invalid_parameter(format!("Value for parameter {parameter} is invalid. Reason: Must be {range}."))
}

/// Returns the time that received messages are hidden, in milliseconds.
fn hidden_millis(seconds: Option<u64>, queue: &Queue) -> Result<u64, SqsError> {
    let seconds = seconds.unwrap_or_else(|| queue.attributes.number("VisibilityTimeout"));
    match seconds <= VISIBILITY_SECONDS_MAX {
        true => Ok(seconds * 1_000),
        false => Err(out_of_range("VisibilityTimeout", &format!("between 0 and {VISIBILITY_SECONDS_MAX}"))),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct QueueRequest {
    queue_url: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct CreateQueue {
    queue_name: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
}

fn url(base_url: &str, name: &str) -> Value {
    json!({ "QueueUrl": format!("{base_url}/{ACCOUNT}/{name}") })
}

fn create_queue(base_url: String) -> impl FnOnce(&mut Store, CreateQueue) -> OperationResult {
    move |store, CreateQueue { queue_name: name, attributes }| {
        if !is_name(&name) {
            let rule = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length";
            return Err(SqsError::invalid_parameter(rule));
        }
        if is_fifo(&name) && !attributes.contains_key("FifoQueue") {
            return Err(SqsError::invalid_parameter("The name of a standard queue cannot end with .fifo"));
        }
        let attributes = QueueAttributes::check(&name, attributes)?;
        match store.find_queue(&name)? {
            Some(queue) if !queue.attributes.agree_with(&attributes) => {
                return Err(SqsError::queue_name_exists(
                    "A queue already exists with the same name and other attributes.",
                ));
            }
            Some(_) => {}
            None => store.put_queue(&Queue { name: name.clone(), attributes, created_at: now() })?,
        }
        Ok(url(&base_url, &name))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetQueueUrl {
    queue_name: String,
}

fn get_queue_url(base_url: String) -> impl FnOnce(&mut Store, GetQueueUrl) -> OperationResult {
    move |store, GetQueueUrl { queue_name }| Ok(url(&base_url, &store.queue(&queue_name)?.name))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListQueues {
    #[serde(default)]
    queue_name_prefix: String,
}

fn list_queues(base_url: String) -> impl FnOnce(&mut Store, ListQueues) -> OperationResult {
    move |store, ListQueues { queue_name_prefix }| {
        let queues = store.queues()?;
        let names = queues.iter().map(|queue| &queue.name).filter(|name| name.starts_with(&queue_name_prefix));
        let urls: Vec<_> = names.map(|name| format!("{base_url}/{ACCOUNT}/{name}")).collect();
        Ok(json!({ "QueueUrls": urls }))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GetQueueAttributes {
    queue_url: String,
    #[serde(default)]
    attribute_names: Vec<String>,
}

fn get_queue_attributes(store: &mut Store, request: GetQueueAttributes) -> OperationResult {
    let queue = store.queue(name_in_url(&request.queue_url)?)?;
    let counts = store.counts(&queue)?;
    let mut all = queue.attributes.all();
    all.extend([
        ("QueueArn".to_owned(), queue.arn()),
        ("CreatedTimestamp".to_owned(), (queue.created_at / 1_000).to_string()),
        ("ApproximateNumberOfMessages".to_owned(), counts.visible.to_string()),
        ("ApproximateNumberOfMessagesNotVisible".to_owned(), counts.in_flight.to_string()),
        ("ApproximateNumberOfMessagesDelayed".to_owned(), counts.delayed.to_string()),
    ]);
    let wanted: BTreeSet<_> = request.attribute_names.iter().map(String::as_str).collect();
    all.retain(|name, _| wanted.contains("All") || wanted.contains(name.as_str()));
    Ok(json!({ "Attributes": all }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SetQueueAttributes {
    queue_url: String,
    attributes: BTreeMap<String, String>,
}

fn set_queue_attributes(store: &mut Store, request: SetQueueAttributes) -> OperationResult {
    let queue = store.queue(name_in_url(&request.queue_url)?)?;
    let given = QueueAttributes::check(&queue.name, request.attributes)?;
    store.put_queue(&Queue { attributes: queue.attributes.with(given), ..queue })?;
    Ok(json!({}))
}

fn purge_queue(store: &mut Store, url: &str) -> OperationResult {
    let queue = store.queue(name_in_url(url)?)?;
    store.purge(&queue.name)?;
    Ok(json!({}))
}

fn delete_queue(store: &mut Store, url: &str) -> OperationResult {
    let queue = store.queue(name_in_url(url)?)?;
    store.delete_queue(&queue.name)?;
    Ok(json!({}))
}

/// A message to send, alone or as an entry of a batch.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Outgoing {
    #[serde(default)]
    message_body: String,
    #[serde(default)]
    delay_seconds: Option<u64>,
    #[serde(default)]
    message_attributes: Attributes,
    #[serde(default)]
    message_system_attributes: Attributes,
    #[serde(default)]
    message_group_id: Option<String>,
    #[serde(default)]
    message_deduplication_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendMessage {
    queue_url: String,
    #[serde(flatten)]
    message: Outgoing,
}

impl Outgoing {
    fn bytes(&self) -> usize {
        let attribute = |(name, value): (&String, &message::AttributeValue)| {
            let bytes = value.string_value.as_ref().map_or(0, String::len);
            name.len()
                + value.data_type.len()
                + bytes
                + value.binary_value.as_ref().map_or(0, |value| value.len() / 4 * 3)
        };
        self.message_body.len() + self.message_attributes.iter().map(attribute).sum::<usize>()
    }

    fn check(&self, queue: &Queue) -> Result<NewMessage, SqsError> {
        let bytes_max = usize::try_from(queue.attributes.number("MaximumMessageSize")).unwrap_or(usize::MAX);
        message::check(&self.message_body, &self.message_attributes, bytes_max)?;
        for id in [&self.message_group_id, &self.message_deduplication_id].into_iter().flatten() {
            if !message::is_id(id) {
                return Err(out_of_range("MessageGroupId or MessageDeduplicationId", "1 to 128 visible characters"));
            }
        }
        let delay = self.delay_seconds.unwrap_or_else(|| queue.attributes.number("DelaySeconds"));
        if delay > 900 {
            return Err(out_of_range("DelaySeconds", "between 0 and 900"));
        }
        if queue.is_fifo() {
            self.check_fifo(queue)?;
        } else if self.message_deduplication_id.is_some() {
            return Err(SqsError::invalid_parameter("The MessageDeduplicationId is for FIFO queues only."));
        }
        let trace_header = self.message_system_attributes.get("AWSTraceHeader");
        let by_content = || queue.attributes.deduplicates_by_content().then(|| content_id(&self.message_body));
        Ok(NewMessage {
            body: self.message_body.clone(),
            attributes: self.message_attributes.clone(),
            trace_header: trace_header.and_then(|value| value.string_value.clone()),
            group_id: self.message_group_id.clone(),
            deduplication_id: self.message_deduplication_id.clone().or_else(by_content),
            source: None,
            delay_millis: delay * 1_000,
        })
    }

    fn check_fifo(&self, queue: &Queue) -> Result<(), SqsError> {
        if self.message_group_id.is_none() {
            return Err(SqsError::missing_parameter("The request must contain the parameter MessageGroupId."));
        }
        if self.message_deduplication_id.is_none() && !queue.attributes.deduplicates_by_content() {
            let missing = "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly";
            return Err(SqsError::invalid_parameter(missing));
        }
        if self.delay_seconds.is_some_and(|delay| delay > 0) {
            return Err(out_of_range("DelaySeconds", "left out for a FIFO queue"));
        }
        Ok(())
    }

    fn send(&self, store: &mut Store, queue: &Queue) -> OperationResult {
        let (id, seq) = store.send(queue, &self.check(queue)?)?;
        let mut response = Map::from_iter([
            ("MessageId".to_owned(), json!(id)),
            ("MD5OfMessageBody".to_owned(), json!(message::body_md5(&self.message_body))),
        ]);
        if let Some(md5) = message::attributes_md5(&self.message_attributes)? {
            response.insert("MD5OfMessageAttributes".to_owned(), json!(md5));
        }
        if let Some(md5) = message::attributes_md5(&self.message_system_attributes)? {
            response.insert("MD5OfMessageSystemAttributes".to_owned(), json!(md5));
        }
        if queue.is_fifo() {
            response.insert("SequenceNumber".to_owned(), json!(sequence_number(seq)));
        }
        Ok(Value::Object(response))
    }
}

/// Returns the deduplication id of a message that has none: the SHA-256 of its body.
fn content_id(body: &str) -> String {
    message::sha256(body)
}

/// Returns a sequence number in the form of SQS: 20 digits.
fn sequence_number(seq: i64) -> String {
    format!("{seq:020}")
}

fn send_message(store: &mut Store, request: SendMessage) -> OperationResult {
    let queue = store.queue(name_in_url(&request.queue_url)?)?;
    request.message.send(store, &queue)
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch<T> {
    queue_url: String,
    #[serde(default = "Vec::new")]
    entries: Vec<Entry<T>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<T> {
    id: String,
    #[serde(flatten)]
    content: T,
}

impl<T> Batch<T> {
    /// Runs each entry on its own. The response lists the failed entries beside the successful ones.
    fn run(self, store: &mut Store, each: impl Fn(&mut Store, &Queue, T) -> OperationResult) -> OperationResult {
        let queue = store.queue(name_in_url(&self.queue_url)?)?;
        self.check()?;
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for Entry { id, content } in self.entries {
            match each(store, &queue, content) {
                Ok(Value::Object(mut response)) => {
                    response.insert("Id".to_owned(), json!(id));
                    successful.push(Value::Object(response));
                }
                Ok(_) => successful.push(json!({ "Id": id })),
                Err(error) => failed.push(json!({
                    "Id": id, "Code": error.code, "Message": error.message, "SenderFault": error.is_sender_fault(),
                })),
            }
        }
        Ok(json!({ "Successful": successful, "Failed": failed }))
    }

    fn check(&self) -> Result<(), SqsError> {
        let ids: BTreeSet<_> = self.entries.iter().map(|entry| entry.id.as_str()).collect();
        let is_id = |id: &&str| {
            (1..=80).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        match self.entries.len() {
            0 => Err(SqsError::empty_batch("There should be at least one entry in the request.")),
            count if count > BATCH_MAX => Err(SqsError::too_many_entries("A batch has at most 10 entries.")),
            count if ids.len() < count => Err(SqsError::entry_ids_not_distinct("Two entries have the same Id.")),
            _ if !ids.iter().all(is_id) => {
                Err(SqsError::invalid_entry_id("An Id has 1 to 80 letters, digits, - or _."))
            }
            _ => Ok(()),
        }
    }
}

fn send_message_batch(store: &mut Store, request: Batch<Outgoing>) -> OperationResult {
    let bytes: usize = request.entries.iter().map(|entry| entry.content.bytes()).sum();
    if bytes > usize::try_from(MESSAGE_BYTES_MAX).unwrap_or(usize::MAX) {
        return Err(SqsError::batch_too_long(format!(
            "A batch has at most {MESSAGE_BYTES_MAX} bytes. You sent {bytes}."
        )));
    }
    request.run(store, |store, queue, message: Outgoing| message.send(store, queue))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReceiveMessage {
    queue_url: String,
    #[serde(default)]
    max_number_of_messages: Option<usize>,
    #[serde(default)]
    visibility_timeout: Option<u64>,
    #[serde(default)]
    wait_time_seconds: Option<u64>,
    /// The older name of the next field.
    #[serde(default)]
    attribute_names: Vec<String>,
    #[serde(default)]
    message_system_attribute_names: Vec<String>,
    #[serde(default)]
    message_attribute_names: Vec<String>,
}

impl ReceiveMessage {
    fn show(&self, (stored, receipt): &(StoredMessage, ReceiptHandle)) -> OperationResult {
        let mut shown = Map::from_iter([
            ("MessageId".to_owned(), json!(stored.id)),
            ("ReceiptHandle".to_owned(), json!(receipt.encode())),
            ("Body".to_owned(), json!(stored.message.body)),
            ("MD5OfBody".to_owned(), json!(message::body_md5(&stored.message.body))),
        ]);
        let mut system = system_attributes(stored);
        let names = || self.attribute_names.iter().chain(&self.message_system_attribute_names);
        system.retain(|name, _| names().any(|wanted| wanted == "All" || wanted == name));
        if !system.is_empty() {
            shown.insert("Attributes".to_owned(), json!(system));
        }
        let mut attributes = stored.message.attributes.clone();
        attributes.retain(|name, _| self.message_attribute_names.iter().any(|wanted| selects(wanted, name)));
        if let Some(md5) = message::attributes_md5(&attributes)? {
            shown.insert("MD5OfMessageAttributes".to_owned(), json!(md5));
            shown.insert("MessageAttributes".to_owned(), json!(attributes));
        }
        Ok(Value::Object(shown))
    }
}

/// Returns whether a name in a request selects this attribute: all, one, or those with a prefix.
fn selects(wanted: &str, name: &str) -> bool {
    matches!(wanted, "All" | ".*")
        || wanted == name
        || wanted.strip_suffix(".*").is_some_and(|prefix| name.starts_with(prefix))
}

fn system_attributes(stored: &StoredMessage) -> BTreeMap<&'static str, String> {
    let message = &stored.message;
    let mut attributes = BTreeMap::from([
        ("SenderId", ACCOUNT.to_owned()),
        ("SentTimestamp", stored.sent_at.to_string()),
        ("ApproximateReceiveCount", stored.receive_count.to_string()),
    ]);
    let mut add = |name, value: Option<String>| value.map(|value| attributes.insert(name, value));
    add("ApproximateFirstReceiveTimestamp", stored.first_received_at.map(|at| at.to_string()));
    add("MessageGroupId", message.group_id.clone());
    add("MessageDeduplicationId", message.deduplication_id.clone());
    add("AWSTraceHeader", message.trace_header.clone());
    add("DeadLetterQueueSourceArn", message.source.clone());
    // Only FIFO messages have a sequence number, and all of them have a deduplication id.
    add("SequenceNumber", message.deduplication_id.as_ref().map(|_| sequence_number(stored.seq)));
    attributes
}

impl ReceiptHandle {
    fn encode(&self) -> String {
        STANDARD.encode(format!("{}/{}/{}", self.queue, self.seq, self.nonce))
    }

    fn decode(queue: &Queue, text: &str) -> Result<Self, SqsError> {
        let invalid = || SqsError::invalid_receipt_handle("The input receipt handle is invalid.");
        let text = STANDARD.decode(text).ok().and_then(|bytes| String::from_utf8(bytes).ok()).ok_or_else(invalid)?;
        let mut parts = text.split('/');
        let (name, seq, nonce) = (parts.next(), parts.next().and_then(|seq| seq.parse().ok()), parts.next());
        match (name, seq, nonce, parts.next()) {
            (Some(name), Some(seq), Some(nonce), None) if name == queue.name => {
                Ok(Self { queue: name.to_owned(), seq, nonce: nonce.to_owned() })
            }
            _ => Err(invalid()),
        }
    }
}

/// A receipt handle, alone or as an entry of a batch.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ReceiptRequest {
    receipt_handle: String,
    #[serde(default)]
    visibility_timeout: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MessageRequest {
    queue_url: String,
    #[serde(flatten)]
    receipt: ReceiptRequest,
}

impl ReceiptRequest {
    /// Deletes a message. An older receipt than the latest deletes nothing: a FIFO queue reports an error, a standard queue
    /// does not.
    fn delete(&self, store: &mut Store, queue: &Queue) -> OperationResult {
        let deleted = store.delete(&ReceiptHandle::decode(queue, &self.receipt_handle)?)?;
        match deleted || !queue.is_fifo() {
            true => Ok(json!({})),
            false => Err(out_of_range("ReceiptHandle", "one that has not expired")),
        }
    }

    fn change_visibility(&self, store: &mut Store, queue: &Queue) -> OperationResult {
        let receipt = ReceiptHandle::decode(queue, &self.receipt_handle)?;
        let missing = || SqsError::missing_parameter("The request must contain the parameter VisibilityTimeout.");
        let hidden = hidden_millis(Some(self.visibility_timeout.ok_or_else(missing)?), queue)?;
        match store.is_in_flight(&receipt)? {
            Some(true) => store.hide(&receipt, hidden).map(|()| json!({})),
            Some(false) => Err(SqsError::message_not_in_flight("The specified message is not in flight.")),
            None => Err(out_of_range("ReceiptHandle", "the latest one of a message that exists")),
        }
    }
}

fn delete_message(store: &mut Store, request: MessageRequest) -> OperationResult {
    let queue = store.queue(name_in_url(&request.queue_url)?)?;
    request.receipt.delete(store, &queue)
}

fn delete_message_batch(store: &mut Store, request: Batch<ReceiptRequest>) -> OperationResult {
    request.run(store, |store, queue, receipt| receipt.delete(store, queue))
}

fn change_visibility(store: &mut Store, request: MessageRequest) -> OperationResult {
    let queue = store.queue(name_in_url(&request.queue_url)?)?;
    request.receipt.change_visibility(store, &queue)
}

fn change_visibility_batch(store: &mut Store, request: Batch<ReceiptRequest>) -> OperationResult {
    request.run(store, |store, queue, receipt| receipt.change_visibility(store, queue))
}
