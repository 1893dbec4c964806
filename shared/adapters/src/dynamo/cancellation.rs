//! Cancelled transactions. DynamoDB returns one reason for each action, in the order of the actions.

use aws_sdk_dynamodb::types::CancellationReason;
use aws_sdk_dynamodb::types::error::TransactionCanceledException;
use kernel::ports::{CommitError, FailedConditions, PortError, UniqueKey};
use kernel::record::CommandRecord;

use super::records::DynamoRecords;
use super::{WRITE_STORE, unavailable};

/// The part of the transaction that an action writes.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part<'a> {
    State,
    Record(&'a CommandRecord),
    UniqueKey(&'a UniqueKey),
    View,
}

/// The reason of one action. The codes are those of the API reference of `TransactWriteItems`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    None,
    ConditionFailed,
    Conflict,
    TooLarge,
    /// A throttled action, or an unknown code.
    Other,
}

/// Returns the error of a cancelled transaction.
///
/// Failed conditions count only if DynamoDB has evaluated every condition, because the error must name all that failed. After a
/// conflict or a throttled action the caller tries again.
pub(super) fn judge(
    parts: &[Part<'_>],
    canceled: &TransactionCanceledException,
    records: &DynamoRecords,
) -> CommitError {
    let reasons = canceled.cancellation_reasons();
    if reasons.len() != parts.len() {
        return unavailable(WRITE_STORE)(canceled.clone()).into();
    }
    let kinds: Vec<_> = reasons.iter().map(reason).collect();
    if kinds.contains(&Reason::TooLarge) {
        CommitError::TooLarge
    } else if kinds.contains(&Reason::Conflict) {
        CommitError::Contended
    } else if kinds.contains(&Reason::Other) || !kinds.contains(&Reason::ConditionFailed) {
        unavailable(WRITE_STORE)(canceled.clone()).into()
    } else {
        failed_conditions(parts, reasons, records).map_or_else(CommitError::Port, CommitError::Conditions)
    }
}

/// Returns whether a validation error is about size. DynamoDB has no separate code for it.
pub(super) fn is_about_size(code: Option<&str>, message: Option<&str>) -> bool {
    let says = |part| message.is_some_and(|message| message.to_ascii_lowercase().contains(part));
    matches!(code, Some("ValidationException" | "ValidationError"))
        && (says("size") || says("less than or equal to 100"))
}

fn reason(reason: &CancellationReason) -> Reason {
    match reason.code() {
        None | Some("None") => Reason::None,
        Some("ConditionalCheckFailed") => Reason::ConditionFailed,
        Some("TransactionConflict") => Reason::Conflict,
        Some("ItemCollectionSizeLimitExceeded") => Reason::TooLarge,
        code if is_about_size(code, reason.message()) => Reason::TooLarge,
        Some(_) => Reason::Other,
    }
}

fn failed_conditions(
    parts: &[Part<'_>],
    reasons: &[CancellationReason],
    records: &DynamoRecords,
) -> Result<FailedConditions, PortError> {
    let mut failed = FailedConditions::default();
    for (part, cause) in parts.iter().zip(reasons) {
        if reason(cause) != Reason::ConditionFailed {
            continue;
        }
        match part {
            Part::State => failed.state_moved = true,
            Part::Record(record) => failed.final_records.push(records.found(&record.key, cause.item())?),
            Part::UniqueKey(unique_key) => failed.unique_keys_held.push((*unique_key).clone()),
            Part::View => failed.view_exists = true,
        }
    }
    Ok(failed)
}
