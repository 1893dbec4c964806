//! Snapshots of aggregates in a table: states in the write store, views in the read store. Both have the same form.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::builders::PutBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, Put, ReturnValuesOnConditionCheckFailure};
use kernel::ids::{AggregateKey, Kind};
use kernel::ports::{
    Consistency, IndexEntry, ListQuery, Page, PortError, Position, Projected, Slot, Snapshot, ViewReader, ViewWriter,
};
use rand::random_range;
use tokio::time::sleep;

use super::item::{self, Item, ItemError};
use super::unavailable;
use crate::tables::{KEY_ATTRIBUTE, index_name, index_partition_attribute, index_sort_attribute};
use crate::transaction::{LIST_LIMIT_MAX, check_load};

const VERSION: &str = "version";
const SCHEMA: &str = "schema";
const BODY: &str = "body";

/// Put IF absent or not newer.
const ABSENT_OR_NOT_NEWER: &str = "attribute_not_exists(#pk) OR #version <= :version";
/// Put the view IF absent or older.
const ABSENT_OR_OLDER: &str = "attribute_not_exists(#pk) OR #version < :version";

/// The most items on one page of a scan, so that a repeated page is little work.
const SCAN_ITEMS_MAX: usize = 500;
/// The most attempts to load keys. DynamoDB leaves keys out beyond 16 MB, or beyond the capacity of the table.
const LOAD_ATTEMPTS_MAX: u32 = 8;
/// The longest pause before the second attempt. It doubles with each further attempt.
const LOAD_PAUSE_FIRST: Duration = Duration::from_millis(20);

/// Put IF the stored version is this one.
const SAME: &str = "attribute_exists(#pk) AND #version = :version";

/// One page of a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanPage {
    /// The snapshots on the page.
    pub entries: Vec<(AggregateKey, Snapshot)>,
    /// The number of items that DynamoDB has read for the page. It includes unique keys and bookmarks, as
    /// [`SnapshotTable::approximate_len`] does.
    pub items: u64,
    /// The position after the page; `None` at the end of the segment. You can store it and continue the scan later.
    pub next: Option<String>,
}

/// A table of snapshots. It is a [`ViewReader`] of its contents: in the write store's table, these are *states*.
#[derive(Debug, Clone)]
pub struct SnapshotTable {
    client: Client,
    port: &'static str,
    table: String,
}

