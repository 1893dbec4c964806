//! Randomness for identities and for pauses. A simulation seeds it, so that a run can be repeated.
//!
//! Not for secrets: nonces come from the operating system's generator, also in a simulation.

use std::ops::Range;
use std::time::Duration;

use rand::RngExt as _;

/// Random bytes.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    with_generator(rand::RngExt::random)
}

/// A random share of the longest duration, so that those who wait do not all come back at once.
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

/// From here on, this thread draws what follows from `seed`.
#[cfg(feature = "simulation")]
pub fn seed(seed: u64) {
    use rand::SeedableRng as _;
    GENERATOR.set(rand::rngs::StdRng::seed_from_u64(seed));
}
