//! One run: everything that a plan says, on one thread, in paused time.

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

/// Pollers of the queue.
const LANES: usize = 4;
/// How long the queue may take to drain once faults have stopped: what waits for a predecessor waits for the reorder window.
const DRAIN_MAX: Duration = Duration::from_secs(600);

/// How long dead letters may lie.
const REDRIVEN_AFTER: Duration = Duration::from_hours(10 * 24);

/// How often an operator sends dead letters back at the end.
const REDRIVES_MAX: usize = 20;

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// What did not hold, in the order in which it was found.
    pub violations: Vec<Violation>,
    /// Commands that the service took in.
    pub commands: usize,
    /// What the commands asked, as a kind and an operation.
    pub asked: BTreeSet<String>,
    /// Reads that were checked.
    pub reads: u64,
    /// The faults that struck, in order; those muted included.
    pub faults: Vec<String>,
    /// How long it took, in simulated time.
    pub simulated: Duration,
}

/// Runs a plan, with the code broken as `mutant` says.
///
/// # Panics
///
/// Where there is no memory for a runtime.
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

/// Lets the queue run empty, and sends the dead letters back: without faults they must end as well. A queue that gives up
/// early does so again while a command waits for its predecessor, up to the reorder window.
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
            // An operator who was on holiday: records are kept for longer, what waits is not expired yet.
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
