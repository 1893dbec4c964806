//! The parts that limit a load, in steps of a second.

use std::collections::VecDeque;

use crate::quotas::{PARTITION_WRITES, RECEIVES, VISIBILITY_SECONDS};

/// A table takes twice the peak of so many seconds ago.
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html>
const DOUBLING_SECONDS: usize = 30 * 60;
/// The seconds after which a hot partition is split. AWS promises no time; its own example took about ten minutes.
/// <https://aws.amazon.com/blogs/database/part-2-scaling-dynamodb-how-partitions-hot-keys-and-split-for-heat-impact-performance/>
const SPLIT_SECONDS: usize = 10 * 60;
/// The share of its capacity from which a partition is hot.
const HOT: f64 = 0.9;

/// A token bucket, which allows a rate and a saved burst.
#[derive(Debug)]
pub(super) struct TokenBucket {
    rate: f64,
    burst: f64,
    saved: f64,
}

impl TokenBucket {
    pub(super) fn new(rate: f64, burst: f64) -> Self {
        Self { rate, burst, saved: burst }
    }

    /// Returns how much of `requested` it allows in this second.
    pub(super) fn take(&mut self, requested: f64) -> f64 {
        let taken = requested.min(self.rate + self.saved);
        self.saved = (self.saved + self.rate - taken).min(self.burst);
        taken
    }
}

/// The environments of a function. They remain after they were needed once.
#[derive(Debug)]
pub(super) struct Environments {
    pub(super) count: f64,
    growth: TokenBucket,
}

impl Environments {
    pub(super) fn new(at_once: f64, per_second: f64) -> Self {
        Self { count: 0.0, growth: TokenBucket::new(per_second, at_once) }
    }

    /// Grows to the needed number, as far as `most` and the growth in this second allow.
    pub(super) fn grow(&mut self, needed: f64, most: f64) {
        let missing = (needed.min(most) - self.count).max(0.0);
        self.count += self.growth.take(missing);
    }
}

/// The capacity of an on-demand table, per second.
#[derive(Debug)]
pub(super) struct OnDemand {
    first: f64,
    most: f64,
    /// The highest consumption up to each second.
    peaks: Vec<f64>,
}

impl OnDemand {
    pub(super) fn new(first: f64, most: f64) -> Self {
        Self { first: first.min(most), most, peaks: Vec::new() }
    }

    pub(super) fn takes(&self) -> f64 {
        let back = self.peaks.len().checked_sub(DOUBLING_SECONDS);
        let peak = back.and_then(|second| self.peaks.get(second)).copied().unwrap_or_default();
        self.first.max(2.0 * peak).min(self.most)
    }

    /// Ends the second in which these units were consumed.
    pub(super) fn consumed(&mut self, units: f64) {
        let highest = self.peaks.last().copied().unwrap_or_default();
        self.peaks.push(highest.max(units));
    }
}

/// The lists of all tenants. Each list is one partition of an index at first.
#[derive(Debug)]
pub(super) struct Lists {
    tenants: f64,
    partitions: f64,
    hot_seconds: usize,
    split: bool,
}

impl Lists {
    pub(super) fn new(tenants: f64, split: bool) -> Self {
        Self { tenants, partitions: 1.0, hot_seconds: 0, split }
    }

    /// Returns the write units per second of all lists, if all tenants write equally.
    pub(super) fn takes(&self) -> f64 {
        self.tenants * self.partitions * PARTITION_WRITES
    }

    /// Ends a second in which these units were written.
    pub(super) fn consumed(&mut self, units: f64) {
        self.hot_seconds = if self.split && units > HOT * self.takes() { self.hot_seconds + 1 } else { 0 };
        if self.hot_seconds == SPLIT_SECONDS {
            self.partitions *= 2.0;
            self.hot_seconds = 0;
        }
    }
}

/// Commands by the number of their deliveries so far. Waiting commands are delivered in no order.
type Commands = [f64; RECEIVES];

/// The queue, and its dead letters.
#[derive(Debug)]
pub(super) struct Queue {
    visible: Commands,
    /// Commands that become visible again: in one second, in two, and so on.
    again: VecDeque<Commands>,
    in_flight: f64,
    pub(super) dead: f64,
}

impl Queue {
    pub(super) fn new(window: u32) -> Self {
        let seconds = VISIBILITY_SECONDS + usize::try_from(window).unwrap_or_default();
        let again = std::iter::repeat_n([0.0; RECEIVES], seconds).collect();
        Self { visible: [0.0; RECEIVES], again, in_flight: 0.0, dead: 0.0 }
    }

