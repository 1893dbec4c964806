//! Randomness for identities and for pauses. A simulation seeds it, so that a run is reproducible.
//!
//! It is not for secrets: nonces come from the operating system's generator, even in a simulation.

use std::ops::Range;
use std::time::Duration;

use rand::RngExt as _;

/// Returns random bytes.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    with_generator(rand::RngExt::random)
}

/// Returns a random share of the longest duration, so that waiting callers do not all continue at once.
#[must_use]
pub fn jitter(longest: Duration, share: Range<f64>) -> Duration {
    longest.mul_f64(with_generator(|generator| generator.random_range(share)))
}

#[cfg(not(feature = "simulation"))]
fn with_generator<T>(draw: impl FnOnce(&mut rand::rngs::ThreadRng) -> T) -> T {
    draw(&mut rand::rng())
}

#[cfg(feature = "simulation")]
fn with_generator<T>(draw: impl FnOnce(&mut rand::rngs::StdRng) -> T) -> T {
    GENERATOR.with_borrow_mut(draw)
}

#[cfg(feature = "simulation")]
thread_local! {
    static GENERATOR: std::cell::RefCell<rand::rngs::StdRng> = std::cell::RefCell::new(rand::make_rng());
}

/// Seeds the random numbers of this thread.
#[cfg(feature = "simulation")]
pub fn seed(seed: u64) {
    use rand::SeedableRng as _;
    GENERATOR.set(rand::rngs::StdRng::seed_from_u64(seed));
}
