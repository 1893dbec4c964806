//! The attributes of a queue that a client can set.
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html>

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::SqsError;

/// The maximum size of a message, in bytes.
pub(super) const MESSAGE_BYTES_MAX: u64 = 1_048_576;

/// The numeric attributes: name, minimum, maximum, default.
const NUMBERS: &[(&str, u64, u64, u64)] = &[
    ("DelaySeconds", 0, 900, 0),
    ("MaximumMessageSize", 1_024, MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX),
    ("MessageRetentionPeriod", 60, 1_209_600, 345_600),
    ("ReceiveMessageWaitTimeSeconds", 0, 20, 0),
    ("VisibilityTimeout", 0, 43_200, 30),
];

/// The attributes that a client has set, as texts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct QueueAttributes(BTreeMap<String, String>);

/// The redrive policy: the dead-letter queue, and the deliveries after which a message goes there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Redrive {
    pub(super) dead_letter_arn: String,
    pub(super) receives_max: u32,
}

impl QueueAttributes {
    /// Checks attributes for the queue of this name.
    pub(super) fn check(name: &str, given: BTreeMap<String, String>) -> Result<Self, SqsError> {
        let is_fifo = is_fifo(name);
        for (attribute, value) in &given {
            let invalid = || SqsError::invalid_attribute_value(format!("Invalid value for the parameter {attribute}."));
            match attribute.as_str() {
                "FifoQueue" if value == "true" && is_fifo => {}
                "ContentBasedDeduplication" if is_fifo && (value == "true" || value == "false") => {}
                "FifoQueue" | "ContentBasedDeduplication" => return Err(invalid()),
                "RedrivePolicy" => {
                    redrive(value).ok_or_else(invalid)?;
                }
                number => {
                    let known = NUMBERS.iter().find(|(name, ..)| *name == number);
                    let unknown = || SqsError::invalid_attribute_name(format!("Unknown Attribute {attribute}."));
                    let (_, least, most, _) = known.ok_or_else(unknown)?;
                    value.parse().ok().filter(|value| (*least..=*most).contains(value)).ok_or_else(invalid)?;
                }
            }
        }
        Ok(Self(given))
    }

    /// Returns these attributes, overwritten by the given ones.
    pub(super) fn with(mut self, given: Self) -> Self {
        self.0.extend(given.0);
        // An empty policy removes the policy.
        self.0.retain(|_, value| !value.is_empty());
        self
    }

    /// Returns whether all attributes in `given` have the same values here.
    pub(super) fn agree_with(&self, given: &Self) -> bool {
        given.0.iter().all(|(name, value)| self.get(name).as_deref() == Some(value))
    }

    /// Returns an attribute, or its default.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        let default = || NUMBERS.iter().find(|(number, ..)| *number == name).map(|(.., default)| default.to_string());
        self.0.get(name).cloned().or_else(default)
    }

    /// Returns all attributes, with their defaults.
    pub(super) fn all(&self) -> BTreeMap<String, String> {
        let defaults = NUMBERS.iter().map(|(name, .., default)| ((*name).to_owned(), default.to_string()));
        defaults.chain(self.0.clone()).collect()
    }

    /// Returns a numeric attribute that is in seconds, in milliseconds.
    pub(super) fn millis(&self, name: &str) -> u64 {
        self.number(name).saturating_mul(1_000)
    }

    pub(super) fn number(&self, name: &str) -> u64 {
        self.get(name).and_then(|value| value.parse().ok()).unwrap_or_default()
    }

    pub(super) fn deduplicates_by_content(&self) -> bool {
        self.0.get("ContentBasedDeduplication").is_some_and(|value| value == "true")
    }

    pub(super) fn redrive(&self) -> Option<Redrive> {
        redrive(self.0.get("RedrivePolicy")?).flatten()
    }
}

/// Reads a redrive policy. An empty text means no policy; the outer `None` means an unreadable one.
#[expect(clippy::option_option, reason = "unreadable is not the same as none")]
fn redrive(text: &str) -> Option<Option<Redrive>> {
    if text.is_empty() {
        return Some(None);
    }
    let policy: serde_json::Value = serde_json::from_str(text).ok()?;
    let count = policy.get("maxReceiveCount")?;
    // The console sends a number, older tools send a text.
    let count = count.as_u64().or_else(|| count.as_str()?.parse().ok())?;
    let receives_max = u32::try_from(count).ok().filter(|count| (1..=1_000).contains(count))?;
    let dead_letter_arn = policy.get("deadLetterTargetArn")?.as_str()?.to_owned();
    Some(Some(Redrive { dead_letter_arn, receives_max }))
}

/// Returns whether a queue is a FIFO queue: its name ends with `.fifo`, in lower case.
pub(super) fn is_fifo(name: &str) -> bool {
    name.strip_suffix(".fifo").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, attribute: &str, value: &str) -> bool {
        QueueAttributes::check(name, BTreeMap::from([(attribute.to_owned(), value.to_owned())])).is_ok()
    }

    #[test]
    fn attributes_are_checked_against_their_ranges() {
        assert!(check("q", "VisibilityTimeout", "0") && check("q", "VisibilityTimeout", "43200"));
        assert!(!check("q", "VisibilityTimeout", "43201") && !check("q", "VisibilityTimeout", "x"));
        assert!(!check("q", "Colour", "red"));
        assert!(check("q.fifo", "FifoQueue", "true") && !check("q", "FifoQueue", "true"));
        assert!(check("q", "RedrivePolicy", r#"{"deadLetterTargetArn":"a","maxReceiveCount":"5"}"#));
        assert!(!check("q", "RedrivePolicy", "{") && !check("q", "RedrivePolicy", r#"{"maxReceiveCount":5}"#));
    }
}
