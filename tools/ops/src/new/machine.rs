//! A state machine, in the notation of `--action name:from,from->to`.

use super::variant;

/// The field that holds the state.
pub(super) const FIELD: &str = "status";

/// A state machine. A new item is in its first state.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Machine {
    pub(super) states: Vec<String>,
    pub(super) actions: Vec<Action>,
}

/// An action, with the states before and after it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Action {
    pub(super) name: String,
    pub(super) from: Vec<String>,
    pub(super) to: String,
}

impl Machine {
    /// Parses actions. The states are those that the actions name, in their order.
    pub(super) fn of(actions: &[String]) -> Result<Option<Self>, String> {
        let mut machine = Self::default();
        for given in actions {
            let action = Action::of(given)?;
            if machine.actions.iter().any(|other| other.name == action.name) {
                return Err(format!(
                    "two actions have the name {}: list all states before one arrow, as in pay:open,held->paid",
                    action.name
                ));
            }
            for state in action.from.iter().chain([&action.to]) {
                if !machine.states.contains(state) {
                    machine.states.push(state.clone());
                }
            }
            machine.actions.push(action);
        }
        Ok(Some(machine).filter(|machine| !machine.actions.is_empty()))
    }

    /// Returns the fewest actions that lead a new item to a state that allows this action. Returns `None` if no actions do.
    pub(super) fn path_to(&self, action: &Action) -> Option<Vec<&str>> {
        let mut paths: Vec<(&str, Vec<&str>)> = vec![(self.states.first()?, Vec::new())];
        let mut index = 0;
        while let Some((state, path)) = paths.get(index).cloned() {
            if action.from.iter().any(|from| from == state) {
                return Some(path);
            }
            for next in self.actions.iter().filter(|next| next.from.iter().any(|from| from == state)) {
                if !paths.iter().any(|(known, _)| *known == next.to) {
                    paths.push((&next.to, [path.as_slice(), &[&next.name]].concat()));
                }
            }
            index += 1;
        }
        None
    }
}

impl Action {
    fn of(given: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{}` is not an action: give name:from->to, for example pay:open->paid", given.escape_debug());
        let (name, transition) = given.split_once(':').ok_or_else(wrong)?;
        let (from, to) = transition.split_once("->").ok_or_else(wrong)?;
        let from: Vec<_> = from.split(',').map(str::to_owned).collect();
        for name in from.iter().map(String::as_str).chain([name, to]) {
            variant(name)?;
        }
        Ok(Self { name: name.to_owned(), from, to: to.to_owned() })
    }
}
