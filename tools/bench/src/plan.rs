//! The requests to the service, and their times. A seed generates them, so every stage gets the same ones.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::seq::IteratorRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use resource::Operation;

use crate::sample::{self, Change, Sample};

/// The number of reads among ten requests.
const READS_OF_TEN: u32 = 9;
/// The number of items of each resource that are read and changed, and never deleted.
const ITEMS: usize = 10;
/// The time from one burst to the next. It is longer than a burst takes.
const BURST_PERIOD: Duration = Duration::from_secs(1);

/// The distribution of requests over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A constant rate.
    Steady,
    /// Bursts, with no requests between them.
    Spiky,
    /// A constant rate of reads, with an occasional delete, create or action.
    Sporadic,
}

/// The kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestKind {
    /// Read an item.
    Get,
    /// Read a page of the items of its resource.
    List,
    /// Send a command on the item. A create makes another item of its resource.
    Write(Operation),
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    /// The index of its item among those of the plan.
    pub(crate) item: usize,
    pub(crate) kind: RequestKind,
}

/// A request, and its time after the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) at: Duration,
    pub(crate) request: Request,
}

/// An item that exists before the first request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Start {
    pub(crate) sample: &'static Sample,
    /// The actions that have been performed on it.
    pub(crate) actions: &'static [&'static str],
}

/// Requests and their items.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) items: Vec<Start>,
    pub(crate) requests: Vec<Planned>,
}

/// The amount of measurements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// The number of rounds.
    pub(crate) rounds: u64,
    /// The duration of a traffic shape.
    pub(crate) shape: Duration,
    /// Requests per phase of a stage, such as the number of items that are read cold.
    pub(crate) requests: usize,
    /// Commands in a burst on one item.
    pub(crate) burst: usize,
    /// The level of compression of packages, 0 to 9.
    pub(crate) compression: u32,
}

impl Scale {
    /// The scale of the report.
    pub(crate) const FULL: Self =
        Self { rounds: 3, shape: Duration::from_millis(9_600), requests: 200, burst: 50, compression: 6 };
    /// The scale of a quick run, which only checks that everything works.
    pub(crate) const QUICK: Self =
        Self { rounds: 1, shape: Duration::from_millis(1_500), requests: 10, burst: 10, compression: 0 };
}

impl Shape {
    /// All shapes.
    pub(crate) const ALL: [Self; 3] = [Self::Steady, Self::Spiky, Self::Sporadic];
    /// Requests per second of the steady shape, and of the reads of the sporadic one.
    pub(crate) const RATE: u32 = 40;
    /// Requests per burst.
    pub(crate) const SPIKE: usize = 40;
    /// The time between two requests of a burst.
    pub(crate) const SPIKE_GAP: Duration = Duration::from_millis(5);
    /// The time from one burst, or sporadic write, to the next. It is longer than an idle environment lives.
    pub(crate) const PERIOD: Duration = Duration::from_millis(2_400);

    /// Returns the name of the shape.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Spiky => "spiky",
            Self::Sporadic => "sporadic-write",
        }
    }

    /// Returns all requests, in the order of their times.
    pub(crate) fn plan(self, duration: Duration, seed: u64) -> Plan {
        let mut dice = Dice::new(seed);
        let mut requests = Vec::new();
        match self {
            Self::Steady => {
                requests.extend(ticks(Duration::from_secs(1) / Self::RATE, duration).map(|at| dice.any(at)));
            }
            Self::Spiky => {
                for start in ticks(Self::PERIOD, duration) {
                    let spike = ticks(Self::SPIKE_GAP, Duration::MAX).take(Self::SPIKE);
                    requests.extend(spike.map(|after| dice.any(start + after)));
                }
            }
            Self::Sporadic => {
                requests.extend(ticks(Duration::from_secs(1) / Self::RATE, duration).map(|at| dice.read(at)));
                requests.extend(ticks(Self::PERIOD, duration).map(|at| dice.rare(at)));
                requests.sort_by_key(|planned| planned.at);
            }
        }
        Plan { items: dice.items, requests }
    }
}

/// Returns `count` items, each with a command that changes it. The resources take turns, and so do the changes of a resource.
pub(crate) fn changes(count: usize) -> impl Iterator<Item = (Start, Request)> {
    let change_in = |round: usize| {
        sample::all().iter().filter_map(move |sample| {
            let Change { operation, after } = sample.changes.iter().cycle().nth(round)?;
            Some((Start { sample, actions: after }, RequestKind::Write(*operation)))
        })
    };
    let in_turn = (0..).flat_map(change_in).take(count).enumerate();
    in_turn.map(|(item, (start, kind))| (start, Request { item, kind }))
}

