//! The service without I/O. It lists the [resources], and derives from them the [functions] and the routes of the [api]. It reads
//! the [stages], makes the [plan] of a change from one to the next, and does the [assembly] of the parts from ports.
//!
//! The functions assemble it over AWS, and the simulation over stores in memory.

pub mod api;
pub mod assembly;
pub mod functions;
pub mod plan;
pub mod resources;
pub mod stages;
