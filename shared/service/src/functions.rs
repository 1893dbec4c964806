//! The functions of the service, with their tasks, derived from the list of resources.

use std::sync::LazyLock;

use resource::Description;
use serde::Serialize;

use crate::resources::RESOURCES;

/// The function that the queue invokes. All others answer HTTP.
pub const INGEST: &str = "ingest-fn";
/// The function for all queries.
pub const READ: &str = "read-fn";
/// The function for all commands.
pub const WRITE: &str = "write-fn";
/// The function for all requests.
pub const LITH: &str = "lith-fn";
/// The function for the status of commands.
pub const GET_COMMAND: &str = "get-command-fn";

/// A task of a function. The function's permissions follow from its tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Return one item.
    Get,
    /// Return a list.
    List,
    /// Return the status of a command.
    LookUp,
    /// Accept a command that creates an item.
    Create,
    /// Accept a command that changes an item.
    Change,
    /// Accept a command that deletes an item.
    Delete,
    /// Apply commands from the queue.
    Ingest,
}

/// A Lambda function of the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Function {
    /// Its name, for example `create-user-fn`.
    pub name: String,
    /// The program that it runs.
    pub binary: &'static str,
    /// The collection of the one resource that it serves, from which the program's `RESOURCE` is set. `None` for all resources.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<&'static str>,
    /// The one action that it serves, from which the program's `ACTION` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'static str>,
    /// Its tasks.
    pub tasks: &'static [Task],
}

/// The programs that serve one resource, with their tasks. Each program is one function per resource.
const OF_ONE: [(&str, &[Task]); 6] = [
    ("create-fn", &[Task::Create]),
    ("replace-fn", &[Task::Change]),
    ("update-fn", &[Task::Change]),
    ("delete-fn", &[Task::Delete]),
    ("get-fn", &[Task::Get]),
    ("list-fn", &[Task::List]),
];

/// The program that serves one action of one resource. It is one function per action.
const ACT: &str = "act-fn";

/// The programs that serve all resources, with their tasks.
const OF_ALL: [(&str, &[Task]); 5] = [
    (GET_COMMAND, &[Task::LookUp]),
    (READ, &[Task::Get, Task::List, Task::LookUp]),
    (WRITE, &[Task::Create, Task::Change, Task::Delete]),
    (LITH, &[Task::Get, Task::List, Task::LookUp, Task::Create, Task::Change, Task::Delete]),
    (INGEST, &[Task::Ingest]),
];

/// The functions of all stages.
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

/// Returns the name of the function that runs a program for a resource, or that serves an action of it. For example `get-user-fn`
/// for `get-fn`, and `pay-order-fn` for `pay`.
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
