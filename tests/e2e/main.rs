//! The end-to-end tests: one test binary with one harness.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test may panic")]
#![expect(unreachable_pub, reason = "nothing in a test is reachable from elsewhere; `pub` marks what modules share")]

mod auth;
mod builds;
mod chaos;
mod container;
mod contract;
mod cors;
mod deployed;
mod docs;
mod evolution;
mod faults;
mod front_doors;
mod harness;
mod leash;
mod makefile;
mod metrics;
mod ops;
mod pipeline;
mod queue_contract;
mod sample;
mod smoke;
mod sqs_conformance;
mod structure;
mod walks;
mod warm_up;
