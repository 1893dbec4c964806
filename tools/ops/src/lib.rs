//! The operators' command line. It asks the stores themselves, through the same adapters as the functions, on a local
//! stack and on AWS alike.

mod audit;
mod cli;
mod compare;
mod dead_letters;
mod deploy;
mod migrate;
mod outcome;
mod queue;
mod rebuild;
mod show;
mod site;
mod verify;

use std::process::ExitCode;

use clap::Parser as _;

use crate::cli::{Action, Arguments};
use crate::outcome::{Failure, Outcome};
use crate::site::Site;

/// Does what the command line says. Exit codes: 0, all is well; 1, it was done, and something is not as it should be;
/// 2, the command line makes no sense; 3, it could not be done, and nothing was damaged.
pub async fn run() -> ExitCode {
    let arguments = Arguments::parse();
    match Box::pin(execute(&arguments)).await {
        Ok(outcome) => {
            outcome.print(arguments.json);
            ExitCode::from(u8::from(!outcome.is_well))
        }
        Err(failure) => {
            eprintln!("watershed: {failure}");
            ExitCode::from(3)
        }
    }
}

async fn execute(arguments: &Arguments) -> Result<Outcome, Failure> {
    let site = Site::find(&arguments.site).await?;
    match &arguments.action {
        Action::Verify(options) => verify::run(&site, options).await,
        Action::Rebuild(command) => rebuild::run(&site, command).await,
        Action::Migrate(command) => migrate::run(site, &arguments.site, command).await,
        Action::Dlq(command) => dead_letters::run(&site, command).await,
        Action::Queue => queue::run(&site).await,
        Action::Command(show) => show::command(&site, show).await,
        Action::User(show) => show::user(&site, show).await,
    }
}
