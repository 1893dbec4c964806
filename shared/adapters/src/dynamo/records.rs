//! Records of commands.

use async_trait::async_trait;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::BuildError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::types::{Put, ReturnValuesOnConditionCheckFailure};
use kernel::clock::Timestamp;
use kernel::ports::{PortError, RecordReader, RecordWriter};
use kernel::problem::Problem;
use kernel::record::{CommandRecord, CommandStatus, Fingerprint, RECORD_SCHEMA, RECORD_SCHEMA_WITH_KIND, RecordKey};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error as ValueError;

use super::item::{self, Item, ItemError};
use super::unavailable;
use crate::tables::KEY_ATTRIBUTE;

const PORT: &str = "records";

const STATUS: &str = "status";
const KIND: &str = "kind";
const AGGREGATE: &str = "aggregate";
const ACCEPTED_AT: &str = "accepted_at";
const COMPLETED_AT: &str = "completed_at";
const FINGERPRINT: &str = "fingerprint";
const VERSION: &str = "version";
const PROBLEM: &str = "problem";
const REASON: &str = "reason";
const SCHEMA: &str = "schema";

const PENDING: &str = "pending";
const APPLIED: &str = "applied";
const REJECTED: &str = "rejected";
const SUPERSEDED: &str = "superseded";
const FAILED: &str = "failed";

const ABSENT: &str = "attribute_not_exists(#pk)";
/// Put the record IF absent, pending or failed.
const ABSENT_OR_OPEN: &str = "attribute_not_exists(#pk) OR #status IN (:pending, :failed)";

/// Records of commands in DynamoDB.
#[derive(Debug, Clone)]
pub struct DynamoRecords {
    client: Client,
    table: String,
}

impl DynamoRecords {
    /// Makes the client of the records in `table`.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>) -> Self {
        Self { client, table: table.into() }
    }

    /// Returns the action of a transaction that puts a record IF absent, pending or failed.
    pub(super) fn put_if_open(&self, record: &CommandRecord) -> Result<Put, BuildError> {
        let item = encode(record).map_err(BuildError::other)?;
        Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression(ABSENT_OR_OPEN)
            .expression_attribute_names("#pk", KEY_ATTRIBUTE)
            .expression_attribute_names("#status", STATUS)
            .expression_attribute_values(":pending", item::s(PENDING))
            .expression_attribute_values(":failed", item::s(FAILED))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
    }

    /// Returns the record on which a condition failed.
    pub(super) fn found(&self, key: &RecordKey, item: Option<&Item>) -> Result<CommandRecord, PortError> {
        let item = item.ok_or_else(|| unavailable(PORT)("a condition failed, but the answer has no item"))?;
        decode(key, item).map_err(|error| PortError::Corrupt {
            port: PORT,
            key: format!("{}/{key}", self.table),
            cause: error.into(),
        })
    }

    fn put(&self, record: &CommandRecord) -> Result<PutItemFluentBuilder, PortError> {
        let item = encode(record).map_err(unavailable(PORT))?;
        let put = self.client.put_item().table_name(&self.table).set_item(Some(item));
        let put = put.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        Ok(put.expression_attribute_names("#pk", KEY_ATTRIBUTE))
    }

    async fn send(&self, put: PutItemFluentBuilder, key: &RecordKey) -> Result<Option<CommandRecord>, PortError> {
        let Err(error) = put.send().await else { return Ok(None) };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failed)) => self.found(key, failed.item()).map(Some),
            _ => Err(unavailable(PORT)(error)),
        }
    }
}

#[async_trait]
impl RecordReader for DynamoRecords {
    async fn get(&self, key: &RecordKey) -> Result<Option<CommandRecord>, PortError> {
        let get = self.client.get_item().table_name(&self.table).set_key(Some(item::key(key.to_string())));
        let found = get.consistent_read(true).send().await.map_err(unavailable(PORT))?;
        found.item.map(|item| self.found(key, Some(&item))).transpose()
    }
}

#[async_trait]
impl RecordWriter for DynamoRecords {
    async fn put_pending(&self, record: &CommandRecord) -> Result<Option<CommandRecord>, PortError> {
        let put = self.put(record)?.condition_expression(ABSENT);
        let found = self.send(put, &record.key).await?;
        // An equal record is the caller's: the SDK repeated the request after a lost answer.
        Ok(found.filter(|found| found != record))
    }

