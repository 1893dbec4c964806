//! Shrinks a failing plan to the parts that it needs to fail.

use kernel::mutants::Mutant;

use crate::plan::{Disaster, FaultKind, Faults, Plan};
use crate::run::run;

/// The maximum number of runs for one plan.
const RUNS_MAX: usize = 3_000;

/// Returns a smaller plan whose first violation is of the same invariant.
#[must_use]
pub fn shrink(plan: &Plan, mutant: Option<Mutant>) -> Plan {
    let Some(violation) = run(plan, mutant).violations.into_iter().next() else { return plan.clone() };
    let mut runs = 0;
    let mut fails = |candidate: &Plan| {
        runs += 1;
        let first = || run(candidate, mutant).violations.into_iter().next();
        runs <= RUNS_MAX && first().is_some_and(|found| found.invariant == violation.invariant)
    };
    let mut smallest = plan.clone();
    loop {
        let before = smallest.clone();
        drop_sessions(&mut smallest, &mut fails);
        drop_steps(&mut smallest, &mut fails);
        drop_disasters(&mut smallest, &mut fails);
        shorten_walks(&mut smallest, &mut fails);
        drop_fault_kinds(&mut smallest, &mut fails);
        simplify_setup(&mut smallest, &mut fails);
        mute_faults(&mut smallest, mutant, &mut fails);
        if smallest == before {
            return smallest;
        }
    }
}

fn keep_if(plan: &mut Plan, fails: &mut impl FnMut(&Plan) -> bool, change: impl FnOnce(&mut Plan)) -> bool {
    let mut candidate = plan.clone();
    change(&mut candidate);
    let smaller = candidate != *plan && fails(&candidate);
    if smaller {
        *plan = candidate;
    }
    smaller
}

fn drop_sessions(plan: &mut Plan, fails: &mut impl FnMut(&Plan) -> bool) {
    // Clear the steps but keep the session, so that the others keep their numbers.
    for session in 0..plan.sessions.len() {
        keep_if(plan, fails, |plan| {
            if let Some(session) = plan.sessions.get_mut(session) {
                session.steps.clear();
            }
        });
    }
}

fn drop_steps(plan: &mut Plan, fails: &mut impl FnMut(&Plan) -> bool) {
    for session in 0..plan.sessions.len() {
        let steps = plan.sessions.get(session).map_or(0, |session| session.steps.len());
        for step in (0..steps).rev() {
            keep_if(plan, fails, |plan| {
                if let Some(session) = plan.sessions.get_mut(session) {
                    session.steps.remove(step);
                }
            });
        }
    }
}

fn drop_disasters(plan: &mut Plan, fails: &mut impl FnMut(&Plan) -> bool) {
    for disaster in (0..plan.disasters.len()).rev() {
        keep_if(plan, fails, |plan| _ = plan.disasters.remove(disaster));
    }
}

/// Removes stages from the end or from the beginning of walks.
fn shorten_walks(plan: &mut Plan, fails: &mut impl FnMut(&Plan) -> bool) {
    let walk = |disaster: &Disaster| matches!(&disaster.what, FaultKind::Walk { way, .. } if way.len() > 1);
    while let Some(place) = plan.disasters.iter().position(walk) {
        let before = plan.clone();
        keep_if(plan, fails, |plan| {
            if let Some(FaultKind::Walk { way, .. }) = plan.disasters.get_mut(place).map(|disaster| &mut disaster.what)
            {
                way.pop();
            }
        });
        keep_if(plan, fails, |plan| {
            if let Some(FaultKind::Walk { way, .. }) = plan.disasters.get_mut(place).map(|disaster| &mut disaster.what)
            {
                plan.setup.stage = way.remove(0);
            }
        });
        if *plan == before {
            break;
        }
    }
}

fn drop_fault_kinds(plan: &mut Plan, fails: &mut impl FnMut(&Plan) -> bool) {
    let kinds: [fn(&mut Faults) -> &mut u32; 10] = [
        |faults| &mut faults.lost_requests,
        |faults| &mut faults.lost_responses,
        |faults| &mut faults.repeats,
        |faults| &mut faults.oversize,
        |faults| &mut faults.contention,
        |faults| &mut faults.slowness,
        |faults| &mut faults.cache_failures,
        |faults| &mut faults.evictions,
        |faults| &mut faults.crashes,
        |faults| &mut faults.duplicates,
    ];
    for kind in kinds {
        keep_if(plan, fails, |plan| *kind(&mut plan.setup.faults) = 0);
    }
}

fn simplify_setup(plan: &mut Plan, fails: &mut impl FnMut(&Plan) -> bool) {
    keep_if(plan, fails, |plan| plan.setup.skew_ms = 0);
    keep_if(plan, fails, |plan| plan.setup.lag_ms = 0);
    keep_if(plan, fails, |plan| plan.setup.shift_ms = 0);
    keep_if(plan, fails, |plan| plan.setup.concurrent = false);
    keep_if(plan, fails, |plan| plan.setup.memory = false);
    keep_if(plan, fails, |plan| plan.setup.shared_cache = false);
}

/// Mutes faults: halves of them, then quarters, and so on.
fn mute_faults(plan: &mut Plan, mutant: Option<Mutant>, fails: &mut impl FnMut(&Plan) -> bool) {
    let faults = run(plan, mutant).faults.len() as u64;
    let mut width = faults.div_ceil(2);
    while width > 0 {
        let mut start = 0;
        while start < faults {
            keep_if(plan, fails, |plan| plan.muted.extend(start..(start + width).min(faults)));
            start += width;
        }
        width = if width == 1 { 0 } else { width.div_ceil(2) };
    }
}
