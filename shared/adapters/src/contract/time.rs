//! Time, as the subject of a suite counts it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kernel::clock::{Clock, Timestamp};
use tokio::time::Instant;

use super::sample::NOW;

/// How long something may take besides what its contract says, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long to wait before looking again.
const STEP: Duration = Duration::from_millis(10);

/// A clock that only moves when it is told to.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// How time passes for the subject.
#[derive(Debug, Clone)]
pub enum Time {
    /// As for everybody.
    Real,
    /// As its clock is told.
    Manual(Arc<ManualClock>),
}

impl Time {
    /// Time that stands still until a check lets it pass, with its clock.
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

    /// Looks until something is there; returns it, and how much time has passed, to a step.
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
