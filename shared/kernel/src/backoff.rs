//! Pauses between looks at something that changes soon.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Pauses between looks: 10 ms, then half as long again each time, up to 200 ms.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(Duration::from_millis(10))
    }

    /// Waits; false, at once, where there is no time left to look again.
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
