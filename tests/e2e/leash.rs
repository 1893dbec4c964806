//! Checks that no process outlives the tests that started it, after any signal.

use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::{Stack, Variant, check, eventually, program, run};

/// The variable that makes the test below start processes and wait for its end.
const HOLDS: &str = "WATERSHED_TEST_HOLDS";
/// How long processes may outlive the tests.
const ORPHANS_MAX: Duration = Duration::from_secs(5);
/// The number of processes of a service: its own, its Redis, and environments of two functions.
const OF_A_SERVICE: usize = 4;

#[test]
fn whatever_ends_the_tests_nothing_that_they_have_started_outlives_them() {
    if std::env::var_os(HOLDS).is_some() {
        return hold();
    }
    // Builds the programs now, so that the child tests need not run cargo.
    program::watershed_local();
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let mut tests = Command::new(std::env::current_exe().unwrap());
        tests.args(["--exact", "leash::whatever_ends_the_tests_nothing_that_they_have_started_outlives_them"]);
        tests.env(HOLDS, "1").env("CARGO", program::find("true").unwrap());
        let mut tests = tests.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let started = run(eventually("everything is started", async || {
            let started = program::descendants(tests.id());
            let sleeps = started.iter().any(|pid| program::command_line(*pid).contains("sleep 600"));
            (sleeps && started.len() > OF_A_SERVICE).then_some(started)
        }));
        program::send_signal(tests.id(), signal);
        tests.wait().unwrap();
        let survivors: Vec<_> =
            program::survivors(&started, ORPHANS_MAX).into_iter().map(program::command_line).collect();
        assert!(survivors.is_empty(), "{signal}: {survivors:#?}");
    }
}

/// Starts a service and a program, and runs until it is killed.
fn hold() {
    let stack = Stack::start(Variant::Cqrs, &["--ephemeral"]);
    check(&stack, async { stack.api().any_item().await });
    let slept = program::leashed(&program::find("sleep").unwrap()).arg("600").status();
    panic!("nobody has ended the tests: {slept:?}");
}
