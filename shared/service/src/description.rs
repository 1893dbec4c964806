//! What the list of resources comes to, for programs in other languages: `shared/service.json`, which the CDK app and the
//! packager read.

use kernel::ports::Slot;
use serde_json::{Value, json};

use crate::resources::RESOURCES;
use crate::{api, functions};

/// The description.
#[must_use]
pub fn description() -> Value {
    let resource = |resource: &resource::Description| json!({ "kind": resource.kind.letters(), "collection": resource.collection, "name": resource.name });
    json!({
        "resources": RESOURCES.iter().map(resource).collect::<Vec<_>>(),
        "functions": *functions::FUNCTIONS,
        "routes": *api::ROUTES,
        "default": api::DEFAULT,
        "slots": Slot::ALL.map(Slot::name),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A test that makes what it misses: whoever changes the list runs it, and commits the file.
    #[test]
    fn the_file_says_what_the_list_comes_to() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../service.json");
        let due = format!("{:#}\n", description());
        let found = fs::read_to_string(path).unwrap_or_default();
        if found != due {
            fs::write(path, due).unwrap();
            panic!("shared/service.json was behind the list of resources. It has been written anew: commit it.");
        }
    }
}
