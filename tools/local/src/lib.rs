//! The service on one machine: the same functions behind the same interfaces as on AWS.
//!
//! A request passes [`gateway`], [`environments`], and the process of a function through its [`runtime_api`]. A message
//! from the queue takes the same way, from the [`poller`]. [`stack`] starts and stops all parts.

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

/// Runs the role of the command line until it is done, or until a signal stops it.
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
