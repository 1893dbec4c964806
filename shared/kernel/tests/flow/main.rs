//! The flow through the kernel, with a second tiny domain, to show that it is generic, and stores in memory.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test may panic")]

mod actions;
mod apply;
mod counter;
mod evolution;
mod golden;
mod ingest;
mod kinds;
mod query;
mod submit;
mod world;
