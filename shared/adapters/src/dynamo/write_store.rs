//! States and unique keys, and the transaction that writes all changes of one aggregate at once.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{BuildError, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{Delete, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem};
use kernel::ids::AggregateKey;
use kernel::ports::{CommitError, PortError, Snapshot, StateReader, Transaction, UniqueKey, WriteStore};

use super::cancellation::{self, Part};
use super::item;
use super::records::DynamoRecords;
use super::snapshots::SnapshotTable;
use super::{WRITE_STORE, unavailable};
use crate::tables::{KEY_ATTRIBUTE, TableNames};
use crate::transaction::check;

/// The attribute with the key of the aggregate that holds a unique key.
const HOLDER: &str = "holder";

/// Write or delete the unique key IF absent or held by this aggregate.
const ABSENT_OR_MINE: &str = "attribute_not_exists(#pk) OR #holder = :holder";

/// The write store in DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoWriteStore {
    snapshots: SnapshotTable,
    records: DynamoRecords,
    views: SnapshotTable,
}

impl DynamoWriteStore {
    /// Makes a write store for the tables of these names.
    #[must_use]
    pub fn new(client: &Client, names: &TableNames) -> Self {
        Self {
            snapshots: SnapshotTable::new(client.clone(), WRITE_STORE, names.write.clone()),
            records: DynamoRecords::new(client.clone(), names.commands.clone()),
            views: SnapshotTable::new(client.clone(), WRITE_STORE, names.read.clone()),
        }
    }

    /// Returns a reader of *states*, for the stages that have no read store.
    #[must_use]
    pub fn snapshots(&self) -> SnapshotTable {
        self.snapshots.clone()
    }

    /// Returns the actions of a transaction, each with the part that it writes.
    fn actions<'a>(&self, transaction: &'a Transaction) -> Result<Vec<(Part<'a>, TransactWriteItem)>, BuildError> {
        let Transaction { key, state, records, unique_keys_taken, unique_keys_released, view } = transaction;
        let mut actions = Vec::new();
        if let Some(change) = state {
            actions.push((Part::State, put(self.snapshots.put_if_version(key, &change.next, change.expected)?)));
        }
        for record in records {
            actions.push((Part::Record(record), put(self.records.put_if_open(record)?)));
        }
        for unique_key in unique_keys_taken {
            actions.push((Part::UniqueKey(unique_key), put(self.take(unique_key, key)?)));
        }
        for unique_key in unique_keys_released {
            let delete = self.release(unique_key, key)?;
            actions.push((Part::UniqueKey(unique_key), TransactWriteItem::builder().delete(delete).build()));
        }
        if let Some(view) = view {
            actions.push((Part::View, put(self.views.put_if_newer(key, view)?)));
        }
        Ok(actions)
    }

    fn take(&self, unique_key: &UniqueKey, holder: &AggregateKey) -> Result<Put, BuildError> {
        let mut item = item::key(unique_key.to_string());
        item::set(&mut item, HOLDER, item::s(holder.to_string()));
        Put::builder()
            .table_name(self.snapshots.name())
            .set_item(Some(item))
            .condition_expression(ABSENT_OR_MINE)
            .expression_attribute_names("#pk", KEY_ATTRIBUTE)
            .expression_attribute_names("#holder", HOLDER)
            .expression_attribute_values(":holder", item::s(holder.to_string()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
    }

    fn release(&self, unique_key: &UniqueKey, holder: &AggregateKey) -> Result<Delete, BuildError> {
        Delete::builder()
            .table_name(self.snapshots.name())
            .set_key(Some(item::key(unique_key.to_string())))
            .condition_expression(ABSENT_OR_MINE)
            .expression_attribute_names("#pk", KEY_ATTRIBUTE)
            .expression_attribute_names("#holder", HOLDER)
            .expression_attribute_values(":holder", item::s(holder.to_string()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
    }
}

fn put(put: Put) -> TransactWriteItem {
    TransactWriteItem::builder().put(put).build()
}

#[async_trait]
impl StateReader for DynamoWriteStore {
    async fn load(&self, keys: &[AggregateKey]) -> Result<Vec<Option<Snapshot>>, PortError> {
        self.snapshots.load(keys).await
    }
}

#[async_trait]
impl WriteStore for DynamoWriteStore {
    async fn commit(&self, transaction: &Transaction) -> Result<(), CommitError> {
        check(transaction)?;
        let actions = self.actions(transaction).map_err(unavailable(WRITE_STORE))?;
        let (parts, items): (Vec<_>, Vec<_>) = actions.into_iter().unzip();
        if items.is_empty() {
            return Ok(());
        }
        // The SDK adds a client request token, by which DynamoDB recognises the SDK's own retries for ten minutes.
        let sent = self.snapshots.client().transact_write_items().set_transact_items(Some(items)).send().await;
        match sent {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(error)) => Err(self.refusal(&parts, error.into_err())),
            Err(error) => Err(unavailable(WRITE_STORE)(error).into()),
        }
    }
}

impl DynamoWriteStore {
    fn refusal(&self, parts: &[Part<'_>], error: TransactWriteItemsError) -> CommitError {
        match error {
            TransactWriteItemsError::TransactionCanceledException(canceled) => {
                cancellation::judge(parts, &canceled, &self.records)
            }
            TransactWriteItemsError::TransactionInProgressException(_) => CommitError::Contended,
            error if cancellation::is_about_size(error.meta().code(), error.meta().message()) => CommitError::TooLarge,
            error => unavailable(WRITE_STORE)(error).into(),
        }
    }
}