    async fn put_failed(&self, record: &CommandRecord) -> Result<Option<CommandRecord>, PortError> {
        let put = self.put(record)?.condition_expression(ABSENT_OR_OPEN);
        let put = put
            .expression_attribute_names("#status", STATUS)
            .expression_attribute_values(":pending", item::s(PENDING))
            .expression_attribute_values(":failed", item::s(FAILED));
        self.send(put, &record.key).await
    }
}

fn encode(record: &CommandRecord) -> Result<Item, serde_json::Error> {
    let CommandRecord { key, kind, aggregate, accepted_at, fingerprint, status, completed_at } = record;
    let mut item = item::key(key.to_string());
    item::set(&mut item, SCHEMA, item::n(if kind.is_some() { RECORD_SCHEMA_WITH_KIND } else { RECORD_SCHEMA }));
    if let Some(kind) = kind {
        item::set(&mut item, KIND, item::s(kind));
    }
    item::set(&mut item, AGGREGATE, item::s(aggregate.to_string()));
    item::set(&mut item, ACCEPTED_AT, item::n(accepted_at.as_micros()));
    item::set(&mut item, STATUS, item::s(status_name(status)));
    item::set_expires_at(&mut item, record.expires_at());
    if let Some(at) = completed_at {
        item::set(&mut item, COMPLETED_AT, item::n(at.as_micros()));
    }
    if let Some(serde_json::Value::String(text)) = fingerprint.as_ref().map(serde_json::to_value).transpose()? {
        item::set(&mut item, FINGERPRINT, item::s(text));
    }
    if let Some(version) = status.version() {
        item::set(&mut item, VERSION, item::n(version));
    }
    match status {
        CommandStatus::Rejected { problem, .. } => {
            item::set(&mut item, PROBLEM, item::s(serde_json::to_string(problem)?));
        }
        CommandStatus::Failed { reason } => item::set(&mut item, REASON, item::s(reason)),
        CommandStatus::Pending | CommandStatus::Applied { .. } | CommandStatus::Superseded { .. } => {}
    }
    Ok(item)
}

fn status_name(status: &CommandStatus) -> &'static str {
    match status {
        CommandStatus::Pending => PENDING,
        CommandStatus::Applied { .. } => APPLIED,
        CommandStatus::Rejected { .. } => REJECTED,
        CommandStatus::Superseded { .. } => SUPERSEDED,
        CommandStatus::Failed { .. } => FAILED,
    }
}

fn decode(key: &RecordKey, item: &Item) -> Result<CommandRecord, ItemError> {
    let schema = item::number(item, SCHEMA)?;
    if schema > RECORD_SCHEMA_WITH_KIND {
        return Err(ItemError::UnknownSchema(schema));
    }
    Ok(CommandRecord {
        key: key.clone(),
        kind: item::optional_text(item, KIND)?.map(str::to_owned),
        aggregate: item::text(item, AGGREGATE)?.parse().map_err(item::malformed(AGGREGATE))?,
        accepted_at: Timestamp::from_micros(item::number(item, ACCEPTED_AT)?),
        fingerprint: item::optional_text(item, FINGERPRINT)?.map(decode_fingerprint).transpose()?,
        status: decode_status(item)?,
        completed_at: item::optional_number(item, COMPLETED_AT)?.map(Timestamp::from_micros),
    })
}

fn decode_fingerprint(text: &str) -> Result<Fingerprint, ItemError> {
    let text = IntoDeserializer::<ValueError>::into_deserializer(text);
    Fingerprint::deserialize(text).map_err(item::malformed(FINGERPRINT))
}

fn decode_status(item: &Item) -> Result<CommandStatus, ItemError> {
    let version = || item::number(item, VERSION);
    match item::text(item, STATUS)? {
        PENDING => Ok(CommandStatus::Pending),
        APPLIED => Ok(CommandStatus::Applied { version: version()? }),
        REJECTED => Ok(CommandStatus::Rejected { version: version()?, problem: decode_problem(item)? }),
        SUPERSEDED => Ok(CommandStatus::Superseded { version: version()? }),
        FAILED => Ok(CommandStatus::Failed { reason: item::text(item, REASON)?.to_owned() }),
        other => Err(item::malformed(STATUS)(format!("{other:?} is no status"))),
    }
}

