//! The CQRS flow of Watershed: a command is [submitted](submit), [applied](apply) and [projected](project). A [query] reads
//! the projected view, through caches.
//!
//! The kernel is generic over the resource: the [`Domain`](domain::Domain) is a type parameter. It is dynamic over the stores, the
//! queue and the caches: the [ports] are trait objects. It depends neither on a resource nor on AWS.

/// Returns whether this thread runs the mutant `$name`: see `mutants`.
#[cfg(feature = "simulation")]
#[macro_export]
macro_rules! mutant {
    ($name:ident) => {
        $crate::mutants::is_active($crate::mutants::Mutant::$name)
    };
}

/// Returns `false`: only builds for the simulation have mutants.
#[cfg(not(feature = "simulation"))]
#[macro_export]
macro_rules! mutant {
    ($name:ident) => {
        $crate::never()
    };
}

/// Returns the value of [`mutant!`] outside builds for the simulation.
#[cfg(not(feature = "simulation"))]
#[doc(hidden)]
#[must_use]
pub const fn never() -> bool {
    false
}

pub mod aggregate;
pub mod apply;
mod backoff;
pub mod clock;
pub mod cursor;
pub mod domain;
pub mod envelope;
pub mod error_chain;
pub mod ids;
pub mod ingest;
pub mod lookup;
#[cfg(feature = "simulation")]
pub mod mutants;
mod plan;
pub mod policy;
pub mod ports;
pub mod problem;
pub mod project;
pub mod projection;
pub mod query;
pub mod random;
pub mod record;
pub mod seal;
mod single_flight;
pub mod submit;
#[cfg(test)]
mod testing;
pub mod token;
