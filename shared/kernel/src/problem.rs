//! Why a command was not carried out, in the shape of RFC 9457.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// One thing that is wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// Where: a JSON pointer (RFC 6901) into the request body.
    pub pointer: String,
    /// What, and what would be right.
    pub detail: String,
}

/// A refusal that a client can act on. It is kept in the command's record, so it is stable once given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Names the kind of problem, for example `email-taken`. The HTTP layer makes the `type` URI of it.
    pub code: Cow<'static, str>,
    /// The HTTP status that says it best.
    pub status: u16,
    /// The kind of problem, for people.
    pub title: Cow<'static, str>,
    /// This occurrence, for people: what to do about it.
    pub detail: String,
    /// All fields that are wrong, where fields are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
}

impl Problem {
    /// A problem of a kind, without fields.
    #[must_use]
    pub fn new(code: &'static str, status: u16, title: &'static str, detail: impl Into<String>) -> Self {
        Self { code: code.into(), status, title: title.into(), detail: detail.into(), errors: Vec::new() }
    }

    /// The aggregate does not exist, or no longer does.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new("not-found", 404, "Not found", "nothing exists under this id, or it was deleted")
    }

    /// `If-Match` named another version than the one that is stored.
    #[must_use]
    pub fn version_conflict(current: u64) -> Self {
        let detail = format!("the current version is \"{current}\": read it again and repeat the change on top of it");
        Self::new("version-conflict", 412, "Version conflict", detail)
    }

    /// `If-None-Match` of a write named the version that is stored.
    #[must_use]
    pub fn excluded(current: u64) -> Self {
        let detail = format!("If-None-Match excludes the current version \"{current}\": nothing was done");
        Self::new("precondition-failed", 412, "Precondition failed", detail)
    }

    /// A created aggregate exists already.
    #[must_use]
    pub fn already_exists() -> Self {
        Self::new("already-exists", 409, "Already exists", "something exists under this id already")
    }

    /// The command waited longer than commands are kept for.
    #[must_use]
    pub fn expired() -> Self {
        Self::new("expired", 410, "Command expired", "the command was accepted over 30 days ago: send it again")
    }
}
