//! The limits of a transaction, the same in every store. A store checks them before any condition.

use std::collections::BTreeSet;

use kernel::ids::NAME_BYTES_MAX;
use kernel::ports::{Cause, CommitError, LOAD_KEYS_MAX, PortError, Snapshot, Transaction, UniqueKey};
use kernel::record::CommandStatus;

/// The most items in one transaction, as in DynamoDB's `TransactWriteItems`.
pub(crate) const TRANSACTION_ITEMS_MAX: usize = 100;

/// The most bytes in all items of one transaction, as in DynamoDB's `TransactWriteItems`.
pub(crate) const TRANSACTION_BYTES_MAX: usize = 4_000_000;

/// The most bytes in one item, as in DynamoDB.
pub(crate) const ITEM_BYTES_MAX: usize = 400_000;

/// The most entries on a page of a list.
pub(crate) const LIST_LIMIT_MAX: usize = 100;

/// The size of the attribute names and numbers of one item, in bytes, estimated generously.
const ITEM_OVERHEAD_BYTES: usize = 512;

/// Refuses a transaction that is too large, or that has two operations on one item.
pub(crate) fn check(transaction: &Transaction) -> Result<(), CommitError> {
    check_size(transaction)?;
    let mut seen = BTreeSet::new();
    let records = transaction.records.iter().map(|record| record.key.to_string());
    let unique_keys =
        transaction.unique_keys_taken.iter().chain(&transaction.unique_keys_released).map(UniqueKey::to_string);
    match records.chain(unique_keys).find(|key| !seen.insert(key.clone())) {
        None => Ok(()),
        Some(key) => Err(PortError::Unavailable {
            port: "write store",
            cause: format!("a transaction with two operations on {key}").into(),
        }
        .into()),
    }
}

fn check_size(transaction: &Transaction) -> Result<(), CommitError> {
    let sizes = item_sizes(transaction);
    let fits = sizes.len() <= TRANSACTION_ITEMS_MAX
        && sizes.iter().all(|size| *size <= ITEM_BYTES_MAX)
        && sizes.iter().sum::<usize>() <= TRANSACTION_BYTES_MAX;
    if fits { Ok(()) } else { Err(CommitError::TooLarge) }
}

/// Refuses a load of more keys than a store accepts.
pub(crate) fn check_load(port: &'static str, keys: usize) -> Result<(), PortError> {
    if keys <= LOAD_KEYS_MAX {
        return Ok(());
    }
    let cause: Cause = format!("{keys} keys in one load, more than {LOAD_KEYS_MAX}").into();
    Err(PortError::Unavailable { port, cause })
}

fn item_sizes(transaction: &Transaction) -> Vec<usize> {
    let state = transaction.state.iter().map(|change| snapshot_size(&change.next));
    let records = transaction.records.iter().map(|record| match &record.status {
        CommandStatus::Rejected { problem, .. } => {
            let errors = problem.errors.iter().map(|error| error.pointer.len() + error.detail.len() + 32);
            ITEM_OVERHEAD_BYTES + problem.detail.len() + problem.title.len() + errors.sum::<usize>()
        }
        CommandStatus::Failed { reason } => ITEM_OVERHEAD_BYTES + reason.len(),
        CommandStatus::Pending | CommandStatus::Applied { .. } | CommandStatus::Superseded { .. } => {
            ITEM_OVERHEAD_BYTES
        }
    });
    let unique_keys = transaction.unique_keys_taken.iter().chain(&transaction.unique_keys_released);
    let unique_keys = unique_keys.map(|unique_key| ITEM_OVERHEAD_BYTES + unique_key.value.len());
    let view = transaction.view.iter().map(snapshot_size);
    state.chain(records).chain(unique_keys).chain(view).collect()
}

fn snapshot_size(snapshot: &Snapshot) -> usize {
    let index = snapshot.index.iter().map(|entry| {
        // A store may prefix the partition with the kind and the tenant.
        2 * entry.slot.name().len() + entry.partition.len() + entry.sort.len() + NAME_BYTES_MAX + 16
    });
    ITEM_OVERHEAD_BYTES + snapshot.body.as_ref().map_or(0, bytes::Bytes::len) + index.sum::<usize>()
}
