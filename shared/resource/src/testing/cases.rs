//! Tests of `decide` and `evolve` in a few lines: given earlier commands, when a command comes, then this is the result.

use kernel::clock::Timestamp;
use kernel::domain::{Context, Decision};
use kernel::ids::Stamp;
use kernel::projection::Projection;
use serde_json::Value as Json;

use super::forms::{aggregate, command_of, stamp_at};
use crate::{Operation, Resource};

/// A command in a test: an operation with its body, its time of acceptance and its precondition.
#[derive(Debug, Clone)]
pub struct TestCommand {
    operation: Operation,
    body: Json,
    at: Option<u64>,
    conditional: bool,
}

/// Makes a create with this body.
#[must_use]
pub fn create(body: Json) -> TestCommand {
    TestCommand { operation: Operation::Create, body, at: None, conditional: false }
}

/// Makes a replace with this body.
#[must_use]
pub fn replace(body: Json) -> TestCommand {
    TestCommand { operation: Operation::Replace, ..create(body) }
}

/// Makes an update with this body.
#[must_use]
pub fn update(body: Json) -> TestCommand {
    TestCommand { operation: Operation::Update, ..create(body) }
}

/// Makes an action.
#[must_use]
pub fn act(action: &'static str) -> TestCommand {
    TestCommand { operation: Operation::Act(action), ..create(Json::Null) }
}

/// Makes a delete.
#[must_use]
pub fn delete() -> TestCommand {
    TestCommand { operation: Operation::Delete, ..create(Json::Null) }
}

impl TestCommand {
    /// Sets the time of acceptance, in microseconds. By default each command is accepted after the one before it.
    #[must_use]
    pub fn at(self, micros: u64) -> Self {
        Self { at: Some(micros), ..self }
    }

    /// Makes the command conditional on the current version: `If-Match`.
    #[must_use]
    pub fn on_top(self) -> Self {
        Self { conditional: true, ..self }
    }
}

/// An item after some commands.
#[derive(Debug)]
pub struct Given<R: Resource> {
    state: Option<R::State>,
    time: u64,
}

impl<R: Resource> Clone for Given<R> {
    fn clone(&self) -> Self {
        Self { state: self.state.clone(), time: self.time }
    }
}

/// Applies the earlier commands. Panics if one of them is rejected.
#[track_caller]
pub fn given<R: Resource>(commands: impl IntoIterator<Item = TestCommand>) -> Given<R> {
    let nothing = Given { state: None, time: 1_000 };
    commands.into_iter().fold(nothing, |given, command| given.when(command).then())
}

/// The decision on a command.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Decided {
    Accepted,
    Superseded,
    Rejected(String),
}

/// The result of a command.
#[derive(Debug)]
pub struct Then<R: Resource> {
    given: Given<R>,
    decided: Decided,
}

impl<R: Resource> Given<R> {
    /// Applies a command.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "a case reads best without an ampersand")]
    pub fn when(self, sent: TestCommand) -> Then<R> {
        let Self { state, time } = self;
        let at = sent.at.unwrap_or(time + 1);
        let stamp: Stamp = stamp_at(Timestamp::from_micros(at));
        let context = Context { stamp, conditional: sent.conditional };
        let command = command_of::<R>(sent.operation, &sent.body);
        let (state, decided) = match R::decide(state.as_ref(), &command, &context) {
            Decision::Accept(event) => (R::evolve(state, event), Decided::Accepted),
            Decision::Superseded => (state, Decided::Superseded),
            Decision::Reject(problem) => (state, Decided::Rejected(problem.code.into_owned())),
        };
        Then { given: Given { state, time: time.max(at) }, decided }
    }
}

impl<R: Resource> Given<R> {
    /// Returns the state of the item.
    #[must_use]
    pub fn state(self) -> Option<R::State> {
        self.state
    }
}

impl<R: Resource> Then<R> {
    /// Returns the item, for the next command. Panics if the command was rejected.
    #[must_use]
    #[track_caller]
    pub fn then(self) -> Given<R> {
        assert!(!matches!(self.decided, Decided::Rejected(_)), "{:?}", self.decided);
        self.given
    }

    /// Checks that the command was accepted, and that the view has these fields.
    #[track_caller]
    pub fn shows(self, fields: &Json) {
        assert_eq!(self.decided, Decided::Accepted);
        let state = self.given.state.expect("there is an item");
        let view: Json = serde_json::from_slice(&R::project(Projection::FIRST, aggregate(), 1, &state)).unwrap();
        for (name, value) in fields.as_object().expect("fields are an object") {
            assert_eq!(view.get(name), Some(value), "{name} of {view}");
        }
    }

    /// Checks that the command was accepted, and that the item is deleted.
    #[track_caller]
    pub fn is_gone(self) {
        assert!(self.decided == Decided::Accepted && self.given.state.is_none(), "{self:?}");
    }

    /// Checks that the command is superseded, because later commands have set all of its fields.
    #[track_caller]
    pub fn is_superseded(self) {
        assert_eq!(self.decided, Decided::Superseded);
    }

    /// Checks that the command is rejected with this problem code.
    #[track_caller]
    pub fn is_rejected(self, code: &str) {
        assert_eq!(self.decided, Decided::Rejected(code.to_owned()));
    }
}
