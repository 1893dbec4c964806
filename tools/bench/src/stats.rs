//! Statistics over many measurements.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The range of the latency histogram: up to a minute, in microseconds, with three digits.
const MICROS_MAX: u64 = 60_000_000;
const DIGITS: u8 = 3;

/// The latencies of one phase of one round, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Latency {
    /// Returns the percentiles of all these latencies.
    pub(crate) fn of(all: &[Duration]) -> Self {
        // The bounds are valid. A longer latency counts as a minute.
        let Ok(mut histogram) = Histogram::<u64>::new_with_bounds(1, MICROS_MAX, DIGITS) else {
            return Self { p50: f64::NAN, p99: f64::NAN };
        };
        for latency in all {
            histogram.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(MICROS_MAX));
        }
        let millis = |quantile| millis(histogram.value_at_quantile(quantile));
        Self { p50: millis(0.5), p99: millis(0.99) }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a minute in microseconds is far below 2^52")]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

/// A number that is measured once per round.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) rounds: usize,
}

impl Spread {
    /// Returns the spread of the rounds. If their number is even, the median is the mean of the two in the middle.
    pub(crate) fn of(rounds: impl IntoIterator<Item = f64>) -> Self {
        let mut rounds: Vec<f64> = rounds.into_iter().collect();
        rounds.sort_by(f64::total_cmp);
        let at = |index: usize| rounds.get(index).copied().unwrap_or(f64::NAN);
        let (count, last) = (rounds.len(), rounds.len().saturating_sub(1));
        Self { median: f64::midpoint(at(last / 2), at(count / 2)), min: at(0), max: at(last), rounds: count }
    }

    /// Returns whether all rounds of the one were below all rounds of the other. A single round shows nothing, so it returns
    /// `false`.
    pub(crate) fn is_below(&self, other: &Self) -> bool {
        self.rounds.min(other.rounds) > 1 && self.max < other.min
    }
}

/// Returns the amount per item of a count. A count of 0 counts as 1.
#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
pub(crate) fn per(amount: f64, count: usize) -> f64 {
    amount / count.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(one: f64, other: f64) {
        assert!((one - other).abs() < other * 0.002, "{one} is not about {other}");
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_latencies() {
        let latency = Latency::of(&(1..=1_000).rev().map(Duration::from_millis).collect::<Vec<_>>());
        close(latency.p50, 500.0);
        close(latency.p99, 990.0);
    }

    #[test]
    fn a_latency_beyond_the_range_counts_as_a_minute() {
        close(Latency::of(&[Duration::from_secs(600)]).p99, 60_000.0);
    }

    #[test]
    fn a_spread_is_the_median_between_the_extremes() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0, rounds: 3 });
        close(Spread::of([4.0, 1.0, 2.0, 3.0]).median, 2.5);
    }

    #[test]
    fn rounds_that_overlap_show_no_difference() {
        let (low, middle, high) = (Spread::of([1.0, 2.0]), Spread::of([2.0, 3.0]), Spread::of([2.5, 4.0]));
        assert!(low.is_below(&high) && !low.is_below(&middle) && !high.is_below(&low));
        assert!(!Spread::of([1.0]).is_below(&high));
    }
}
