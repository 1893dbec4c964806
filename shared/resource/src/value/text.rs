//! Texts that people choose.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::{Value, text_of};
use crate::given::Given;
use crate::text::{TextError, check_beginning, kept, search_form};

/// A text of 1 to `MAX` characters, with the rules of [`crate::text`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Text<const MAX: usize>(String);

text_value!(Text<MAX>, MAX);

impl<const MAX: usize> TryFrom<String> for Text<MAX> {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        kept(&text, MAX).map(Self)
    }
}

impl<const MAX: usize> Value for Text<MAX> {
    const WRONG: &'static [&'static str] =
        &["null", "7", "\"\"", "\"  \"", "\"\\u200b\"", "\"a\\nb\"", "\"a\\u202eb\"", "[\"a\"]", "{}"];

    fn read(given: Given) -> Result<Self, String> {
        Self::try_from(text_of(given)?).map_err(|error| error.to_string())
    }

    fn search_form(&self) -> String {
        search_form(&self.0)
    }

    fn check_beginning(text: &str) -> Result<(), String> {
        check_beginning(text, MAX).map_err(|error| error.to_string())
    }

    fn sample(number: u64) -> Json {
        let text: String = format!("{number:x} Zoë \"Z\" Ångström").chars().take(MAX).collect();
        json!(text.trim())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_so_many_characters_at_most() {
        assert!(Text::<3>::try_from("üüü".to_owned()).is_ok());
        assert_eq!(Text::<3>::try_from("üüüü".to_owned()), Err(TextError::Length(3)));
        assert_eq!(Text::<3>::read(Given::Null).unwrap_err(), "must not be null: no field can be removed");
        assert_eq!(Text::<3>::read(Given::Number(7)).unwrap_err(), "must be a string");
    }
}
