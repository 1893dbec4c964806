//! Counts messages.

use aws_sdk_sqs::types::QueueAttributeName;
use serde::Serialize;

use crate::output::{Failure, explain};

/// The approximate number of messages in a queue.
#[derive(Debug, Serialize)]
pub(crate) struct Counts {
    url: String,
    pub(crate) visible: u64,
    pub(crate) in_flight: u64,
    pub(crate) delayed: u64,
}

impl Counts {
    pub(crate) fn all(&self) -> u64 {
        self.visible + self.in_flight + self.delayed
    }
}

/// The queue of commands.
#[derive(Debug, Clone)]
pub(crate) struct CommandQueue {
    client: aws_sdk_sqs::Client,
    url: String,
}

impl CommandQueue {
    pub(crate) fn new(client: aws_sdk_sqs::Client, url: &str) -> Self {
        Self { client, url: url.to_owned() }
    }

    pub(crate) async fn counts(&self) -> Result<Counts, Failure> {
        counts(&self.client, &self.url).await
    }
}

/// Counts the messages in the queue of this URL.
pub(crate) async fn counts(client: &aws_sdk_sqs::Client, url: &str) -> Result<Counts, Failure> {
    let response = client.get_queue_attributes().queue_url(url).attribute_names(QueueAttributeName::All).send().await;
    let response = response.map_err(|error| Failure::Refused { part: "SQS", cause: explain(&error) })?;
    let attributes = response.attributes.unwrap_or_default();
    let number = |name| attributes.get(&name).and_then(|text| text.parse().ok()).unwrap_or_default();
    Ok(Counts {
        url: url.to_owned(),
        visible: number(QueueAttributeName::ApproximateNumberOfMessages),
        in_flight: number(QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
        delayed: number(QueueAttributeName::ApproximateNumberOfMessagesDelayed),
    })
}
