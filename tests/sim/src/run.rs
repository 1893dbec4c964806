//! Runs a plan, on one thread, in paused time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use kernel::mutants::{self, Mutant};
use kernel::random;
use tokio::runtime::Builder;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::check;
use crate::client::{Client, Service};
use crate::history::{Invariant, Violation};
use crate::plan::Plan;
use crate::world::World;

/// The number of pollers of the queue.
const LANES: usize = 4;
/// The time within which the queue must drain after the faults stop. It exceeds the reorder window, for which early commands wait.
const DRAIN_MAX: Duration = Duration::from_secs(600);

/// The time after which a late operator redrives dead letters.
const REDRIVEN_AFTER: Duration = Duration::from_hours(10 * 24);

/// The maximum number of redrives at the end.
const REDRIVES_MAX: usize = 20;

/// The result of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The violations, in the order in which they were found.
    pub violations: Vec<Violation>,
    /// The number of commands that the service accepted.
    pub commands: usize,
    /// The kinds and operations of the commands.
    pub asked: BTreeSet<String>,
    /// The number of reads that were checked.
    pub reads: u64,
    /// The injected faults, in order, including muted ones.
    pub faults: Vec<String>,
    /// The duration in simulated time.
    pub simulated: Duration,
}

/// Runs a plan, with the fault `mutant` in the code, if given.
///
/// # Panics
///
/// If the runtime cannot be built, for lack of memory.
#[must_use]
#[expect(clippy::expect_used, reason = "a runtime without I/O needs nothing but memory")]
pub fn run(plan: &Plan, mutant: Option<Mutant>) -> Report {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("there is memory for a runtime");
    random::seed(plan.seed);
    mutants::activate(mutant);
    let report = runtime.block_on(simulate(plan));
    mutants::activate(None);
    report
}

async fn simulate(plan: &Plan) -> Report {
    let world = World::new(plan);
    let service = Service::new(&world);
    let lanes: Vec<_> = (0..LANES).map(|_| tokio::spawn(service.clone().poll())).collect();
    let suffering = tokio::spawn(world.clone().suffer(plan.clone()));
    let clients = plan.sessions.iter().enumerate().filter_map(|(number, session)| {
        let client = Client::new(service.clone(), number, session)?;
        Some(tokio::spawn(client.run(session.clone())))
    });
    for client in clients.collect::<Vec<_>>() {
        finish(&world, client, check::far_away()).await;
    }
    finish(&world, suffering, check::far_away()).await;
    world.chance.calm_down();
    drain(&world).await;
    for lane in lanes {
        lane.abort();
        if lane.await.is_err_and(|error| error.is_panic()) {
            world.history.violated(Invariant::NoPanic, "a poller panicked".to_owned());
        }
    }
    check::at_rest(&world).await;
    report(&world)
}

async fn finish(world: &World, task: JoinHandle<()>, deadline: Instant) {
    match timeout_at(deadline, task).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => world.history.violated(Invariant::NoPanic, "a task panicked".to_owned()),
        Err(_) => world.history.violated(Invariant::Drains, "a client was never answered".to_owned()),
    }
}

/// Waits until the queue is empty, and redrives the dead letters: without faults they must end too. If the queue allows few
/// deliveries, a command may become a dead letter again while it waits for its predecessor, up to the reorder window.
async fn drain(world: &Arc<World>) {
    for _ in 0..REDRIVES_MAX {
        let deadline = Instant::now() + DRAIN_MAX + world.queue.held_back();
        while !world.queue.is_empty() && Instant::now() < deadline {
            sleep(Duration::from_secs(1)).await;
        }
        if world.queue.dead().is_empty() {
            break;
        }
        if world.chance.between(0..=3) == 0 {
            // The operator returns after 10 days. Records are kept for longer, and no message has expired.
            sleep(REDRIVEN_AFTER).await;
        }
        world.redrive();
    }
    if !world.queue.is_empty() || !world.queue.dead().is_empty() {
        world.history.violated(Invariant::Drains, "messages are left although nothing goes wrong any more".to_owned());
    } else if world.queue.poison_forgotten() > 0 {
        world.history.violated(Invariant::EndsOnce, "what nobody can read was acknowledged".to_owned());
    }
}

fn report(world: &World) -> Report {
    let events = world.history.lock();
    let operations = events.commands.values().filter_map(|taken| events.operations.get(taken.operation));
    Report {
        asked: operations.map(|sent| format!("{} {:?}", sent.kind, sent.asked.operation)).collect(),
        violations: events.violations.clone(),
        commands: events.commands.len(),
        reads: events.reads,
        faults: world.chance.struck(),
        simulated: world.started.elapsed(),
    }
}
