//! The documents show what the commands print.

use std::path::Path;

use clap::Parser as _;

use crate::cli::{Action, Arguments};
use crate::{cost, limits};

#[test]
fn the_documents_show_what_cost_and_limits_print() {
    let shows = |document: &str, command: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(document);
        let text = std::fs::read_to_string(path).unwrap();
        let printed = printed(command);
        let block = format!("```console\n$ {command}\n{printed}\n```");
        assert!(text.contains(&block), "docs/{document} should have\n{block}");
    };
    shows("scale.md", "watershed limits");
    shows("scale.md", "watershed limits --explain");
    shows("cost.md", "watershed cost");
    shows("cost.md", "watershed cost --stage lambda-lith");
}

fn printed(command: &str) -> String {
    let arguments = Arguments::parse_from(command.split(' '));
    let stage = arguments.site.stage.as_deref();
    let outcome = match &arguments.action {
        Action::Cost(options) => cost::run(options, stage),
        Action::Limits(options) => limits::run(options, stage),
        action => panic!("{action:?} asks others"),
    };
    outcome.unwrap().lines().join("\n")
}
