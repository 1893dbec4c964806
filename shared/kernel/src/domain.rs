//! What the kernel serves: a domain is a handful of pure functions.

use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Timestamp;
use crate::ids::{AggregateId, AggregateKey, Kind, Stamp, Tenant};
use crate::ports::{IndexEntry, UniqueKey};
use crate::problem::Problem;
use crate::projection::Projection;

/// A domain: `decide` says what a command does to a state, `evolve` does it, `project` shows it.
///
/// All functions are pure: no clock, no randomness, no I/O. Times and identities arrive inside the command. Versions,
/// preconditions, tombstones and duplicates are the kernel's: a domain never sees them, except that a deleted
/// aggregate's state is gone.
pub trait Domain: fmt::Debug + Send + Sync + 'static {
    /// Tells aggregates of this domain apart from those of others.
    const KIND: Kind;
    /// The version of the stored form of states and views that this code writes.
    const SCHEMA: u16;
    /// The version of the serialised form of commands that this code writes.
    const COMMAND_SCHEMA: u16 = 1;

    /// What is asked. Its serialised form travels in the queue and is part of a command's fingerprint.
    type Command: fmt::Debug + Clone + Send + Sync + Serialize + DeserializeOwned;
    /// What happened.
    type Event: fmt::Debug + Send;
    /// What is kept of a live aggregate.
    type State: fmt::Debug + Clone + Send + Sync;

    /// Whether the command brings an aggregate into being. Every other command needs one that exists.
    fn creates(command: &Self::Command) -> bool;

    /// Whether the commands that a session sends before this one must be judged before it, because what it does depends on the
    /// state: so it is with an action of a state machine. Other commands may overtake each other: the later stamp wins.
    #[must_use]
    fn is_ordered(_: &Self::Command) -> bool {
        false
    }

    /// What the command does to the state, which is `None` exactly where the command creates.
    ///
    /// Deciding twice is deciding once: the result depends on the arguments alone.
    fn decide(state: Option<&Self::State>, command: &Self::Command, context: &Context) -> Decision<Self::Event>;

    /// The state after the event; `None` where it ends the aggregate.
    fn evolve(state: Option<Self::State>, event: Self::Event) -> Option<Self::State>;

    /// The values that no other aggregate of the tenant may hold while this state lasts.
    fn unique_keys(tenant: &Tenant, state: &Self::State) -> Vec<UniqueKey>;

    /// Why a command that needs a unique key which another aggregate holds is refused.
    fn unique_key_held(unique_key: &UniqueKey) -> Problem;

    /// The view of a state, serialised once here; it travels as bytes through stores and caches. Whoever changes it for
    /// the same state gives it another [`Projection`], and leaves the one before as it was until it is gone.
    fn project(projection: Projection, id: AggregateId, version: u64, state: &Self::State) -> Bytes;

    /// The places of the view in lists, likewise: at most one entry for each slot.
    fn index(projection: Projection, key: &AggregateKey, state: &Self::State) -> Vec<IndexEntry>;

    /// The stored form of a state, of version [`Domain::SCHEMA`].
    fn encode(state: &Self::State) -> Bytes;

    /// Reads the stored form of any schema version up to this code's own.
    fn decode(schema: u16, body: &[u8]) -> Result<Self::State, DecodeError>;

    /// Reads the serialised form of a command, of any schema version up to this code's own. Must be given together with
    /// the first [`Domain::COMMAND_SCHEMA`] above 1.
    fn decode_command(schema: u16, body: &str) -> Result<Self::Command, DecodeError> {
        if schema != Self::COMMAND_SCHEMA {
            return Err(DecodeError::UnknownSchema(schema));
        }
        Ok(serde_json::from_str(body)?)
    }
}

/// What a command brings along, besides what it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// When it was accepted, and its place in the order of commands.
    pub stamp: Stamp,
    /// Whether it named the version that it builds on: then it wins over whatever is stored.
    pub conditional: bool,
}

impl Context {
    /// When the command was accepted.
    #[must_use]
    pub fn accepted_at(&self) -> Timestamp {
        self.stamp.at
    }
}

/// What a command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<E> {
    /// This happened.
    Accept(E),
    /// Nothing, because later commands have set all that it sets.
    Superseded,
    /// Nothing, because it may not.
    Reject(Problem),
}

/// A stored form cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Written by newer code: deploy that, or newer.
    #[error("schema version {0} is newer than this code reads")]
    UnknownSchema(u16),
    /// Not what its schema version says it is.
    #[error("malformed")]
    Malformed(#[from] serde_json::Error),
}
