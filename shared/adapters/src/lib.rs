//! Where the kernel's ports meet the world. Every implementation of a port passes the same suite (`contract`).

pub mod clients;
#[cfg(feature = "contract")]
pub mod contract;
pub mod dynamo;
pub mod faults;
pub mod memory;
pub mod moka_cache;
pub mod read_table;
pub mod redis_cache;
pub mod secrets;
pub mod sqs;
pub mod tables;
mod transaction;
