//! Pauses between two reads of a value that changes soon.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The pauses: 10 ms at first, each 1.5 times the one before, up to 200 ms.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(Duration::from_millis(10))
    }

    /// Waits for the next pause, but not beyond `until`. Returns false at once if `until` has passed.
    pub(crate) async fn wait(&mut self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        sleep(self.0.min(left)).await;
        self.0 = self.0.mul_f64(1.5).min(Duration::from_millis(200));
        true
    }
}
