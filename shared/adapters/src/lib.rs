//! Where the kernel's ports meet the world. Every implementation of a port passes the same [contract] suite.

pub mod clients;
#[cfg(feature = "contract")]
pub mod contract;
pub mod dynamo;
pub mod memory;
pub mod tables;
mod transaction;
