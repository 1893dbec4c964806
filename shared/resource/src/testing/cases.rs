//! Given what was asked before, when this is asked, then that is left: a test of `decide` and `evolve` in a few lines.

use kernel::clock::Timestamp;
use kernel::domain::{Context, Decision};
use kernel::ids::Stamp;
use kernel::projection::Projection;
use serde_json::Value as Json;

use super::forms::{aggregate, command_of, stamp_at};
use crate::{Operation, Resource};

/// Something that is asked: an operation with its body, at a time, perhaps with a precondition.
#[derive(Debug, Clone)]
pub struct Asked {
    operation: Operation,
    body: Json,
    at: Option<u64>,
    conditional: bool,
}

/// A create with this body.
#[must_use]
pub fn create(body: Json) -> Asked {
    Asked { operation: Operation::Create, body, at: None, conditional: false }
}

/// A replace with this body.
#[must_use]
pub fn replace(body: Json) -> Asked {
    Asked { operation: Operation::Replace, ..create(body) }
}

/// An update with this body.
#[must_use]
pub fn update(body: Json) -> Asked {
    Asked { operation: Operation::Update, ..create(body) }
}

/// An action.
#[must_use]
pub fn act(action: &'static str) -> Asked {
    Asked { operation: Operation::Act(action), ..create(Json::Null) }
}

/// A delete.
#[must_use]
pub fn delete() -> Asked {
    Asked { operation: Operation::Delete, ..create(Json::Null) }
}

impl Asked {
    /// The same, accepted at this time, in microseconds; otherwise each is accepted after the one before it.
    #[must_use]
    pub fn at(self, micros: u64) -> Self {
        Self { at: Some(micros), ..self }
    }

    /// The same, on top of the version that is there: `If-Match`.
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

/// What was asked before; none of it may be rejected.
#[track_caller]
pub fn given<R: Resource>(asked: impl IntoIterator<Item = Asked>) -> Given<R> {
    let nothing = Given { state: None, time: 1_000 };
    asked.into_iter().fold(nothing, |given, asked| given.when(asked).then())
}

/// How a command was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Decided {
    Accepted,
    Superseded,
    Rejected(String),
}

/// What a command has left.
#[derive(Debug)]
pub struct Then<R: Resource> {
    given: Given<R>,
    decided: Decided,
}

impl<R: Resource> Given<R> {
    /// What is asked now.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "a case reads best without an ampersand")]
    pub fn when(self, asked: Asked) -> Then<R> {
        let Self { state, time } = self;
        let at = asked.at.unwrap_or(time + 1);
        let stamp: Stamp = stamp_at(Timestamp::from_micros(at));
        let context = Context { stamp, conditional: asked.conditional };
        let command = command_of::<R>(asked.operation, &asked.body);
        let (state, decided) = match R::decide(state.as_ref(), &command, &context) {
            Decision::Accept(event) => (R::evolve(state, event), Decided::Accepted),
            Decision::Superseded => (state, Decided::Superseded),
            Decision::Reject(problem) => (state, Decided::Rejected(problem.code.into_owned())),
        };
        Then { given: Given { state, time: time.max(at) }, decided }
    }
}

impl<R: Resource> Given<R> {
    /// The state.
    #[must_use]
    pub fn state(self) -> Option<R::State> {
        self.state
    }
}

impl<R: Resource> Then<R> {
    /// The item, for what is asked next.
    #[must_use]
    #[track_caller]
    pub fn then(self) -> Given<R> {
        assert!(!matches!(self.decided, Decided::Rejected(_)), "{:?}", self.decided);
        self.given
    }

    /// The item shows these fields.
    #[track_caller]
    pub fn shows(self, fields: &Json) {
        assert_eq!(self.decided, Decided::Accepted);
        let state = self.given.state.expect("there is an item");
        let view: Json = serde_json::from_slice(&R::project(Projection::FIRST, aggregate(), 1, &state)).unwrap();
        for (name, value) in fields.as_object().expect("fields are an object") {
            assert_eq!(view.get(name), Some(value), "{name} of {view}");
        }
    }

    /// Nothing is left.
    #[track_caller]
    pub fn is_gone(self) {
        assert!(self.decided == Decided::Accepted && self.given.state.is_none(), "{self:?}");
    }

    /// Later commands have set all that the command sets.
    #[track_caller]
    pub fn is_superseded(self) {
        assert_eq!(self.decided, Decided::Superseded);
    }

    /// The command may not be done; the problem has this code.
    #[track_caller]
    pub fn is_rejected(self, code: &str) {
        assert_eq!(self.decided, Decided::Rejected(code.to_owned()));
    }
}
