//! The command queue in SQS, standard or FIFO. SQS requires the suffix `.fifo` in the name of a FIFO queue.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::operation::send_message::SendMessageError;
use kernel::ports::{CommandQueue, MessageDeferral, OutgoingMessage, PortError, SendError};

/// The largest message that any queue accepts, in bytes. A queue may have a lower limit.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
const MESSAGE_BYTES_MAX: usize = 1_048_576;
/// The longest time that a message can be hidden, in seconds.
const VISIBILITY_SECONDS_MAX: u64 = 43_200;

/// A queue in SQS.
#[derive(Debug, Clone)]
pub struct SqsQueue {
    client: Client,
    url: String,
}

impl SqsQueue {
    /// Makes the client of the queue at `url`.
    #[must_use]
    pub fn new(client: Client, url: impl Into<String>) -> Self {
        Self { client, url: url.into() }
    }

    /// Returns whether the queue is FIFO, which keeps the order within a group.
    #[must_use]
    #[expect(clippy::case_sensitive_file_extension_comparisons, reason = "SQS wants the suffix in lower case")]
    pub fn is_fifo(&self) -> bool {
        self.url.ends_with(".fifo")
    }
}

fn unavailable<E: std::error::Error + Send + Sync + 'static>(error: E) -> PortError {
    PortError::Unavailable { port: "command queue", cause: DisplayErrorContext(error).to_string().into() }
}

/// Returns whether the message exceeds the limit of this queue. SQS has no separate error code for it.
fn is_too_large(error: &SdkError<SendMessageError>) -> bool {
    error.code() == Some("InvalidParameterValue")
        && error.message().is_some_and(|message| message.contains("must be shorter than"))
}

#[async_trait]
impl CommandQueue for SqsQueue {
    async fn send(&self, message: &OutgoingMessage) -> Result<(), SendError> {
        if message.body.len() > MESSAGE_BYTES_MAX {
            return Err(SendError::TooLarge);
        }
        let send = self.client.send_message().queue_url(&self.url).message_body(&message.body);
        let send = if self.is_fifo() {
            send.message_group_id(&message.order_group).message_deduplication_id(&message.deduplication)
        } else {
            // The group makes this a fair queue: a tenant's backlog does not starve the others.
            send.message_group_id(message.tenant.as_str())
        };
        match send.send().await {
            Ok(_) => Ok(()),
            Err(error) if is_too_large(&error) => Err(SendError::TooLarge),
            Err(error) => Err(unavailable(error).into()),
        }
    }
}

#[async_trait]
impl MessageDeferral for SqsQueue {
    async fn defer(&self, receipt_handle: &str, delay: Duration) -> Result<(), PortError> {
        let seconds = delay.as_secs().saturating_add(u64::from(delay.subsec_nanos() > 0)).min(VISIBILITY_SECONDS_MAX);
        self.client
            .change_message_visibility()
            .queue_url(&self.url)
            .receipt_handle(receipt_handle)
            .visibility_timeout(i32::try_from(seconds).unwrap_or(i32::MAX))
            .send()
            .await
            .map(|_| ())
            .map_err(unavailable)
    }
}
