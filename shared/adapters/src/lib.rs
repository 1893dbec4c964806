//! Where the kernel's ports meet the world. Every implementation of a port passes the same suite (`contract`).
//!
//! Without the feature `deployed` only what the simulation needs is there: stores in memory, and faults.

#[cfg(feature = "deployed")]
pub mod clients;
#[cfg(feature = "contract")]
pub mod contract;
#[cfg(feature = "deployed")]
pub mod dynamo;
pub mod faults;
pub mod memory;
#[cfg(feature = "deployed")]
pub mod moka_cache;
#[cfg(feature = "deployed")]
pub mod read_table;
#[cfg(feature = "deployed")]
pub mod redis_cache;
#[cfg(feature = "deployed")]
pub mod secrets;
#[cfg(feature = "deployed")]
pub mod sqs;
#[cfg(feature = "deployed")]
pub mod tables;
mod transaction;
