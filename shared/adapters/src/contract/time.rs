//! The time of the subject of a suite: real, or controlled by the checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kernel::clock::{Clock, Timestamp};
use tokio::time::Instant;

use super::sample::NOW;

/// The additional time that an operation may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// The pause between two attempts.
const STEP: Duration = Duration::from_millis(10);

/// A clock that moves only if a check moves it.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// The time of the subject.
#[derive(Debug, Clone)]
pub enum Time {
    /// Real time.
    Real,
    /// The time of this clock.
    Manual(Arc<ManualClock>),
}

impl Time {
    /// Returns a time that a check moves, with its clock.
    #[must_use]
    pub fn manual() -> (Self, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock(AtomicU64::new(NOW.as_micros())));
        (Self::Manual(Arc::clone(&clock)), clock)
    }

    async fn step(&self) {
        match self {
            Self::Real => tokio::time::sleep(STEP).await,
            Self::Manual(clock) => {
                clock.0.fetch_add(u64::try_from(STEP.as_micros()).unwrap(), Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        }
    }

    /// Polls until there is a result. Returns it with the elapsed time, which is accurate to one step.
    pub(super) async fn until<T>(&self, expected: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> (T, Duration) {
        let started = Instant::now();
        let mut passed = Duration::ZERO;
        loop {
            if let Some(found) = look().await {
                return (found, passed);
            }
            assert!(passed < expected + PATIENCE, "waited for {passed:?}, expected {expected:?}");
            self.step().await;
            passed = match self {
                Self::Real => started.elapsed(),
                Self::Manual(_) => passed + STEP,
            };
        }
    }
}
