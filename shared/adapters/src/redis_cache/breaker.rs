//! A circuit breaker. After a few failures in a row, operations fail at once for a while; then one operation probes the server.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The number of failures in a row that opens the circuit.
const FAILURES_MAX: u32 = 3;
/// The longest time that the circuit stays open. The time is random, and at least half of this, so that environments do not all
/// return at the same moment.
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

/// The right to one attempt. A permit that is dropped without a result counts neither as a success nor as a failure.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
}

impl Breaker {
    /// Returns a permit; `None` while the circuit is open, or while another attempt probes the server.
    pub(super) fn admit(&self) -> Option<Permit<'_>> {
        let mut state = self.lock();
        let is_probe = state.open_until.is_some();
        if let Some(open_until) = state.open_until
            && (state.probing || Instant::now() < open_until)
        {
            return None;
        }
        state.probing = is_probe;
        Some(Permit { breaker: self, is_probe })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// Closes the circuit.
    pub(super) fn succeeded(self) {
        *self.breaker.lock() = State::default();
    }

    /// Counts a failure, and opens the circuit if there were enough in a row.
    pub(super) fn failed(self) {
        let mut state = self.breaker.lock();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES_MAX {
            state.open_until = Some(Instant::now() + OPEN_MAX.mul_f64(rand::random_range(0.5..1.0)));
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            self.breaker.lock().probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn fail(breaker: &Breaker, times: u32) {
        for _ in 0..times {
            breaker.admit().unwrap().failed();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn three_failures_in_a_row_open_the_circuit() {
        let breaker = Breaker::default();
        for _ in 0..FAILURES_MAX {
            fail(&breaker, FAILURES_MAX - 1);
            breaker.admit().unwrap().succeeded();
        }
        fail(&breaker, FAILURES_MAX);
        assert!(breaker.admit().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_circuit_stays_open_for_half_a_second_to_a_second() {
        for _ in 0..100 {
            let breaker = Breaker::default();
            fail(&breaker, FAILURES_MAX);
            advance(Duration::from_millis(499)).await;
            assert!(breaker.admit().is_none());
            advance(Duration::from_millis(501)).await;
            assert!(breaker.admit().is_some());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_at_a_time_decides_whether_the_circuit_closes() {
        let breaker = Breaker::default();
        fail(&breaker, FAILURES_MAX);
        advance(OPEN_MAX).await;
        let probe = breaker.admit().unwrap();
        assert!(breaker.admit().is_none());
        probe.failed();
        assert!(breaker.admit().is_none());
        advance(OPEN_MAX).await;
        breaker.admit().unwrap().succeeded();
        let (_one, _another) = (breaker.admit().unwrap(), breaker.admit().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn after_an_abandoned_probe_the_next_one_is_admitted() {
        let breaker = Breaker::default();
        fail(&breaker, FAILURES_MAX);
        advance(OPEN_MAX).await;
        drop(breaker.admit().unwrap());
        assert!(breaker.admit().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_late_failure_of_an_earlier_try_admits_no_second_probe() {
        let breaker = Breaker::default();
        let earlier = breaker.admit().unwrap();
        fail(&breaker, FAILURES_MAX);
        advance(OPEN_MAX).await;
        let _probe = breaker.admit().unwrap();
        earlier.failed();
        advance(OPEN_MAX).await;
        assert!(breaker.admit().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn tries_that_were_given_up_are_no_failures() {
        let breaker = Breaker::default();
        for _ in 0..=FAILURES_MAX {
            drop(breaker.admit().unwrap());
        }
        assert!(breaker.admit().is_some());
    }
}
