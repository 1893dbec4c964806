//! Simulates the whole flow under faults, in simulated time. The kernel's and ingest-fn's real code runs over stores, a queue and a
//! cache that fail, delay, repeat and reorder. The seed decides every fault: the same seed always makes the same run.
//!
//! The deployed stage configuration decides how environments are wired. An operator may deploy other stages during a run.
//!
//! A run mixes all resources in the service's list.
//!
//! A crash ends an invocation at one of its awaits: the simulation drops its future.

#![cfg(feature = "mutants")]

mod asked;
mod chance;
mod check;
mod client;
mod cutover;
mod deployment;
mod functions;
mod history;
mod model;
pub mod plan;
mod queue;
mod recorded;
mod resources;
mod run;
mod shrink;
mod walk;
mod world;

pub use history::{Invariant, Violation};
pub use run::{Report, run};
pub use shrink::shrink;