impl SnapshotTable {
    pub(super) fn new(client: Client, port: &'static str, table: String) -> Self {
        Self { client, port, table }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn name(&self) -> &str {
        &self.table
    }

    /// Returns the approximate number of items, which DynamoDB updates every six hours; `None` if DynamoDB does not report it.
    pub async fn approximate_len(&self) -> Result<Option<u64>, PortError> {
        let described = self.client.describe_table().table_name(&self.table).send().await;
        let described = described.map_err(unavailable(self.port))?;
        Ok(described.table.and_then(|table| table.item_count).and_then(|count| count.try_into().ok()))
    }

    /// Reads one page of a parallel scan, strongly consistent: the snapshots of these kinds in a segment, from the position
    /// `after`.
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Scan.html#Scan.ParallelScan>
    pub async fn scan(
        &self,
        kinds: &[Kind],
        segment: u32,
        segments: u32,
        after: Option<String>,
    ) -> Result<ScanPage, PortError> {
        self.scan_some(SCAN_ITEMS_MAX, kinds, segment, segments, after).await
    }

    /// Like [`SnapshotTable::scan`], with a limit on the items that the page reads, of any kind.
    pub async fn scan_some(
        &self,
        items_max: usize,
        kinds: &[Kind],
        segment: u32,
        segments: u32,
        after: Option<String>,
    ) -> Result<ScanPage, PortError> {
        let limit = items_max.clamp(1, SCAN_ITEMS_MAX);
        let found = self
            .client
            .scan()
            .table_name(&self.table)
            .consistent_read(true)
            .segment(i32::try_from(segment).unwrap_or(i32::MAX))
            .total_segments(i32::try_from(segments).unwrap_or(i32::MAX))
            .limit(i32::try_from(limit).unwrap_or(i32::MAX))
            .set_exclusive_start_key(after.map(item::key))
            .send()
            .await
            .map_err(unavailable(self.port))?;
        let items = found.items().len() as u64;
        let mut entries = Vec::new();
        for item in found.items() {
            let pk = item::text(item, KEY_ATTRIBUTE).map_err(|error| self.corrupt("an item", error))?;
            if let Some(key) = kinds.iter().find_map(|kind| aggregate_key(*kind, pk)) {
                entries.push((key, self.decode(item)?.1));
            }
        }
        let next = found.last_evaluated_key.map(|key| item::text(&key, KEY_ATTRIBUTE).map(str::to_owned)).transpose();
        Ok(ScanPage { entries, items, next: next.map_err(|error| self.corrupt("a scan's end", error))? })
    }

    /// Puts the snapshot IF absent or not newer, for repairs. A newer stored version stays.
    pub async fn replace_up_to(&self, key: &AggregateKey, next: &Snapshot) -> Result<(), PortError> {
        self.put_unless_refused(key, next, ABSENT_OR_NOT_NEWER).await.map(drop)
    }

    /// Puts the snapshot IF its version is the stored one, for repairs. Otherwise leaves the table unchanged, and returns
    /// false.
    pub async fn replace_same(&self, key: &AggregateKey, next: &Snapshot) -> Result<bool, PortError> {
        self.put_unless_refused(key, next, SAME).await
    }

    /// Puts a snapshot if the condition holds. The condition may name `:version`. Returns whether the put took effect.
    async fn put_unless_refused(
        &self,
        key: &AggregateKey,
        next: &Snapshot,
        condition: &str,
    ) -> Result<bool, PortError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(encode(key, next)))
            .condition_expression(condition)
            .expression_attribute_names("#pk", KEY_ATTRIBUTE)
            .expression_attribute_names("#version", VERSION)
            .expression_attribute_values(":version", item::n(next.version));
        let Err(error) = put.send().await else { return Ok(true) };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(_)) => Ok(false),
            _ => Err(unavailable(self.port)(error)),
        }
    }

    /// Deletes an item that should not exist, for repairs.
    pub async fn remove(&self, key: &AggregateKey) -> Result<(), PortError> {
        self.delete(key.to_string()).await
    }

    async fn delete(&self, pk: String) -> Result<(), PortError> {
        let delete = self.client.delete_item().table_name(&self.table).set_key(Some(item::key(pk)));
        delete.send().await.map(drop).map_err(unavailable(self.port))
    }

    /// Returns the stored progress of a long task on this table.
    pub async fn bookmark(&self, name: &str) -> Result<Option<Vec<u8>>, PortError> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(item::key(bookmark(name))));
        let found = get.consistent_read(true).send().await.map_err(unavailable(self.port))?;
        let bytes = found.item.map(|item| item::optional_bytes(&item, BODY)).transpose();
        Ok(bytes.map_err(|error| self.corrupt(name, error))?.flatten().map(Into::into))
    }

    /// Stores the progress of a long task on this table, so that it can continue from there, also on another machine.
    pub async fn set_bookmark(&self, name: &str, stand: Vec<u8>) -> Result<(), PortError> {
        self.put_bookmark(name, stand).send().await.map(drop).map_err(unavailable(self.port))
    }

    /// Stores the progress IF the stored progress is the expected one; `None` for no stored progress. Returns false if it is
    /// another one: another process has continued the task.
    pub async fn replace_bookmark(
        &self,
        name: &str,
        expected: Option<&[u8]>,
        stand: Vec<u8>,
    ) -> Result<bool, PortError> {
        let put = self.put_bookmark(name, stand.clone());
        let put = match expected {
            None => {
                put.condition_expression("attribute_not_exists(#pk)").expression_attribute_names("#pk", KEY_ATTRIBUTE)
            }
            Some(expected) => put
                .condition_expression("#body = :expected")
                .expression_attribute_names("#body", BODY)
                .expression_attribute_values(":expected", AttributeValue::B(Blob::new(expected))),
        };
        let put = put.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        let Err(error) = put.send().await else { return Ok(true) };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => {
                // The SDK repeats a put whose answer was lost. The condition then fails because of the first put.
                let found = failed.item().map(|item| item::optional_bytes(item, BODY)).transpose();
                let found = found.map_err(|error| self.corrupt(name, error))?.flatten();
                Ok(found.is_some_and(|found| found == stand))
            }
            _ => Err(unavailable(self.port)(error)),
        }
    }

    fn put_bookmark(&self, name: &str, stand: Vec<u8>) -> PutItemFluentBuilder {
        let mut item = item::key(bookmark(name));
        item::set(&mut item, BODY, AttributeValue::B(Blob::new(stand)));
        self.client.put_item().table_name(&self.table).set_item(Some(item))
    }

    /// Deletes the stored progress.
    pub async fn remove_bookmark(&self, name: &str) -> Result<(), PortError> {
        self.delete(bookmark(name)).await
    }

    /// Returns the snapshots of `keys`, at most [`LOAD_KEYS_MAX`](kernel::ports::LOAD_KEYS_MAX), in the same order, strongly
    /// consistent.
    pub async fn load(&self, keys: &[AggregateKey]) -> Result<Vec<Option<Snapshot>>, PortError> {
        check_load(self.port, keys.len())?;
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        // DynamoDB refuses duplicate keys.
        let distinct: BTreeSet<_> = keys.iter().map(AggregateKey::to_string).collect();
        let mut found = HashMap::new();
        let mut missing = self.load_some(distinct.into_iter().map(item::key).collect(), &mut found).await?;
        let mut pause_max = LOAD_PAUSE_FIRST;
        for _ in 1..LOAD_ATTEMPTS_MAX {
            if missing.is_empty() {
                break;
            }
            sleep(random_range(Duration::ZERO..=pause_max)).await;
            pause_max *= 2;
            missing = self.load_some(missing, &mut found).await?;
        }
        if !missing.is_empty() {
            let cause = format!("{} keys are unprocessed after {LOAD_ATTEMPTS_MAX} attempts", missing.len());
            return Err(unavailable(self.port)(cause));
        }
        Ok(keys.iter().map(|key| found.get(&key.to_string()).cloned()).collect())
    }

    /// Adds snapshots to `found`, and returns the keys that DynamoDB has left out.
    async fn load_some(&self, keys: Vec<Item>, found: &mut HashMap<String, Snapshot>) -> Result<Vec<Item>, PortError> {
        let request = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build();
        let request = request.map_err(unavailable(self.port))?;
        let answer = self.client.batch_get_item().request_items(&self.table, request).send().await;
        let answer = answer.map_err(unavailable(self.port))?;
        for item in answer.responses.unwrap_or_default().remove(&self.table).unwrap_or_default() {
            let (pk, snapshot) = self.decode(&item)?;
            found.insert(pk.to_owned(), snapshot);
        }
        let unprocessed = answer.unprocessed_keys.unwrap_or_default().remove(&self.table);
        Ok(unprocessed.map(|unprocessed| unprocessed.keys).unwrap_or_default())
    }

    /// Returns the action that puts a snapshot, without its condition.
    fn put(&self, key: &AggregateKey, snapshot: &Snapshot) -> PutBuilder {
        Put::builder()
            .table_name(&self.table)
            .set_item(Some(encode(key, snapshot)))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .expression_attribute_names("#pk", KEY_ATTRIBUTE)
    }

    /// Returns the action that puts a snapshot IF the stored version is the expected one; 0 for no stored version.
    pub(super) fn put_if_version(&self, key: &AggregateKey, next: &Snapshot, expected: u64) -> Result<Put, BuildError> {
        let put = self.put(key, next);
        if expected == 0 {
            return put.condition_expression("attribute_not_exists(#pk)").build();
        }
        put.condition_expression("attribute_exists(#pk) AND #version = :expected")
            .expression_attribute_names("#version", VERSION)
            .expression_attribute_values(":expected", item::n(expected))
            .build()
    }

    /// Returns the action that puts a snapshot IF absent or older.
    pub(super) fn put_if_newer(&self, key: &AggregateKey, next: &Snapshot) -> Result<Put, BuildError> {
        self.put(key, next)
            .condition_expression(ABSENT_OR_OLDER)
            .expression_attribute_names("#version", VERSION)
            .expression_attribute_values(":version", item::n(next.version))
            .build()
    }

    /// Returns the key and the snapshot of an item.
    fn decode<'a>(&self, item: &'a Item) -> Result<(&'a str, Snapshot), PortError> {
        let pk = item::text(item, KEY_ATTRIBUTE).map_err(|error| self.corrupt("an item", error))?;
        let snapshot = decode(pk, item).map_err(|error| self.corrupt(pk, error))?;
        Ok((pk, snapshot))
    }

    /// Returns the position of an item in an index, with its snapshot.
    fn decode_entry(&self, query: &ListQuery, item: &Item) -> Result<(Position, Snapshot), PortError> {
        let (pk, snapshot) = self.decode(item)?;
        let corrupt = |error| self.corrupt(pk, error);
        let sort = item::text(item, &index_sort_attribute(query.slot)).map_err(corrupt)?.to_owned();
        let id = id_in(pk).and_then(|id| id.parse().map_err(item::malformed(KEY_ATTRIBUTE))).map_err(corrupt)?;
        Ok((Position { sort, id }, snapshot))
    }

    fn corrupt(&self, key: &str, error: ItemError) -> PortError {
        PortError::Corrupt { port: self.port, key: format!("{}/{key}", self.table), cause: error.into() }
    }

    /// Returns the key after which a list continues, in DynamoDB's form.
    fn start_key(query: &ListQuery, partition: &str, after: &Position) -> Item {
        let key = AggregateKey { kind: query.kind, tenant: query.tenant.clone(), id: after.id };
        let mut start = item::key(key.to_string());
        item::set(&mut start, &index_partition_attribute(query.slot), item::s(partition));
        item::set(&mut start, &index_sort_attribute(query.slot), item::s(after.sort.as_str()));
        start
    }
}

