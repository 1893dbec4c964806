//! A circuit breaker: after a few failures in a row nobody asks for a while, then one does.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So many failures in a row open the circuit.
const FAILURES_MAX: u32 = 3;
/// The longest time that the circuit stays open; at least half of it, at random, so that environments do not all come
/// back at once.
const OPEN_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    open_until: Option<Instant>,
    probing: bool,
}

/// The right to try once. Dropped without [`Permit::succeeded`], it counts as a failure: also where the caller went
/// away.
pub(super) struct Permit<'a> {
    breaker: &'a Breaker,
    succeeded: bool,
}

impl Breaker {
    pub(super) fn admit(&self) -> Option<Permit<'_>> {
        let mut state = self.lock();
        if let Some(open_until) = state.open_until {
            if state.probing || Instant::now() < open_until {
                return None;
            }
            state.probing = true;
        }
        Some(Permit { breaker: self, succeeded: false })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    pub(super) fn succeeded(mut self) {
        self.succeeded = true;
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut state = self.breaker.lock();
        if self.succeeded {
            *state = State::default();
            return;
        }
        state.failures = state.failures.saturating_add(1);
        state.probing = false;
        if state.failures >= FAILURES_MAX {
            state.open_until = Some(Instant::now() + OPEN_MAX.mul_f64(rand::random_range(0.5..1.0)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn three_failures_open_the_circuit_and_one_probe_at_a_time_may_close_it() {
        let breaker = Breaker::default();
        for _ in 0..FAILURES_MAX {
            drop(breaker.admit().unwrap());
        }
        assert!(breaker.admit().is_none());
        tokio::time::advance(OPEN_MAX).await;
        let probe = breaker.admit().unwrap();
        assert!(breaker.admit().is_none());
        drop(probe);
        assert!(breaker.admit().is_none());
        tokio::time::advance(OPEN_MAX).await;
        breaker.admit().unwrap().succeeded();
        drop(breaker.admit().unwrap());
        assert!(breaker.admit().is_some());
    }
}
