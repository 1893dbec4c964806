//! The composition root: the only place that knows the kernel, the domain and the adapters at once.

pub mod config;
pub mod front_door;
pub mod http;
pub mod metrics;
pub mod telemetry;
mod warm_up;
pub mod wiring;

/// The domain that the service serves. Everything but its routes knows it by this name alone:
/// docs/replacing-the-domain.md.
pub type ServedDomain = users::User;