#[async_trait]
impl ViewReader for SnapshotTable {
    async fn get(&self, key: &AggregateKey, consistency: Consistency) -> Result<Option<Snapshot>, PortError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(item::key(key.to_string())))
            .consistent_read(consistency == Consistency::Strong)
            .send()
            .await
            .map_err(unavailable(self.port))?;
        found.item.map(|item| Ok(self.decode(&item)?.1)).transpose()
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, PortError> {
        let after = match &query.after {
            // DynamoDB refuses a start key outside the range of the query.
            Some(after) if after.sort < query.sort_prefix => None,
            Some(after) if !after.sort.starts_with(&query.sort_prefix) => {
                return Ok(Page { entries: Vec::new(), more: false });
            }
            after => after.as_ref(),
        };
        let partition = stored_partition(&format!("{}#{}", query.kind, query.tenant), &query.partition);
        let limit = query.limit.clamp(1, LIST_LIMIT_MAX);
        let mut condition = "#partition = :partition".to_owned();
        let mut request = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(index_name(query.slot))
            .expression_attribute_names("#partition", index_partition_attribute(query.slot))
            .expression_attribute_values(":partition", item::s(partition.as_str()))
            .set_exclusive_start_key(after.map(|after| Self::start_key(query, &partition, after)))
            // One item more than requested shows whether there is another page, so that the last page is not followed by an
            // empty one.
            .limit(i32::try_from(limit + 1).unwrap_or(i32::MAX));
        if !query.sort_prefix.is_empty() {
            condition.push_str(" AND begins_with(#sort, :prefix)");
            request = request
                .expression_attribute_names("#sort", index_sort_attribute(query.slot))
                .expression_attribute_values(":prefix", item::s(query.sort_prefix.as_str()));
        }
        let mut request = request.key_condition_expression(condition);
        let found = loop {
            let found = request.clone().send().await.map_err(unavailable(self.port))?;
            match found.last_evaluated_key {
                // The entry of a page gives the position of the next page, so an empty page is skipped here.
                Some(end) if found.items().is_empty() => request = request.set_exclusive_start_key(Some(end)),
                _ => break found,
            }
        };
        // A page also ends at 1 MB.
        let more = found.items().len() > limit || found.last_evaluated_key.is_some();
        let entries = found.items().iter().take(limit).map(|item| self.decode_entry(query, item));
        Ok(Page { entries: entries.collect::<Result<_, _>>()?, more })
    }
}

