//! A value in a request body.

use std::collections::BTreeMap;

/// A JSON value, with the detail that commands need.
///
/// The `Value` of the JSON library is not used. It takes some keys as instructions, and parses the texts behind them to any
/// depth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// `null`.
    Null,
    /// A string.
    Text(String),
    /// `true` or `false`.
    Bool(bool),
    /// A whole number from -2^63 to 2^63 - 1.
    Number(i64),
    /// An object. A duplicate key has its last value.
    Object(BTreeMap<String, Self>),
    /// Any other value.
    Other,
}
