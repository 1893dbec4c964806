//! What is asked of the service, and when: from a seed, so that every stage is asked the same.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};

/// So many requests of ten are reads.
const READS_OF_TEN: u32 = 9;
/// Users that are read and changed, and never deleted.
pub(crate) const USERS: usize = 20;

/// How requests are spread over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A constant rate.
    Steady,
    /// Bursts, with nothing between them.
    Spiky,
    /// A constant rate of reads; a delete or a create now and then.
    Sporadic,
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Reads a user.
    Get(usize),
    /// Reads a page of users.
    List,
    /// Creates a user.
    Create,
    /// Replaces a user.
    Replace(usize),
    /// Changes the name of a user.
    Update(usize),
    /// Deletes a user: each one once.
    Delete(usize),
}

/// A request and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) at: Duration,
    pub(crate) operation: Operation,
}

/// How much is asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// How often everything is repeated.
    pub(crate) rounds: u64,
    /// How long a traffic shape lasts.
    pub(crate) shape: Duration,
    /// Requests per phase of a stage: users read cold, and so on.
    pub(crate) requests: usize,
    /// Commands in a burst on one user.
    pub(crate) burst: usize,
    /// How hard packages are compressed, 0 to 9.
    pub(crate) compression: u32,
}

impl Scale {
    /// What the report is made of.
    pub(crate) const FULL: Self =
        Self { rounds: 3, shape: Duration::from_millis(9_600), requests: 200, burst: 50, compression: 6 };
    /// Enough to see that everything works.
    pub(crate) const QUICK: Self =
        Self { rounds: 1, shape: Duration::from_millis(1_500), requests: 10, burst: 10, compression: 0 };
}

impl Shape {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Steady, Self::Spiky, Self::Sporadic];
    /// Requests per second, of the steady shape and of sporadic reads.
    pub(crate) const RATE: u32 = 40;
    /// Requests per burst.
    pub(crate) const SPIKE: usize = 40;
    /// The time between two requests of a burst.
    pub(crate) const SPIKE_GAP: Duration = Duration::from_millis(5);
    /// From one burst, or sporadic write, to the next: longer than an idle environment lives.
    pub(crate) const PERIOD: Duration = Duration::from_millis(2_400);

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Spiky => "spiky",
            Self::Sporadic => "sporadic-write",
        }
    }

    /// All requests, in the order of their times.
    pub(crate) fn plan(self, duration: Duration, seed: u64) -> Vec<Planned> {
        let mut dice = Dice { random: SmallRng::seed_from_u64(seed), deleted: 0 };
        let mut plan = Vec::new();
        match self {
            Self::Steady => {
                plan.extend(ticks(Duration::from_secs(1) / Self::RATE, duration).map(|at| dice.any(at)));
            }
            Self::Spiky => {
                for start in ticks(Self::PERIOD, duration) {
                    let spike = ticks(Self::SPIKE_GAP, Duration::MAX).take(Self::SPIKE);
                    plan.extend(spike.map(|after| dice.any(start + after)));
                }
            }
            Self::Sporadic => {
                plan.extend(ticks(Duration::from_secs(1) / Self::RATE, duration).map(|at| dice.read(at)));
                plan.extend(ticks(Self::PERIOD, duration).enumerate().map(|(number, at)| dice.rare(number, at)));
                plan.sort_by_key(|planned| planned.at);
            }
        }
        plan
    }
}

/// How many users a plan deletes.
pub(crate) fn deletes(plan: &[Planned]) -> usize {
    plan.iter().filter(|planned| matches!(planned.operation, Operation::Delete(_))).count()
}

/// Operations one after the other, at a constant rate.
pub(crate) fn at_rate(per_second: u32, operations: impl IntoIterator<Item = Operation>) -> Vec<Planned> {
    let times = ticks(Duration::from_secs(1) / per_second, Duration::MAX);
    times.zip(operations).map(|(at, operation)| Planned { at, operation }).collect()
}

/// Operations all at once.
pub(crate) fn at_once(operations: impl IntoIterator<Item = Operation>) -> Vec<Planned> {
    operations.into_iter().map(|operation| Planned { at: Duration::ZERO, operation }).collect()
}

/// 0, one interval, two intervals, … up to the end.
fn ticks(interval: Duration, end: Duration) -> impl Iterator<Item = Duration> {
    (0_u32..).map(move |number| interval * number).take_while(move |at| *at < end)
}

struct Dice {
    random: SmallRng,
    deleted: usize,
}

impl Dice {
    fn any(&mut self, at: Duration) -> Planned {
        if self.random.random_range(0..10) < READS_OF_TEN { self.read(at) } else { self.write(at) }
    }

    fn read(&mut self, at: Duration) -> Planned {
        let operation = match self.random.random_range(0..4) {
            0 => Operation::List,
            _ => Operation::Get(self.user()),
        };
        Planned { at, operation }
    }

    fn write(&mut self, at: Duration) -> Planned {
        let operation = match self.random.random_range(0..10) {
            0 => self.delete(),
            1 | 2 => Operation::Create,
            3 | 4 => Operation::Replace(self.user()),
            _ => Operation::Update(self.user()),
        };
        Planned { at, operation }
    }

    fn rare(&mut self, number: usize, at: Duration) -> Planned {
        let operation = if number.is_multiple_of(2) { self.delete() } else { Operation::Create };
        Planned { at, operation }
    }

    fn user(&mut self) -> usize {
        self.random.random_range(0..USERS)
    }

    fn delete(&mut self) -> Operation {
        self.deleted += 1;
        Operation::Delete(USERS + self.deleted - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(100);

    #[test]
    fn a_seed_makes_the_same_plan_and_another_seed_another() {
        for shape in Shape::ALL {
            assert_eq!(shape.plan(LONG, 1), shape.plan(LONG, 1));
            assert_ne!(shape.plan(LONG, 1), shape.plan(LONG, 2));
        }
    }

    #[test]
    fn a_plan_is_in_order_and_about_nine_tenths_of_it_are_reads() {
        for shape in Shape::ALL {
            let plan = shape.plan(LONG, 7);
            assert!(plan.is_sorted_by_key(|planned| planned.at));
            let is_read = |planned: &&Planned| matches!(planned.operation, Operation::Get(_) | Operation::List);
            let reads = plan.iter().filter(is_read).count();
            assert!(reads * 100 > plan.len() * 85 && reads < plan.len(), "{shape:?}: {reads} of {}", plan.len());
        }
    }

    #[test]
    fn nobody_is_deleted_twice_or_read_after_it() {
        for shape in Shape::ALL {
            let plan = shape.plan(LONG, 3);
            let deleted = plan.iter().filter_map(|planned| match planned.operation {
                Operation::Delete(user) => Some(user),
                _ => None,
            });
            assert_eq!(deleted.collect::<Vec<_>>(), (USERS..USERS + deletes(&plan)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn spikes_and_rare_writes_are_as_far_apart_as_they_should_be() {
        let spiky = Shape::Spiky.plan(Shape::PERIOD * 3, 1);
        assert_eq!(spiky.len(), 3 * Shape::SPIKE);
        assert_eq!(spiky[Shape::SPIKE].at, Shape::PERIOD);
        let sporadic = Shape::Sporadic.plan(Shape::PERIOD * 3, 1);
        let rare = sporadic.iter().filter(|it| matches!(it.operation, Operation::Create | Operation::Delete(_)));
        assert_eq!(rare.map(|it| it.at).collect::<Vec<_>>(), [0, 1, 2].map(|number| Shape::PERIOD * number));
    }
}
