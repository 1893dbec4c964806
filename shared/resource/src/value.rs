//! The values that fields are made of. Each is valid from birth: private inside, made by a fallible constructor.

/// What a value that is a text inside has in common with others.
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
use crate::body::Given;

/// A value of a field. Its serialised form is stored, travels in commands, and is shown to clients.
pub trait Value: fmt::Debug + Clone + PartialEq + Send + Sync + Serialize + DeserializeOwned + 'static {
    /// Values that are refused, in JSON, for tests.
    const WRONG: &'static [&'static str];

    /// Reads what a client gave in a body. The error says what would be right.
    fn read(given: Given) -> Result<Self, String>;

    /// Reads what a client gave as a parameter of a list.
    fn read_parameter(text: &str) -> Result<Self, String> {
        Self::read(Given::Text(text.to_owned()))
    }

    /// The form by which values are found and sorted: two values with one form are the same to those who look for one.
    fn search_form(&self) -> String;

    /// The form in which keys hold the value: no personal data, so a digest unless a type says otherwise.
    fn key(&self) -> String {
        kernel::seal::encode(digest(&SHA256, self.search_form().as_bytes()).as_ref())
    }

    /// Refuses the beginning of a value if no value begins so. Only lists that are sorted by the value ask for it.
    fn check_beginning(_: &str) -> Result<(), String> {
        Err("cannot be searched by its beginning".to_owned())
    }

    /// A value in JSON that is right, for tests: another one for each number, as far as there are others.
    fn sample(number: u64) -> Json;
}

/// Why something that is not a string is refused.
fn expected_string(given: &Given) -> String {
    match given {
        Given::Null => "must not be null: no field can be removed".to_owned(),
        _ => "must be a string".to_owned(),
    }
}

/// Reads a text.
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

/// The id of another item. Whether there is one is not checked: it may be created or deleted at any time.
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
