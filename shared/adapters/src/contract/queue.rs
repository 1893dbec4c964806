//! The contract of a [`CommandQueue`] with its [`MessageDeferral`].

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName};
use kernel::ids::NAME_BYTES_MAX;
use kernel::ports::{CommandQueue, MessageDeferral, OutgoingMessage, SendError};
use tokio::task::JoinSet;

use super::run;
use super::sample::tenant;
use super::time::Time;
use crate::memory::MemoryQueue;
use crate::sqs::SqsQueue;

/// A visibility timeout that is longer than any suite runs.
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(600);
/// The largest message in bytes, as in SQS.
const MESSAGE_BYTES_MAX: usize = 1_048_576;

/// The ports of one queue, with its receiver. The queue is empty, and accepts the largest messages.
#[derive(Debug, Clone)]
pub struct Queue {
    /// The port that sends messages.
    pub commands: Arc<dyn CommandQueue>,
    /// The port that defers messages.
    pub deferral: Arc<dyn MessageDeferral>,
    /// The receiver of the messages.
    pub receiver: Arc<dyn Receiver>,
    /// The time of the queue.
    pub time: Time,
}

/// The receiving end of a queue.
#[async_trait]
pub trait Receiver: fmt::Debug + Send + Sync {
    /// Receives some of the visible messages, at most ten.
    async fn receive(&self) -> Vec<Message>;

    /// Deletes a received message.
    async fn delete(&self, receipt_handle: &str);
}

/// A received message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The body as it was sent.
    pub body: String,
    /// The handle of the message for [`MessageDeferral::defer`].
    pub receipt_handle: String,
    /// The number of times that the message was received, including this one.
    pub receive_count: u32,
}

#[async_trait]
impl Receiver for MemoryQueue {
    async fn receive(&self) -> Vec<Message> {
        let received = MemoryQueue::receive(self, 10, VISIBILITY_TIMEOUT).into_iter();
        let message = |received: crate::memory::Received| Message {
            body: received.message.body,
            receipt_handle: received.receipt_handle,
            receive_count: received.receive_count,
        };
        received.map(message).collect()
    }

    async fn delete(&self, receipt_handle: &str) {
        MemoryQueue::delete(self, receipt_handle);
    }
}

#[derive(Debug)]
struct SqsReceiver {
    client: Client,
    url: String,
}

#[async_trait]
impl Receiver for SqsReceiver {
    async fn receive(&self) -> Vec<Message> {
        let received = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(10)
            .visibility_timeout(i32::try_from(VISIBILITY_TIMEOUT.as_secs()).unwrap())
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .send()
            .await
            .unwrap();
        let message = |received: aws_sdk_sqs::types::Message| Message {
            receive_count: received.attributes.unwrap()[&MessageSystemAttributeName::ApproximateReceiveCount]
                .parse()
                .unwrap(),
            body: received.body.unwrap(),
            receipt_handle: received.receipt_handle.unwrap(),
        };
        received.messages.unwrap_or_default().into_iter().map(message).collect()
    }

    async fn delete(&self, receipt_handle: &str) {
        self.client.delete_message().queue_url(&self.url).receipt_handle(receipt_handle).send().await.unwrap();
    }
}

impl Queue {
    /// Makes a new queue in memory.
    #[must_use]
    pub fn memory() -> Self {
        let (time, clock) = Time::manual();
        let queue = Arc::new(MemoryQueue::new(clock));
        Self { commands: queue.clone(), deferral: queue.clone(), receiver: queue, time }
    }

    /// Makes a new standard queue in SQS.
    pub async fn standard(client: &Client) -> Self {
        Self::create(client, &tenant().to_string(), &[]).await
    }

    /// Makes a new FIFO queue in SQS.
    pub async fn fifo(client: &Client) -> Self {
        Self::create(client, &format!("{}.fifo", tenant()), &[(QueueAttributeName::FifoQueue, "true")]).await
    }

