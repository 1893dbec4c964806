//! The service without I/O: its [resources], the [functions] and routes of the [api] that follow from them, its [stages], the
//! [plan] of a change from one to the next, and the [assembly] of its parts from ports.
//!
//! The functions assemble it over AWS, and the simulation over stores in memory.

pub mod api;
pub mod assembly;
pub mod functions;
pub mod plan;
pub mod resources;
pub mod stages;
