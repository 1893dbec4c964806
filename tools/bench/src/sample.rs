//! The served resources, as the bench uses them. They come from the list of resources, so a resource is measured as soon as it is
//! served.

use std::sync::LazyLock;

use resource::testing::{full_body, is_wide, walks};
use resource::{Description, Field, Operation, Resource, Visitor};
use serde_json::{Map, Value};
use service::resources::{self, RESOURCES};

/// A served resource.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) resource: &'static Description,
    /// The commands that change an item: an update first, then each action.
    pub(crate) changes: Vec<Change>,
    /// The field that an update changes.
    changed: Option<&'static Field>,
}

/// A command that changes an item.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) operation: Operation,
    /// The actions that lead a new item to a state that allows this one.
    pub(crate) after: Vec<&'static str>,
}

/// Returns all served resources.
pub(crate) fn all() -> &'static [Sample] {
    static ALL: LazyLock<Vec<Sample>> = LazyLock::new(|| RESOURCES.iter().map(Sample::of).collect());
    &ALL
}

impl Sample {
    fn of(resource: &'static Description) -> Self {
        let settable = resource.fields.iter().filter(|field| field.is_settable);
        // The best field is not unique, has many values, and is in a list, which has to follow the change.
        let changed = settable.min_by_key(|field| (field.taken.is_some(), !is_wide(field), field.list.is_none()));
        let update = Change { operation: Operation::Update, after: Vec::new() };
        Self { resource, changes: std::iter::once(update).chain(actions(resource)).collect(), changed }
    }

    /// Returns the actions, without the update.
    pub(crate) fn actions(&self) -> impl Iterator<Item = &Change> {
        self.changes.iter().filter(|change| matches!(change.operation, Operation::Act(_)))
    }

    /// Returns the body of a command. Each number gives other values.
    pub(crate) fn body(&self, operation: Operation, number: u64) -> Option<Value> {
        match operation {
            Operation::Create | Operation::Replace => Some(full_body(self.resource.fields, number)),
            Operation::Update => {
                let changed = self.changed.map(|field| (field.name.to_owned(), (field.sample)(number)));
                Some(Value::Object(changed.into_iter().collect::<Map<_, _>>()))
            }
            Operation::Delete | Operation::Act(_) => None,
        }
    }

    /// Returns the queries of all lists, except the one without a filter.
    pub(crate) fn lists(&self, number: u64) -> impl Iterator<Item = String> {
        self.resource.fields.iter().filter_map(move |field| field.query(&(field.sample)(number)))
    }
}

/// Returns each action that a new item can reach, with the fewest actions before it.
fn actions(resource: &'static Description) -> impl Iterator<Item = Change> {
    struct Walks;
    impl Visitor for Walks {
        type Output = Vec<Vec<&'static str>>;
        fn visit<R: Resource>(self) -> Self::Output {
            walks::<R>()
        }
    }
    let walks = resources::visit(resource, Walks).unwrap_or_default();
    resource.actions.iter().filter_map(move |action| {
        let mut ways = walks.iter().filter_map(|walk| walk.split_last());
        let (_, after) = ways.find(|(last, _)| *last == action)?;
        Some(Change { operation: Operation::Act(action), after: after.to_vec() })
    })
}

#[cfg(test)]
mod tests {
    use resource::field::List;

    use super::*;

    #[test]
    fn every_action_of_every_resource_is_allowed_after_those_before_it() {
        struct Allows<'a>(&'a [&'static str]);
        impl Visitor for Allows<'_> {
            type Output = bool;
            fn visit<R: Resource>(self) -> bool {
                resource::testing::view_after::<R>(&full_body(R::FIELDS, 1), self.0).is_some()
            }
        }
        for sample in all() {
            let actions: Vec<_> = sample.actions().map(|change| change.operation).collect();
            assert_eq!(actions, sample.resource.operations()[Operation::OF_ALL.len()..]);
            for change in sample.actions() {
                let Operation::Act(action) = change.operation else { panic!("{change:?}") };
                let walk = [change.after.as_slice(), &[action]].concat();
                assert_eq!(resources::visit(sample.resource, Allows(&walk)), Some(true), "{walk:?}");
            }
        }
    }

    #[test]
    fn every_body_is_accepted() {
        struct Accepts<'a>(&'a Sample, Operation);
        impl Visitor for Accepts<'_> {
            type Output = bool;
            fn visit<R: Resource>(self) -> bool {
                let body = self.0.body(self.1, 7).map(|body| body.to_string()).unwrap_or_default();
                R::parse(self.1, body.as_bytes()).is_ok()
            }
        }
        for sample in all() {
            for operation in sample.resource.operations() {
                let accepted = resources::visit(sample.resource, Accepts(sample, operation));
                assert_eq!(accepted, Some(true), "{operation:?} of {:?}", sample.resource);
            }
        }
    }

    #[test]
    fn every_list_of_a_value_has_a_query() {
        for sample in all() {
            let queries: Vec<_> = sample.lists(7).collect();
            for field in sample.resource.fields.iter().filter(|field| matches!(field.list, Some(List::OfValue(_)))) {
                assert!(queries.iter().any(|query| query.starts_with(&format!("{}=", field.name))), "{queries:?}");
            }
        }
    }
}
