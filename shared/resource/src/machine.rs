//! State machines: states that only actions change.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::given::Given;
use crate::value::{Choice, Value};

/// The states of an item; the default is the state of a new item. [`StateMachine::next`] defines the transitions.
///
/// ```
/// use resource::machine::StateMachine;
/// use resource::value::Choice;
///
/// #[derive(Debug, Clone, Copy, Default, PartialEq, Choice)]
/// enum Status {
///     #[default]
///     Asked,
///     Confirmed,
/// }
///
/// #[derive(Debug, Clone, Copy, PartialEq, Choice)]
/// enum Action {
///     Confirm,
/// }
///
/// impl StateMachine for Status {
///     type Action = Action;
///
///     fn next(self, action: Action) -> Option<Self> {
///         match (self, action) {
///             (Self::Asked, Action::Confirm) => Some(Self::Confirmed),
///             // `POST /bookings/{id}/confirm` is rejected: 409.
///             (Self::Confirmed, Action::Confirm) => None,
///         }
///     }
/// }
///
/// assert_eq!(Status::default().next(Action::Confirm), Some(Status::Confirmed));
/// ```
pub trait StateMachine: Choice + Value + Default {
    /// The actions that a client can request, for example `POST /orders/{id}/pay`.
    type Action: Choice + std::fmt::Debug + Send + Sync + Serialize + DeserializeOwned;

    /// Returns the state after an action; `None` if the action is not allowed in this state.
    fn next(self, action: Self::Action) -> Option<Self>;
}

/// The one state of a resource that has no state machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stateless;

/// The actions of a resource that has no state machine: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoAction {}

impl StateMachine for Stateless {
    type Action = NoAction;

    fn next(self, action: NoAction) -> Option<Self> {
        match action {}
    }
}

impl Choice for Stateless {
    const ALL: &'static [Self] = &[Self];
    const NAMES: &'static [&'static str] = &["stateless"];
}

impl Choice for NoAction {
    const ALL: &'static [Self] = &[];
    const NAMES: &'static [&'static str] = &[];
}

impl Value for Stateless {
    const WRONG: &'static [&'static str] = &[];

    fn read(given: Given) -> Result<Self, String> {
        Self::choose(given)
    }

    fn search_form(&self) -> String {
        self.name().to_owned()
    }

    fn sample(_: u64) -> Json {
        json!("stateless")
    }
}
