//! The values a user is made of. Each is valid from birth: private inside, made by a fallible constructor.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The longest name, in characters.
pub const NAME_CHARS_MAX: usize = 100;
/// The longest email address, in bytes (RFC 5321, section 4.5.3.1.3, less the angle brackets).
pub const EMAIL_BYTES_MAX: usize = 254;
/// The longest local part of an email address, in bytes (RFC 5321, section 4.5.3.1.1).
const LOCAL_PART_BYTES_MAX: usize = 64;

/// Why a text is not the value; for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldInvalid {
    /// See the text.
    #[error("must have 1 to 100 characters")]
    NameLength,
    /// See the text.
    #[error("must not contain control characters")]
    NameControl,
    /// See the text.
    #[error("must not be blank")]
    NameBlank,
    /// See the text.
    #[error("must be an email address such as ada@example.com, of at most 254 bytes")]
    Email,
    /// See the text.
    #[error("must be `active` or `suspended`")]
    Status,
}

macro_rules! text_value {
    ($type:ident) => {
        impl $type {
            /// The text as the client gave it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

/// What a user is called: 1 to 100 characters, no control characters, not blank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

text_value!(Name);

impl Name {
    /// The name as lists sort it: regardless of case.
    #[must_use]
    pub fn sort_form(&self) -> String {
        sort_form(&self.0)
    }
}

/// Folds what people type in different ways into one form. Each character by itself, so that the form of a beginning
/// is a beginning of the form: as a word, `ΟΣ` would end in another letter than as the beginning of `ΟΣΑ`.
#[must_use]
pub fn sort_form(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).map(|c| if c == 'ς' { 'σ' } else { c }).collect()
}

impl TryFrom<String> for Name {
    type Error = FieldInvalid;

    fn try_from(text: String) -> Result<Self, FieldInvalid> {
        if text.chars().any(is_unprintable) {
            return Err(FieldInvalid::NameControl);
        }
        if !(1..=NAME_CHARS_MAX).contains(&text.chars().count()) {
            return Err(FieldInvalid::NameLength);
        }
        if text.trim().is_empty() {
            return Err(FieldInvalid::NameBlank);
        }
        Ok(Self(text))
    }
}

/// Control characters, and the two that stand for no character and that a queue does not carry (XML 1.0, section 2.2).
fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}')
}

/// Where a user gets mail. Kept as given, compared regardless of case.
///
/// Checked for shape only, as far as mail servers agree on it (a dot-atom, an `@`, a domain name with a dot): only a
/// mail that arrives proves an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Email(String);

text_value!(Email);

impl Email {
    /// Stands for the address, regardless of case: its SHA-256. Keys hold it in place of personal data.
    #[must_use]
    pub fn digest(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.0.to_lowercase().as_bytes());
        kernel::seal::encode(digest.as_ref())
    }
}

impl TryFrom<String> for Email {
    type Error = FieldInvalid;

    fn try_from(text: String) -> Result<Self, FieldInvalid> {
        let is_email = text.len() <= EMAIL_BYTES_MAX
            && text.split_once('@').is_some_and(|(local, domain)| is_local_part(local) && is_domain(domain));
        if is_email { Ok(Self(text)) } else { Err(FieldInvalid::Email) }
    }
}

/// A dot-atom (RFC 5321, section 4.1.2).
fn is_local_part(text: &str) -> bool {
    let is_atom_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    text.len() <= LOCAL_PART_BYTES_MAX && text.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atom_byte))
}

/// A domain name of at least two labels (RFC 1035, section 2.3.1, with digits in front as RFC 1123 has it).
fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.contains('.') && text.split('.').all(is_label)
}

/// Whether a user may act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// May act.
    Active,
    /// May not, for now.
    Suspended,
}

impl Status {
    /// The name in requests, views and keys.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }
}

impl TryFrom<String> for Status {
    type Error = FieldInvalid;

    fn try_from(text: String) -> Result<Self, FieldInvalid> {
        match text.as_str() {
            "active" => Ok(Self::Active),
            "suspended" => Ok(Self::Suspended),
            _ => Err(FieldInvalid::Status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_active_or_suspended_spelt_as_it_is_shown() {
        for (text, status) in [("active", Status::Active), ("suspended", Status::Suspended)] {
            assert_eq!(Status::try_from(text.to_owned()).unwrap(), status);
            assert_eq!(serde_json::to_value(status).unwrap(), text);
        }
        for wrong in ["", "Active", "deleted", " active"] {
            Status::try_from(wrong.to_owned()).unwrap_err();
        }
    }

    #[test]
    fn a_name_has_1_to_100_characters_and_no_control_characters() {
        for good in ["A", "Ada Lovelace", "李", &"ü".repeat(100)] {
            assert!(Name::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for (wrong, why) in [
            ("", FieldInvalid::NameLength),
            (&*"x".repeat(101), FieldInvalid::NameLength),
            ("  ", FieldInvalid::NameBlank),
            ("a\u{0}b", FieldInvalid::NameControl),
            ("a\nb", FieldInvalid::NameControl),
            ("a\u{85}b", FieldInvalid::NameControl),
            ("a\u{FFFF}b", FieldInvalid::NameControl),
        ] {
            assert_eq!(Name::try_from(wrong.to_owned()), Err(why), "{wrong:?}");
        }
    }

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
            assert_eq!(Email::try_from(wrong.to_owned()), Err(FieldInvalid::Email), "{wrong:?}");
        }
    }

    #[test]
    fn an_email_address_is_the_same_in_any_case() {
        let digest = |text: &str| Email::try_from(text.to_owned()).unwrap().digest();
        assert_eq!(digest("Ada@Example.com"), digest("ada@example.COM"));
        assert_ne!(digest("ada@example.com"), digest("ada@example.org"));
    }
}
