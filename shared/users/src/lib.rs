//! The sample domain: users with a name, an email address that is unique in the tenant, and a status.
//!
//! Pure functions and values only. The flow that they run in is the [`kernel`]'s.

mod decide;
pub mod field;
pub mod list;
mod request;
mod stored;
mod view;

use bytes::Bytes;
use kernel::clock::Timestamp;
use kernel::domain::{Context, Decision, DecodeError, Domain};
use kernel::ids::{AggregateId, AggregateKey, Kind, Stamp, Tenant};
use kernel::ports::{Claim, IndexEntry};
use kernel::problem::Problem;
use kernel::project::Projection;
use kernel::query::ListScope;
use resource::{BodyError, FilterError, Operation, Parameters, Resource};
use serde::{Deserialize, Serialize};

use crate::field::{Email, Name, Status};

/// The domain of users.
#[derive(Debug, Clone, Copy)]
pub struct User;

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UserCommand {
    /// Bring a user into being.
    Create(Details),
    /// Set all fields.
    Replace(Details),
    /// Set the fields that are given.
    Update(Patch),
    /// End the user.
    Delete,
}

/// All fields of a user that a client sets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// What the user is called.
    pub name: Name,
    /// Where the user gets mail.
    pub email: Email,
    /// Whether the user may act.
    pub status: Status,
}

/// Some fields of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Patch {
    /// A new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// A new email address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    /// A new status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserEvent {
    /// A user came into being.
    UserCreated {
        /// Its fields.
        details: Details,
        /// The create's stamp.
        stamp: Stamp,
    },
    /// Fields of a user were set.
    UserChanged {
        /// Those that were set; the others had been set by later commands.
        patch: Patch,
        /// The stamp that the set fields carry from now on.
        stamp: Stamp,
        /// When the command was accepted.
        accepted_at: Timestamp,
    },
    /// The user is gone.
    UserDeleted,
}

/// A value, and the stamp of the command that set it: the later stamp wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped<T> {
    /// The value.
    pub value: T,
    /// When, and by which command, it was set.
    pub stamp: Stamp,
}

/// What is kept of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserState {
    /// What the user is called.
    pub name: Stamped<Name>,
    /// Where the user gets mail.
    pub email: Stamped<Email>,
    /// Whether the user may act.
    pub status: Stamped<Status>,
    /// When the create was accepted.
    pub created_at: Timestamp,
    /// When the latest change was accepted.
    pub updated_at: Timestamp,
}

impl Resource for User {
    const COLLECTION: &'static str = "users";
    const NAME: &'static str = "user";

    fn parse(operation: Operation, body: &[u8]) -> Result<UserCommand, BodyError> {
        request::parse(operation, body)
    }

    fn filter(parameters: &mut Parameters) -> Result<ListScope, FilterError> {
        let [email, status, name_prefix] = ["email", "status", "name_prefix"].map(|name| parameters.take(name));
        let filter = list::Filter::parse(email.as_deref(), status.as_deref(), name_prefix.as_deref());
        filter.map(|filter| filter.scope()).map_err(|error| FilterError(error.to_string()))
    }
}

impl Domain for User {
    const KIND: Kind = Kind::implied("U");
    const INDEXES: &'static [&'static str] = list::INDEXES;
    const SCHEMA: u16 = 1;

    type Command = UserCommand;
    type Event = UserEvent;
    type State = UserState;

    fn creates(command: &UserCommand) -> bool {
        matches!(command, UserCommand::Create(_))
    }

    fn decide(state: Option<&UserState>, command: &UserCommand, context: &Context) -> Decision<UserEvent> {
        decide::decide(state, command, context)
    }

    fn evolve(state: Option<UserState>, event: UserEvent) -> Option<UserState> {
        decide::evolve(state, event)
    }

    fn claims(tenant: &Tenant, state: &UserState) -> Vec<Claim> {
        vec![Claim { kind: Self::KIND, tenant: tenant.clone(), field: "email", value: state.email.value.digest() }]
    }

    fn claim_held(_: &Claim) -> Problem {
        Problem::new("email-taken", 409, "Email taken", "another user has this email address: choose another")
    }

    fn project(_: Projection, id: AggregateId, version: u64, state: &UserState) -> Bytes {
        view::project(id, version, state)
    }

    fn index(_: Projection, key: &AggregateKey, state: &UserState) -> Vec<IndexEntry> {
        list::index(key, state)
    }

    fn encode(state: &UserState) -> Bytes {
        stored::encode(state)
    }

    fn decode(schema: u16, body: &[u8]) -> Result<UserState, DecodeError> {
        stored::decode(schema, body)
    }
}
