//! What travels in the queue: a command with everything that judging it needs.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::domain::{Context, DecodeError, Domain};
use crate::ids::{AggregateId, AggregateKey, CommandId, Stamp, Subject, Tenant};
use crate::record::{CommandRecord, CommandStatus, Fingerprint, RecordKey};

/// The version of an envelope without [`Envelope::kind`], [`Envelope::excluded`] and [`Envelope::after`].
pub const ENVELOPE_SCHEMA: u16 = 1;

/// The version of an envelope with one of them. Code that does not know them refuses the message. It does not take an order
/// for a user, and does not ignore the condition.
pub const ENVELOPE_SCHEMA_EXTENDED: u16 = 2;

/// The version that a command builds on, from `If-Match`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpectedVersion {
    /// Any. The command does not win over a later one that is applied already.
    #[serde(rename = "unsaid")]
    Any,
    /// Any, as long as the aggregate exists: `If-Match: *`. Says nothing about what the client has seen.
    Exists,
    /// This one only.
    Version(u64),
}

/// The versions that a command must not find, from `If-None-Match` (RFC 9110, section 13.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Excluded {
    /// Any: `If-None-Match: *`.
    Any,
    /// These, in ascending order.
    Versions(Vec<u64>),
}

impl Excluded {
    /// Whether a command must not find an aggregate of this version.
    #[must_use]
    pub fn has(&self, version: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Versions(versions) => versions.contains(&version),
        }
    }
}

/// A command on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<C> {
    /// The version of its form, from [`schema_of`].
    pub schema: u16,
    /// Who it belongs to.
    pub tenant: Tenant,
    /// Who sent it.
    pub subject: Subject,
    /// The kind of the aggregate, from [`Kind::name`](crate::ids::Kind::name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// What it is for.
    pub aggregate: AggregateId,
    /// Its identity and its place in the order of commands.
    pub stamp: Stamp,
    /// The version that it builds on.
    pub expected: ExpectedVersion,
    /// The versions that it must not find.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<Excluded>,
    /// The commands of its session that must be judged before it; empty unless it is [ordered](Domain::is_ordered).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<CommandId>,
    /// What it asks, where it came with an idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// The trace that it belongs to: a W3C `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// [`Domain::COMMAND_SCHEMA`] of the code that wrote it.
    #[serde(default = "first_schema")]
    pub command_schema: u16,
    /// What it asks.
    pub command: C,
}

/// The version of an envelope that names this kind, excludes these versions and comes after these commands.
#[must_use]
pub fn schema_of(kind: Option<&str>, excluded: Option<&Excluded>, after: &[CommandId]) -> u16 {
    if kind.is_some() || excluded.is_some() || !after.is_empty() { ENVELOPE_SCHEMA_EXTENDED } else { ENVELOPE_SCHEMA }
}

fn first_schema() -> u16 {
    1
}

/// Why a message is not an envelope that this code reads. It stays in the queue and ends as a dead letter.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Written by newer code: deploy that, or newer, then redrive.
    #[error("envelope schema version {0} is unknown")]
    UnknownSchema(u16),
    /// No domain of this code has its kind: deploy the code that has it, then redrive.
    #[error("the kind {} is unknown", .0.as_deref().unwrap_or("of a message without one"))]
    UnknownKind(Option<String>),
    /// The command in it was written by newer code: deploy that, or newer, then redrive.
    #[error("command schema version {0} is unknown")]
    UnknownCommandSchema(u16),
    /// Not an envelope at all.
    #[error("the message is not a command envelope")]
    Malformed(#[from] serde_json::Error),
}

impl From<DecodeError> for EnvelopeError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::UnknownSchema(schema) => Self::UnknownCommandSchema(schema),
            DecodeError::Malformed(error) => Self::Malformed(error),
        }
    }
}

/// What every version of the envelope has in the same place: enough to say that a command failed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct EnvelopeHeader {
    tenant: Tenant,
    #[serde(default)]
    kind: Option<String>,
    aggregate: AggregateId,
    stamp: Stamp,
    #[serde(default)]
    fingerprint: Option<Fingerprint>,
}

