//! The flow through the kernel, with a second tiny domain, to show that it is generic, and stores in memory.

mod apply;
mod counter;
mod query;
mod submit;
mod world;
