//! Messages on the wire: their limits, and the digests by which clients check that they arrive complete.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::error::SqsError;

/// The maximum number of attributes of a message.
const ATTRIBUTES_MAX: usize = 10;

/// The value of a message attribute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AttributeValue {
    pub(super) data_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) string_value: Option<String>,
    /// The value in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) binary_value: Option<String>,
}

pub(super) type Attributes = BTreeMap<String, AttributeValue>;

impl AttributeValue {
    /// Returns the parts of the value that its digest covers: a byte for text or binary, and the bytes.
    fn transport(&self) -> Result<(u8, Vec<u8>), SqsError> {
        let invalid = || SqsError::invalid_parameter("A message attribute needs one value that fits its data type.");
        match (&self.string_value, &self.binary_value) {
            (Some(text), None) if !text.is_empty() && !self.is_binary() => Ok((1, text.clone().into_bytes())),
            (None, Some(value)) if self.is_binary() => Ok((2, STANDARD.decode(value).map_err(|_| invalid())?)),
            _ => Err(invalid()),
        }
    }

    fn is_binary(&self) -> bool {
        self.data_type.split('.').next() == Some("Binary")
    }

    fn has_known_type(&self) -> bool {
        matches!(self.data_type.split('.').next(), Some("String" | "Number" | "Binary"))
    }
}

/// Returns the MD5 of a message's body, in hexadecimal.
pub(super) fn body_md5(body: &str) -> String {
    hexadecimal(&Md5::digest(body))
}

/// Returns the SHA-256 of a message's body, in hexadecimal.
pub(super) fn sha256(body: &str) -> String {
    hexadecimal(&Sha256::digest(body))
}

/// Returns the MD5 of attributes in the order of their names. Name, type and value each follow their length.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html>
pub(super) fn attributes_md5(attributes: &Attributes) -> Result<Option<String>, SqsError> {
    if attributes.is_empty() {
        return Ok(None);
    }
    let mut md5 = Md5::new();
    let part = |md5: &mut Md5, bytes: &[u8]| {
        md5.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        md5.update(bytes);
    };
    for (name, value) in attributes {
        let (kind, bytes) = value.transport()?;
        part(&mut md5, name.as_bytes());
        part(&mut md5, value.data_type.as_bytes());
        md5.update([kind]);
        part(&mut md5, &bytes);
    }
    Ok(Some(hexadecimal(&md5.finalize())))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Checks a message before it is sent. Returns its size in bytes.
pub(super) fn check(body: &str, attributes: &Attributes, bytes_max: usize) -> Result<usize, SqsError> {
    if body.is_empty() {
        return Err(SqsError::missing_parameter("The request must contain the parameter MessageBody."));
    }
    if !body.chars().all(is_permitted) {
        return Err(SqsError::invalid_contents("The message contains characters that are not allowed."));
    }
    if attributes.len() > ATTRIBUTES_MAX {
        return Err(SqsError::invalid_parameter(format!("A message has at most {ATTRIBUTES_MAX} attributes.")));
    }
    let mut bytes = body.len();
    for (name, value) in attributes {
        if !value.has_known_type() {
            return Err(SqsError::invalid_parameter(format!("The type of message attribute {name} is invalid.")));
        }
        bytes += name.len() + value.data_type.len() + value.transport()?.1.len();
    }
    if bytes > bytes_max {
        let reason =
            format!("One or more parameters are invalid. Reason: Message must be shorter than {bytes_max} bytes.");
        return Err(SqsError::invalid_parameter(reason));
    }
    Ok(bytes)
}

/// Returns whether SQS allows a character in a body: those of XML 1.0.
fn is_permitted(c: char) -> bool {
    matches!(c, '\u{9}' | '\u{A}' | '\u{D}' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..='\u{10FFFF}')
}

/// Returns whether a text can be a message group id or a deduplication id.
pub(super) fn is_id(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_documentation() {
        assert_eq!(body_md5("hello"), "5d41402abc4b2a76b9719d911017c592");
        assert_eq!(attributes_md5(&Attributes::new()).unwrap(), None);
    }

    #[test]
    fn control_characters_and_large_messages_are_refused() {
        let none = Attributes::new();
        assert_eq!(check("a\tb", &none, 3).unwrap(), 3);
        assert!(
            check("a\u{1}b", &none, 9).is_err() && check("abcd", &none, 3).is_err() && check("", &none, 3).is_err()
        );
    }
}
