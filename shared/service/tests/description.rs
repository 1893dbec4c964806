//! `shared/service.json` is the list of resources with its routes and functions, for programs in other languages. The CDK app and
//! the packager read it.

use std::fs;

use kernel::ports::Slot;
use resource::Description;
use serde_json::{Value, json};
use service::resources::RESOURCES;
use service::{api, functions};

fn description() -> Value {
    let resource = |resource: &Description| {
        let Description { kind, collection, name, .. } = resource;
        json!({ "kind": kind.letters(), "collection": collection, "name": name })
    };
    json!({
        "resources": RESOURCES.iter().map(resource).collect::<Vec<_>>(),
        "functions": *functions::FUNCTIONS,
        "routes": *api::ROUTES,
        "default": api::DEFAULT,
        "slots": Slot::ALL.map(Slot::name),
    })
}

/// Writes the file if it is out of date. If you change the list, run this test and commit the file.
#[test]
fn the_file_matches_the_list_of_resources() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../service.json");
    let due = format!("{:#}\n", description());
    let found = fs::read_to_string(path).unwrap_or_default();
    if found != due {
        fs::write(path, due).unwrap();
        panic!("shared/service.json was out of date, and this test has updated it: commit it");
    }
}
