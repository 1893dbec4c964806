//! The cost of a million requests on AWS: the assumptions and the arithmetic.

use prices::{HTTP_API, LAMBDA_ARM64, LAMBDA_REQUESTS, READ_UNITS, SQS_STANDARD, WRITE_UNITS};

/// The assumptions about the traffic.
pub(crate) mod assumptions {
    /// The share of reads among all requests.
    pub(crate) const READS: f64 = 0.9;
    /// The share of hot reads among all reads. The others cost as much as cold reads.
    pub(crate) const HOT: f64 = 0.8;
    /// The memory of a function, in GB.
    pub(crate) const MEMORY_GB: f64 = 0.25;
}

/// The measured usage of a stage, per read and per command.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Usage {
    /// The duration of a hot read, in milliseconds.
    pub(crate) hot_ms: f64,
    /// The duration of a cold read, in milliseconds.
    pub(crate) cold_ms: f64,
    /// The duration of all invocations that a command causes, in milliseconds.
    pub(crate) command_ms: f64,
    pub(crate) invocations_per_command: f64,
    pub(crate) units_per_hot_read: f64,
    pub(crate) units_per_cold_read: f64,
    pub(crate) read_units_per_command: f64,
    pub(crate) write_units_per_command: f64,
    pub(crate) queue_requests_per_command: f64,
}

/// The cost, in dollars per million requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cost {
    pub(crate) api: f64,
    pub(crate) invocations: f64,
    pub(crate) duration: f64,
    pub(crate) reads: f64,
    pub(crate) writes: f64,
    pub(crate) queue: f64,
}

impl Cost {
    /// Returns the cost of a million requests. The assumptions have the shares of reads and commands.
    pub(crate) fn of(usage: &Usage) -> Self {
        use assumptions::{HOT, MEMORY_GB, READS};
        let commands = 1.0 - READS;
        let of_reads = |hot: f64, cold: f64| READS * (HOT * hot + (1.0 - HOT) * cold);
        let seconds = (of_reads(usage.hot_ms, usage.cold_ms) + commands * usage.command_ms) / 1_000.0;
        let read_units =
            of_reads(usage.units_per_hot_read, usage.units_per_cold_read) + commands * usage.read_units_per_command;
        Self {
            api: HTTP_API.of(1.0),
            invocations: LAMBDA_REQUESTS.of(READS + commands * usage.invocations_per_command),
            duration: LAMBDA_ARM64.of(seconds * MEMORY_GB),
            reads: READ_UNITS.of(read_units),
            writes: WRITE_UNITS.of(commands * usage.write_units_per_command),
            queue: SQS_STANDARD.of(commands * usage.queue_requests_per_command),
        }
    }

    pub(crate) fn total(&self) -> f64 {
        self.api + self.invocations + self.duration + self.reads + self.writes + self.queue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Usage = Usage {
        hot_ms: 0.0,
        cold_ms: 0.0,
        command_ms: 0.0,
        invocations_per_command: 0.0,
        units_per_hot_read: 0.0,
        units_per_cold_read: 0.0,
        read_units_per_command: 0.0,
        write_units_per_command: 0.0,
        queue_requests_per_command: 0.0,
    };

    fn close(one: f64, other: f64) {
        assert!((one - other).abs() < 1e-9, "{one} is not {other}");
    }

    #[test]
    fn each_part_has_its_share_and_its_price() {
        let usage = Usage {
            hot_ms: 1.0,
            cold_ms: 6.0,
            command_ms: 10.0,
            invocations_per_command: 2.0,
            units_per_hot_read: 0.0,
            units_per_cold_read: 1.0,
            read_units_per_command: 2.0,
            write_units_per_command: 8.0,
            queue_requests_per_command: 3.0,
        };
        let cost = Cost::of(&usage);
        close(cost.api, 1.0);
        close(cost.invocations, (0.9 + 0.2) * 0.2);
        // 0.72 M × 1 ms + 0.18 M × 6 ms + 0.1 M × 10 ms = 2,800 s.
        close(cost.duration, 0.0028 * 0.25 * 13.3334);
        close(cost.reads, (0.18 + 0.2) * 0.125);
        close(cost.writes, 0.8 * 0.625);
        close(cost.queue, 0.3 * 0.4);
        close(cost.total(), cost.api + cost.invocations + cost.duration + cost.reads + cost.writes + cost.queue);
    }

    #[test]
    fn a_read_from_memory_costs_only_the_front_door_and_the_invocation() {
        close(Cost::of(&NOTHING).total(), 1.0 + 0.9 * 0.2);
    }
}
