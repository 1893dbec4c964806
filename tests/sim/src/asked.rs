//! Requests of clients, made from the sample values of a resource's fields.

use resource::{Description, Field, Operation, Resource};
use serde_json::{Map, Value as Json};

use crate::plan::Change;

/// A client's request: an operation, and the fields of its body.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) operation: Operation,
    pub(crate) fields: Map<String, Json>,
}

impl Asked {
    /// Returns the request that applies a change to a resource. Each operation has its own `number`, so that a read shows which
    /// operation set a value.
    pub(crate) fn of(resource: &Description, change: &Change, number: u64) -> Self {
        let settable: Vec<_> = resource.fields.iter().filter(|field| field.is_settable).collect();
        let is_unique = |field: &&&Field| field.taken.is_some();
        let unique: Vec<_> = settable.iter().copied().filter(|field| is_unique(&field)).collect();
        let others: Vec<_> = settable.iter().copied().filter(|field| !is_unique(&field)).collect();
        let all = |value: &u8| settable.iter().map(|field| sample(field, *value, number)).collect();
        // A resource without such a field changes another one.
        let one = |fields: &[&Field], which: u64, value: u8| {
            let field = pick(fields, which).or_else(|| pick(&settable, which));
            field.map(|field| sample(field, value, number)).into_iter().collect()
        };
        let update = |which: &u8| (Operation::Update, one(&others, u64::from(*which), *which));
        let (operation, fields) = match change {
            Change::Create(value) => (Operation::Create, all(value)),
            Change::Replace(value) => (Operation::Replace, all(value)),
            Change::Update(which) => update(which),
            Change::UpdateUnique(value) => (Operation::Update, one(&unique, number, *value)),
            Change::Delete => (Operation::Delete, Map::new()),
            Change::Act(which) => match pick(resource.actions, u64::from(*which)) {
                Some(action) => (Operation::Act(action), Map::new()),
                None => update(which),
            },
        };
        Self { operation, fields }
    }

    /// Returns whether the request creates an item.
    pub(crate) fn creates(&self) -> bool {
        self.operation == Operation::Create
    }

    /// Returns the command that the service parses from the body.
    #[expect(clippy::expect_used, reason = "each resource tests that its samples are accepted")]
    pub(crate) fn command<R: Resource>(&self) -> R::Command {
        let body = match self.operation {
            Operation::Delete | Operation::Act(_) => Vec::new(),
            Operation::Create | Operation::Replace | Operation::Update => {
                serde_json::to_vec(&self.fields).unwrap_or_default()
            }
        };
        R::parse(self.operation, &body).expect("samples are accepted")
    }
}

/// Returns a field with a value. A unique field gets one of a few values, any other field the value of this operation.
fn sample(field: &Field, value: u8, number: u64) -> (String, Json) {
    let number = if field.taken.is_some() { u64::from(value) } else { number };
    (field.name.to_owned(), (field.sample)(number))
}

fn pick<T: Copy>(from: &[T], which: u64) -> Option<T> {
    let place = which.checked_rem(from.len() as u64)?;
    from.get(usize::try_from(place).unwrap_or_default()).copied()
}
