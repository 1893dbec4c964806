//! Checks that the report on the stages can be measured again, and that the stored one is complete.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use service::stages::{StageConfig, StageKind};

use crate::harness::program;

/// Returns the named stages, without the intermediate ones.
fn stages() -> Vec<StageConfig> {
    StageConfig::all().unwrap().into_iter().filter(|row| row.kind == StageKind::Stage).collect()
}

/// Checks that the report in a folder names its command and every stage, and that all its charts exist.
fn assert_is_whole(folder: &Path) {
    let report = fs::read_to_string(folder.join("report.md")).unwrap();
    assert!(report.contains("`make evolution-report`"));
    for StageConfig { stage, .. } in stages() {
        assert!(report.matches(&format!("| `{stage}` |")).count() >= 3, "no {stage} in {report}");
    }
    assert!(!report.contains("NaN"), "{report}");
    let charts: Vec<_> = report.split("](charts/").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(charts.len() >= 5, "{charts:?}");
    for chart in charts {
        assert!(fs::read_to_string(folder.join("charts").join(chart)).unwrap().ends_with("</svg>\n"), "{chart}");
    }
}

#[test]
#[ignore = "long: make test-full"]
fn a_quick_evolution_report_is_whole_and_no_request_of_it_fails() {
    let folder = tempfile::tempdir().unwrap();
    let functions = folder.path().join("functions");
    fs::create_dir(&functions).unwrap();
    let built = program::watershed_local().parent().unwrap();
    for binary in stages().into_iter().flat_map(|row| row.binaries).collect::<BTreeSet<_>>() {
        // Hard links do not work across file systems, so copy if necessary.
        let (from, to) = (built.join(&binary), functions.join(&binary));
        fs::hard_link(&from, &to).or_else(|_| fs::copy(&from, &to).map(drop)).unwrap();
    }
    let output = folder.path().join("report");
    let made = program::leashed(&built.join("evolution-report"))
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
    let traffic = report.split("| traffic |").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap();
    let failed: Vec<_> = traffic.lines().skip(2).filter(|row| !row.ends_with(" | 0 |")).collect();
    assert!(traffic.lines().count() > 2 && failed.is_empty(), "{failed:?}");
    // The stored report may be older than a resource. The new one must include all resources.
    for function in stages().iter().flat_map(StageConfig::functions) {
        assert!(report.contains(&format!("| `{}` |", function.name)), "no {} in {report}", function.name);
    }
}

#[test]
fn the_kept_evolution_report_names_its_command_and_every_stage() {
    assert_is_whole(&program::workspace().join("docs/evolution"));
}
