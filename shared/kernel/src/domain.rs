//! The interface between the kernel and a resource: a domain is a set of pure functions.

use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Timestamp;
use crate::ids::{AggregateId, AggregateKey, Kind, Stamp, Tenant};
use crate::ports::{IndexEntry, UniqueKey};
use crate::problem::Problem;
use crate::projection::Projection;

/// A kind of aggregate and its rules: `decide` judges a command, `evolve` applies the event, `project` makes the view.
///
/// All functions are pure: no clock, no randomness, no I/O. Times and identities arrive inside the command. The kernel handles
/// versions, preconditions, tombstones and duplicates. A domain only sees that a deleted aggregate has no state.
pub trait Domain: fmt::Debug + Send + Sync + 'static {
    /// The kind of these aggregates. It separates them from those of other domains.
    const KIND: Kind;
    /// The version of the stored form of states and views that this code writes.
    const SCHEMA: u16;
    /// The version of the serialised form of commands that this code writes.
    const COMMAND_SCHEMA: u16 = 1;

    /// A command. Its serialised form travels in the queue and is part of the command's fingerprint.
    type Command: fmt::Debug + Clone + Send + Sync + Serialize + DeserializeOwned;
    /// The change that an accepted command makes.
    type Event: fmt::Debug + Send;
    /// The data of a live aggregate.
    type State: fmt::Debug + Clone + Send + Sync;

    /// Returns whether the command creates an aggregate. Every other command needs an existing one.
    fn creates(command: &Self::Command) -> bool;

    /// Returns whether this command waits for the earlier commands of its session. An action of a state machine does, because its
    /// effect depends on the state. Other commands may overtake each other: the later stamp wins.
    #[must_use]
    fn is_ordered(_: &Self::Command) -> bool {
        false
    }

    /// Judges a command. The state is `None` exactly if the command creates an aggregate.
    ///
    /// The kernel may repeat the call, so the result must depend on the arguments alone.
    fn decide(state: Option<&Self::State>, command: &Self::Command, context: &Context) -> Decision<Self::Event>;

    /// Returns the state after the event; `None` if the event deletes the aggregate.
    fn evolve(state: Option<Self::State>, event: Self::Event) -> Option<Self::State>;

    /// Returns the values that no other aggregate of the tenant may hold while this state lasts.
    fn unique_keys(tenant: &Tenant, state: &Self::State) -> Vec<UniqueKey>;

    /// Returns the problem of a command that needs a unique key of another aggregate.
    fn unique_key_held(unique_key: &UniqueKey) -> Problem;

    /// Returns the view of a state, serialised. Stores and caches keep these bytes as they are. If the same state needs another
    /// view, add another [`Projection`], and keep the old one unchanged until no reader uses it.
    fn project(projection: Projection, id: AggregateId, version: u64, state: &Self::State) -> Bytes;

    /// Returns the list entries of the view, versioned like `project`. Each slot has one entry at most.
    fn index(projection: Projection, key: &AggregateKey, state: &Self::State) -> Vec<IndexEntry>;

    /// Returns the stored form of a state, in version [`Domain::SCHEMA`].
    fn encode(state: &Self::State) -> Bytes;

    /// Reads the stored form of a state, in any schema version up to this code's own.
    fn decode(schema: u16, body: &[u8]) -> Result<Self::State, DecodeError>;

    /// Reads the serialised form of a command, in any schema version up to this code's own. Implement it as soon as
    /// [`Domain::COMMAND_SCHEMA`] is above 1.
    fn decode_command(schema: u16, body: &str) -> Result<Self::Command, DecodeError> {
        if schema != Self::COMMAND_SCHEMA {
            return Err(DecodeError::UnknownSchema(schema));
        }
        Ok(serde_json::from_str(body)?)
    }
}

/// The data about a command that `decide` gets besides the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// Its time of acceptance, and its position in the order of commands.
    pub stamp: Stamp,
    /// Whether it names the version that it builds on. Such a command wins over every stored stamp.
    pub conditional: bool,
}

impl Context {
    /// Returns the time at which the command was accepted.
    #[must_use]
    pub fn accepted_at(&self) -> Timestamp {
        self.stamp.at
    }
}

/// The judgement of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<E> {
    /// The command applies, with this event.
    Accept(E),
    /// The command has no effect: later commands have set all its fields.
    Superseded,
    /// The command has no effect: a rule forbids it.
    Reject(Problem),
}

/// The reason why a stored form is unreadable.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Newer code wrote it. Deploy that code, or newer code.
    #[error("schema version {0} is newer than this code can read")]
    UnknownSchema(u16),
    /// It does not match its schema version.
    #[error("malformed")]
    Malformed(#[from] serde_json::Error),
}
