//! The operators' command line. It reads and writes the stores directly, through the same adapters as the functions, on a local
//! stack and on AWS alike.

mod audit;
mod cache;
mod cli;
mod compare;
mod copy;
mod cost;
mod counts;
mod dead_letters;
mod deploy;
#[cfg(test)]
mod documents;
mod limits;
mod migrate;
mod new;
mod notes;
mod output;
mod queue;
mod quotas;
mod ramp;
mod rebuild;
mod records;
mod reindex;
mod show;
mod smoke;
mod stores;
mod table;
mod target;
#[cfg(test)]
mod testing;
mod verify;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Action, Arguments};
use crate::output::{CommandOutput, Failure, print_error};
use crate::target::Target;

/// Runs the command line. Exit codes: 0, all is well; 1, done, but something needs attention; 2, wrong usage; 3, it could not be
/// done, and nothing was damaged.
pub async fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return refuse(&error),
    };
    match Box::pin(execute(&arguments)).await {
        Ok(output) => {
            output.print(arguments.json);
            ExitCode::from(u8::from(!output.is_ok))
        }
        Err(failure) => {
            print_error(&failure.to_string(), NOT_DONE, arguments.json);
            ExitCode::from(NOT_DONE)
        }
    }
}

/// The exit code for wrong usage.
const WRONG_USAGE: u8 = 2;
/// The exit code of a command that could not be done.
const NOT_DONE: u8 = 3;

/// Prints the error in the command line, or the help if the user requested it.
fn refuse(error: &clap::Error) -> ExitCode {
    // Parsing failed, so this searches the arguments for the option.
    let json = std::env::args_os().any(|argument| argument == "--json");
    if !(json && error.use_stderr()) {
        error.exit();
    }
    let message = error.to_string();
    print_error(message.trim().trim_start_matches("error: "), WRONG_USAGE, json);
    ExitCode::from(WRONG_USAGE)
}

async fn execute(arguments: &Arguments) -> Result<CommandOutput, Failure> {
    let stage = arguments.target.stage.as_deref();
    let target = || Target::find(&arguments.target);
    match &arguments.action {
        Action::Verify(options) => verify::run(&target().await?, options).await,
        Action::Rebuild(command) => rebuild::run(&target().await?, command).await,
        Action::New(options) => new::run(options),
        Action::Reindex(options) => reindex::run(&target().await?, options).await,
        Action::Migrate(command) => migrate::run(target().await?, &arguments.target, command).await,
        Action::Dlq(command) => dead_letters::run(&target().await?, command).await,
        Action::Queue => queue::run(&target().await?).await,
        Action::Command(show) => show::command(&target().await?, show).await,
        Action::Item(show) => show::item(&target().await?, show).await,
        Action::Smoke(options) => smoke::run(options).await,
        Action::Cost(options) => cost::run(options, stage),
        Action::Limits(options) => limits::run(options, stage),
        Action::Ramp(options) => ramp::run(options, stage),
    }
}
