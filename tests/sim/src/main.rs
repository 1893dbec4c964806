//! Runs one seed or plan, or many seeds in parallel. Shows the first failure.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use kernel::mutants::Mutant;
use simulation::plan::Plan;
use simulation::{run, shrink};

/// Simulate the whole flow under faults, seed by seed, until one fails.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Run only this seed, and print its faults and violations.
    #[arg(long, conflicts_with_all = ["from", "count", "seconds", "plan"])]
    seed: Option<u64>,
    /// Run only the plan in this file.
    #[arg(long, conflicts_with_all = ["from", "count", "seconds"])]
    plan: Option<PathBuf>,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// The number of seeds.
    #[arg(long, default_value_t = 20_000)]
    count: u64,
    /// Stop after this number of seconds, even if seeds are left (default: no limit).
    #[arg(long)]
    seconds: Option<u64>,
    /// Run with this deliberate fault in the code, from the list in `kernel::mutants`.
    #[arg(long)]
    mutant: Option<Mutant>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let plan = match (&arguments.seed, &arguments.plan) {
        (Some(seed), _) => Some(Plan::of(*seed)),
        (None, Some(path)) => match Plan::read(path) {
            Ok(plan) => Some(plan),
            Err(error) => {
                eprintln!("{} is not a plan: {error}", path.display());
                return ExitCode::from(2);
            }
        },
        (None, None) => soak(&arguments),
    };
    match plan {
        Some(plan) => show(&plan, arguments.mutant),
        None => ExitCode::SUCCESS,
    }
}

/// Runs seeds on all processors. Returns the plan of the first failure found.
fn soak(arguments: &Arguments) -> Option<Plan> {
    let started = Instant::now();
    let limit = Duration::from_secs(arguments.seconds.unwrap_or(u64::MAX));
    let (next, runs, commands) = (AtomicU64::new(arguments.from), AtomicU64::new(0), AtomicU64::new(0));
    let (stop, failed) = (AtomicBool::new(false), std::sync::Mutex::new(None));
    let bar = ProgressBar::new(arguments.count);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left") {
        bar.set_style(style);
    }
    let end = arguments.from.saturating_add(arguments.count);
    let work = || {
        while !stop.load(Ordering::Relaxed) && started.elapsed() < limit {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return;
            }
            let plan = Plan::of(seed);
            let report = run(&plan, arguments.mutant);
            runs.fetch_add(1, Ordering::Relaxed);
            commands.fetch_add(report.commands as u64, Ordering::Relaxed);
            bar.inc(1);
            if !report.violations.is_empty() {
                stop.store(true, Ordering::Relaxed);
                *failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(plan);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, std::num::NonZero::get) {
            scope.spawn(work);
        }
    });
    bar.finish_and_clear();
    let (runs, commands) = (runs.into_inner(), commands.into_inner());
    let seconds = started.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate, for people")]
    let rate = runs as f64 / seconds;
    println!("{runs} seeds from {}, {commands} commands, {seconds:.1} s, {rate:.0} seeds/s", arguments.from);
    failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Runs a plan and prints the result. Shrinks a failing plan first.
fn show(plan: &Plan, mutant: Option<Mutant>) -> ExitCode {
    let report = run(plan, mutant);
    println!(
        "seed {}: {} commands, {} reads, {} faults, {:.1} s of simulated time",
        plan.seed,
        report.commands,
        report.reads,
        report.faults.len(),
        report.simulated.as_secs_f64(),
    );
    if report.violations.is_empty() {
        println!("everything holds");
        return ExitCode::SUCCESS;
    }
    let smallest = shrink(plan, mutant);
    println!("{}", smallest.to_text());
    let report = run(&smallest, mutant);
    for (number, fault) in
        report.faults.iter().enumerate().filter(|(number, _)| !smallest.muted.contains(&(*number as u64)))
    {
        println!("fault {number}: {fault}");
    }
    for violation in &report.violations {
        println!("{violation}");
    }
    let broken = mutant.map(|mutant| format!(" --mutant {mutant}")).unwrap_or_default();
    println!("again: make soak ARGS=\"--seed {}{broken}\"", plan.seed);
    ExitCode::FAILURE
}