    async fn create(client: &Client, name: &str, attributes: &[(QueueAttributeName, &str)]) -> Self {
        let mut create = client.create_queue().queue_name(name);
        create = create.attributes(QueueAttributeName::MaximumMessageSize, MESSAGE_BYTES_MAX.to_string());
        for (attribute, value) in attributes {
            create = create.attributes(attribute.clone(), *value);
        }
        let url = create.send().await.unwrap().queue_url.unwrap();
        let queue = Arc::new(SqsQueue::new(client.clone(), url.clone()));
        let receiver = Arc::new(SqsReceiver { client: client.clone(), url });
        Self { commands: queue.clone(), deferral: queue, receiver, time: Time::Real }
    }
}

/// Runs the checks for both types of queue.
pub async fn suite(queue: &Queue) {
    run!(
        queue,
        an_empty_queue_gives_nothing,
        a_message_arrives_as_it_was_sent,
        every_tenant_can_send,
        of_many_messages_sent_at_once_none_is_lost,
        the_largest_message_is_taken_and_a_larger_one_refused,
        a_message_comes_again_after_the_delay,
        a_missing_message_cannot_be_deferred,
    );
}

/// Runs the additional checks for a FIFO queue.
pub async fn fifo_suite(queue: &Queue) {
    run!(
        queue,
        a_message_sent_again_is_taken_once,
        messages_of_a_group_arrive_in_order,
        a_group_waits_for_its_first_message_alone,
        a_redelivered_message_keeps_its_place,
    );
}

/// Returns a message in a separate group.
fn message(body: &str) -> OutgoingMessage {
    in_group(&unique(), body)
}

fn in_group(order_group: &str, body: &str) -> OutgoingMessage {
    OutgoingMessage {
        body: body.to_owned(),
        tenant: tenant(),
        order_group: order_group.to_owned(),
        deduplication: unique(),
    }
}

/// Returns a new text that no other check uses.
fn unique() -> String {
    tenant().to_string()
}

async fn send(queue: &Queue, message: &OutgoingMessage) {
    queue.commands.send(message).await.unwrap();
}

/// Receives the next message, also if it is still hidden. Returns it with the elapsed time.
async fn next(queue: &Queue, expected: Duration) -> (Message, Duration) {
    let received = async || Some(queue.receiver.receive().await).filter(|received| !received.is_empty());
    let (received, passed) = queue.time.until(expected, received).await;
    let [message] = received.as_slice() else { unreachable!("more than one message: {received:?}") };
    (message.clone(), passed)
}

/// Receives and deletes this many messages. Returns their bodies in the order of arrival.
async fn drain(queue: &Queue, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let received = async || Some(queue.receiver.receive().await).filter(|received| !received.is_empty());
        for message in queue.time.until(Duration::ZERO, received).await.0 {
            queue.receiver.delete(&message.receipt_handle).await;
            bodies.push(message.body);
        }
    }
    assert!(queue.receiver.receive().await.is_empty());
    bodies
}

async fn an_empty_queue_gives_nothing(queue: &Queue) {
    assert!(queue.receiver.receive().await.is_empty());
}

async fn a_message_arrives_as_it_was_sent(queue: &Queue) {
    for body in ["{}", "{\"name\":\"Zoë 🦀\",\"control\":\"\\u0000\"}", "\t\r\n \"\\", &"x".repeat(65_536)] {
        send(queue, &message(body)).await;
        let (received, _) = next(queue, Duration::ZERO).await;
        assert_eq!((received.body.as_str(), received.receive_count), (body, 1));
        queue.receiver.delete(&received.receipt_handle).await;
    }
    assert!(queue.receiver.receive().await.is_empty());
}

async fn every_tenant_can_send(queue: &Queue) {
    let visible: String = (0x21..0x7F_u8).filter(|byte| *byte != b'#').map(char::from).collect();
    for tenant in [visible, "x".repeat(NAME_BYTES_MAX), ".".to_owned()] {
        send(queue, &OutgoingMessage { tenant: tenant.parse().unwrap(), ..message("{}") }).await;
    }
    drain(queue, 3).await;
}

