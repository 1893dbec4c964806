//! The HTTP contract, line by line. The same checks run for each resource, at every stage, and with both types of queue.
//!
//! Stages differ only in the acknowledgement of a write. [`Call::write`](crate::harness::client::Call::write) waits for the
//! outcome, so the same checks fit all stages.

use futures::future::LocalBoxFuture;

use crate::harness::Service;

/// A check of the contract, with its name.
pub type Check = (&'static str, for<'a> fn(&'a Service) -> LocalBoxFuture<'a, ()>);

/// The result of a check: `None` if the resource lacks a part that the check needs.
pub type Checked = Option<()>;

/// The result if the resource has all parts that the check needs.
pub const CHECKED: Checked = Some(());

/// The return types of checks. A check returns `()` if it works with every resource.
pub trait HasChecked {
    fn has_checked(self) -> bool;
}

impl HasChecked for () {
    fn has_checked(self) -> bool {
        true
    }
}

impl HasChecked for Checked {
    fn has_checked(self) -> bool {
        self.is_some()
    }
}

/// Makes a test of each check at each variant; all resources run in parallel. Lists the checks for services started elsewhere.
macro_rules! on_every_variant {
    ($($check:ident),+ $(,)?) => {
        pub const CHECKS: &[crate::contract::Check] = &[$((stringify!($check), |service| {
            Box::pin(async move {
                let of_all = crate::sample::all().iter().map(|sample| $check(service, sample));
                let checked = futures::future::join_all(of_all).await.into_iter();
                let checked = checked.filter(|checked| crate::contract::HasChecked::has_checked(*checked));
                crate::sample::assert_checked(checked.count());
            })
        })),+];
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
                    let (_, body) = super::CHECKS.iter().find(|(name, _)| *name == stringify!($check)).unwrap();
                    check(stack, body(&stack.service));
                }
            )+
        }
    };
}

mod actions;
mod bad_input;
mod commands;
mod consistency;
mod fields;
mod idempotency;
mod kinds;
mod lists;
mod preconditions;
mod preferences;
mod reads;
mod routing;
mod writes;

/// Returns all checks, for a service started elsewhere.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    [
        actions::CHECKS,
        bad_input::CHECKS,
        commands::CHECKS,
        consistency::CHECKS,
        fields::CHECKS,
        idempotency::CHECKS,
        kinds::CHECKS,
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
