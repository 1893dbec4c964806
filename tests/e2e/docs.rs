//! Checks the documents: every promise names a test, and every named test exists. The pages of the stages are complete and match
//! `shared/stages.json`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use service::stages::{StageConfig, StageKind};

use crate::harness::program;
use crate::sample;

/// The minimum number of words in the name of a test.
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

/// The headings of each stage's page, in this order.
const HEADINGS: [&str; 8] =
    ["When you need it", "What changes", "What clients notice", "The step", "Checks", "Way back", "Cost", "Traps"];

#[test]
fn every_stage_has_a_page_with_all_headings_that_the_index_leads_to() {
    let index = evolution("README");
    for stage in stages() {
        let page = evolution(&stage);
        let headings: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(headings, HEADINGS, "{stage}");
        assert!(index.contains(&format!("({stage}.md)")), "the index does not lead to {stage}");
    }
}

#[test]
fn the_page_of_every_stage_shows_what_changes_on_the_way_there_and_back() {
    let mut before: Option<String> = None;
    for stage in stages() {
        let page = evolution(&stage);
        let shows = |heading: &str, rows: &str| {
            let section = section(&page, heading);
            assert!(section.contains(&format!("```\n{rows}```\n")), "{stage}, {heading}, should show\n{rows}");
        };
        shows("What changes", &way(before.as_deref(), &stage));
        if let Some(before) = &before {
            shows("Way back", &way(Some(&stage), before));
        }
        before = Some(stage);
    }
}

#[test]
fn every_link_to_a_heading_finds_it() {
    let links: Vec<_> = documents().into_iter().flat_map(|document| links_to_headings(&document)).collect();
    assert!(links.len() > 5, "only {} links were found", links.len());
    for (document, target, wanted) in links {
        let text = fs::read_to_string(&target).unwrap_or_else(|error| panic!("{}: {error}", target.display()));
        let found = text.lines().any(|line| line.starts_with('#') && anchor(line) == wanted);
        assert!(found, "{} links to #{wanted}, which {} does not have", document.display(), target.display());
    }
}

#[test]
fn the_index_lists_every_document() {
    let root = program::workspace();
    let index = fs::read_to_string(root.join("docs/README.md")).unwrap();
    let linked: BTreeSet<_> = index.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()).collect();
    for document in program::files(&root.join("docs"), "md") {
        let path = document.strip_prefix(root.join("docs")).unwrap().to_str().unwrap();
        assert!(path == "README.md" || linked.contains(path), "docs/README.md does not list {path}");
    }
}

#[test]
fn no_command_in_a_document_has_a_secret_among_its_arguments() {
    let configuration = program::workspace().join("cdk/lib/config.ts");
    for document in documents().into_iter().chain([configuration]) {
        let text = fs::read_to_string(&document).unwrap();
        let secrets = text.split("--secret-string").skip(1);
        let in_file = secrets.clone().all(|rest| rest.starts_with(" file://"));
        let as_header = text.contains("-H \"Authorization: Bearer");
        assert!(in_file && !as_header, "{} shows a secret in the list of processes", document.display());
    }
}

#[test]
fn what_the_document_of_resources_shows_of_orders_is_their_code() {
    if !sample::are_shipped() {
        return;
    }
    let read = |path: &str| fs::read_to_string(program::workspace().join(path)).unwrap();
    let code = read("shared/orders/src/lib.rs") + &read("shared/orders/tests/orders.rs");
    let lines: BTreeSet<_> = code.lines().map(str::trim).collect();
    let document = read("docs/your-own-resource.md");
    let blocks = document.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next());
    let of_orders: Vec<_> = blocks.filter(|block| block.contains("Status") || block.contains("order(")).collect();
    assert_eq!(of_orders.len(), 2, "{of_orders:?}");
    for line in of_orders.iter().flat_map(|block| block.lines()) {
        assert!(lines.contains(line.trim()), "orders have no line `{line}`");
    }
}

/// Returns the links of a document to headings: its own path, the linked path, and the heading's anchor.
fn links_to_headings(document: &Path) -> Vec<(PathBuf, PathBuf, String)> {
    let text = fs::read_to_string(document).unwrap();
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let here = targets.filter(|target| !target.contains("://")).filter_map(|target| target.split_once('#'));
    let of = |path: &str| match path {
        "" => document.to_owned(),
        path => document.with_file_name(path),
    };
    here.map(|(path, wanted)| (document.to_owned(), of(path), wanted.to_owned())).collect()
}

/// Returns the anchor of a heading: words in lower case, joined by hyphens.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Returns the named stages, in the order of the path.
pub fn stages() -> Vec<String> {
    let rows = StageConfig::all().unwrap();
    rows.into_iter().filter(|row| row.kind == StageKind::Stage).map(|row| row.stage).collect()
}

/// Returns the text of a page about stages.
pub fn evolution(page: &str) -> String {
    let path = program::workspace().join(format!("docs/evolution/{page}.md"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("## {heading}\n")).unwrap();
    rest.split("\n## ").next().unwrap()
}

/// Returns the stages to deploy from one named stage to another, each with its changes. Without `from`, all columns of the stage.
fn way(from: Option<&str>, to: &str) -> String {
    let way = from.map_or_else(|| vec![StageConfig::of(to).unwrap()], |from| StageConfig::step(from, to).unwrap());
    let rows: Vec<_> = way.iter().map(|row| columns(&row.stage)).collect();
    let before = std::iter::once(from.map(columns).unwrap_or_default()).chain(rows.clone());
    before.zip(&rows).map(|(before, after)| changes(&before, after)).collect()
}

/// Returns a stage's name and kind, with a line for each column that differs from the stage before.
fn changes(before: &Map<String, Value>, after: &Map<String, Value>) -> String {
    let heading = format!("{} ({})\n", plain(&after["stage"]), plain(&after["kind"]));
    let line = |(column, value): (&String, &Value)| match before.get(column) {
        _ if ["stage", "kind"].contains(&column.as_str()) => None,
        Some(old) if old == value => None,
        Some(old) => Some(format!("  {column}: {} → {}\n", plain(old), plain(value))),
        None => Some(format!("  {column}: {}\n", plain(value))),
    };
    std::iter::once(heading).chain(after.iter().filter_map(line)).collect()
}

/// Returns the columns of a stage in `shared/stages.json`.
fn columns(stage: &str) -> Map<String, Value> {
    let table = fs::read_to_string(program::workspace().join("shared/stages.json")).unwrap();
    let rows: Vec<Map<String, Value>> = serde_json::from_str(&table).unwrap();
    rows.into_iter().find(|row| row["stage"] == stage).unwrap()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "none".to_owned(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// Returns the texts in backquotes.
pub fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn looks_like_a_test(name: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    name.split('_').count() >= WORDS_MIN && name.split('_').all(is_word)
}

fn documents() -> Vec<PathBuf> {
    let root = program::workspace();
    let mut found = program::files(&root.join("docs"), "md");
    found.extend(["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root.join(name)));
    found
}

/// Returns the names of all functions in the sources. A macro makes tests of those in contract suites.
fn tests() -> BTreeSet<String> {
    let folders = ["shared", "read-fn", "write-fn", "ingest-fn", "lith-fn", "tools", "tests"];
    let sources = folders.iter().flat_map(|folder| program::files(&program::workspace().join(folder), "rs"));
    let mut names = BTreeSet::new();
    for source in sources {
        let text = fs::read_to_string(source).unwrap();
        let after_fn = text.split("fn ").skip(1);
        names.extend(after_fn.filter_map(|rest| rest.split(['(', '<']).next()).map(str::to_owned));
    }
    names
}
