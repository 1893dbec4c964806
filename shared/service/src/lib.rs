//! The service without I/O: its [resources], its [stages], the [way] from one to the next, and the [assembly] of its parts
//! from ports.
//!
//! The functions assemble it over AWS, and the simulation over stores in memory.

pub mod assembly;
pub mod resources;
pub mod stages;
pub mod way;
