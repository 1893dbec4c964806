//! Simulates a growing load: the limits in the order in which the load reaches them, and the effect on requests and commands.
//! Requests arrive at random (a Poisson process), in steps of a second. Everything else follows the documentation of AWS.

mod parts;
mod service;

use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use rand_distr::{Distribution as _, Poisson};
use serde::Serialize;

use self::service::{Bound, Second, Service};
use crate::cli::RampOptions;
use crate::output::{CommandOutput, Failure};
use crate::quotas::RETENTION_SECONDS;
use crate::table::{Table, number};
use cost::model::Model;

/// The seconds at the end of a step that the output averages.
const END_SECONDS: f64 = 60.0;
/// The number of commands below which the queue counts as empty.
const EMPTY_BELOW: f64 = 0.5;

/// The result, which scripts get unchanged.
#[derive(Debug, Serialize)]
struct Ramp {
    stage: String,
    steps: Vec<Step>,
    /// The limits, in the order in which the load reached them.
    reached: Vec<Reached>,
    /// Accepted commands, if there is a queue.
    accepted: f64,
    dead_letters: f64,
    /// Seconds at the first rate until the queue is empty. `None` if that takes longer than the queue keeps messages.
    drained_after: Option<usize>,
}

/// The events on the way to a rate, and while it was held.
#[derive(Debug, Serialize)]
struct Step {
    requests_per_second: f64,
    sum: Second,
    environments: f64,
    applied_per_second_at_the_end: f64,
    commands_waiting: f64,
    dead_letters: f64,
}

#[derive(Debug, Serialize)]
struct Reached {
    bound: Bound,
    after_seconds: usize,
    requests_per_second: f64,
}

/// Runs the simulation.
pub(crate) fn run(options: &RampOptions, stage: Option<&str>) -> Result<CommandOutput, Failure> {
    let model = Model::new(&options.traffic, stage)?;
    let ramp = Simulation::new(&model, options).ramp(options);
    Ok(CommandOutput::new(true, &ramp, output_lines(&ramp, &model)))
}

/// A simulation under way.
struct Simulation<'a> {
    model: &'a Model<'a>,
    service: Service<'a>,
    rng: SmallRng,
    seconds: usize,
    reached: Vec<Reached>,
    accepted: f64,
}

impl<'a> Simulation<'a> {
    fn new(model: &'a Model<'a>, options: &RampOptions) -> Self {
        let rng = SmallRng::seed_from_u64(options.seed);
        Self { model, service: Service::new(model, options), rng, seconds: 0, reached: Vec::new(), accepted: 0.0 }
    }

    fn ramp(mut self, options: &RampOptions) -> Ramp {
        let first = options.rates.first().copied().unwrap_or_default();
        let mut before = first;
        let mut steps = Vec::new();
        for rate in &options.rates {
            steps.push(self.step(before, *rate, options));
            before = *rate;
        }
        let drained_after = self.drain(first);
        let (stage, dead_letters) = (self.model.config.stage.clone(), self.service.queue.dead);
        Ramp { stage, steps, reached: self.reached, accepted: self.accepted, dead_letters, drained_after }
    }

    /// Raises the load evenly to a rate, and holds it.
    fn step(&mut self, before: f64, rate: f64, options: &RampOptions) -> Step {
        let (climb, hold) = (f64::from(options.climb), f64::from(options.hold));
        let mut sum = Second::default();
        let mut applied_at_the_end = 0.0;
        let end = END_SECONDS.min(hold);
        for second in (0..options.climb + options.hold).map(f64::from) {
            let climbed = if second < climb { second / climb } else { 1.0 };
            let this = self.second(before + (rate - before) * climbed);
            sum = sum.and(this);
            applied_at_the_end += if second >= climb + hold - end { this.applied / end } else { 0.0 };
        }
        Step {
            requests_per_second: rate,
            sum,
            environments: self.service.environments(),
            applied_per_second_at_the_end: applied_at_the_end,
            commands_waiting: self.service.queue.waiting(),
            dead_letters: self.service.queue.dead,
        }
    }

    /// Returns the seconds until the queue is empty.
    fn drain(&mut self, rate: f64) -> Option<usize> {
        (0..RETENTION_SECONDS).find(|_| {
            let is_empty = self.service.queue.waiting() < EMPTY_BELOW;
            if !is_empty {
                self.second(rate);
            }
            is_empty
        })
    }

