//! The parameters of a list, as a client gave them.

use std::collections::BTreeMap;

/// The parameters of a list, each at most once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters(BTreeMap<String, String>);

/// Why parameters are not a filter; for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FilterError(pub String);

impl Parameters {
    /// Adds a parameter; false if it is there already.
    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) -> bool {
        self.0.insert(name.into(), value.into()).is_none()
    }

    /// Takes a parameter.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// A parameter that nobody has taken.
    #[must_use]
    pub fn left_over(&self) -> Option<&str> {
        self.0.keys().next().map(String::as_str)
    }
}
