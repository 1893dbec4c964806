//! The stored form of notes: the progress of an operation, which a table keeps for the next run.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::output::Failure;

/// Returns the stored form of a note.
pub(crate) fn encode(note: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(note).unwrap_or_default()
}

/// Reads the stored form of the note with this name.
pub(crate) fn decode<T: DeserializeOwned>(store: &'static str, name: &str, note: &[u8]) -> Result<T, Failure> {
    let unreadable = |error| Failure::Refused { part: store, cause: format!("bookmark {name}: {error}") };
    serde_json::from_slice(note).map_err(unreadable)
}
