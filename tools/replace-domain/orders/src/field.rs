//! The values an order is made of. Each is valid from birth: private inside, made by a fallible constructor.

use serde::{Deserialize, Serialize};

/// The longest reference, in characters.
pub const REFERENCE_CHARS_MAX: usize = 100;
/// The longest name of a customer, in characters.
pub const CUSTOMER_CHARS_MAX: usize = 100;
/// The largest quantity.
pub const QUANTITY_MAX: u32 = 10_000;

/// Why a value is not what it should be; for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FieldInvalid {
    /// See the text.
    #[error("must have 1 to {REFERENCE_CHARS_MAX} visible ASCII characters")]
    Reference,
    /// See the text.
    #[error(
        "must have 1 to {CUSTOMER_CHARS_MAX} characters, not only white space and none of them a control character"
    )]
    Customer,
    /// See the text.
    #[error("must be a number from 1 to {QUANTITY_MAX}")]
    Quantity,
    /// See the text.
    #[error("must be `placed`, `paid` or `cancelled`")]
    Status,
    /// See the text.
    #[error("must be a string")]
    NoText,
}

/// What a customer calls an order. Kept as given, compared regardless of case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference(String);

impl Reference {
    /// The reference as lists sort it, and as it is compared.
    #[must_use]
    pub fn sort_form(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// Stands for the reference, regardless of case: its SHA-256.
    #[must_use]
    pub fn digest(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.sort_form().as_bytes());
        kernel::seal::encode(digest.as_ref())
    }
}

impl TryFrom<String> for Reference {
    type Error = FieldInvalid;

    fn try_from(text: String) -> Result<Self, FieldInvalid> {
        let is_reference =
            (1..=REFERENCE_CHARS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_reference { Ok(Self(text)) } else { Err(FieldInvalid::Reference) }
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.0
    }
}

/// Who ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Customer(String);

impl TryFrom<String> for Customer {
    type Error = FieldInvalid;

    fn try_from(text: String) -> Result<Self, FieldInvalid> {
        // The two that stand for no character are not carried by a queue (XML 1.0, section 2.2).
        let is_unprintable = |c: char| c.is_control() || matches!(c, '\u{FFFE}' | '\u{FFFF}');
        let is_customer = (1..=CUSTOMER_CHARS_MAX).contains(&text.chars().count())
            && !text.chars().any(is_unprintable)
            && !text.trim().is_empty();
        if is_customer { Ok(Self(text)) } else { Err(FieldInvalid::Customer) }
    }
}

impl From<Customer> for String {
    fn from(customer: Customer) -> Self {
        customer.0
    }
}

/// How many were ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Quantity(u32);

impl TryFrom<u32> for Quantity {
    type Error = FieldInvalid;

    fn try_from(number: u32) -> Result<Self, FieldInvalid> {
        if (1..=QUANTITY_MAX).contains(&number) { Ok(Self(number)) } else { Err(FieldInvalid::Quantity) }
    }
}

impl From<Quantity> for u32 {
    fn from(quantity: Quantity) -> Self {
        quantity.0
    }
}

/// How far an order has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Ordered, not paid for.
    Placed,
    /// Paid for.
    Paid,
    /// Given up, for good.
    Cancelled,
}

impl Status {
    /// The name in requests, views and keys.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Paid => "paid",
            Self::Cancelled => "cancelled",
        }
    }
}

impl TryFrom<String> for Status {
    type Error = FieldInvalid;

    fn try_from(text: String) -> Result<Self, FieldInvalid> {
        let all = [Self::Placed, Self::Paid, Self::Cancelled];
        all.into_iter().find(|status| status.as_str() == text).ok_or(FieldInvalid::Status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_takes_what_it_says_and_nothing_else() {
        let reference = |text: &str| Reference::try_from(text.to_owned());
        for right in ["A", "2026/11-0042", &"x".repeat(100)] {
            reference(right).unwrap();
        }
        for wrong in ["", "a b", "ü", "a\n", &"x".repeat(101)] {
            assert_eq!(reference(wrong), Err(FieldInvalid::Reference), "{wrong:?}");
        }
        for wrong in ["", " ", "a\u{0}b", "\u{FFFF}", &"x".repeat(101)] {
            assert_eq!(Customer::try_from(wrong.to_owned()), Err(FieldInvalid::Customer), "{wrong:?}");
        }
        assert_eq!([0, QUANTITY_MAX + 1].map(Quantity::try_from), [Err(FieldInvalid::Quantity); 2]);
        Status::try_from("Paid".to_owned()).unwrap_err();
    }

    #[test]
    fn a_reference_is_the_same_in_any_case() {
        let digest = |text: &str| Reference::try_from(text.to_owned()).unwrap().digest();
        assert_eq!(digest("Ab-1"), digest("aB-1"));
        assert_ne!(digest("ab-1"), digest("ab-2"));
    }
}