    fn second(&mut self, rate: f64) -> Second {
        let mut arrivals =
            |share: f64| Poisson::new(rate * share).map_or(0.0, |arrivals| arrivals.sample(&mut self.rng));
        let (reads, writes) = (arrivals(self.model.options.reads), arrivals(self.model.writes()));
        let this = self.service.second(reads, writes);
        self.accepted += this.accepted;
        for bound in self.service.reached.iter().skip(self.reached.len()) {
            self.reached.push(Reached { bound: *bound, after_seconds: self.seconds, requests_per_second: rate });
        }
        self.seconds += 1;
        this
    }
}

impl Bound {
    /// Returns its name, and the effect on the requests or commands beyond it.
    fn describe(self, is_queued: bool) -> [&'static str; 2] {
        let of_writes = if is_queued { "commands wait" } else { "503" };
        match self {
            Self::OurThrottle => ["our throttle", "429"],
            Self::HttpApi => ["HTTP API, requests a second", "429"],
            Self::Environments => ["Lambda, environments of the account", "503"],
            Self::EnvironmentGrowth => ["Lambda, new environments of a function", "503 until more start"],
            Self::Cache => ["Redis, processing units or connections", "the store answers"],
            Self::TableReads => ["read units of a table", "503"],
            Self::TableWrites => ["write units of a table", of_writes],
            Self::List => ["write units of a tenant's list", of_writes],
            Self::FifoSends => ["FIFO queue, sends", "503"],
            Self::Batches => ["batches at once", "commands wait"],
            Self::InFlight => ["messages in flight", "commands wait"],
        }
    }
}

fn output_lines(ramp: &Ramp, model: &Model<'_>) -> Vec<String> {
    let mut lines = [by_step(ramp, model.is_queued()), vec![String::new()], by_bound(ramp, model.is_queued())].concat();
    if model.is_queued() {
        lines.extend(of_queue(ramp));
    }
    lines
}

fn of_queue(ramp: &Ramp) -> [String; 2] {
    let rate = number(ramp.steps.first().map_or(0.0, |step| step.requests_per_second));
    let drained = match ramp.drained_after {
        Some(seconds) => format!("the queue is empty after {} seconds", grouped(seconds)),
        None => "the queue is not empty when it deletes the oldest commands".to_owned(),
    };
    let [dead, accepted] = [ramp.dead_letters, ramp.accepted].map(|commands| number(commands.round()));
    [format!("back at {rate}/s: {drained}"), format!("dead letters: {dead} of {accepted} commands")]
}

fn by_step(ramp: &Ramp, is_queued: bool) -> Vec<String> {
    let rates = ramp.steps.iter().map(|step| format!("{}/s", number(step.requests_per_second)));
    let mut table = Table::new(std::iter::once(ramp.stage.clone()).chain(rates));
    let mut row = |title: &str, cell: &dyn Fn(&Step) -> f64| table.row(title, ramp.steps.iter().map(cell).map(number));
    let percent = |part: f64, step: &Step| 100.0 * part / step.sum.requests.max(1.0);
    row("answered, % of requests", &|step| percent(step.sum.answered, step));
    row("429, by the front door, %", &|step| percent(step.sum.too_many, step));
    row("503, no environment is free, %", &|step| percent(step.sum.no_environment, step));
    row("503, a store or the queue throttles, %", &|step| percent(step.sum.throttled, step));
    row("cold starts per 1,000 answers", &|step| 1_000.0 * step.sum.cold_starts / step.sum.answered.max(1.0));
    row("environments behind the front door, at the end", &|step| step.environments.ceil());
    row("writes applied a second, at the end", &|step| step.applied_per_second_at_the_end.round());
    if is_queued {
        row("commands in the queue, at the end", &|step| step.commands_waiting.round());
        row("dead letters, so far", &|step| step.dead_letters.round());
    }
    table.lines()
}

fn by_bound(ramp: &Ramp, is_queued: bool) -> Vec<String> {
    if ramp.reached.is_empty() {
        return vec!["no limit is reached".to_owned()];
    }
    let mut table =
        Table::new(["limits, in the order reached", "second", "requests a second", "effect"].map(str::to_owned));
    for Reached { bound, after_seconds, requests_per_second } in &ramp.reached {
        let [name, then] = bound.describe(is_queued);
        table.row(name, [grouped(*after_seconds), number(requests_per_second.round()), then.to_owned()]);
    }
    table.lines()
}