    pub(super) fn send(&mut self, commands: f64) {
        if let Some(fresh) = self.visible.first_mut() {
            *fresh += commands;
        }
    }

    pub(super) fn visible(&self) -> f64 {
        self.visible.iter().sum()
    }

    pub(super) fn in_flight(&self) -> f64 {
        self.in_flight
    }

    /// Returns the number of commands that are neither applied nor dead letters.
    pub(super) fn waiting(&self) -> f64 {
        self.visible() + self.in_flight()
    }

    /// Ends a second with so many received commands, and so many applied ones among them.
    pub(super) fn received(&mut self, received: f64, applied: f64) {
        let (visible, mut failed) = (self.visible(), [0.0; RECEIVES]);
        let (share, failing) = (part(received, visible), 1.0 - part(applied, received));
        for (deliveries, waiting) in self.visible.iter_mut().enumerate() {
            let received = *waiting * share;
            *waiting -= received;
            match failed.get_mut(deliveries + 1) {
                Some(again) => *again = received * failing,
                None => self.dead += received * failing,
            }
        }
        self.again.push_back(failed);
        let back = self.again.pop_front().unwrap_or([0.0; RECEIVES]);
        self.in_flight += failed.iter().sum::<f64>() - back.iter().sum::<f64>();
        for (waiting, back) in self.visible.iter_mut().zip(back) {
            *waiting += back;
        }
    }
}

/// Returns the share of the whole, at most 1. If the whole is 0, the share is 1.
pub(super) fn part(this: f64, whole: f64) -> f64 {
    if whole > 0.0 { (this / whole).min(1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::close;

    #[test]
    fn a_bucket_allows_its_saved_burst_once() {
        let mut bucket = TokenBucket::new(10.0, 5.0);
        for (requested, taken) in [(20.0, 15.0), (20.0, 10.0), (8.0, 8.0), (20.0, 12.0)] {
            close(bucket.take(requested), taken);
        }
    }

    #[test]
    fn environments_start_at_their_rate_and_remain() {
        let mut environments = Environments::new(1_000.0, 100.0);
        for (needed, most, count) in [
            (1_500.0, 9_000.0, 1_100.0),
            (1_500.0, 9_000.0, 1_200.0),
            (10.0, 9_000.0, 1_200.0),
            (5_000.0, 1_250.0, 1_250.0),
        ] {
            environments.grow(needed, most);
            close(environments.count, count);
        }
    }

    #[test]
    fn a_table_takes_twice_the_peak_of_half_an_hour_ago() {
        let mut table = OnDemand::new(4_000.0, 40_000.0);
        for second in 0..DOUBLING_SECONDS {
            close(table.takes(), 4_000.0);
            table.consumed(if second == 0 { 3_000.0 } else { 1.0 });
        }
        close(table.takes(), 6_000.0);
        table.consumed(30_000.0);
        for _ in 1..DOUBLING_SECONDS {
            table.consumed(1.0);
        }
        close(table.takes(), 40_000.0);
    }

    #[test]
    fn a_list_is_split_while_it_stays_hot() {
        let mut lists = Lists::new(2.0, true);
        let mut after = |seconds, units| {
            for _ in 0..seconds {
                lists.consumed(units);
            }
            lists.takes()
        };
        close(after(SPLIT_SECONDS - 1, 2_000.0), 2_000.0);
        close(after(1, 1_000.0), 2_000.0);
        close(after(SPLIT_SECONDS, 2_000.0), 4_000.0);
        close(after(SPLIT_SECONDS, 2_000.0), 4_000.0);
        let mut unsplit = Lists::new(2.0, false);
        for _ in 0..2 * SPLIT_SECONDS {
            unsplit.consumed(2_000.0);
        }
        close(unsplit.takes(), 2_000.0);
    }

    #[test]
    fn a_failed_command_is_redelivered_after_a_while_and_is_a_dead_letter_after_its_last_delivery() {
        let mut queue = Queue::new(0);
        queue.send(10.0);
        queue.received(10.0, 4.0);
        close(queue.visible(), 0.0);
        close(queue.in_flight(), 6.0);
        let wait = |queue: &mut Queue| {
            for _ in 0..VISIBILITY_SECONDS {
                queue.received(0.0, 0.0);
            }
        };
        wait(&mut queue);
        close(queue.visible(), 6.0);
        close(queue.in_flight(), 0.0);
        for _ in 1..RECEIVES {
            close(queue.dead, 0.0);
            queue.received(6.0, 0.0);
            wait(&mut queue);
        }
        close(queue.dead, 6.0);
        close(queue.waiting(), 0.0);
    }
}
