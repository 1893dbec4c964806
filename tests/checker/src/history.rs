//! The history of a run: the requests of the clients, the answers, and the stores at rest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The history of a run, from its first request to the state at rest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// All requests of all clients, in any order.
    pub events: Vec<Event>,
    /// The commands and users after the run, when no command is pending any more.
    pub rest: Rest,
    /// The state machines, by the name in [`User::machine`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub machines: BTreeMap<String, Machine>,
    /// How long after its acceptance an action waits for the commands before it, in µs. Absent if it waits without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reorder_window_us: Option<u64>,
}

/// A state machine, as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The state of a new item.
    pub initial: String,
    /// All transitions. The service rejects an action for which the current state has none.
    pub transitions: Vec<Transition>,
}

/// One transition of a state machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// The action.
    pub action: String,
    /// The state before.
    pub from: String,
    /// The state after.
    pub to: String,
}

impl Machine {
    /// Returns the state after an action. `None` if the state does not allow the action, or if the action or the state is unknown.
    #[must_use]
    pub fn next(&self, action: Option<&str>, from: Option<&str>) -> Option<&str> {
        let is_it = |one: &&Transition| Some(&*one.action) == action && Some(&*one.from) == from;
        self.transitions.iter().find(is_it).map(|one| one.to.as_str())
    }

    /// Returns whether the action leads to this state from any other.
    #[must_use]
    pub fn leads_to(&self, action: Option<&str>, to: &str) -> bool {
        self.transitions.iter().any(|one| Some(&*one.action) == action && one.to == to)
    }
}

/// An error: the text is not a history, or the history cannot be written as JSON.
#[derive(Debug, thiserror::Error)]
#[error("this is no history: {0}")]
pub struct HistoryError(#[from] serde_json::Error);

impl History {
    /// Reads the JSON that [`History::to_json`] wrote.
    pub fn from_json(text: &str) -> Result<Self, HistoryError> {
        Ok(serde_json::from_str(text)?)
    }

    /// Returns the history as JSON, so that a run can be stored and checked again.
    pub fn to_json(&self) -> Result<String, HistoryError> {
        Ok(serde_json::to_string(self)?)
    }
}

/// One request and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The session: one client, which sends one request at a time.
    pub session: String,
    /// The time of sending, in µs of a monotonic clock that all sessions share.
    pub start_us: u64,
    /// The time when the answer arrived, or the client gave up, on the same clock.
    pub end_us: u64,
    /// The request.
    pub request: Request,
    /// The answer.
    pub answer: Answer,
}

/// A client's request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The operation.
    pub kind: Kind,
    /// The user that the request is for. Absent for a create, whose id the client does not know yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The action's name, for [`Kind::Act`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The command whose status is requested, for [`Kind::Status`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The fields in the body of a write.
    #[serde(default)]
    pub fields: Fields,
    /// The version in `If-Match`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_match: Option<u64>,
    /// Whether the client sent the session's token for this user. A session takes its token from the first answer about the user.
    /// Later it takes the token of each acknowledged write, and of each read that sent a token.
    #[serde(default)]
    pub token_sent: bool,
    /// The idempotency key. A retry has the key of the first request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// The operation of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Creates a user.
    Create,
    /// Replaces all fields of a user.
    Replace,
    /// Changes some fields of a user.
    Patch,
    /// Deletes a user.
    Delete,
    /// Requests an action of a state machine, such as `pay`.
    Act,
    /// Reads a user.
    Read,
    /// Reads the status of a command.
    Status,
}

impl Kind {
    /// Returns whether the operation makes a command.
    #[must_use]
    pub fn is_write(self) -> bool {
        !matches!(self, Self::Read | Self::Status)
    }
}

/// The fields of a user. A partial change leaves the others absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fields {
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The email address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The status: `active` or `suspended`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The state, which only actions change. Only a user with a state machine has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// The facts of an answer that the checker uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The HTTP status. Absent if the connection failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The user's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The user's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user's fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Fields>,
    /// The acknowledged command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The outcome that a status document shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

impl Answer {
    /// Returns whether the client cannot know the outcome: the answer is a 5xx or missing.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.status.is_none_or(|status| status >= 500)
    }

    /// Returns whether the request was accepted or applied.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

impl Event {
    /// Returns the user that the request is for, if the client knows it.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.request.user.as_deref().or(self.answer.user.as_deref())
    }
}

/// The outcome of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Not judged yet.
    Pending,
    /// Applied: it made a version.
    Applied,
    /// Rejected: it has no effect.
    Rejected,
    /// Superseded: later commands had set all of its fields.
    Superseded,
    /// Failed: its message is a dead letter.
    Failed,
}

impl Outcome {
    /// Returns whether the outcome can never change.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Applied | Self::Rejected | Self::Superseded)
    }
}

/// The state at rest, after the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    /// All known commands, acknowledged or not.
    pub commands: Vec<Command>,
    /// All users that exist or existed.
    pub users: Vec<User>,
}

/// One command at rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// The command's identity, as in [`Answer::command`].
    pub id: String,
    /// The user that the command is for, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The outcome.
    pub outcome: Outcome,
    /// The version that the command made, or was judged against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The time from its acceptance to its judgement, in µs, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged_after_us: Option<u64>,
    /// The kind of problem for which the command was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// One user, in both stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The tenant that owns the user.
    pub tenant: String,
    /// The user's id.
    pub id: String,
    /// The name of the user's state machine, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// The state in the write store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Stored>,
    /// The view in the read store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<Stored>,
}

/// A user, as a store holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// The version.
    pub version: u64,
    /// The fields. Absent in a tombstone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Fields>,
}
