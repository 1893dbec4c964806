//! Reads the attributes of stored items. No stored data can cause a panic.

use std::collections::HashMap;
use std::str::FromStr;

use aws_sdk_dynamodb::types::AttributeValue;
use bytes::Bytes;
use kernel::clock::Timestamp;
use kernel::ports::Cause;

use crate::tables::{EXPIRES_AT_ATTRIBUTE, KEY_ATTRIBUTE};

pub(super) type Item = HashMap<String, AttributeValue>;

/// The reason why an item cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ItemError {
    #[error("attribute {0} is missing")]
    Missing(String),
    #[error("attribute {0} is of another type")]
    OtherType(String),
    #[error("attribute {name} is malformed")]
    Malformed {
        name: String,
        #[source]
        cause: Cause,
    },
    #[error("schema version {0} is newer than this code can read")]
    UnknownSchema(u16),
}

/// Returns the key of an item, in the form that all operations use.
pub(super) fn key(pk: String) -> Item {
    Item::from([(KEY_ATTRIBUTE.to_owned(), AttributeValue::S(pk))])
}

/// Returns a number in its stored form.
pub(super) fn n(number: impl Into<u64>) -> AttributeValue {
    AttributeValue::N(number.into().to_string())
}

/// Returns a text in its stored form.
pub(super) fn s(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(super) fn set(item: &mut Item, name: &str, value: AttributeValue) {
    item.insert(name.to_owned(), value);
}

pub(super) fn set_expires_at(item: &mut Item, at: Timestamp) {
    set(item, EXPIRES_AT_ATTRIBUTE, n(at.as_seconds()));
}

pub(super) fn expires_at(item: &Item) -> Result<Option<Timestamp>, ItemError> {
    let seconds: Option<u64> = optional_number(item, EXPIRES_AT_ATTRIBUTE)?;
    Ok(seconds.map(|seconds| Timestamp::from_micros(seconds.saturating_mul(1_000_000))))
}

pub(super) fn required<T>(name: &str, found: Option<T>) -> Result<T, ItemError> {
    found.ok_or_else(|| ItemError::Missing(name.to_owned()))
}

pub(super) fn optional_text<'a>(item: &'a Item, name: &str) -> Result<Option<&'a str>, ItemError> {
    let text = |value: &'a AttributeValue| value.as_s().map(String::as_str);
    item.get(name).map(text).transpose().map_err(|_| ItemError::OtherType(name.to_owned()))
}

pub(super) fn text<'a>(item: &'a Item, name: &str) -> Result<&'a str, ItemError> {
    required(name, optional_text(item, name)?)
}

pub(super) fn optional_number<T>(item: &Item, name: &str) -> Result<Option<T>, ItemError>
where
    T: FromStr<Err: Into<Cause>>,
{
    let number = item.get(name).map(AttributeValue::as_n).transpose();
    let number = number.map_err(|_| ItemError::OtherType(name.to_owned()))?;
    number.map(|digits| digits.parse().map_err(malformed(name))).transpose()
}

pub(super) fn number<T>(item: &Item, name: &str) -> Result<T, ItemError>
where
    T: FromStr<Err: Into<Cause>>,
{
    required(name, optional_number(item, name)?)
}

pub(super) fn optional_bytes(item: &Item, name: &str) -> Result<Option<Bytes>, ItemError> {
    let blob = item.get(name).map(AttributeValue::as_b).transpose();
    let blob = blob.map_err(|_| ItemError::OtherType(name.to_owned()))?;
    Ok(blob.map(|blob| Bytes::copy_from_slice(blob.as_ref())))
}

/// Returns a function for `map_err` that names the malformed attribute.
pub(super) fn malformed<E: Into<Cause>>(name: &str) -> impl Fn(E) -> ItemError {
    move |cause| ItemError::Malformed { name: name.to_owned(), cause: cause.into() }
}
