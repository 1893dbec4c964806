//! Checks that `make` treats the values of people and workflows as data, never as commands.

use std::collections::BTreeSet;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use service::stages::StageConfig;
use tempfile::TempDir;

use crate::harness::program;

/// The programs that recipes call, and that the test replaces.
const PROGRAMS: [&str; 6] = ["cargo", "node", "npm", "python3", "rustc", "rustup"];
/// The variables that recipes may paste: the arguments of a command line, and make itself.
const PASTED: [&str; 2] = ["ARGS", "MAKE"];

/// A folder of replaced programs. Each call of one leaves a trace file.
struct Trap {
    dir: TempDir,
}

impl Trap {
    fn set() -> Self {
        let trap = Self { dir: tempfile::tempdir().unwrap() };
        for name in PROGRAMS {
            trap.program(name, &format!("touch {}", trap.trace().display()));
        }
        trap
    }

    fn program(&self, name: &str, script: &str) {
        let path = self.dir.path().join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn trace(&self) -> PathBuf {
        self.dir.path().join("trace")
    }

    /// Returns values that begin like a valid one, and leave the trace if make or a shell runs a part of them.
    fn hostile(&self, good: &str) -> Vec<String> {
        let touch = format!("touch {}", self.trace().display());
        let endings = [
            format!("; {touch} #"),
            format!("\n{touch}\n"),
            format!(" & {touch} & "),
            format!("$({touch})"),
            format!("$$({touch})"),
            format!("$(shell {touch})"),
            format!("`{touch}`"),
            format!("\"; {touch}; \""),
            format!("'; {touch}; '"),
            " --help".to_owned(),
        ];
        endings.map(|ending| format!("{good}{ending}")).into()
    }

    fn make(&self) -> Command {
        let mut make = make();
        make.env("PATH", self.path());
        make
    }

    fn path(&self) -> String {
        format!("{}:{}", self.dir.path().display(), std::env::var("PATH").unwrap())
    }

    /// Returns a target directory that has this program as the operators' tool.
    fn tool_at(&self, program: &Path) -> PathBuf {
        let target_dir = self.dir.path().join("target");
        std::fs::create_dir_all(target_dir.join("fast")).unwrap();
        symlink(program, target_dir.join("fast/watershed")).unwrap();
        target_dir
    }

    /// Asserts that make refuses a value from the command line and from the environment, and runs nothing. Returns the message.
    fn refused(&self, target: &str, name: &str, value: &str, others: &[&str]) -> String {
        let output = [
            self.make().arg(target).args(others).arg(format!("{name}={value}")).output().unwrap(),
            self.make().arg(target).args(others).env(name, value).output().unwrap(),
        ]
        .map(|Output { status, stdout, stderr }| {
            let output = String::from_utf8(stderr).unwrap();
            assert_eq!(status.code(), Some(2), "make {target} {name}={value}: {output}");
            assert_eq!(String::from_utf8(stdout).unwrap(), "", "make {target} {name}={value}");
            output
        });
        assert!(!self.trace().exists(), "make {target} {name}={value} runs something");
        let [output, from_environment] = output;
        assert_eq!(output, from_environment, "make {target} {name}={value}");
        output
    }
}

/// Returns `make` without inherited variables, because make may run this test.
fn make() -> Command {
    let mut make = Command::new("make");
    make.current_dir(program::workspace());
    for name in ["MAKEFLAGS", "MFLAGS", "MAKELEVEL", "STAGE", "FROM", "CONFIG", "URL", "TOKEN", "WATERSHED_TOKEN"] {
        make.env_remove(name);
    }
    make
}

/// Returns the lines of a message, without those of make itself.
fn lines(output: &str) -> Vec<&str> {
    output.lines().filter(|line| !line.starts_with("make: ")).collect()
}

fn rows() -> String {
    let rows: Vec<_> = StageConfig::all().unwrap().into_iter().map(|row| row.stage).collect();
    rows.join(", ")
}

#[test]
fn a_row_that_does_not_exist_is_refused_in_one_line_that_lists_those_that_do() {
    let trap = Trap::set();
    for (name, others) in [("STAGE", &["CONFIG=cdk/config.example.json"][..]), ("FROM", &["STAGE=cqrs", "CONFIG=x"])] {
        let wrong = [trap.hostile("cqrs"), trap.hostile("cqrs-expand"), vec!["cqrs ".to_owned(), "CQRS".to_owned()]];
        for value in wrong.concat() {
            let output = trap.refused("deploy", name, &value, others);
            let [line] = lines(&output)[..] else { panic!("{output}") };
            assert!(
                line.starts_with(&format!("{name} is not a stage of shared/stages.json: cqrs")) || value == "CQRS",
                "{output}"
            );
            assert!(line.ends_with(&format!("Choose one of {}", rows())), "{output}");
        }
    }
}

#[test]
fn a_workflow_checks_its_rows_as_make_does() {
    let trap = Trap::set();
    let check = |stage: &str, from: &str| {
        let mut check = Command::new(program::workspace().join("tools/cdk.sh"));
        check.arg("check").env("STAGE", stage).env("FROM", from).env("PATH", trap.path());
        check.output().unwrap()
    };
    for value in trap.hostile("cqrs") {
        for output in [check(&value, ""), check("cqrs", &value)] {
            assert_eq!(output.status.code(), Some(2), "{value}: {output:?}");
        }
    }
    assert!(!trap.trace().exists());
    for StageConfig { stage, .. } in StageConfig::all().unwrap() {
        for output in [check(&stage, ""), check("cqrs", &stage)] {
            assert!(output.status.success(), "{stage}: {output:?}");
        }
    }
    let workflow = std::fs::read_to_string(program::workspace().join(".github/workflows/deploy.yml")).unwrap();
    assert!(workflow.contains("run: tools/cdk.sh check"));
}

#[test]
fn a_configuration_a_processor_and_a_url_are_no_commands_either() {
    let trap = Trap::set();
    for (target, others) in [("deploy", &["STAGE=cqrs"][..]), ("destroy", &[]), ("synth", &[])] {
        for value in trap.hostile("cdk/config.example.json") {
            let output = trap.refused(target, "CONFIG", &value, others);
            let [line] = lines(&output)[..] else { panic!("{output}") };
            assert!(line.starts_with("CONFIG is not a file: cdk/config.example.json"), "{output}");
        }
    }
    for value in trap.hostile("x86_64") {
        // The Makefile has a default, which a variable of the environment does not replace.
        let refused = trap.make().args(["package", &format!("ARCH={value}")]).output().unwrap();
        let output = String::from_utf8(refused.stderr).unwrap();
        assert_eq!((refused.status.code(), lines(&output)), (Some(2), vec!["ARCH must be x86_64 or arm64"]), "{value}");
    }
    assert!(!trap.trace().exists());
    // The tool is built already, so `cargo` may do nothing.
    trap.program("cargo", "");
    let target_dir = trap.tool_at(program::watershed());
    for value in trap.hostile("https://example.com") {
        let output = trap.refused("smoke", "URL", &value, &[&format!("CARGO_TARGET_DIR={}", target_dir.display())]);
        assert!(output.contains("give the value of the stack's output Url"), "{output}");
    }
}

#[test]
fn what_is_missing_is_said_before_anything_is_installed() {
    let trap = Trap::set();
    for (target, others, says) in [
        ("deploy", &[][..], "STAGE is missing: run make deploy STAGE="),
        ("deploy", &["STAGE=cqrs"], "CONFIG is missing: run make deploy … CONFIG="),
        ("destroy", &[], "CONFIG is missing: run make destroy … CONFIG="),
        ("smoke", &[], "URL is missing: run make smoke URL="),
    ] {
        let refused = trap.make().arg(target).args(others).output().unwrap();
        let output = String::from_utf8(refused.stderr).unwrap();
        let [line] = lines(&output)[..] else { panic!("{output}") };
        assert!(refused.status.code() == Some(2) && line.starts_with(says), "{output}");
    }
    assert!(!trap.trace().exists());
}

#[test]
fn a_token_is_handed_on_by_the_environment_alone() {
    let trap = Trap::set();
    trap.program("cargo", "");
    trap.program("tool", &format!("echo \"$*, $WATERSHED_TOKEN\" >>{}", trap.trace().display()));
    let target_dir = trap.tool_at(&trap.dir.path().join("tool"));
    let smoke = |make: &mut Command| {
        make.args(["smoke", "URL=https://example.com", "ARGS=--json"]).env("CARGO_TARGET_DIR", &target_dir);
        assert!(make.output().unwrap().status.success());
        let called = std::fs::read_to_string(trap.trace()).unwrap();
        std::fs::remove_file(trap.trace()).unwrap();
        called.strip_prefix("smoke --url=https://example.com --json, ").unwrap_or_else(|| panic!("{called}")).to_owned()
    };
    assert_eq!(smoke(trap.make().env("WATERSHED_TOKEN", "a$b c")), "a$b c\n");
    assert_eq!(smoke(trap.make().arg("TOKEN=a$(b) c")), "a$(b) c\n");
    // An environment variable of this name may be a secret of another program.
    assert_eq!(smoke(trap.make().env("TOKEN", "another")), "\n");
}

#[test]
fn no_recipe_pastes_what_is_given() {
    let text = std::fs::read_to_string(program::workspace().join("Makefile")).unwrap();
    let recipes = text.lines().filter(|line| line.starts_with('\t')).collect::<Vec<_>>().join("\n");
    let pasted = recipes.split("$(").skip(1).filter_map(|rest| rest.split(')').next());
    let names: BTreeSet<_> = pasted.filter(|name| !PASTED.contains(name)).collect();
    assert!(names.len() > 4, "only {names:?} are pasted");
    let given = ["STAGE", "FROM", "CONFIG", "ARCH", "URL", "TOKEN", "WATERSHED_TOKEN", "CARGO_TARGET_DIR"];
    let targets: Vec<_> =
        text.lines().filter_map(|line| line.split_once(": ##").or(line.split_once(": package ##"))).collect();
    assert!(targets.len() > 10, "only {targets:?} were found");
    for name in names.into_iter().chain(given) {
        assert!(name.chars().all(|c| c.is_ascii_uppercase() || c == '_'), "`{name}` is more than a variable");
        let mut make = make();
        make.arg("--dry-run").args(targets.iter().map(|(target, _)| target)).arg(format!("{name}=is-pasted"));
        let printed = make.output().unwrap();
        assert!(printed.status.success(), "{printed:?}");
        assert!(!String::from_utf8(printed.stdout).unwrap().contains("is-pasted"), "{name} is pasted into a recipe");
    }
}