fn decode_problem(item: &Item) -> Result<Problem, ItemError> {
    serde_json::from_str(item::text(item, PROBLEM)?).map_err(item::malformed(PROBLEM))
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue;
    use kernel::ids::CommandId;

    use super::*;

    const ACCEPTED_AT_MICROS: u64 = 1_790_000_000_123_456;

    fn record(status: CommandStatus) -> CommandRecord {
        let command: CommandId = "019a0b5e-6c7b-7000-8000-0000000000ff".parse().unwrap();
        CommandRecord {
            key: RecordKey { tenant: "acme".parse().unwrap(), command },
            kind: None,
            aggregate: "019a0b5e-6c7b-7000-8000-000000000001".parse().unwrap(),
            accepted_at: Timestamp::from_micros(ACCEPTED_AT_MICROS),
            fingerprint: Some(Fingerprint::of(&[b"/users", b"{}"])),
            completed_at: (status != CommandStatus::Pending)
                .then_some(Timestamp::from_micros(ACCEPTED_AT_MICROS + 1_000_000)),
            status,
        }
    }

    /// Returns the item of a record with this status, with additional attributes.
    fn stored(status: &str, more: &[(&str, AttributeValue)]) -> Item {
        let attributes = [
            ("pk", item::s("acme#019a0b5e-6c7b-7000-8000-0000000000ff")),
            ("schema", item::n(1_u16)),
            ("aggregate", item::s("019a0b5e-6c7b-7000-8000-000000000001")),
            ("accepted_at", item::n(ACCEPTED_AT_MICROS)),
            ("fingerprint", item::s("dy4BYA-HyrxDgs7NPHgVcU-Q4hITXC1zHwbfNR4itK0")),
            ("status", item::s(status)),
        ];
        attributes.iter().chain(more).map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
    }

    #[test]
    fn a_record_is_stored_and_read_as_ever() {
        let done = |status, more: &[_]| {
            let times =
                [("completed_at", item::n(1_790_000_001_123_456_u64)), ("expires_at", item::n(1_793_888_001_u64))];
            stored(status, &[&times[..], more].concat())
        };
        let (version, reason) = (("version", item::n(7_u64)), ("reason", item::s("poison")));
        let gone = r#"{"code":"x","status":404,"title":"X","detail":"gone"}"#;
        let rejected = CommandStatus::Rejected { version: 7, problem: Problem::new("x", 404, "X", "gone") };
        let forms = [
            (CommandStatus::Pending, stored("pending", &[("expires_at", item::n(1_793_888_000_u64))])),
            (CommandStatus::Applied { version: 7 }, done("applied", std::slice::from_ref(&version))),
            (rejected, done("rejected", &[version.clone(), ("problem", item::s(gone))])),
            (CommandStatus::Superseded { version: 7 }, done("superseded", &[version])),
            (CommandStatus::Failed { reason: "poison".to_owned() }, done("failed", &[reason])),
        ];
        for (status, item) in forms {
            let record = record(status);
            assert_eq!(encode(&record).unwrap(), item);
            assert_eq!(decode(&record.key, &item).unwrap(), record);
        }
    }

    /// Older code, which knows only one kind, refuses the schema.
    #[test]
    fn a_record_that_names_its_kind_has_a_schema_of_its_own() {
        let record = CommandRecord { kind: Some("O".to_owned()), ..record(CommandStatus::Pending) };
        let mut due = stored("pending", &[("expires_at", item::n(1_793_888_000_u64)), ("kind", item::s("O"))]);
        item::set(&mut due, SCHEMA, item::n(2_u16));
        assert_eq!(encode(&record).unwrap(), due);
        assert_eq!(decode(&record.key, &due).unwrap(), record);
    }

    #[test]
    fn a_record_of_newer_code_is_refused() {
        let record = record(CommandStatus::Pending);
        let mut newer = encode(&record).unwrap();
        item::set(&mut newer, SCHEMA, item::n(3_u16));
        assert!(matches!(decode(&record.key, &newer), Err(ItemError::UnknownSchema(3))));
    }
}
