//! The entry point: reads the command line and runs.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    local::run(local::options::Options::parse())
}