async fn of_many_messages_sent_at_once_none_is_lost(queue: &Queue) {
    let mut senders = JoinSet::new();
    for n in 0..32 {
        let (commands, message) = (Arc::clone(&queue.commands), message(&n.to_string()));
        senders.spawn(async move { commands.send(&message).await.unwrap() });
    }
    senders.join_all().await;
    let bodies: BTreeSet<String> = drain(queue, 32).await.into_iter().collect();
    assert_eq!(bodies.len(), 32);
}

async fn the_largest_message_is_taken_and_a_larger_one_refused(queue: &Queue) {
    // Each character has two bytes in UTF-8.
    let largest = "é".repeat(MESSAGE_BYTES_MAX / 2);
    send(queue, &message(&largest)).await;
    let refused = queue.commands.send(&message(&format!("{largest}x"))).await;
    assert!(matches!(refused, Err(SendError::TooLarge)), "{refused:?}");
    assert!(drain(queue, 1).await == [largest]);
}

async fn a_message_comes_again_after_the_delay(queue: &Queue) {
    send(queue, &message("{}")).await;
    let (mut received, _) = next(queue, Duration::ZERO).await;
    for (count, delay) in (2..).zip([Duration::ZERO, Duration::from_secs(2), Duration::from_millis(900)]) {
        assert!(queue.receiver.receive().await.is_empty());
        queue.deferral.defer(&received.receipt_handle, delay).await.unwrap();
        let passed;
        (received, passed) = next(queue, delay).await;
        assert_eq!((received.body.as_str(), received.receive_count), ("{}", count));
        // The delay starts in the middle of the call.
        assert!(passed + Duration::from_millis(500) >= delay, "{passed:?}");
    }
    queue.receiver.delete(&received.receipt_handle).await;
}

async fn a_missing_message_cannot_be_deferred(queue: &Queue) {
    send(queue, &message("{}")).await;
    let (received, _) = next(queue, Duration::ZERO).await;
    queue.receiver.delete(&received.receipt_handle).await;
    for receipt_handle in [received.receipt_handle.as_str(), "nonsense"] {
        assert!(queue.deferral.defer(receipt_handle, Duration::ZERO).await.is_err());
    }
    assert!(queue.receiver.receive().await.is_empty());
}

async fn a_message_sent_again_is_taken_once(queue: &Queue) {
    let message = message("{}");
    send(queue, &message).await;
    send(queue, &message).await;
    drain(queue, 1).await;
    // The same holds after the first message was deleted.
    send(queue, &message).await;
    assert!(queue.receiver.receive().await.is_empty());
}

async fn messages_of_a_group_arrive_in_order(queue: &Queue) {
    let group = unique();
    let bodies: Vec<String> = (0..12).map(|n| n.to_string()).collect();
    for body in &bodies {
        send(queue, &in_group(&group, body)).await;
    }
    assert_eq!(drain(queue, bodies.len()).await, bodies);
}

async fn a_group_waits_for_its_first_message_alone(queue: &Queue) {
    let group = unique();
    send(queue, &in_group(&group, "first")).await;
    let (first, _) = next(queue, Duration::ZERO).await;
    send(queue, &in_group(&group, "second")).await;
    send(queue, &message("of another group")).await;
    assert_eq!(next(queue, Duration::ZERO).await.0.body, "of another group");
    assert!(queue.receiver.receive().await.is_empty());
    queue.receiver.delete(&first.receipt_handle).await;
    assert_eq!(next(queue, Duration::ZERO).await.0.body, "second");
}

async fn a_redelivered_message_keeps_its_place(queue: &Queue) {
    let group = unique();
    for body in ["first", "second"] {
        send(queue, &in_group(&group, body)).await;
    }
    for message in queue.receiver.receive().await {
        queue.deferral.defer(&message.receipt_handle, Duration::ZERO).await.unwrap();
    }
    assert_eq!(drain(queue, 2).await, ["first", "second"]);
}
