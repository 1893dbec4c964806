//! Every kind of problem has a paragraph in docs/errors.md, and every paragraph has a kind of problem.

use std::collections::BTreeSet;
use std::path::Path;

/// The files that create problems, relative to this crate's directory.
const SOURCES: &[&str] = &["src/http/problem.rs", "kernel/src/problem.rs", "resource/src/plain.rs"];

#[test]
fn every_problem_is_documented_and_nothing_else_is() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(directory.join(path)).unwrap();
    let sources: String = SOURCES.iter().map(|path| read(path)).collect();
    let mut codes: BTreeSet<_> = sources.split("::new(").skip(1).filter_map(|rest| quoted(rest.trim_start())).collect();
    // The problems of unique fields end with this.
    codes.insert("taken");
    let docs = read("../docs/errors.md");
    let headings: BTreeSet<_> = docs.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert!(codes.len() > 15, "only {codes:?} were found");
    assert_eq!(codes, headings);
}

/// Returns the text in quotes at the start of `rest`.
fn quoted(rest: &str) -> Option<&str> {
    rest.strip_prefix('"')?.split('"').next()
}
