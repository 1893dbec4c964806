//! The functions of the service, derived from the list of resources: which there are, and what each is asked to do.

use std::sync::LazyLock;

use resource::Description;
use serde::Serialize;

use crate::resources::RESOURCES;

/// The function that the queue invokes; all others answer HTTP.
pub const INGEST: &str = "ingest-fn";
/// The function of all queries.
pub const READ: &str = "read-fn";
/// The function of all commands.
pub const WRITE: &str = "write-fn";
/// The function of everything.
pub const LITH: &str = "lith-fn";
/// The function that tells what became of commands.
pub const GET_COMMAND: &str = "get-command-fn";

/// What a function may be asked to do. Its permissions follow from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Show one item.
    Get,
    /// Show a list.
    List,
    /// Tell what became of a command.
    LookUp,
    /// Take a command that makes an item.
    Create,
    /// Take a command that changes an item.
    Change,
    /// Take a command that ends an item.
    Delete,
    /// Apply commands from the queue.
    Ingest,
}

/// A function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Function {
    /// Its name, for example `create-user-fn`.
    pub name: String,
    /// The program that it runs.
    pub binary: &'static str,
    /// The collection of the one resource that it serves, which the program finds as `RESOURCE`; `None` for all resources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<&'static str>,
    /// The one action that it serves, which the program finds as `ACTION`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'static str>,
    /// What it may be asked to do.
    pub tasks: &'static [Task],
}

/// The programs that serve one resource: one function each for each resource.
const OF_ONE: [(&str, &[Task]); 6] = [
    ("create-fn", &[Task::Create]),
    ("replace-fn", &[Task::Change]),
    ("update-fn", &[Task::Change]),
    ("delete-fn", &[Task::Delete]),
    ("get-fn", &[Task::Get]),
    ("list-fn", &[Task::List]),
];

/// The program that serves one action of one resource: a function for each action.
const ACT: &str = "act-fn";

/// The programs that serve all resources.
const OF_ALL: [(&str, &[Task]); 5] = [
    (GET_COMMAND, &[Task::LookUp]),
    (READ, &[Task::Get, Task::List, Task::LookUp]),
    (WRITE, &[Task::Create, Task::Change, Task::Delete]),
    (LITH, &[Task::Get, Task::List, Task::LookUp, Task::Create, Task::Change, Task::Delete]),
    (INGEST, &[Task::Ingest]),
];

/// All functions that any stage deploys.
pub static FUNCTIONS: LazyLock<Vec<Function>> = LazyLock::new(|| {
    let of_all =
        OF_ALL.map(|(binary, tasks)| Function { name: binary.to_owned(), binary, resource: None, action: None, tasks });
    RESOURCES.iter().flat_map(of_resource).chain(of_all).collect()
});

fn of_resource(resource: &Description) -> Vec<Function> {
    let collection = Some(resource.collection);
    let of_operations = OF_ONE.iter().map(|(binary, tasks)| Function {
        name: name_of(binary, resource),
        binary,
        resource: collection,
        action: None,
        tasks,
    });
    let of_actions = resource.actions.iter().map(|action| Function {
        name: name_of(action, resource),
        binary: ACT,
        resource: collection,
        action: Some(action),
        tasks: &[Task::Change],
    });
    of_operations.chain(of_actions).collect()
}

/// The name of the function that runs a program for a resource, or that serves an action of it: `get-user-fn` for `get-fn`,
/// `pay-order-fn` for `pay`.
#[must_use]
pub fn name_of(binary: &str, resource: &Description) -> String {
    let operation = binary.trim_end_matches("-fn");
    let noun = if operation == "list" { resource.collection } else { resource.name };
    format!("{operation}-{noun}-fn")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_functions_have_one_name() {
        let names: BTreeSet<_> = FUNCTIONS.iter().map(|function| &function.name).collect();
        assert_eq!(names.len(), FUNCTIONS.len());
        let named = |name: &str| FUNCTIONS.iter().find(|function| function.name == name);
        for Description { collection, .. } in RESOURCES {
            let list = named(&format!("list-{collection}-fn")).unwrap();
            assert_eq!((list.binary, list.resource), ("list-fn", Some(*collection)));
        }
        assert_eq!(named("list-fn"), None);
    }
}
