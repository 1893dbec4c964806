//! The composition root: the only place that knows the kernel, the resources and the adapters at once.

pub mod config;
pub mod front_door;
pub mod http;
pub mod metrics;
pub mod telemetry;
mod warm_up;
pub mod wiring;
