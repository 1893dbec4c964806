//! Everything breaks, at random and for a while, under a mixed load; and nothing that was acknowledged is lost or done
//! twice.
//!
//! What clients asked and were told is judged by `chaos-checker`, which knows nothing of the service. The schedule of
//! what breaks, and what each client wants, follow from the seed, which is printed; `WATERSHED_CHAOS_SEED` gives it back.
//! How the two meet does not.

mod breakage;
mod clients;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use chaos_checker::{Command, History, Report};
use futures::future::join_all;
use serde_json::Value;
use tokio::sync::watch;

use breakage::Breakage;
use clients::{Client, Recorder, Town};

use crate::harness::client::kind_of;
use crate::harness::redis::Redis;
use crate::harness::stores::{Stores, drained};
use crate::harness::{Api, Stack, Variant, check, long_tests_wanted, run};
use crate::sample::ID;

/// How long things break for.
const LENGTH: Duration = Duration::from_secs(20);
/// The same where the long tests are wanted.
const LENGTH_WHEN_LONG: Duration = Duration::from_secs(150);
const CLIENTS: usize = 8;
/// Gives the seed of an earlier run back.
const SEED_VARIABLE: &str = "WATERSHED_CHAOS_SEED";
/// Violations that are shown in full; all of them are in the history that is kept.
const VIOLATIONS_SHOWN: usize = 20;

#[test]
fn whatever_breaks_no_command_is_lost_or_applied_twice() {
    everything_breaks(Variant::Cqrs);
}

#[test]
fn whatever_breaks_no_command_is_lost_or_applied_twice_with_a_fifo_queue() {
    everything_breaks(Variant::CqrsFifo);
}

fn everything_breaks(variant: Variant) {
    if !Redis::is_installed() {
        return;
    }
    let seed = std::env::var(SEED_VARIABLE).map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    let length = if long_tests_wanted() { LENGTH_WHEN_LONG } else { LENGTH };
    println!("{variant:?}: {SEED_VARIABLE}={seed}, {} s", length.as_secs());
    let dir = tempfile::tempdir().unwrap();
    let stack = Stack::start(variant, &["--data-dir", dir.path().to_str().unwrap()]);
    let breakage = Breakage::new(seed, length, &stack, dir.path());
    let (stop, stopped) = watch::channel(());
    let (town, recorder) = (Town::default(), Recorder::new());
    let clients = (0..CLIENTS).map(|number| Client::new(number, seed, &town, &recorder));
    let (mut clients, (stack, strikes)) = std::thread::scope(|scope| {
        // A thread of its own: what breaks things waits for processes, and nobody else shall wait with it.
        let (url, clients) = (stack.url.clone(), clients.collect());
        let living = scope.spawn(move || run(live(&url, clients, &stopped)));
        // However this ends, `stop` ends with it, and so do the clients.
        let ended = run(breakage.strike_all(stack, stop));
        (living.join().unwrap(), ended)
    });
    let report = check(&stack, async {
        drained(&stack).await;
        let api = stack.api();
        join_all(clients.iter_mut().map(|client| client.read_back(&api))).await;
        judge(&stack, &recorder, &format!("{variant:?}-{seed}")).await
    });
    println!("{variant:?}: {strikes}\n{variant:?}: {}", report.summary);
    assert!(strikes.are_complete(), "not everything broke: {strikes}");
    assert_eq!((report.summary.lost, report.summary.doubled), (0, 0));
}

/// The clients, after they were stopped.
async fn live<'a>(url: &str, mut clients: Vec<Client<'a>>, stopped: &watch::Receiver<()>) -> Vec<Client<'a>> {
    let api = Api::new(url);
    join_all(clients.iter_mut().map(|client| client.live(&api, stopped))).await;
    clients
}

/// Compares what clients were told with what is there; keeps the history where they do not agree.
async fn judge(stack: &Stack, recorder: &Recorder, name: &str) -> Report {
    let content = Stores::of(stack).await.content().await;
    let mut history = History { events: recorder.take_events(), rest: content.rest() };
    ask_for_outcomes(&stack.api(), &mut history).await;
    let report = chaos_checker::check(&history);
    let contradictions = content.contradictions();
    if !report.violations.is_empty() || !contradictions.is_empty() {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{name}.json"));
        std::fs::write(&file, history.to_json().unwrap()).unwrap();
        let shown: Vec<_> = report.violations.iter().take(VIOLATIONS_SHOWN).map(ToString::to_string).collect();
        let count = report.violations.len();
        panic!(
            "{}\n{count} violations, the history is in {}:\n{}\n{contradictions:#?}",
            report.summary,
            file.display(),
            shown.join("\n")
        );
    }
    report
}

/// For what was acknowledged the service's own word counts, not what the table says.
async fn ask_for_outcomes(api: &Api, history: &mut History) {
    let acknowledged = history.events.iter().filter(|event| event.request.kind.is_write());
    let acknowledged: BTreeSet<_> = acknowledged.filter_map(|event| event.answer.command.clone()).collect();
    // The table knows a command by the first part of its identity.
    let told: BTreeSet<_> = acknowledged.iter().filter_map(|id| Some(id.split_once('.')?.0)).collect();
    history.rest.commands.retain(|command| !told.contains(command.id.as_str()));
    for id in &acknowledged {
        let answer = api.get(&format!("/commands/{id}")).send().await;
        // What the service does not know is lost; the checker says so.
        if answer.status != 404 {
            history.rest.commands.push(command(id, &answer.expect(200).json()));
        }
    }
}

/// What a status document says.
fn command(id: &str, document: &Value) -> Command {
    Command {
        id: id.to_owned(),
        user: document[ID].as_str().map(str::to_owned),
        outcome: serde_json::from_value(document["status"].clone()).unwrap(),
        version: document["version"].as_u64(),
        problem: document.get("problem").map(kind_of),
    }
}
