//! Checks the evolution path: the stages as data, the intermediate stages, and the steps between them.

mod beside_a_queue;
mod report;
mod walk;

use service::stages::StageConfig;

use crate::harness::program::{files, workspace};

/// The folders of the deployed code.
const SHIPPED: [&str; 5] = ["read-fn", "write-fn", "ingest-fn", "lith-fn", "shared"];
/// The only files that may read a stage configuration: its definition, the work between stages, the required variables, and the
/// assembly.
const WIRING: [&str; 5] = [
    "shared/service/src/assembly.rs",
    "shared/service/src/plan.rs",
    "shared/service/src/stages.rs",
    "shared/src/config.rs",
    "shared/src/wiring.rs",
];

#[test]
fn only_the_wiring_knows_stages() {
    let names: Vec<String> = StageConfig::all().unwrap().into_iter().map(|row| format!("\"{}", row.stage)).collect();
    let mut found = Vec::new();
    for file in SHIPPED.iter().flat_map(|folder| files(&workspace().join(folder), "rs")) {
        let name = file.strip_prefix(workspace()).unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let knows = |sign: &str| text.contains(sign);
        let is_named = names.iter().any(|name| knows(name));
        if is_named || ["stages::", "stages.json", "\"STAGE\"", "StageConfig::"].into_iter().any(knows) {
            found.push(name);
        }
    }
    found.sort();
    assert_eq!(found, WIRING);
}
