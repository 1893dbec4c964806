//! Enumerations as values.

use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer};
use serde_json::{Value as Json, json};

use super::{Value, text_of};
use crate::given::Given;

/// One of a few values with names. `#[derive(Choice)]` on an enumeration implements this trait and [`Value`]. The names are
/// those of the variants, in lower case with underscores.
pub trait Choice: Copy + PartialEq + Sized + 'static {
    /// All values.
    const ALL: &'static [Self];
    /// The names in bodies, stored forms, views and keys, in the same order.
    const NAMES: &'static [&'static str];

    /// Returns the name.
    #[must_use]
    fn name(self) -> &'static str {
        let index = Self::ALL.iter().position(|choice| *choice == self);
        index.and_then(|index| Self::NAMES.get(index)).copied().unwrap_or_default()
    }

    /// Returns the value with this name.
    #[must_use]
    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|choice| choice.name() == name)
    }

    /// Reads a value from a body or a parameter. The error lists the valid names.
    fn choose(given: Given) -> Result<Self, String>
    where
        Self: Value,
    {
        Self::named(&text_of(given)?).ok_or_else(|| format!("must be {}", listed(Self::ALL, "or")))
    }
}

/// Returns a valid value in JSON for each number.
#[must_use]
pub fn sample_of<C: Choice>(number: u64) -> Json {
    let count = u64::try_from(C::NAMES.len()).unwrap_or(1).max(1);
    let index = usize::try_from(number % count).unwrap_or_default();
    json!(C::NAMES.get(index))
}

/// Reads a stored value.
pub fn deserialize<'de, C: Choice, D: Deserializer<'de>>(deserializer: D) -> Result<C, D::Error> {
    let name = String::deserialize(deserializer)?;
    C::named(&name).ok_or_else(|| D::Error::unknown_variant(&name, C::NAMES))
}

/// Joins names for a sentence, for example `` `active` or `suspended` ``.
pub fn listed<C: Choice>(choices: &[C], conjunction: &str) -> String {
    let names: Vec<_> = choices.iter().map(|choice| format!("`{}`", choice.name())).collect();
    crate::text::listed(&names, conjunction)
}
