//! Tests for killed function environments.

use std::pin::pin;
use std::time::Duration;

use futures::future::{join, join_all};
use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::harness::judge::{REORDER_WINDOW, judged_after};
use crate::harness::stores::{Stores, drained};
use crate::harness::{Api, Stack, Variant, check, program};
use crate::sample::{self, Machine, Sample};

/// After this time without an answer, an environment is working on the request.
const UNDER_WAY_AFTER: Duration = Duration::from_millis(700);
const CLIENTS: usize = 8;
/// The number of items that are created, patched and deleted.
const DELETED: usize = 500;
/// The number of items that are created and patched, and compared at the end.
const KEPT: usize = 52;
/// The number of items of each resource with a state machine that are created and get actions.
const ACTED: usize = 48;

#[test]
fn ingest_environments_may_be_killed_at_random() {
    five_hundred_items_while_ingest_environments_are_killed(Variant::Cqrs);
}

#[test]
#[ignore = "long: make test-full"]
fn ingest_environments_may_be_killed_at_random_with_a_fifo_queue() {
    five_hundred_items_while_ingest_environments_are_killed(Variant::CqrsFifo);
}

fn five_hundred_items_while_ingest_environments_are_killed(variant: Variant) {
    let stack = Stack::start(variant, &["--ephemeral"]);
    check(&stack, async {
        let api = stack.api();
        let (done, clients_done) = watch::channel(false);
        let clients = async {
            let commands = join_all((0..CLIENTS).map(|client| live_many_lives(&api, client))).await.concat();
            done.send(true).unwrap();
            commands
        };
        let (commands, kills) = join(clients, kill_at_random(&stack, clients_done)).await;
        assert!(kills >= 3, "only {kills} environments were killed");
        drained(&stack).await;
        let ordered = variant == Variant::CqrsFifo;
        let (mut deleted, mut late, mut is_before_applied) = (0, 0, true);
        for (kind, command) in &commands {
            let document = api.outcome(command).await;
            let gone = document["status"] == "rejected" && document["problem"]["status"] == 404;
            // After three kills in a row, a message is later than the reorder window. The commands that wait for it are rejected.
            let creates_late = gone && *kind != "create" && document["version"] == 0;
            // On a standard queue, a patch may arrive after the delete that was sent later.
            let overtaken = gone && *kind == "patch";
            // An action waits for the command before it until the reorder window has passed. It may be rejected if that one was
            // rejected.
            let has_waited = judged_after(&document).is_some_and(|waited| waited >= *REORDER_WINDOW);
            let acts_late = *kind == "act" && (has_waited || !is_before_applied);
            let is_applied = document["status"] == "applied";
            let is_right = is_applied || ((creates_late || overtaken || acts_late) && !ordered);
            assert!(is_right, "{kind}: {document}");
            deleted += usize::from(*kind == "delete" && document["status"] == "applied");
            late += usize::from(creates_late || (acts_late && !is_applied));
            is_before_applied = is_applied;
        }
        assert!(late < commands.len() / 20, "{late} commands came before their creates");
        let content = Stores::of(&stack).await.content().await;
        let violations = content.violations();
        assert!(violations.is_empty(), "{violations:#?}");
        let acted = ACTED * with_machine().count();
        assert_eq!(content.live_and_deleted(), (KEPT + DELETED + acted - deleted, deleted));
        println!("{kills} environments were killed; {late} commands waited for those before them in vain");
    });
}

/// Runs one client: sends all commands for its share of the items. Returns the commands.
async fn live_many_lives(api: &Api, client: usize) -> Vec<(&'static str, String)> {
    let (sample, mut commands) = (sample::main(), Vec::new());
    for n in (client..DELETED + KEPT).step_by(CLIENTS) {
        let created = sample.body(&format!("crash {n}"));
        let accepted = api.post(&sample.path, &created).send().await.expect(202);
        let path = sample.resource.item(accepted.json()[&sample.id].as_str().unwrap());
        commands.push(("create", command_id(&accepted.json())));
        let patch = sample.body(&format!("patched {n}"));
        let patched = api.patch(&path, &patch).token(&accepted.token()).send().await.expect(202);
        commands.push(("patch", command_id(&patched.json())));
        if n >= KEPT {
            let deleted = api.delete(&path).token(&patched.token()).send().await.expect(202);
            commands.push(("delete", command_id(&deleted.json())));
        }
    }
    for (sample, machine) in with_machine() {
        for n in (client..ACTED).step_by(CLIENTS) {
            let created = api.post(&sample.path, &sample.body(&format!("acted {n}"))).send().await.expect(202);
            let path = sample.resource.item(created.json()[&sample.id].as_str().unwrap());
            commands.push(("create", command_id(&created.json())));
            let mut token = created.token();
            for action in &machine.walk {
                let call = api.call(Method::POST, &format!("{path}/{action}"));
                let acted = call.token(&token).send().await.expect(202);
                commands.push(("act", command_id(&acted.json())));
                token = acted.token();
            }
        }
    }
    commands
}

fn with_machine() -> impl Iterator<Item = (&'static Sample, &'static Machine)> {
    sample::all().iter().filter_map(|sample| Some((sample, sample.machine.as_ref()?)))
}

fn command_id(acknowledgement: &Value) -> String {
    acknowledgement["command_id"].as_str().unwrap().to_owned()
}

/// Kills an ingest environment at random intervals, until the clients are done. Returns the number of kills.
async fn kill_at_random(stack: &Stack, mut clients_done: watch::Receiver<bool>) -> usize {
    let mut kills = 0;
    loop {
        let pause = Duration::from_millis(rand::random_range(200..900));
        if timeout(pause, clients_done.wait_for(|done| *done)).await.is_ok() {
            return kills;
        }
        let environments = stack.environments("ingest-fn").await;
        if !environments.is_empty() {
            program::send_signal(environments[rand::random_range(0..environments.len())], Signal::SIGKILL);
            kills += 1;
        }
    }
}

#[test]
fn a_request_whose_environment_is_killed_gets_the_gateways_5xx_and_the_next_one_is_served() {
    let stack = Stack::start(Variant::Cqrs, &["--ephemeral"]);
    check(&stack, async {
        let api = stack.api();
        let item = api.any_item().await;
        // A read with this token waits some seconds for a version that never comes.
        let token = api.patch(&item.path, &sample::main().patch("N")).if_match("\"999\"").send().await.token();
        let mut waiting = pin!(api.get(&item.path).token(&token).send_unchecked());
        assert!(timeout(UNDER_WAY_AFTER, waiting.as_mut()).await.is_err(), "the read did not wait");
        assert!(stack.kill_environments("read-fn").await > 0);
        let answer = waiting.await;
        assert!(answer.status >= 500, "{answer}");
        assert_eq!(answer.header("content-type"), "application/json", "{answer}");
        assert_eq!(answer.json(), json!({"message": "Internal Server Error"}));
        assert_eq!(api.get(&item.path).send().await.expect(200).json(), item.body);
        api.any_item().await;
    });
}
