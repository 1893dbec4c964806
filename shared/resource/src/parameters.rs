//! The parameters of a list, as a client sent them.

use std::collections::BTreeMap;

/// The parameters of a list, each at most once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters(BTreeMap<String, String>);

/// The reason why parameters are not a valid filter, as a text for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FilterError(pub String);

impl Parameters {
    /// Adds a parameter. Returns false if one of this name was present; the new value replaces it.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) -> bool {
        self.0.insert(name.into(), value.into()).is_none()
    }

    /// Removes a parameter and returns its value.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Returns the name of a parameter that no one has taken, if one is left.
    #[must_use]
    pub fn left_over(&self) -> Option<&str> {
        self.0.keys().next().map(String::as_str)
    }
}
