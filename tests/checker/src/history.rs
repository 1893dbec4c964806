//! What clients asked, what they were told, and what was there in the end.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A run, from its first request to the state at rest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// All requests of all clients, in any order.
    pub events: Vec<Event>,
    /// What was found once nothing was under way any more.
    pub rest: Rest,
    /// The state machines, by the name that [`User::machine`] has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub machines: BTreeMap<String, Machine>,
    /// How long after its acceptance an action waits for the commands before it; absent where it waits for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reorder_window_us: Option<u64>,
}

/// A state machine, as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The state of what was just created.
    pub initial: String,
    /// All transitions. An action is refused in any other state.
    pub transitions: Vec<Transition>,
}

/// Where an action leads from one state.
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
    /// The state after an action; `None` if the state does not allow it, or if either is unknown.
    #[must_use]
    pub fn next(&self, action: Option<&str>, from: Option<&str>) -> Option<&str> {
        let is_it = |one: &&Transition| Some(&*one.action) == action && Some(&*one.from) == from;
        self.transitions.iter().find(is_it).map(|one| one.to.as_str())
    }

    /// Whether an action leads to a state from any other.
    #[must_use]
    pub fn leads_to(&self, action: Option<&str>, to: &str) -> bool {
        self.transitions.iter().any(|one| Some(&*one.action) == action && one.to == to)
    }
}

/// A history cannot be read or written as JSON.
#[derive(Debug, thiserror::Error)]
#[error("this is no history: {0}")]
pub struct HistoryError(#[from] serde_json::Error);

impl History {
    /// Reads what [`History::to_json`] wrote.
    pub fn from_json(text: &str) -> Result<Self, HistoryError> {
        Ok(serde_json::from_str(text)?)
    }

    /// The history as JSON, to be kept and judged again.
    pub fn to_json(&self) -> Result<String, HistoryError> {
        Ok(serde_json::to_string(self)?)
    }
}

/// One request and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Who asked: one client, which makes one request at a time.
    pub session: String,
    /// When it was sent, in µs of a clock that all sessions share and that never goes back.
    pub start_us: u64,
    /// When the answer was there, or was given up, on the same clock.
    pub end_us: u64,
    /// What was asked.
    pub request: Request,
    /// What was answered.
    pub answer: Answer,
}

/// What a client asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// What is to be done.
    pub kind: Kind,
    /// The user that it is about; a create does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The action that it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// The command whose status is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// What the fields are to become.
    #[serde(default)]
    pub fields: Fields,
    /// The version that the write is to be done on top of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_match: Option<u64>,
    /// Whether the session's token for this user went along. The session takes its token from the first answer about
    /// the user, and then from each acknowledged write, and from each read that has sent a token itself.
    #[serde(default)]
    pub token_sent: bool,
    /// The idempotency key. Retries have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What a request is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A new user.
    Create,
    /// All fields of a user.
    Replace,
    /// Some fields of a user.
    Patch,
    /// The end of a user.
    Delete,
    /// An action of a state machine, such as `pay`.
    Act,
    /// A user is read.
    Read,
    /// It is asked what became of a command.
    Status,
}

impl Kind {
    /// Whether it makes a command.
    #[must_use]
    pub fn is_write(self) -> bool {
        !matches!(self, Self::Read | Self::Status)
    }
}

/// Fields of a user, as far as they are given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fields {
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The email address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// `active` or `suspended`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// The state that only actions change, of a user with a state machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// What was answered, as far as it says something.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The HTTP status; absent where the connection broke, or could not be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The user's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// The user that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The user's fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Fields>,
    /// The command that was acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// What a status document says became of the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

impl Answer {
    /// Whether the client cannot know what became of its request: a 5xx, or no answer at all.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.status.is_none_or(|status| status >= 500)
    }

    /// Whether the request was taken in, or done.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

impl Event {
    /// The user that it is about, as far as the client knows.
    #[must_use]
    pub fn user(&self) -> Option<&str> {
        self.request.user.as_deref().or(self.answer.user.as_deref())
    }
}

/// What became of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing yet.
    Pending,
    /// It made a version.
    Applied,
    /// It was refused.
    Rejected,
    /// Later commands had set all of its fields.
    Superseded,
    /// It was given up.
    Failed,
}

impl Outcome {
    /// Whether nothing else may ever become of it.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Applied | Self::Rejected | Self::Superseded)
    }
}

/// What was found at rest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rest {
    /// All commands that are known, acknowledged or not.
    pub commands: Vec<Command>,
    /// All users that there are, or were.
    pub users: Vec<User>,
}

/// What became of one command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Its identity, as in [`Answer::command`].
    pub id: String,
    /// The user that it is for, where that is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// The version that it made, or was judged against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
    /// How long after its acceptance it was judged, where that is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub judged_after_us: Option<u64>,
    /// The kind of problem for which it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// One user, in both stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Whose it is.
    pub tenant: String,
    /// Its identity.
    pub id: String,
    /// The name of its state machine, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// What the write store holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Stored>,
    /// What the read store shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown: Option<Stored>,
}

/// A user, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its version.
    pub version: u64,
    /// Its fields; absent where it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Fields>,
}
