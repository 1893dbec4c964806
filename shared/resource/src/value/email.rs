//! Email addresses.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::{Value, text_of};
use crate::given::Given;

/// The longest email address, in bytes (RFC 5321, section 4.5.3.1.3, less the angle brackets).
const EMAIL_BYTES_MAX: usize = 254;
/// The longest local part of an email address, in bytes (RFC 5321, section 4.5.3.1.1).
const LOCAL_PART_BYTES_MAX: usize = 64;

/// An email address. It is stored as the client sent it, and found in upper and lower case.
///
/// Only the form is checked, as far as mail servers agree on it: a dot-atom, an `@`, a domain name with a dot. Only a delivered
/// mail proves that an address exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Email(String);

/// The error for a text that is not an email address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be an email address such as ada@example.com, of at most 254 bytes")]
pub struct EmailError;

text_value!(Email);

impl TryFrom<String> for Email {
    type Error = EmailError;

    fn try_from(text: String) -> Result<Self, EmailError> {
        let is_email = text.len() <= EMAIL_BYTES_MAX
            && text.split_once('@').is_some_and(|(local, domain)| is_local_part(local) && is_domain(domain));
        if is_email { Ok(Self(text)) } else { Err(EmailError) }
    }
}

impl Value for Email {
    const WRONG: &'static [&'static str] =
        &["null", "7", "\"\"", "\"nobody\"", "\"a@b\"", "\"a b@example.com\"", "\" ada@example.com\""];

    fn read(given: Given) -> Result<Self, String> {
        Self::try_from(text_of(given)?).map_err(|error| error.to_string())
    }

    fn search_form(&self) -> String {
        self.0.to_lowercase()
    }

    fn sample(number: u64) -> Json {
        json!(format!("Zoe.{number:x}@example.com"))
    }
}

/// Returns whether a text is a dot-atom (RFC 5321, section 4.1.2).
fn is_local_part(text: &str) -> bool {
    let is_atom_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    text.len() <= LOCAL_PART_BYTES_MAX && text.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atom_byte))
}

/// Returns whether a text is a domain name of at least two labels (RFC 1035, section 2.3.1; RFC 1123 also allows a digit
/// first).
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.contains('.') && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_email_address_has_the_shape_of_one() {
        for good in ["ada@example.com", "A.L+tag@sub.example.co", "a@1.de"] {
            assert!(Email::try_from(good.to_owned()).is_ok(), "{good}");
        }
        let long = format!("{}@example.com", "a".repeat(65));
        for wrong in [
            "",
            "ada",
            "@x.de",
            "a@",
            "a@b",
            "a@@b.de",
            ".a@b.de",
            "a..b@c.de",
            "a@-b.de",
            "a@b..de",
            "ä@b.de",
            "a b@c.de",
            &long,
        ] {
            assert_eq!(Email::try_from(wrong.to_owned()), Err(EmailError), "{wrong:?}");
        }
    }

    #[test]
    fn an_email_address_is_the_same_in_any_case() {
        let key = |text: &str| Email::try_from(text.to_owned()).unwrap().key();
        assert_eq!(key("Ada@Example.com"), key("ada@example.COM"));
        assert_ne!(key("ada@example.com"), key("ada@example.org"));
        // With another key, an address could be taken twice.
        assert_eq!(key("Zoe@example.com"), "Pmk89-W2eIC_8zstJiba23vx1LxzcZLkfPi6qJrPIlA");
    }
}