/// Formats whole seconds for people.
fn grouped(seconds: usize) -> String {
    u32::try_from(seconds).map_or_else(|_| seconds.to_string(), |seconds| number(seconds.into()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::testing::close;

    #[derive(Debug, Parser)]
    struct Parsed {
        #[command(flatten)]
        ramp: RampOptions,
    }

    fn ramp(stage: &str, arguments: &[&str]) -> Ramp {
        let options = Parsed::parse_from([&["test"], arguments].concat()).ramp;
        let model = Model::new(&options.traffic, Some(stage)).unwrap();
        Simulation::new(&model, &options).ramp(&options)
    }

    fn reached(ramp: &Ramp) -> Vec<Bound> {
        ramp.reached.iter().map(|reached| reached.bound).collect()
    }

    #[test]
    fn every_request_is_answered_or_refused_and_every_command_is_applied_waiting_or_dead() {
        for stage in ["lambda-lith", "read-store", "cqrs"] {
            for arguments in [&["--raised"][..], &["--raised", "--no-splits", "--hold", "1800"], &["--queue", "fifo"]] {
                let ramp = ramp(stage, arguments);
                for Step { sum, .. } in &ramp.steps {
                    close(sum.answered + sum.too_many + sum.no_environment + sum.throttled, sum.requests);
                }
                let sum = ramp.steps.iter().map(|step| step.sum).fold(Second::default(), Second::and);
                let last = ramp.steps.last().unwrap();
                close(
                    sum.accepted,
                    if stage == "cqrs" { sum.applied + last.commands_waiting + last.dead_letters } else { 0.0 },
                );
            }
        }
    }

    /// This simulation and the calculated limits check each other. The load rises so slowly that nothing has to grow.
    #[test]
    fn a_slow_climb_first_reaches_the_limit_that_the_quotas_predict() {
        let climb = ["--rates", "10,20000", "--climb", "40000", "--hold", "1", "--no-splits"];
        let slow = |stage, arguments: &[&str]| {
            let first = ramp(stage, &[&climb, arguments].concat()).reached.remove(0);
            (first.bound, first.requests_per_second)
        };
        // A list takes 500 changes of name per second. Random arrivals exceed the average now and then.
        let is_near = |at: f64, most: f64| assert!((0.85..1.0).contains(&(at / most)), "{at} of {most}");
        let (bound, at) = slow("cqrs", &["--raised"]);
        assert_eq!(bound, Bound::List);
        is_near(at, 5_000.0);
        let (bound, at) = slow("cqrs", &["--tenants", "100"]);
        assert_eq!(bound, Bound::OurThrottle);
        is_near(at, 5_100.0);
        // The table has grown meanwhile, so it takes more than a new table.
        assert!(reached(&ramp("read-write", &[&climb, &["--raised", "--tenants", "100"][..]].concat())).is_empty());
    }

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let document = |seed| serde_json::to_string(&ramp("cqrs", &["--seed", seed])).unwrap();
        assert_eq!(document("1"), document("1"));
        assert_ne!(document("1"), document("2"));
    }

    #[test]
    fn a_queue_absorbs_the_writes_that_a_list_cannot_take_and_drains_later() {
        let load = ["--rates", "10,8000", "--raised", "--no-splits", "--hold", "600"];
        let (sync, queued) = (ramp("read-store", &load), ramp("cqrs", &load));
        assert!(sync.steps[1].sum.throttled > 100_000.0, "{sync:?}");
        assert!(queued.steps[1].sum.throttled < 1.0 && queued.steps[1].commands_waiting > 100_000.0, "{queued:?}");
        assert!(queued.drained_after.is_some_and(|seconds| (300..1_000).contains(&seconds)), "{queued:?}");
    }

    #[test]
    fn each_option_lifts_the_limit_that_it_is_for() {
        let first = |arguments: &[&str]| reached(&ramp("cqrs", arguments));
        assert_eq!(first(&["--rates", "10,10000"])[..2], [Bound::List, Bound::OurThrottle]);
        assert!(!first(&["--rates", "10,10000", "--raised"]).contains(&Bound::OurThrottle));
        assert!(!first(&["--rates", "10,10000", "--raised", "--tenants", "10"]).contains(&Bound::List));
        let hot = ["--rates", "10,40000", "--raised", "--tenants", "100"];
        assert!(first(&hot).contains(&Bound::TableWrites));
        assert!(!first(&[&hot[..], &["--warm"]].concat()).contains(&Bound::TableWrites));
        let burst = ["--raised", "--tenants", "1000", "--warm"];
        assert!(first(&burst).contains(&Bound::Batches));
        assert!(!first(&[&burst[..], &["--pollers", "200"]].concat()).contains(&Bound::Batches));
        assert!(first(&["--queue", "fifo", "--rates", "10,1000000", "--raised"]).contains(&Bound::EnvironmentGrowth));
    }

    #[test]
    fn a_rate_of_zero_reaches_no_limit() {
        let ramp = ramp("cqrs", &["--rates", "0"]);
        assert!(ramp.reached.is_empty() && ramp.drained_after == Some(0), "{ramp:?}");
        close(ramp.steps[0].sum.requests, 0.0);
    }
}