/// Returns the number of items that `changes` needs to include every change of every resource.
pub(crate) fn every_change() -> usize {
    let rounds = sample::all().iter().map(|sample| sample.changes.len()).max();
    rounds.unwrap_or_default() * sample::all().len()
}

/// Returns the same request for the first item of each resource.
pub(crate) fn first_of_each(kind: RequestKind) -> impl Iterator<Item = Request> + Clone {
    (0..sample::all().len()).map(move |item| Request { item, kind })
}

/// Plans requests one after the other, at a constant rate.
pub(crate) fn at_rate(per_second: u32, requests: impl IntoIterator<Item = Request>) -> Vec<Planned> {
    let times = ticks(Duration::from_secs(1) / per_second, Duration::MAX);
    times.zip(requests).map(|(at, request)| Planned { at, request }).collect()
}

/// Plans a burst of updates on the first item of each resource, one burst after the other.
pub(crate) fn bursts(count: usize) -> Vec<Planned> {
    let items = first_of_each(RequestKind::Write(Operation::Update));
    let starts = ticks(BURST_PERIOD, Duration::MAX).zip(items);
    starts.flat_map(|(at, request)| std::iter::repeat_n(Planned { at, request }, count)).collect()
}

/// Returns the multiples of an interval: 0, one interval, two intervals and so on, before `end`.
fn ticks(interval: Duration, end: Duration) -> impl Iterator<Item = Duration> {
    (0_u32..).map(move |number| interval * number).take_while(move |at| *at < end)
}

struct Dice {
    random: SmallRng,
    items: Vec<Start>,
}

impl Dice {
    fn new(seed: u64) -> Self {
        let of_each = sample::all().iter().flat_map(|sample| std::iter::repeat_n(sample, ITEMS));
        let items = of_each.map(|sample| Start { sample, actions: &[] }).collect();
        Self { random: SmallRng::seed_from_u64(seed), items }
    }

    fn any(&mut self, at: Duration) -> Planned {
        if self.random.random_range(0..10) < READS_OF_TEN { self.read(at) } else { self.write(at) }
    }

    fn read(&mut self, at: Duration) -> Planned {
        let kind = match self.random.random_range(0..4) {
            0 => RequestKind::List,
            _ => RequestKind::Get,
        };
        Planned { at, request: Request { item: self.item(), kind } }
    }

    fn write(&mut self, at: Duration) -> Planned {
        let request = match self.random.random_range(0..10) {
            0 => self.delete(),
            1 | 2 => Some(self.on_any(Operation::Create)),
            3 | 4 => Some(self.on_any(Operation::Replace)),
            5 | 6 => self.act(),
            _ => None,
        };
        Planned { at, request: request.unwrap_or_else(|| self.on_any(Operation::Update)) }
    }

    fn rare(&mut self, at: Duration) -> Planned {
        let request = match self.random.random_range(0..3) {
            0 => self.delete(),
            1 => self.act(),
            _ => None,
        };
        Planned { at, request: request.unwrap_or_else(|| self.on_any(Operation::Create)) }
    }

    fn delete(&mut self) -> Option<Request> {
        let sample = self.sample()?;
        Some(self.on_its_own(Start { sample, actions: &[] }, Operation::Delete))
    }

    /// Plans an action of a random resource. Returns `None` if the resource has no actions.
    fn act(&mut self) -> Option<Request> {
        let sample = self.sample()?;
        let Change { operation, after } = sample.actions().choose(&mut self.random)?;
        Some(self.on_its_own(Start { sample, actions: after }, *operation))
    }

    fn on_any(&mut self, operation: Operation) -> Request {
        Request { item: self.item(), kind: RequestKind::Write(operation) }
    }

    /// Plans a command on an item that no other request uses, because the command can be applied only once.
    fn on_its_own(&mut self, start: Start, operation: Operation) -> Request {
        self.items.push(start);
        Request { item: self.items.len() - 1, kind: RequestKind::Write(operation) }
    }

    fn item(&mut self) -> usize {
        self.random.random_range(0..ITEMS * sample::all().len())
    }

    fn sample(&mut self) -> Option<&'static Sample> {
        sample::all().iter().choose(&mut self.random)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LONG: Duration = Duration::from_secs(1_000);

    fn writes(plan: &Plan) -> impl Iterator<Item = (Operation, usize)> {
        plan.requests.iter().filter_map(|planned| match planned.request {
            Request { item, kind: RequestKind::Write(operation) } => Some((operation, item)),
            _ => None,
        })
    }

