//! The audit log: which operator did what to which message. Each entry is written before the action.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use kernel::clock::{Clock as _, SystemClock};
use serde_json::json;

use crate::output::Failure;

/// An append-only log.
#[derive(Debug)]
pub(crate) struct AuditLog {
    file: File,
    path: String,
    operator: String,
}

impl AuditLog {
    /// Opens the log in a file, for the entries of an operator.
    pub(crate) fn open(path: &Path, operator: &str) -> Result<Self, Failure> {
        let name = path.display().to_string();
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|cause| Failure::Audit { path: name.clone(), cause })?;
        Ok(Self { file, path: name, operator: operator.to_owned() })
    }

    /// Writes an entry for an action, and returns when the entry is on the disk.
    pub(crate) fn about_to(&mut self, what: &str, message_id: &str, body: &str) -> Result<(), Failure> {
        let line = json!({
            "at": SystemClock.now().to_string(),
            "who": self.operator,
            "what": what,
            "message_id": message_id,
            "body": body,
        });
        let written = writeln!(self.file, "{line}").and_then(|()| self.file.sync_data());
        written.map_err(|cause| Failure::Audit { path: self.path.clone(), cause })
    }
}
