//! The flow through the kernel over stores in memory. A second, tiny domain shows that the kernel is generic.

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
