//! Samples of the data that the ports read and write.

use std::time::Duration;

use bytes::Bytes;
use kernel::clock::Timestamp;
use kernel::ids::{AggregateId, AggregateKey, CommandId, Kind, Tenant};
use kernel::ports::{IndexEntry, Slot, Snapshot, StateChange, Transaction, UniqueKey};
use kernel::problem::{FieldError, Problem};
use kernel::record::{CommandRecord, CommandStatus, Fingerprint, RecordKey};

/// The kind of the samples' aggregates.
pub const KIND: Kind = Kind::new("X");
/// The index in which all samples appear.
pub const ALL: Slot = Slot::I1;
/// The index in which some samples appear.
pub const SHADE: Slot = Slot::I4;

/// A time, with microseconds.
pub const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_123_456);

/// Returns a new tenant.
#[must_use]
pub fn tenant() -> Tenant {
    format!("t-{}", AggregateId::generate(NOW)).parse().unwrap()
}

/// Returns the key of a new aggregate.
#[must_use]
pub fn key(tenant: &Tenant) -> AggregateKey {
    AggregateKey { kind: KIND, tenant: tenant.clone(), id: AggregateId::generate(NOW) }
}

/// Returns a snapshot with entries in both indexes.
#[must_use]
pub fn snapshot(version: u64) -> Snapshot {
    let entry = |slot, partition: &str| IndexEntry { slot, partition: partition.to_owned(), sort: "s".to_owned() };
    Snapshot {
        version,
        schema: 3,
        body: Some(Bytes::from(format!("body of version {version} \u{0} \u{fffd}"))),
        index: vec![entry(ALL, "0"), entry(SHADE, "green")],
        expires_at: None,
    }
}

/// Returns the tombstone of a deleted aggregate.
#[must_use]
pub fn tombstone(version: u64) -> Snapshot {
    let expires_at = Some(Timestamp::from_micros(4_000_000_000_000_000));
    Snapshot { version, schema: 3, body: None, index: Vec::new(), expires_at }
}

/// Returns the record of a new command.
#[must_use]
pub fn record(key: &AggregateKey, status: CommandStatus) -> CommandRecord {
    let completed_at = (status != CommandStatus::Pending).then(|| NOW.plus(Duration::from_millis(7)));
    CommandRecord {
        key: RecordKey { tenant: key.tenant.clone(), command: CommandId::generate(NOW) },
        kind: key.kind.name().map(str::to_owned),
        aggregate: key.id,
        accepted_at: NOW,
        fingerprint: Some(Fingerprint::of(&[b"path", b"body"])),
        status,
        completed_at,
    }
}

/// Returns the record of a new command that made `version`.
#[must_use]
pub fn applied(key: &AggregateKey, version: u64) -> CommandRecord {
    record(key, CommandStatus::Applied { version })
}

/// Returns a status of each final kind.
#[must_use]
pub fn final_statuses() -> [CommandStatus; 3] {
    let errors = vec![FieldError { pointer: "/name".to_owned(), detail: "is \"too\" long".to_owned() }];
    let problem = Problem { errors, ..Problem::version_conflict(9) };
    [
        CommandStatus::Applied { version: u64::MAX },
        CommandStatus::Rejected { version: 0, problem },
        CommandStatus::Superseded { version: 4 },
    ]
}

/// Returns the status of a failed command, which can be redriven.
#[must_use]
pub fn failed() -> CommandStatus {
    CommandStatus::Failed { reason: "poison".to_owned() }
}

/// Returns a unique key for `value`.
#[must_use]
pub fn unique_key(tenant: &Tenant, value: &str) -> UniqueKey {
    UniqueKey { kind: KIND, tenant: tenant.clone(), field: "shade", value: value.to_owned() }
}

/// Returns an empty transaction.
#[must_use]
pub fn nothing(key: &AggregateKey) -> Transaction {
    Transaction {
        key: key.clone(),
        state: None,
        records: Vec::new(),
        unique_keys_taken: Vec::new(),
        unique_keys_released: Vec::new(),
        view: None,
    }
}

/// Returns a transaction that only puts the version after `expected`.
#[must_use]
pub fn step(key: &AggregateKey, expected: u64) -> Transaction {
    Transaction { state: Some(StateChange { expected, next: snapshot(expected + 1) }), ..nothing(key) }
}
