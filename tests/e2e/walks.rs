//! Runs the examples in the documents.
//!
//! The test runs each shell block after `<!-- walk -->`. Each line of the block after a following `<!-- walk:expect -->` must
//! appear in the output; `…` matches any text. The soak of a migration takes 1 s instead of 60 s.

use std::process::Stdio;

use crate::docs::{evolution, stages};
use crate::harness::redis::Redis;
use crate::harness::{Stack, Variant, check, program};
use crate::sample;

/// The service's URL in the README.
const URL: &str = "http://127.0.0.1:3000";

#[test]
fn the_walk_in_the_readme_does_what_it_says() {
    walk("README.md");
}

#[test]
fn the_walk_in_the_operators_document_does_what_it_says() {
    walk("docs/operations.md");
}

#[test]
fn the_pages_of_the_stages_lead_forward_back_and_forward_again() {
    if !Redis::is_installed() || !sample::are_shipped() {
        return;
    }
    let mut steps = blocks(&evolution("README"));
    for stage in stages() {
        let page = blocks(&evolution(&stage));
        let there = page.iter().find(|step| step.text.contains("watershed migrate advance")).cloned();
        assert!(!page.is_empty() && (there.is_some() || stage == "single-responsibility"), "{stage} has no walk");
        steps.extend(page);
        // The page's last block is the way back, so go forward once more.
        steps.extend(there);
    }
    walk_on(&Stack::start(Variant::SingleResponsibility, &["--ephemeral"]), &steps);
}

fn walk(document: &str) {
    if !sample::are_shipped() {
        return;
    }
    let text = std::fs::read_to_string(program::workspace().join(document)).unwrap();
    let steps = blocks(&text);
    assert!(!steps.is_empty(), "{document} has no walk");
    walk_on(&Stack::start(Variant::Cqrs, &["--ephemeral"]), &steps);
}

fn walk_on(stack: &Stack, steps: &[Step]) {
    // One shell runs all steps, so that a step can use variables of an earlier one. A marker separates their outputs.
    let scripts: Vec<String> = steps.iter().map(|step| format!("{}\necho '{MARKER}'\n", step.text)).collect();
    let script = hurried(&scripts.concat()).replace(URL, &stack.service.url);
    let printed = check(stack, async { shell(&script) });
    let mut outputs = printed.split(MARKER);
    for step in steps {
        let output = outputs.next().unwrap_or_default();
        for expected in step.expected.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let found = output.lines().any(|line| matches(line, expected));
            assert!(found, "after\n{}\nthere is no\n{expected}\nin\n{output}", step.text);
        }
    }
}

/// Shortens each soak to 1 s.
fn hurried(script: &str) -> String {
    let advance = "watershed migrate advance";
    let of_a_minute = script.replace("--soak 60s", "");
    let lines = of_a_minute.lines().map(|line| match line.starts_with(advance) && !line.contains("--soak") {
        true => format!("{line} --soak 1s\n"),
        false => format!("{line}\n"),
    });
    lines.collect()
}

const MARKER: &str = "--- walked ---";

#[derive(Clone)]
struct Step {
    text: String,
    expected: String,
}

/// Returns the blocks to run, each with the block of its expected output, if any.
fn blocks(document: &str) -> Vec<Step> {
    let sections = document.split("<!-- walk -->").skip(1);
    sections
        .map(|section| Step {
            text: fenced(section).unwrap_or_else(|| panic!("no block after a mark")),
            expected: section.split_once("<!-- walk:expect -->").and_then(|(_, rest)| fenced(rest)).unwrap_or_default(),
        })
        .collect()
}

/// Returns the first fenced block of a text.
fn fenced(text: &str) -> Option<String> {
    let (_, block) = text.split_once("```")?;
    let (_, block) = block.split_once('\n')?;
    Some(block.split_once("```")?.0.to_owned())
}

fn shell(script: &str) -> String {
    let programs = program::watershed().parent().unwrap().to_str().unwrap();
    let ran = program::leashed(&program::find("sh").unwrap())
        .args(["-eu", "-c", script])
        .env("PATH", format!("{programs}:{}", std::env::var("PATH").unwrap()))
        .stdin(Stdio::null())
        .current_dir(program::workspace())
        .output()
        .unwrap();
    let (printed, complaints) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success(), "{} after\n{printed}\n{complaints}", ran.status);
    printed.replace('\r', "")
}

/// Returns whether the line contains the pattern, in which `…` matches any text.
fn matches(line: &str, pattern: &str) -> bool {
    let mut rest = Some(line);
    for part in pattern.split('…') {
        rest = rest.and_then(|rest| rest.split_once(part.trim_matches(' ')).map(|(_, after)| after));
    }
    rest.is_some()
}
