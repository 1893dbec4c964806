//! Polls for a condition, up to a deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// The default timeout, far above the usual duration: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The pause after the first attempt. Each later pause is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
/// The maximum pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// Polls `probe` until it returns a value, and returns that.
pub async fn eventually<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, probe).await
}

/// Polls `probe` until it returns a value, within `patience`, and returns that.
pub async fn eventually_within<T>(patience: Duration, what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    let mut pause = PAUSE_FIRST;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < deadline, "after {} s still not so: {what}", patience.as_secs());
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}
