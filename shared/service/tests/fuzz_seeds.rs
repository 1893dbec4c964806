//! Runs the fuzz targets on their seeds, without a fuzzer.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

#[path = "../../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is a crate of its own as well")]
mod fuzz;

type Target = fn(&[u8]);

const TARGETS: [(&str, Target); 6] = [
    ("command_body", fuzz::command_body),
    ("cursor", fuzz::cursor),
    ("envelope", fuzz::envelope),
    ("query_string", fuzz::query_string),
    ("stored_item", fuzz::stored_item),
    ("token", fuzz::token),
];

/// The targets that `shared/tests/front_doors.rs` runs.
const TRIED_THERE: [&str; 2] = ["event", "event_parts"];

/// Returns the names of the files in a folder of the fuzz crate, without their extensions.
fn names(folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

#[test]
fn every_fuzz_target_has_seeds_and_is_tried_here() {
    let here = TARGETS.map(|(name, _)| name.to_owned());
    let tried: BTreeSet<_> = here.into_iter().chain(TRIED_THERE.map(str::to_owned)).collect();
    assert_eq!((&names("fuzz_targets"), &names("seeds")), (&tried, &tried));
}

#[test]
fn no_seed_breaks_what_its_target_asserts() {
    for (name, target) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(name);
        let mut seeds = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            target(&fs::read(&path).unwrap());
            seeds += 1;
        }
        assert!(seeds > 0, "{name}");
    }
}