impl EnvelopeHeader {
    /// Reads what can be read of a message whose envelope cannot.
    #[must_use]
    pub fn parse(body: &str) -> Option<Self> {
        serde_json::from_str(body).ok()
    }

    /// The record that gives the command this status, reached at `completed_at`.
    #[must_use]
    pub fn record(self, status: CommandStatus, completed_at: Option<Timestamp>) -> CommandRecord {
        CommandRecord {
            key: RecordKey { tenant: self.tenant, command: self.stamp.command },
            kind: self.kind.filter(|_| !mutant!(RecordWithoutKind)),
            aggregate: self.aggregate,
            accepted_at: self.stamp.at,
            fingerprint: self.fingerprint,
            status,
            completed_at,
        }
    }
}

/// An envelope whose command is read later, by the domain that its kind belongs to.
pub type RawEnvelope = Envelope<Box<RawValue>>;

impl RawEnvelope {
    /// Reads a message's body, all but the command.
    pub fn read(body: &str) -> Result<Self, EnvelopeError> {
        #[derive(Deserialize)]
        struct Schema {
            schema: u16,
        }
        let Schema { schema } = serde_json::from_str(body)?;
        if ![ENVELOPE_SCHEMA, ENVELOPE_SCHEMA_EXTENDED].contains(&schema) {
            return Err(EnvelopeError::UnknownSchema(schema));
        }
        Ok(serde_json::from_str(body)?)
    }

    /// Reads the command. One of an older form becomes one of today's.
    pub fn typed<D: Domain>(self) -> Result<Envelope<D::Command>, EnvelopeError> {
        if !D::KIND.has_name(self.kind.as_deref()) {
            return Err(EnvelopeError::UnknownKind(self.kind));
        }
        let command = D::decode_command(self.command_schema, self.command.get())?;
        Ok(self.carrying::<D>(command))
    }
}

impl<C> Envelope<C> {
    /// Reads a message's body. A command of an older form becomes one of today's.
    pub fn parse<D: Domain<Command = C>>(body: &str) -> Result<Self, EnvelopeError> {
        RawEnvelope::read(body)?.typed::<D>()
    }

    /// The same around this command.
    fn carrying<D: Domain>(self, command: D::Command) -> Envelope<D::Command> {
        let Self { schema, tenant, subject, kind, aggregate, .. } = self;
        let Self { stamp, expected, excluded, after, fingerprint, traceparent, .. } = self;
        let command_schema = D::COMMAND_SCHEMA;
        Envelope {
            schema,
            tenant,
            subject,
            kind,
            aggregate,
            stamp,
            expected,
            excluded,
            after,
            fingerprint,
            traceparent,
            command_schema,
            command,
        }
    }

    /// The aggregate's key.
    #[must_use]
    pub fn key<D: Domain<Command = C>>(&self) -> AggregateKey {
        AggregateKey { kind: D::KIND, tenant: self.tenant.clone(), id: self.aggregate }
    }

    /// What the domain is told besides the command.
    #[must_use]
    pub fn context(&self) -> Context {
        Context { stamp: self.stamp, conditional: matches!(self.expected, ExpectedVersion::Version(_)) }
    }

    /// The key of the command's record.
    #[must_use]
    pub fn record_key(&self) -> RecordKey {
        RecordKey { tenant: self.tenant.clone(), command: self.stamp.command }
    }

    /// The record that gives the command this status, reached at `completed_at`.
    #[must_use]
    pub fn record(&self, status: CommandStatus, completed_at: Option<Timestamp>) -> CommandRecord {
        let heading = EnvelopeHeader {
            tenant: self.tenant.clone(),
            kind: self.kind.clone(),
            aggregate: self.aggregate,
            stamp: self.stamp,
            fingerprint: self.fingerprint.clone(),
        };
        heading.record(status, completed_at)
    }
}
