//! The operators' command line. It asks the stores themselves, through the same adapters as the functions, on a local
//! stack and on AWS alike.

mod audit;
mod cli;
mod compare;
mod cost;
mod dead_letters;
mod deploy;
#[cfg(test)]
mod documents;
mod limits;
mod migrate;
mod model;
mod outcome;
mod queue;
mod quotas;
mod ramp;
mod rebuild;
mod show;
mod site;
mod smoke;
mod table;
#[cfg(test)]
mod testing;
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
    let stage = arguments.site.stage.as_deref();
    let site = || Site::find(&arguments.site);
    match &arguments.action {
        Action::Verify(options) => verify::run(&site().await?, options).await,
        Action::Rebuild(command) => rebuild::run(&site().await?, command).await,
        Action::Migrate(command) => migrate::run(site().await?, &arguments.site, command).await,
        Action::Dlq(command) => dead_letters::run(&site().await?, command).await,
        Action::Queue => queue::run(&site().await?).await,
        Action::Command(show) => show::command(&site().await?, show).await,
        Action::User(show) => show::user(&site().await?, show).await,
        Action::Smoke(options) => smoke::run(options).await,
        Action::Cost(options) => cost::run(options, stage),
        Action::Limits(options) => limits::run(options, stage),
        Action::Ramp(options) => ramp::run(options, stage),
    }
}
