//! Texts about the record of a command.

use kernel::record::{CommandRecord, CommandStatus};
use service::resources;

/// Describes a status in a few words.
pub(crate) fn in_words(status: &CommandStatus) -> String {
    match status {
        CommandStatus::Pending => "pending".to_owned(),
        CommandStatus::Applied { version } => format!("applied as version {version}"),
        CommandStatus::Rejected { problem, .. } => format!("rejected: {}", problem.code),
        CommandStatus::Superseded { .. } => "superseded".to_owned(),
        CommandStatus::Failed { reason } => format!("failed: {reason}"),
    }
}

/// Returns the path of a command's item, as clients see it.
pub(crate) fn path_of(record: &CommandRecord) -> Option<String> {
    Some(resources::of_kind(record.kind.as_deref())?.item(record.aggregate))
}