/// The read store in DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoViewStore {
    snapshots: SnapshotTable,
}

impl DynamoViewStore {
    /// Returns the table of all views, for comparisons and repairs.
    #[must_use]
    pub fn snapshots(&self) -> SnapshotTable {
        self.snapshots.clone()
    }

    /// Makes the client of the read store in `table`.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { snapshots: SnapshotTable::new(client, "read store", table.into()) }
    }
}

#[async_trait]
impl ViewReader for DynamoViewStore {
    async fn get(&self, key: &AggregateKey, consistency: Consistency) -> Result<Option<Snapshot>, PortError> {
        self.snapshots.get(key, consistency).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, PortError> {
        self.snapshots.list(query).await
    }
}

#[async_trait]
impl ViewWriter for DynamoViewStore {
    async fn put(&self, key: &AggregateKey, view: &Snapshot) -> Result<Projected, PortError> {
        match self.snapshots.put_unless_refused(key, view, ABSENT_OR_OLDER).await? {
            true => Ok(Projected::Stored),
            false => Ok(Projected::Newer),
        }
    }
}

/// Returns the partition key in the table. It contains the tenant and the kind, so that no list can cross them, whatever
/// partition a domain chooses.
fn stored_partition(kind_and_tenant: &str, partition: &str) -> String {
    format!("{kind_and_tenant}#{partition}")
}

/// Returns the id of an aggregate: the last part of its key.
fn id_in(pk: &str) -> Result<&str, ItemError> {
    item::required(KEY_ATTRIBUTE, pk.rsplit_once('#').map(|(_, id)| id))
}

/// Returns the key of a bookmark. It differs from the key of any aggregate, because kinds have no lower-case letters.
fn bookmark(name: &str) -> String {
    format!("bookmark#{name}")
}

/// Returns the key of an aggregate of this kind; `None` for other items, such as unique keys.
fn aggregate_key(kind: Kind, pk: &str) -> Option<AggregateKey> {
    let (tenant, id) = pk.strip_prefix(kind.letters())?.strip_prefix('#')?.split_once('#')?;
    Some(AggregateKey { kind, tenant: tenant.parse().ok()?, id: id.parse().ok()? })
}

fn encode(key: &AggregateKey, snapshot: &Snapshot) -> Item {
    let kind_and_tenant = format!("{}#{}", key.kind, key.tenant);
    let mut item = item::key(key.to_string());
    item::set(&mut item, VERSION, item::n(snapshot.version));
    item::set(&mut item, SCHEMA, item::n(snapshot.schema));
    if let Some(body) = &snapshot.body {
        item::set(&mut item, BODY, AttributeValue::B(Blob::new(body.as_ref())));
    }
    for IndexEntry { slot, partition, sort } in &snapshot.index {
        let partition = stored_partition(&kind_and_tenant, partition);
        item::set(&mut item, &index_partition_attribute(*slot), item::s(partition));
        item::set(&mut item, &index_sort_attribute(*slot), item::s(sort.as_str()));
    }
    if let Some(at) = snapshot.expires_at {
        item::set_expires_at(&mut item, at);
    }
    item
}

fn decode(pk: &str, item: &Item) -> Result<Snapshot, ItemError> {
    let entries = Slot::ALL.into_iter().filter_map(|slot| decode_index(pk, item, slot).transpose());
    Ok(Snapshot {
        version: item::number(item, VERSION)?,
        schema: item::number(item, SCHEMA)?,
        body: item::optional_bytes(item, BODY)?,
        index: entries.collect::<Result<_, _>>()?,
        expires_at: item::expires_at(item)?,
    })
}

fn decode_index(pk: &str, item: &Item, slot: Slot) -> Result<Option<IndexEntry>, ItemError> {
    let name = index_partition_attribute(slot);
    let Some(stored) = item::optional_text(item, &name)? else { return Ok(None) };
    let kind_and_tenant = pk.rsplit_once('#').map_or(pk, |(before, _)| before);
    let partition = stored.strip_prefix(kind_and_tenant).and_then(|rest| rest.strip_prefix('#'));
    let partition = partition.ok_or("does not begin with kind and tenant").map_err(item::malformed(&name))?.to_owned();
    let sort = item::text(item, &index_sort_attribute(slot))?.to_owned();
    Ok(Some(IndexEntry { slot, partition, sort }))
}
