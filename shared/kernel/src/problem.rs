//! Refusals of commands, in the form of RFC 9457.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// An error in one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// The place of the error: a JSON pointer (RFC 6901) into the request body.
    pub pointer: String,
    /// The error, and the expected value.
    pub detail: String,
}

/// A refusal that a client can act on. The command's record keeps it, so a retry gets the same one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The kind of problem, for example `email-taken`. The HTTP layer makes the `type` URI from it.
    pub code: Cow<'static, str>,
    /// The HTTP status that fits best.
    pub status: u16,
    /// A short description of the kind of problem, for people.
    pub title: Cow<'static, str>,
    /// A description of this occurrence, for people, and the action to take.
    pub detail: String,
    /// All errors in fields. Empty if the problem is not about fields.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

impl Problem {
    /// Returns a problem without errors in fields.
    #[must_use]
    pub fn new(code: &'static str, status: u16, title: &'static str, detail: impl Into<String>) -> Self {
        Self { code: code.into(), status, title: title.into(), detail: detail.into(), errors: Vec::new() }
    }

    /// The aggregate does not exist, or is deleted.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new("not-found", 404, "Not found", "nothing exists under this id, or it was deleted")
    }

    /// `If-Match` names another version than the stored one.
    #[must_use]
    pub fn version_conflict(current: u64) -> Self {
        let detail = format!("the current version is \"{current}\": read it again and repeat the change on top of it");
        Self::new("version-conflict", 412, "Version conflict", detail)
    }

    /// `If-None-Match` of a write names the stored version.
    #[must_use]
    pub fn excluded(current: u64) -> Self {
        let detail = format!("If-None-Match excludes the current version \"{current}\", so nothing was changed");
        Self::new("precondition-failed", 412, "Precondition failed", detail)
    }

    /// The aggregate to create exists already.
    #[must_use]
    pub fn already_exists() -> Self {
        Self::new("already-exists", 409, "Already exists", "an item with this id exists already")
    }

    /// The command is older than the time for which the service keeps commands.
    #[must_use]
    pub fn expired() -> Self {
        Self::new("expired", 410, "Command expired", "the command was accepted over 30 days ago: send it again")
    }
}