    /// Returns whether a command can be applied to an item only once.
    fn is_final(operation: Operation) -> bool {
        matches!(operation, Operation::Delete | Operation::Act(_))
    }

    /// Names each request, with the collection of its item.
    fn kinds<'a>(requests: impl IntoIterator<Item = (&'a Start, RequestKind)>) -> BTreeSet<String> {
        requests.into_iter().map(|(start, kind)| format!("{} {kind:?}", start.sample.resource.collection)).collect()
    }

    #[test]
    fn a_seed_makes_the_same_plan_and_another_seed_another() {
        for shape in Shape::ALL {
            assert_eq!(shape.plan(LONG, 1).requests, shape.plan(LONG, 1).requests);
            assert_ne!(shape.plan(LONG, 1).requests, shape.plan(LONG, 2).requests);
        }
    }

    #[test]
    fn a_plan_is_in_order_and_about_nine_tenths_of_it_are_reads() {
        for shape in Shape::ALL {
            let plan = shape.plan(LONG, 7);
            assert!(plan.requests.is_sorted_by_key(|planned| planned.at));
            let (all, reads) = (plan.requests.len(), plan.requests.len() - writes(&plan).count());
            assert!(reads * 100 > all * 85 && reads < all, "{shape:?}: {reads} of {all}");
        }
    }

    #[test]
    fn a_plan_covers_every_kind_of_request_and_every_action_of_every_resource() {
        for shape in Shape::ALL {
            let plan = shape.plan(LONG, 5);
            let covered = kinds(plan.requests.iter().map(|it| (&plan.items[it.request.item], it.request.kind)));
            for sample in sample::all() {
                let is_planned = |operation: &Operation| shape != Shape::Sporadic || !is_change_of_fields(*operation);
                let operations = sample.resource.operations().into_iter().filter(is_planned).map(RequestKind::Write);
                for kind in operations.chain([RequestKind::Get, RequestKind::List]) {
                    let expected = format!("{} {kind:?}", sample.resource.collection);
                    assert!(covered.contains(&expected), "{shape:?} has no {expected}");
                }
            }
        }
    }

    fn is_change_of_fields(operation: Operation) -> bool {
        matches!(operation, Operation::Replace | Operation::Update)
    }

    #[test]
    fn commands_in_turn_cover_every_resource_and_each_of_its_changes() {
        let changes: Vec<_> = changes(every_change()).collect();
        let covered = kinds(changes.iter().map(|(start, request)| (start, request.kind)));
        let of_samples = sample::all().iter().flat_map(|sample| {
            sample
                .changes
                .iter()
                .map(|change| format!("{} {:?}", sample.resource.collection, RequestKind::Write(change.operation)))
        });
        assert_eq!(covered, of_samples.collect());
        let first =
            changes.iter().zip(first_of_each(RequestKind::Get)).map(|((start, _), _)| start.sample.resource.collection);
        assert_eq!(first.collect::<BTreeSet<_>>().len(), sample::all().len());
    }

    #[test]
    fn a_command_that_applies_only_once_has_its_own_item_in_the_right_state() {
        for shape in Shape::ALL {
            let plan = shape.plan(LONG, 3);
            for (operation, item) in writes(&plan).filter(|(operation, _)| is_final(*operation)) {
                assert_eq!(plan.requests.iter().filter(|planned| planned.request.item == item).count(), 1);
                let Start { sample, actions } = plan.items[item];
                let change = sample.changes.iter().find(|change| change.operation == operation);
                assert_eq!(actions, change.map(|change| change.after.as_slice()).unwrap_or_default());
            }
        }
    }

    #[test]
    fn spikes_and_rare_writes_come_once_per_period() {
        let spiky = Shape::Spiky.plan(Shape::PERIOD * 3, 1).requests;
        assert_eq!(spiky.len(), 3 * Shape::SPIKE);
        assert_eq!(spiky[Shape::SPIKE].at, Shape::PERIOD);
        let sporadic = Shape::Sporadic.plan(Shape::PERIOD * 3, 1).requests;
        let rare = sporadic.iter().filter(|planned| matches!(planned.request.kind, RequestKind::Write(_)));
        assert_eq!(rare.map(|it| it.at).collect::<Vec<_>>(), [0, 1, 2].map(|number| Shape::PERIOD * number));
    }

    #[test]
    fn each_burst_is_on_one_item_of_another_resource() {
        let bursts = bursts(3);
        assert_eq!(bursts.len(), 3 * sample::all().len());
        for (number, burst) in bursts.chunks(3).enumerate() {
            assert!(burst.iter().all(|planned| planned.request.item == number && *planned == burst[0]));
        }
    }
}
