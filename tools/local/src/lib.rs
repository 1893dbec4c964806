//! The service on one machine, faithfully: the same functions behind the same interfaces as deployed.
//!
//! A request goes [`gateway`] → [`environments`] → a function's process, through its [`runtime_api`]; a message goes from the
//! queue through the [`poller`] the same way. [`stack`] starts and ends all of it.

use std::process::ExitCode;

use options::{Options, Role};

mod backends;
mod cors;
pub mod deployment;
pub mod environments;
pub mod events;
mod function;
pub mod gateway;
pub mod jwt;
mod keys;
pub mod options;
pub mod poller;
pub mod queue;
mod redis;
pub mod routes;
pub mod runtime_api;
mod serve;
pub mod sqs;
pub mod stack;
pub mod status;
mod stores;
pub mod supervise;

/// Does what the command line asks for, until it is done or told to stop.
#[must_use]
pub fn run(options: Options) -> ExitCode {
    let result = match options.role {
        None => stack::run(&options.stack).map_err(|error| error.to_string()),
        Some(Role::Function { parent, name }) => {
            supervise::end_with_parent(parent).map_err(|error| error.to_string()).and_then(|()| function::run(&name))
        }
        Some(Role::Leash { parent, program, arguments }) => {
            Err(format!("cannot run {}: {}", program.display(), supervise::leash(parent, &program, &arguments)))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
