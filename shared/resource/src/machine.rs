//! State machines: a state that only actions change.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::body::Given;
use crate::value::{Choice, Value};

/// The states of an item, the first of which is the default. Which action leads where is [`StateMachine::next`].
pub trait StateMachine: Choice + Value + Default {
    /// What a client may ask for, for example `POST /orders/{id}/pay`.
    type Action: Choice + std::fmt::Debug + Send + Sync + Serialize + DeserializeOwned;

    /// The state after an action; `None` if the action is not for this state.
    fn next(self, action: Self::Action) -> Option<Self>;
}

/// The one state of a resource that has no state machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stateless;

/// There is no action.
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
