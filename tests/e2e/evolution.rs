//! The evolution report can be made.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{long_tests_wanted, program};

const STAGES: [&str; 7] =
    ["single-responsibility", "lambda-lith", "read-write", "memory-cache", "redis-cache", "read-store", "cqrs"];
const FUNCTIONS: [&str; 11] = [
    "read-fn",
    "write-fn",
    "ingest-fn",
    "lith-fn",
    "create-user-fn",
    "replace-user-fn",
    "update-user-fn",
    "delete-user-fn",
    "get-user-fn",
    "list-users-fn",
    "get-command-fn",
];

/// The report in a folder names its command and every stage, and all its charts are there.
fn assert_is_whole(folder: &Path) {
    let report = fs::read_to_string(folder.join("report.md")).unwrap();
    assert!(report.contains("`make evolution-report`"));
    for stage in STAGES {
        assert!(report.matches(&format!("| `{stage}` |")).count() >= 3, "no {stage} in {report}");
    }
    let charts: Vec<_> = report.split("](charts/").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(charts.len() >= 5, "{charts:?}");
    for chart in charts {
        assert!(fs::read_to_string(folder.join("charts").join(chart)).unwrap().ends_with("</svg>\n"), "{chart}");
    }
}

#[test]
fn a_quick_evolution_report_is_whole_and_no_request_of_it_fails() {
    if !long_tests_wanted() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let functions = folder.path().join("functions");
    fs::create_dir(&functions).unwrap();
    let built = program::watershed_local().parent().unwrap();
    for function in FUNCTIONS {
        // Another file system than that of the target directory has no hard links to it.
        let (from, to) = (built.join(function), functions.join(function));
        fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop)).unwrap();
    }
    let output = folder.path().join("report");
    let made = Command::new(built.join("evolution-report"))
        .arg("--quick")
        .arg("--functions-dir")
        .arg(&functions)
        .arg("--watershed-local")
        .arg(program::watershed_local())
        .arg("--output")
        .arg(&output)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert_is_whole(&output);
    let report = fs::read_to_string(output.join("report.md")).unwrap();
    assert!(!report.contains("requests failed"), "{report}");
}
