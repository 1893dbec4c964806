//! Checks that seeds hold, that mutants are noticed, and that bugs found once stay found.

#![cfg(test)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use kernel::mutants::Mutant;

use service::resources::RESOURCES;
use simulation::plan::{Duty, FaultKind, Plan};
use simulation::{Invariant, Report, run, shrink};

/// The number of seeds in each test run.
const SEEDS: u64 = 2_000;
/// The number of seeds in a full test run.
const SEEDS_LONG: u64 = 20_000;
/// The number of seeds within which each mutant must be noticed.
const MUTANT_SEEDS_MAX: u64 = 80_000;

/// Returns the first seed with a violation, and its report. Uses all processors.
fn first_failure(seeds: u64, mutant: Option<Mutant>) -> Option<(u64, Report)> {
    let (next, first) = (AtomicU64::new(0), AtomicU64::new(seeds));
    let search = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= first.load(Ordering::Relaxed) {
            return;
        }
        if !run(&Plan::of(seed), mutant).violations.is_empty() {
            first.fetch_min(seed, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(search);
        }
    });
    let seed = first.into_inner();
    (seed < seeds).then(|| (seed, run(&Plan::of(seed), mutant)))
}

fn reported(report: &Report) -> String {
    report.violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn whatever_fails_the_invariants_hold() {
    hold(SEEDS);
}

#[test]
#[ignore = "long: make test-full"]
fn whatever_fails_the_invariants_hold_at_many_seeds() {
    hold(SEEDS_LONG);
}

fn hold(seeds: u64) {
    if let Some((seed, report)) = first_failure(seeds, None) {
        let again = format!("make soak ARGS=\"--seed {seed}\"");
        panic!("seed {seed} of {seeds}:\n{}\nto see it cut down: {again}", reported(&report));
    }
    println!("{seeds} seeds hold");
}

/// Returns whether the served resources can show the mutant. Some mutants need two resources, an action or a unique field.
fn is_shown(mutant: Mutant) -> bool {
    let are_several = RESOURCES.len() > 1;
    let has_unique = RESOURCES.iter().any(|resource| resource.fields.iter().any(|field| field.taken.is_some()));
    match mutant {
        Mutant::ActionsOvertake | Mutant::ActionForgotten | Mutant::ActionOnOldState => {
            RESOURCES.iter().any(|resource| !resource.actions.is_empty())
        }
        Mutant::CacheKeyWithoutKind
        | Mutant::ListNameWithoutKind
        | Mutant::MessageWithoutKind
        | Mutant::RecordWithoutKind
        | Mutant::TokenKindIgnored => are_several,
        Mutant::UniqueKeyWithoutKind => are_several && has_unique,
        Mutant::BlamedOnMovedState
        | Mutant::UniqueKeyNotReleased
        | Mutant::UniqueKeyUnguarded
        | Mutant::ManyUniqueKeyChangesInOnePlan => has_unique,
        _ => true,
    }
}

/// Kept plans show some mutants, which seeds would show only after a long time.
#[test]
fn every_mutant_is_noticed() {
    let kept: Vec<_> = regressions().into_iter().map(|(mutant, _)| mutant).collect();
    let mut survivors = Vec::new();
    println!("{:32} {:>6}  first violation", "mutant", "seeds");
    for mutant in Mutant::ALL.iter().filter(|mutant| is_shown(**mutant) && !kept.contains(mutant)) {
        match first_failure(MUTANT_SEEDS_MAX, Some(*mutant)) {
            Some((seed, report)) => {
                let violation = report.violations.first().map(|violation| violation.invariant);
                println!("{:32} {:>6}  {violation:?}", mutant.to_string(), seed + 1);
            }
            None => survivors.push(mutant),
        }
    }
    assert!(survivors.is_empty(), "the simulation does not notice {survivors:?}");
}

#[test]
fn every_operation_of_every_resource_is_simulated() {
    let mut asked: BTreeSet<_> = (0..200).flat_map(|seed| run(&Plan::of(seed), None).asked).collect();
    for resource in RESOURCES {
        for operation in resource.operations() {
            assert!(asked.remove(&format!("{} {operation:?}", resource.kind)), "{} {operation:?}", resource.collection);
        }
    }
    assert_eq!(asked, BTreeSet::new());
}

#[test]
fn a_seed_always_makes_the_same_run() {
    for seed in 0..200 {
        let plan = Plan::of(seed);
        assert_eq!(run(&plan, None), run(&plan, None), "seed {seed}");
    }
}

#[test]
fn a_failing_plan_is_cut_down_to_one_that_fails_alike() {
    let mutant = Some(Mutant::ProjectionUnguarded);
    let (seed, report) = first_failure(MUTANT_SEEDS_MAX, mutant).unwrap();
    let plan = Plan::of(seed);
    let smallest = shrink(&plan, mutant);
    let steps = |plan: &Plan| plan.sessions.iter().map(|session| session.steps.len()).sum::<usize>();
    assert!(steps(&smallest) < steps(&plan), "{}", smallest.to_text());
    assert_eq!(run(&smallest, mutant).violations[0].invariant, report.violations[0].invariant);
}

#[test]
fn a_plan_comes_back_as_it_was_kept() {
    for seed in 0..50 {
        let plan = Plan::of(seed);
        assert_eq!(serde_json::from_str::<Plan>(&plan.to_text()).unwrap(), plan);
    }
}

/// Returns the plans in `regressions`. Each is named after the mutant that brings back the bug that it found.
fn regressions() -> Vec<(Mutant, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.map(|path| (path.file_stem().unwrap().to_str().unwrap().parse().unwrap(), path)).collect()
}

#[test]
fn what_was_found_once_holds_and_would_be_found_again() {
    let regressions = regressions();
    assert!(!regressions.is_empty());
    for (mutant, path) in regressions.into_iter().filter(|(mutant, _)| is_shown(*mutant)) {
        let plan = Plan::read(&path).unwrap();
        assert_eq!(reported(&run(&plan, None)), "", "{}", path.display());
        assert!(!run(&plan, Some(mutant)).violations.is_empty(), "{} shows nothing any more", path.display());
    }
}

/// If the operator copies before the last environment of the earlier deployment has ended, its writes are missing in the new store.
#[test]
fn a_cutover_that_does_not_wait_is_noticed() {
    let hasty = |seed| {
        let mut plan = Plan::of(seed);
        let cutover = plan.disasters.iter_mut().find_map(|disaster| match &mut disaster.what {
            FaultKind::Cutover { waits, .. } => Some(waits),
            _ => None,
        })?;
        *cutover = false;
        run(&plan, None).violations.into_iter().next()
    };
    let violation = (0..MUTANT_SEEDS_MAX).find_map(hasty);
    assert_eq!(violation.map(|violation| violation.invariant), Some(Invariant::ReadStoreEqual));
}

/// Returns the first violation if the operator of a walk forgets one duty.
fn first_violation_without(duty: Duty) -> Option<Invariant> {
    let careless = |seed| {
        let mut plan = Plan::of(seed);
        let walk = plan.disasters.iter_mut().find_map(|disaster| match &mut disaster.what {
            FaultKind::Walk { forgotten, .. } => Some(forgotten),
            _ => None,
        })?;
        *walk = Some(duty);
        run(&plan, None).violations.into_iter().next()
    };
    (0..MUTANT_SEEDS_MAX)
        .find_map(|seed| careless(seed).inspect(|violation| println!("seed {seed}: {violation}")))
        .map(|violation| violation.invariant)
}

#[test]
fn a_step_that_does_not_await_the_last_old_environment_is_noticed() {
    assert_eq!(first_violation_without(Duty::AwaitEnvironments), Some(Invariant::ReadStoreEqual));
}

#[test]
fn readers_of_a_read_store_that_was_not_filled_are_noticed() {
    assert_eq!(first_violation_without(Duty::FillReadStore), Some(Invariant::ReadStoreEqual));
}

#[test]
fn readers_of_what_a_cache_kept_while_writers_left_it_alone_are_noticed() {
    assert_eq!(first_violation_without(Duty::DropCached), Some(Invariant::CacheEqual));
}

/// Only one seed in 100,000 shows the violation, so the test uses a stored plan.
#[test]
fn dead_letters_that_are_left_when_the_queue_falls_out_of_use_are_noticed() {
    if RESOURCES.iter().all(|resource| resource.actions.is_empty()) {
        return;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/dead-letters-left.json");
    let mut plan = Plan::read(&path).unwrap();
    assert_eq!(reported(&run(&plan, None)), "");
    for disaster in &mut plan.disasters {
        if let FaultKind::Walk { forgotten, .. } = &mut disaster.what {
            *forgotten = Some(Duty::RedriveDeadLetters);
        }
    }
    let report = run(&plan, None);
    let is_out_of_order = report.violations.iter().any(|violation| violation.invariant == Invariant::OrderedInSession);
    assert!(is_out_of_order, "{}", reported(&report));
}

#[test]
fn a_queue_that_goes_before_it_is_empty_is_noticed() {
    assert_eq!(first_violation_without(Duty::EmptyQueue), Some(Invariant::EndsOnce));
}
