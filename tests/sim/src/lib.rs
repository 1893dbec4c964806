//! The whole flow under every fault, in simulated time: the kernel's and the ingest function's own code, over stores, a
//! queue and a cache that fail, delay, repeat and reorder as a seed says. A seed always makes the same run.
//!
//! Environments are wired from the row of the table of stages that is deployed; an operator may deploy others meanwhile.
//!
//! All resources that the service serves are mixed in one run. Which these are comes from its list.
//!
//! A crash is the end of an invocation at one of its awaits: its future is dropped.

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
