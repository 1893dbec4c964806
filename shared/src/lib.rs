//! The composition root: it joins the kernel, the resources and the adapters.

pub mod config;
pub mod front_door;
pub mod http;
pub mod metrics;
pub mod telemetry;
mod warm_up;
pub mod wiring;
