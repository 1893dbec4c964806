//! The HTTP contract, line by line: the same checks at every stage and with both types of queue.
//!
//! Only the acknowledgement of a write differs, and [`Call::write`](crate::harness::client::Call::write) follows it to
//! the outcome, so that one body serves all.

use futures::future::LocalBoxFuture;

use crate::harness::Service;

/// A check of the contract, under its name.
pub type Check = (&'static str, for<'a> fn(&'a Service) -> LocalBoxFuture<'a, ()>);

/// Makes each check a test of its own at each variant, and lists them for services that are started elsewhere.
macro_rules! on_every_variant {
    ($($check:ident),+ $(,)?) => {
        pub const CHECKS: &[crate::contract::Check] = &[$((stringify!($check), |service| Box::pin($check(service)))),+];
        on_every_variant!(@ single_responsibility SingleResponsibility: $($check)+);
        on_every_variant!(@ lambda_lith LambdaLith: $($check)+);
        on_every_variant!(@ read_write ReadWrite: $($check)+);
        on_every_variant!(@ memory_cache MemoryCache: $($check)+);
        on_every_variant!(@ redis_cache RedisCache: $($check)+);
        on_every_variant!(@ read_store ReadStore: $($check)+);
        on_every_variant!(@ cqrs Cqrs: $($check)+);
        on_every_variant!(@ cqrs_fifo CqrsFifo: $($check)+);
    };
    (@ $module:ident $variant:ident: $($check:ident)+) => {
        mod $module {
            use crate::harness::{Variant, check, shared};
            $(
                #[test]
                fn $check() {
                    let stack = shared(Variant::$variant);
                    check(stack, super::$check(&stack.service));
                }
            )+
        }
    };
}

mod bad_input;
mod commands;
mod consistency;
mod fields;
mod idempotency;
mod lists;
mod preconditions;
mod preferences;
mod reads;
mod routing;
mod writes;

/// All checks, for a service that was started elsewhere.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    [
        bad_input::CHECKS,
        commands::CHECKS,
        consistency::CHECKS,
        fields::CHECKS,
        idempotency::CHECKS,
        lists::CHECKS,
        preconditions::CHECKS,
        preferences::CHECKS,
        reads::CHECKS,
        routing::CHECKS,
        writes::CHECKS,
    ]
    .into_iter()
    .flatten()
}
