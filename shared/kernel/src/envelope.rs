//! The message in the queue: a command with all data that its judgement needs.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock::Timestamp;
use crate::domain::{Context, DecodeError, Domain};
use crate::ids::{AggregateId, AggregateKey, CommandId, Stamp, Subject, Tenant};
use crate::record::{CommandRecord, CommandStatus, Fingerprint, RecordKey};

/// The version of an envelope without [`Envelope::kind`], [`Envelope::excluded`] and [`Envelope::after`].
pub const ENVELOPE_SCHEMA: u16 = 1;

/// The version of an envelope with one of them. Code without these fields refuses the message. So it never takes an order for a
/// user, and never ignores a condition.
pub const ENVELOPE_SCHEMA_EXTENDED: u16 = 2;

/// The version that a command builds on, from `If-Match`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpectedVersion {
    /// Any version. The command does not win over a later one that is already applied.
    #[serde(rename = "unsaid")]
    Any,
    /// Any version, if the aggregate exists: `If-Match: *`. It does not show which version the client has seen.
    Exists,
    /// This version only.
    Version(u64),
}

/// The versions that a command must not find, from `If-None-Match` (RFC 9110, section 13.1.2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Excluded {
    /// Any version: `If-None-Match: *`.
    Any,
    /// These versions, in ascending order.
    Versions(Vec<u64>),
}

impl Excluded {
    /// Returns whether the command must not find this version.
    #[must_use]
    pub fn has(&self, version: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Versions(versions) => versions.contains(&version),
        }
    }
}

/// A command with its identity, its aggregate and its conditions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope<C> {
    /// The version of the envelope's form, from [`schema_of`].
    pub schema: u16,
    /// The tenant that owns the aggregate.
    pub tenant: Tenant,
    /// The sender.
    pub subject: Subject,
    /// The kind of the aggregate, from [`Kind::name`](crate::ids::Kind::name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The aggregate that the command is for.
    pub aggregate: AggregateId,
    /// The command's identity, and its position in the order of commands.
    pub stamp: Stamp,
    /// The version that the command builds on.
    pub expected: ExpectedVersion,
    /// The versions that the command must not find.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excluded: Option<Excluded>,
    /// The earlier commands of the session that must be judged first. Empty unless the command is [ordered](Domain::is_ordered).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<CommandId>,
    /// The fingerprint of the request, if it had an idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// The trace of the request: a W3C `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The [`Domain::COMMAND_SCHEMA`] of the code that wrote the command.
    #[serde(default = "first_schema")]
    pub command_schema: u16,
    /// The command.
    pub command: C,
}

/// Returns the version of an envelope with this kind, these excluded versions and these predecessors.
#[must_use]
pub fn schema_of(kind: Option<&str>, excluded: Option<&Excluded>, after: &[CommandId]) -> u16 {
    if kind.is_some() || excluded.is_some() || !after.is_empty() { ENVELOPE_SCHEMA_EXTENDED } else { ENVELOPE_SCHEMA }
}

fn first_schema() -> u16 {
    1
}

/// The reason why this code cannot read a message. The message stays in the queue and ends as a dead letter.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Newer code wrote it. Deploy that code, or newer code, then redrive.
    #[error("envelope schema version {0} is unknown")]
    UnknownSchema(u16),
    /// No domain of this code has its kind. Deploy code with this kind, then redrive.
    #[error("{}", unknown_kind(.0.as_deref()))]
    UnknownKind(Option<String>),
    /// Newer code wrote the command in it. Deploy that code, or newer code, then redrive.
    #[error("command schema version {0} is unknown")]
    UnknownCommandSchema(u16),
    /// It is not an envelope.
    #[error("the message is not a command envelope")]
    Malformed(#[from] serde_json::Error),
}

fn unknown_kind(kind: Option<&str>) -> String {
    match kind {
        Some(kind) => format!("the kind {kind} is unknown"),
        None => "the message names no kind, and no resource accepts that".to_owned(),
    }
}

impl From<DecodeError> for EnvelopeError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::UnknownSchema(schema) => Self::UnknownCommandSchema(schema),
            DecodeError::Malformed(error) => Self::Malformed(error),
        }
    }
}

/// The fields that every version of the envelope has under the same names. They are enough to record that a command failed.
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
    /// Reads the header of a message, even if its envelope is unreadable.
    #[must_use]
    pub fn parse(body: &str) -> Option<Self> {
        serde_json::from_str(body).ok()
    }

    /// Returns the record of the command with this status, reached at `completed_at`.
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

/// An envelope with an unparsed command. The domain of its kind parses it later.
pub type RawEnvelope = Envelope<Box<RawValue>>;

impl RawEnvelope {
    /// Reads the body of a message, except the command.
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

    /// Parses the command. A command in an older form becomes one in today's form.
    pub fn typed<D: Domain>(self) -> Result<Envelope<D::Command>, EnvelopeError> {
        if !D::KIND.has_name(self.kind.as_deref()) {
            return Err(EnvelopeError::UnknownKind(self.kind));
        }
        let command = D::decode_command(self.command_schema, self.command.get())?;
        Ok(self.with_command::<D>(command))
    }
}

impl<C> Envelope<C> {
    /// Reads the body of a message. A command in an older form becomes one in today's form.
    pub fn parse<D: Domain<Command = C>>(body: &str) -> Result<Self, EnvelopeError> {
        RawEnvelope::read(body)?.typed::<D>()
    }

    /// Returns the same envelope with this command.
    fn with_command<D: Domain>(self, command: D::Command) -> Envelope<D::Command> {
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

    /// Returns the aggregate's key.
    #[must_use]
    pub fn key<D: Domain<Command = C>>(&self) -> AggregateKey {
        AggregateKey { kind: D::KIND, tenant: self.tenant.clone(), id: self.aggregate }
    }

    /// Returns the data that the domain gets besides the command.
    #[must_use]
    pub fn context(&self) -> Context {
        Context { stamp: self.stamp, conditional: matches!(self.expected, ExpectedVersion::Version(_)) }
    }

    /// Returns the key of the command's record.
    #[must_use]
    pub fn record_key(&self) -> RecordKey {
        RecordKey { tenant: self.tenant.clone(), command: self.stamp.command }
    }

    /// Returns the record of the command with this status, reached at `completed_at`.
    #[must_use]
    pub fn record(&self, status: CommandStatus, completed_at: Option<Timestamp>) -> CommandRecord {
        let header = EnvelopeHeader {
            tenant: self.tenant.clone(),
            kind: self.kind.clone(),
            aggregate: self.aggregate,
            stamp: self.stamp,
            fingerprint: self.fingerprint.clone(),
        };
        header.record(status, completed_at)
    }
}
