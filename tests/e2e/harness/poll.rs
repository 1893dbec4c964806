//! Waiting for something to come true, up to a deadline.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// How long things may take that usually take a moment: the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The pause before the second look; it doubles with each.
const PAUSE_FIRST: Duration = Duration::from_millis(10);
/// The longest pause between two looks.
const PAUSE_MAX: Duration = Duration::from_millis(250);

/// What `probe` finds, as soon as it finds something.
pub async fn eventually<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, probe).await
}

/// What `probe` finds, as soon as it finds something, within `patience`.
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
