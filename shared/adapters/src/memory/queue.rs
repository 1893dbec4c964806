//! A queue in memory.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use kernel::clock::{Clock, Timestamp};
use kernel::ports::{CommandQueue, MessageDeferral, OutgoingMessage, PortError, SendError};

use super::lock;

/// The largest message in bytes, as in SQS.
const MESSAGE_BYTES_MAX: usize = 1_048_576;

/// A standard queue in memory. It delivers messages in the order of sending. The injected clock decides how long a received
/// message stays hidden.
#[derive(Debug)]
pub struct MemoryQueue {
    clock: Arc<dyn Clock>,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    messages: Vec<Waiting>,
    sent: u64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    message: OutgoingMessage,
    visible_at: Timestamp,
    receive_count: u32,
}

/// A received message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The message as it was sent.
    pub message: OutgoingMessage,
    /// The handle of this message for [`MemoryQueue::delete`] and [`MessageDeferral::defer`].
    pub receipt_handle: String,
    /// The number of times that the message was received, including this one.
    pub receive_count: u32,
}

impl MemoryQueue {
    /// Makes an empty queue.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, queue: Mutex::default() }
    }

    /// Receives up to `max` visible messages, and hides them for `visibility_timeout`.
    pub fn receive(&self, max: usize, visibility_timeout: Duration) -> Vec<Received> {
        let now = self.clock.now();
        let mut queue = lock(&self.queue);
        let visible = queue.messages.iter_mut().filter(|waiting| waiting.visible_at <= now);
        let received = visible.take(max).map(|waiting| {
            waiting.visible_at = now.plus(visibility_timeout);
            waiting.receive_count += 1;
            Received {
                message: waiting.message.clone(),
                receipt_handle: waiting.number.to_string(),
                receive_count: waiting.receive_count,
            }
        });
        received.collect()
    }

    /// Deletes a received message, as a success does. A message that is already deleted is no error.
    pub fn delete(&self, receipt_handle: &str) {
        lock(&self.queue).messages.retain(|waiting| waiting.number.to_string() != receipt_handle);
    }

    /// Returns the number of messages in the queue, including hidden ones.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.queue).messages.len()
    }

    /// Returns whether the queue has no message, including hidden ones.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[async_trait]
impl CommandQueue for MemoryQueue {
    async fn send(&self, message: &OutgoingMessage) -> Result<(), SendError> {
        if message.body.len() > MESSAGE_BYTES_MAX {
            return Err(SendError::TooLarge);
        }
        let visible_at = self.clock.now();
        let mut queue = lock(&self.queue);
        queue.sent += 1;
        let number = queue.sent;
        queue.messages.push(Waiting { number, message: message.clone(), visible_at, receive_count: 0 });
        Ok(())
    }
}

#[async_trait]
impl MessageDeferral for MemoryQueue {
    async fn defer(&self, receipt_handle: &str, delay: Duration) -> Result<(), PortError> {
        let visible_at = self.clock.now().plus(delay);
        let mut queue = lock(&self.queue);
        let deferred = queue.messages.iter_mut().find(|waiting| waiting.number.to_string() == receipt_handle);
        let Some(deferred) = deferred else {
            let cause = format!("no message has the receipt handle {receipt_handle}").into();
            return Err(PortError::Unavailable { port: "queue", cause });
        };
        deferred.visible_at = visible_at;
        Ok(())
    }
}
