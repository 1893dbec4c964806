//! The chaos test: a mixed load while everything fails at random. No acknowledged command may be lost or applied twice.
//!
//! `chaos-checker` judges the clients' logs; it shares no code with the service. The test prints its seed, which decides the faults
//! and the requests, but not their timing. Set `WATERSHED_CHAOS_SEED` to repeat a seed.

mod breakage;

use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;

use breakage::Breakage;

use crate::harness::clients::{Client, Manner, Recorder, Town};
use crate::harness::judge::judge;
use crate::harness::redis::Redis;
use crate::harness::stores::drained;
use crate::harness::{Api, Stack, Variant, check, run};

/// The duration of the faults.
const LENGTH: Duration = Duration::from_secs(20);
/// The duration of the faults in the long tests.
const LONG: Duration = Duration::from_secs(150);
const CLIENTS: usize = 8;
/// The environment variable that repeats the seed of an earlier run.
const SEED_VARIABLE: &str = "WATERSHED_CHAOS_SEED";
const MANNER: Manner = Manner { tokens: (3, 4), results: false };

#[test]
fn whatever_breaks_no_command_is_lost_or_applied_twice() {
    everything_breaks(Variant::Cqrs, LENGTH);
}

#[test]
fn whatever_breaks_no_command_is_lost_or_applied_twice_with_a_fifo_queue() {
    everything_breaks(Variant::CqrsFifo, LENGTH);
}

#[test]
#[ignore = "long: make test-full"]
fn whatever_breaks_for_long_no_command_is_lost_or_applied_twice() {
    everything_breaks(Variant::Cqrs, LONG);
}

#[test]
#[ignore = "long: make test-full"]
fn whatever_breaks_for_long_no_command_is_lost_or_applied_twice_with_a_fifo_queue() {
    everything_breaks(Variant::CqrsFifo, LONG);
}

fn everything_breaks(variant: Variant, length: Duration) {
    if !Redis::is_installed() {
        return;
    }
    let seed = std::env::var(SEED_VARIABLE).map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("{variant:?}: {SEED_VARIABLE}={seed}, {} s", length.as_secs());
    let dir = tempfile::tempdir().unwrap();
    let stack = Stack::start(variant, &["--data-dir", dir.path().to_str().unwrap()]);
    let breakage = Breakage::new(seed, length, &stack, dir.path());
    let (stop, stopped) = watch::channel(());
    let (town, recorder) = (Town::default(), Recorder::new());
    let clients = (0..CLIENTS).map(|number| Client::new(number, seed, MANNER, &town, &recorder));
    let (mut clients, (stack, strikes)) = std::thread::scope(|scope| {
        // The faults wait for processes and block their thread, so the clients get a thread of their own.
        let (url, clients) = (stack.service.url.clone(), clients.collect());
        let living = scope.spawn(move || run(live(&url, clients, &stopped)));
        // `strike_all` drops `stop` when it ends or panics, which ends the clients.
        let ended = run(breakage.strike_all(stack, stop));
        (living.join().unwrap(), ended)
    });
    let report = check(&stack, async {
        drained(&stack).await;
        let api = stack.api();
        join_all(clients.iter_mut().map(|client| client.read_back(&api))).await;
        judge(&stack, &recorder, &format!("chaos-{variant:?}-{seed}")).await
    });
    println!("{variant:?}: {strikes}\n{variant:?}: {}", report.summary);
    assert!(strikes.are_complete(), "not everything broke: {strikes}");
    assert_eq!((report.summary.lost, report.summary.doubled), (0, 0));
}

/// Runs the clients until they are stopped, and returns them.
async fn live<'a>(url: &str, mut clients: Vec<Client<'a>>, stopped: &watch::Receiver<()>) -> Vec<Client<'a>> {
    let api = Api::new(url);
    join_all(clients.iter_mut().map(|client| client.live(&api, stopped))).await;
    clients
}
