//! Walks the whole path, back, and forward again during traffic. No request may fail, and no command may be lost.
//!
//! `watershed migrate` performs each step on the running stack. The test kills it once in each step, and the next run resumes.
//! `chaos-checker` judges the clients' logs. The test prints its seed. Set `WATERSHED_WALK_SEED` to repeat it.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use futures::future::join_all;
use service::stages::{StageConfig, StageKind};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::watch;

use crate::harness::clients::{Client, Manner, Recorder, Town};
use crate::harness::judge::judge;
use crate::harness::redis::Redis;
use crate::harness::stores::drained;
use crate::harness::{Stack, Variant, check};
use crate::ops;

const CLIENTS: usize = 8;
/// If a client has a token for an item, it sends the token with one request in ten. Writes may be answered with their results.
const MANNER: Manner = Manner { tokens: (1, 10), results: true };
/// The environment variable that repeats the seed of an earlier run.
const SEED_VARIABLE: &str = "WATERSHED_WALK_SEED";
/// The number of phases after which the test kills a run; another one for each step.
const KILLED_AT: [usize; 4] = [1, 2, 3, 4];
/// The timeout of a step.
const STEP_MAX: Duration = Duration::from_secs(120);

#[test]
fn the_whole_path_can_be_walked_back_and_forward_under_load() {
    walk(Variant::Cqrs);
}

#[test]
#[ignore = "long: make test-full"]
fn the_whole_path_can_be_walked_back_and_forward_under_load_with_a_fifo_queue() {
    walk(Variant::CqrsFifo);
}

fn walk(variant: Variant) {
    if !Redis::is_installed() {
        return;
    }
    let seed = std::env::var(SEED_VARIABLE).map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("{variant:?}: {SEED_VARIABLE}={seed}");
    // Old and new environments run at the same time, and no client may wait for an environment of another.
    let stack = Stack::start(variant, &["--ephemeral", "--max-environments", "16"]);
    let (stop, stopped) = watch::channel(());
    let (town, recorder) = (Town::default(), Recorder::new());
    let mut clients: Vec<_> = (0..CLIENTS).map(|number| Client::new(number, seed, MANNER, &town, &recorder)).collect();
    let began = Instant::now();
    let (report, unanswered) = check(&stack, async {
        let api = stack.api();
        let living = join_all(clients.iter_mut().map(|client| client.live(&api, &stopped)));
        let walking = async {
            // Stops the clients when it is dropped, also if a step fails.
            let _stop = stop;
            let dir = tempfile::tempdir().unwrap();
            let backward = path().into_iter().rev().skip(1);
            let forward = path().into_iter().skip(1);
            for (number, stage) in backward.chain(forward).enumerate() {
                step(&stack, dir.path(), &stage, KILLED_AT[number % KILLED_AT.len()]).await;
            }
        };
        futures::future::join(living, walking).await;
        drained(&stack).await;
        join_all(clients.iter_mut().map(|client| client.read_back(&api))).await;
        let unanswered = recorder.unanswered_reads();
        (judge(&stack, &recorder, &format!("walk-{variant:?}-{seed}")).await, unanswered)
    });
    println!("{variant:?}: 12 steps in {} s: {}", began.elapsed().as_secs(), report.summary);
    assert_eq!(unanswered, [""; 0]);
    assert_eq!((report.summary.lost, report.summary.doubled), (0, 0));
}

/// Returns the named stages, in order.
fn path() -> Vec<String> {
    let stages = StageConfig::all().unwrap().into_iter().filter(|row| row.kind == StageKind::Stage);
    stages.map(|row| row.stage).collect()
}

/// Performs a step, with one kill in it.
async fn step(stack: &Stack, dir: &Path, stage: &str, killed_at: usize) {
    let deadline = Instant::now() + STEP_MAX;
    let migrate = || {
        let mut command = ops::command(dir);
        command.args(["--stack", &stack.service.url, "migrate", "advance", "--to", stage, "--soak", "1s"]);
        command.args(["--retention", "0s", "--lease", "2s"]);
        command.kill_on_drop(true).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let mut run = migrate();
    let mut reported = BufReader::new(run.stderr.take().unwrap()).lines();
    let mut phases = Vec::new();
    while let Some(line) = reported.next_line().await.unwrap() {
        phases.push(line);
        if phases.len() == killed_at {
            run.kill().await.unwrap();
        }
    }
    let ended = run.wait().await.unwrap();
    if ended.success() {
        return;
    }
    loop {
        let ended = migrate().wait_with_output().await.unwrap();
        let output = String::from_utf8_lossy(&ended.stderr).into_owned();
        match ended.status.code() {
            Some(0) => break,
            // The killed run's lease has not expired yet.
            Some(3) if output.contains("is running the migration") && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
            code => panic!("no step to {stage}: exit code {code:?}, killed after {phases:?}: {output}"),
        }
    }
    let status = stack.status().await;
    assert_eq!((&status["stage"], &status["draining"]), (&stage.into(), &0.into()), "{status}");
}
