//! The types of fields. A value is always valid: its content is private, and its constructor checks it.

/// Implements the common functions of values that contain a text.
macro_rules! text_value {
    ($type:ty $(, $limit:ident)?) => {
        impl$(<const $limit: usize>)? $type {
            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl$(<const $limit: usize>)? From<$type> for String {
            fn from(value: $type) -> Self {
                value.0
            }
        }

        impl$(<const $limit: usize>)? std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

pub mod choice;
mod email;
mod number;
mod text;
mod time;

use std::fmt;

pub use kernel::ids::AggregateId;
use ring::digest::{SHA256, digest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

pub use resource_derive::Choice;

pub use self::choice::Choice;
pub use self::email::Email;
pub use self::number::{Decimal, Integer};
pub use self::text::Text;
pub use self::time::{Date, Moment};
use crate::given::Given;

/// A value of a field. Its serialised form is stored, sent in commands, and shown to clients.
pub trait Value: fmt::Debug + Clone + PartialEq + Send + Sync + Serialize + DeserializeOwned + 'static {
    /// Invalid values in JSON, for tests.
    const WRONG: &'static [&'static str];

    /// Reads a value from a body. The error describes the valid values.
    fn read(given: Given) -> Result<Self, String>;

    /// Reads a value from a parameter of a list.
    fn read_parameter(text: &str) -> Result<Self, String> {
        Self::read(Given::Text(text.to_owned()))
    }

    /// Returns the form by which values are found and sorted. Values with the same form are equal in a search.
    fn search_form(&self) -> String;

    /// Returns the form in keys. It contains no personal data: it is a digest, unless the type overrides it.
    fn key(&self) -> String {
        kernel::seal::encode(digest(&SHA256, self.search_form().as_bytes()).as_ref())
    }

    /// Refuses the beginning of a value if no value begins with it. Only lists that are sorted by the value call it.
    fn check_beginning(_: &str) -> Result<(), String> {
        Err("cannot be searched by a prefix".to_owned())
    }

    /// Returns a valid value in JSON, for tests. Different numbers give different values, as far as the type has enough of
    /// them.
    fn sample(number: u64) -> Json;
}

/// Returns the reason why a value that is not a string is refused.
fn expected_string(given: &Given) -> String {
    match given {
        Given::Null => "must not be null: no field can be removed".to_owned(),
        _ => "must be a string".to_owned(),
    }
}

/// Returns the content of a string.
fn text_of(given: Given) -> Result<String, String> {
    match given {
        Given::Text(text) => Ok(text),
        other => Err(expected_string(&other)),
    }
}

impl Value for bool {
    const WRONG: &'static [&'static str] = &["null", "0", "\"true\"", "[]"];

    fn read(given: Given) -> Result<Self, String> {
        match given {
            Given::Bool(value) => Ok(value),
            _ => Err("must be true or false".to_owned()),
        }
    }

    fn read_parameter(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "must be true or false".to_owned())
    }

    fn search_form(&self) -> String {
        self.to_string()
    }

    fn key(&self) -> String {
        self.to_string()
    }

    fn sample(number: u64) -> Json {
        json!(number % 2 == 1)
    }
}

/// The id of another item. The service does not check that the item exists: it may be created or deleted at any time.
impl Value for AggregateId {
    const WRONG: &'static [&'static str] = &["null", "7", "\"\"", "\"7\"", "\"01a1fd43133d779888725fdfc48912aa\""];

    fn read(given: Given) -> Result<Self, String> {
        text_of(given)?.parse().map_err(|_| "must be an id such as 01a1fd43-133d-7798-8872-5fdfc48912aa".to_owned())
    }

    fn search_form(&self) -> String {
        self.to_string()
    }

    fn key(&self) -> String {
        self.to_string()
    }

    fn sample(number: u64) -> Json {
        json!(format!("01a1fd43-133d-7798-8872-{number:012x}"))
    }
}
