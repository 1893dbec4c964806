//! Wall time, injected, so that tests and simulations control it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Wall-clock time in microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Returns the time that is `micros` microseconds after 1970.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Returns the microseconds since 1970.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Returns the whole milliseconds since 1970.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// Returns the whole seconds since 1970, the unit of DynamoDB's time to live.
    #[must_use]
    pub const fn as_seconds(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Returns the time that is `micros` microseconds later.
    #[must_use]
    pub const fn plus_micros(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Returns the time that is `duration` later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        self.plus_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }

    /// Returns the time since `earlier`; `None` if `earlier` lies in the future.
    #[must_use]
    pub fn since(self, earlier: Self) -> Option<Duration> {
        self.0.checked_sub(earlier.0).map(Duration::from_micros)
    }
}

/// Writes RFC 3339 in UTC with microseconds, for example `2026-11-21T08:30:00.000001Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = i64::try_from(self.0).ok().and_then(|micros| jiff::Timestamp::from_microsecond(micros).ok());
        write!(f, "{:.6}", time.unwrap_or(jiff::Timestamp::MAX))
    }
}

/// A source of wall time. It may jump in either direction, so no code may rely on its progress.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Returns the current time.
    fn now(&self) -> Timestamp;
}

/// The operating system's clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(0).plus(since_epoch)
    }
}

/// Gives commands their accept times. They never go back within one environment, nor within a session, even if the clock does.
#[derive(Debug, Default)]
pub struct StampClock {
    last: AtomicU64,
}

impl StampClock {
    /// Returns the accept time of a command received at `now`. It is later than `floor`, the accept time that the client's session
    /// has seen. A session's floor never moves the accept times of other sessions.
    pub fn next(&self, now: Timestamp, floor: Option<Timestamp>) -> Timestamp {
        let advance = |last: u64| match mutant!(StampsGoBack) {
            true => now.0,
            false => now.0.max(last.saturating_add(1)),
        };
        let last = self.last.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |last| Some(advance(last)));
        let next = Timestamp(advance(last.unwrap_or_default()));
        floor.map_or(next, |floor| next.max(floor.plus_micros(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_times_grow_though_the_clock_goes_back() {
        let clock = StampClock::default();
        let first = clock.next(Timestamp(1_000), None);
        let second = clock.next(Timestamp(500), None);
        let third = clock.next(Timestamp(500), Some(Timestamp(900)));
        assert_eq!((first.0, second.0, third.0), (1_000, 1_001, 1_002));
    }

    #[test]
    fn a_session_ahead_of_the_clock_does_not_move_other_sessions() {
        let clock = StampClock::default();
        let ahead = clock.next(Timestamp(1_000), Some(Timestamp(2_000)));
        let other = clock.next(Timestamp(1_000), None);
        assert_eq!((ahead.0, other.0), (2_001, 1_001));
    }

    #[test]
    fn a_time_is_given_in_microseconds_and_in_whole_seconds() {
        let at = Timestamp::from_micros(1_790_000_000_999_999);
        assert_eq!((at.as_micros(), at.as_seconds()), (1_790_000_000_999_999, 1_790_000_000));
    }

    #[test]
    fn a_time_reads_as_rfc_3339() {
        assert_eq!(Timestamp(1_790_000_000_000_001).to_string(), "2026-09-21T14:13:20.000001Z");
        assert!(Timestamp(u64::MAX).to_string().starts_with("9999-"));
    }
}
