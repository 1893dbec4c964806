//! Queues, and their names.

use super::attributes::{QueueAttributes, is_fifo};
use super::error::SqsError;

/// The account that owns everything on this machine.
pub(super) const ACCOUNT: &str = "000000000000";
const ARN_PREFIX: &str = "arn:aws:sqs:us-east-1:000000000000:";

/// A queue.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) attributes: QueueAttributes,
    /// The time in milliseconds since 1970.
    pub(super) created_at: u64,
}

impl Queue {
    pub(super) fn is_fifo(&self) -> bool {
        is_fifo(&self.name)
    }

    pub(super) fn arn(&self) -> String {
        arn(&self.name)
    }
}

pub(super) fn arn(name: &str) -> String {
    format!("{ARN_PREFIX}{name}")
}

/// Returns the queue's name in an ARN of this account.
pub(super) fn name_in_arn(arn: &str) -> Result<&str, SqsError> {
    arn.strip_prefix(ARN_PREFIX).ok_or_else(|| SqsError::not_found("The resource that you specified does not exist."))
}

/// Returns the name in a queue's URL. It ignores the host, so that a URL outlives a change of port.
pub(super) fn name_in_url(url: &str) -> Result<&str, SqsError> {
    let name = url.rsplit_once('/').map(|(_, name)| name).filter(|name| is_name(name));
    name.ok_or_else(|| SqsError::queue_does_not_exist("The specified queue does not exist."))
}

/// Returns whether a text can be a queue's name.
pub(super) fn is_name(text: &str) -> bool {
    let stem = text.strip_suffix(".fifo").unwrap_or(text);
    (1..=80).contains(&text.len())
        && !stem.is_empty()
        && stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}
