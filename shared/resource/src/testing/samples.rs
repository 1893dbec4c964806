//! Sample requests to a resource: bodies, actions and queries, made from the samples of its fields.

use std::collections::BTreeSet;

use kernel::clock::{Clock as _, SystemClock};
use kernel::domain::{Context, Decision};
use kernel::ids::{AggregateId, CommandId, Stamp};
use kernel::projection::Projection;
use serde_json::Value as Json;

use crate::field::full_body;
use crate::{Field, Operation, Resource};

/// The number of samples that must all differ if the values of a field distinguish items.
const SAMPLES_APART: u64 = 64;

/// Returns whether a field has enough values to distinguish items.
#[must_use]
pub fn is_wide(field: &Field) -> bool {
    let samples: BTreeSet<_> = (0..SAMPLES_APART).map(|number| (field.sample)(number).to_string()).collect();
    samples.len() as u64 == SAMPLES_APART
}

/// Returns the view of an item after a create with this body and these actions, without a service; `None` if one of them is
/// refused.
#[must_use]
pub fn view_after<R: Resource>(body: &Json, actions: &[&'static str]) -> Option<Json> {
    let now = SystemClock.now();
    let context = Context { stamp: Stamp { at: now, command: CommandId::generate(now) }, conditional: false };
    let create = (Operation::Create, body.to_string());
    let actions = actions.iter().map(|action| (Operation::Act(action), String::new()));
    let mut state = None;
    for (operation, body) in std::iter::once(create).chain(actions) {
        let command = R::parse(operation, body.as_bytes()).ok()?;
        let Decision::Accept(event) = R::decide(state.as_ref(), &command, &context) else { return None };
        state = R::evolve(state, event);
    }
    serde_json::from_slice(&R::project(Projection::FIRST, AggregateId::generate(now), 1, &state?)).ok()
}

/// Returns all allowed sequences of actions on a new item, each action at most once. Shorter sequences come first.
#[must_use]
pub fn walks<R: Resource>() -> Vec<Vec<&'static str>> {
    let body = full_body(R::FIELDS, 1);
    let (mut walks, mut next) = (vec![Vec::new()], 0);
    while let Some(walk) = walks.get(next).cloned() {
        let unused = R::ACTIONS.iter().filter(|action| !walk.contains(*action));
        let longer = unused.map(|action| [walk.as_slice(), &[*action]].concat());
        walks.extend(longer.filter(|longer| view_after::<R>(&body, longer).is_some()));
        next += 1;
    }
    walks
}
