//! Checks that all commands of the Makefile compile each dependency once, and that only the simulation contains mutants.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::harness::program;

/// The Makefile's targets that build programs for this machine.
const TARGETS: [&str; 7] = ["run", "test", "test-full", "test-deploy", "soak", "smoke", "lint"];

/// The sets of features with which a command compiles each package. A package can have one set as a dependency of build scripts,
/// and another as a dependency of programs.
type Features = BTreeMap<String, BTreeSet<String>>;

#[test]
fn every_command_compiles_dependencies_with_the_same_features() {
    let of_workspace = features("cargo build --workspace --bins --tests");
    for command in cargo_commands() {
        let dependencies = features(&command).into_iter().filter(|(package, _)| !is_ours(package));
        for (package, sets) in dependencies {
            let known = of_workspace.get(&package);
            assert!(
                known.is_some_and(|known| sets.is_subset(known)),
                "{package} compiles once more for\n  {command}\nwith {sets:?} instead of {known:?}. Add the missing \
                features to tools/unified-features/Cargo.toml."
            );
        }
    }
}

#[test]
fn only_a_build_of_the_simulation_has_mutants() {
    let (with, without): (Vec<_>, Vec<_>) = cargo_commands().into_iter().partition(|command| has_mutants(command));
    assert!(!without.is_empty() && !with.is_empty(), "with mutants: {with:?}, without: {without:?}");
    for command in with {
        assert!(command.contains("-p simulation ") && !command.contains("--workspace"), "{command}");
    }
}

#[test]
fn the_simulation_and_what_it_assembles_need_nothing_of_aws() {
    let packages = features("cargo build -p simulation --features simulation/mutants");
    let of_aws: Vec<_> = packages.keys().filter(|package| package.starts_with("aws-")).collect();
    assert_eq!(of_aws, [""; 0]);
    assert!(packages.keys().any(|package| package.starts_with("service ")), "{packages:?}");
}

fn has_mutants(command: &str) -> bool {
    let features = features(command);
    let kernel = features.iter().find(|(package, _)| package.starts_with("kernel ")).map(|(_, sets)| sets);
    kernel.is_some_and(|sets| sets.iter().any(|set| set.split(',').any(|feature| feature == "simulation")))
}

/// Returns the commands of the Makefile that compile the workspace with the profile `fast`.
fn cargo_commands() -> BTreeSet<String> {
    let printed = output(Command::new("make").arg("--dry-run").args(TARGETS).env_remove("MAKEFLAGS"));
    let cargo =
        printed.lines().filter(|line| line.contains("--profile fast")).filter_map(|line| line.split_once("cargo "));
    let commands: BTreeSet<_> = cargo.map(|(_, arguments)| format!("cargo {arguments}")).collect();
    assert!(commands.len() > 5, "only {commands:?} were found");
    commands
}

/// Returns the features with which a command compiles each package, as Cargo resolves them.
fn features(command: &str) -> Features {
    let words: Vec<_> = command.split(" -- ").next().unwrap_or_default().split(' ').collect();
    let builds_tests = words.iter().any(|word| ["test", "--tests", "--all-targets"].contains(word));
    let edges = if builds_tests { "normal,build,dev" } else { "normal,build" };
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--offline", "--edges", edges, "--prefix", "none", "--format", "{p}|{f}"]);
    tree.args(words.iter().filter(|word| **word == "--workspace"));
    for pair in words.windows(2).filter(|pair| ["-p", "--features"].contains(&pair[0])) {
        tree.args(pair);
    }
    let mut found = Features::new();
    for line in output(&mut tree).lines().filter(|line| !line.is_empty()) {
        let (package, features) = line.trim_end_matches(" (*)").split_once('|').unwrap();
        found.entry(package.to_owned()).or_default().insert(features.to_owned());
    }
    assert!(found.len() > 50, "only {} packages were found for {command}", found.len());
    found
}

fn is_ours(package: &str) -> bool {
    package.contains(program::workspace().to_str().unwrap())
}

fn output(command: &mut Command) -> String {
    let output = command.current_dir(program::workspace()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
