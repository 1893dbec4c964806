//! The documents name tests that exist, and every promise names one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::program;

/// A name of so many words or more is a test's.
const WORDS_MIN: usize = 4;

#[test]
fn every_test_that_a_document_names_exists() {
    let tests = tests();
    assert!(tests.len() > 300, "only {} tests were found", tests.len());
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for name in quoted(&text).filter(|name| looks_like_a_test(name)) {
            assert!(tests.contains(name), "{} names {name}, which is no test", document.display());
        }
    }
}

#[test]
fn every_promise_names_its_proof() {
    let text = fs::read_to_string(program::workspace().join("docs/guarantees.md")).unwrap();
    let promises = text.lines().filter(|line| line.starts_with("| ")).filter(|line| !line.starts_with("| promise |"));
    let promises: Vec<_> = promises.filter(|line| !line.starts_with("| --- |")).collect();
    assert!(promises.len() > 20, "only {} promises were found", promises.len());
    for promise in promises {
        let proof = promise.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let names_a_test = quoted(proof).any(looks_like_a_test);
        let names_an_invariant = proof.starts_with("S ") && proof[2..].starts_with(|c: char| c.is_ascii_digit());
        assert!(names_a_test || names_an_invariant, "no proof: {promise}");
    }
}

/// What stands in backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn looks_like_a_test(name: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.split('_').count() >= WORDS_MIN && name.split('_').all(is_word)
}

fn documents() -> Vec<PathBuf> {
    let root = program::workspace();
    let mut found = files(&root.join("docs"), "md");
    found.extend(["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root.join(name)));
    found
}

/// The names of all functions in the sources; those of contract suites become tests by a macro.
fn tests() -> BTreeSet<String> {
    let folders = ["shared", "read-fn", "write-fn", "ingest-fn", "lith-fn", "tools", "tests"];
    let sources = folders.iter().flat_map(|folder| files(&program::workspace().join(folder), "rs"));
    let mut names = BTreeSet::new();
    for source in sources {
        let text = fs::read_to_string(source).unwrap();
        let after_fn = text.split("fn ").skip(1);
        names.extend(after_fn.filter_map(|rest| rest.split(['(', '<']).next()).map(str::to_owned));
    }
    names
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, ending));
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    found
}
