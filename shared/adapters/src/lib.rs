//! The implementations of the kernel's ports: DynamoDB, SQS, Redis, Secrets Manager, moka, and memory. All implementations of a
//! port pass the same suite (`contract`).
//!
//! Without the feature `deployed`, the crate contains only the parts for the simulation: stores in memory, and faults.

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
