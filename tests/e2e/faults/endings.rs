//! Tests for the end of the service, by a shutdown or a crash, and for its restart.

use std::pin::pin;
use std::time::Duration;

use futures::future::{join, join_all};
use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::harness::client::shows;
use crate::harness::{Answer, Api, Stack, Variant, check, eventually, program, unique};
use crate::sample;

/// After this time without an answer, an environment is working on the request.
const UNDER_WAY_AFTER: Duration = Duration::from_millis(700);
/// The timeout of a drain.
const DRAIN_MAX: Duration = Duration::from_secs(20);

#[test]
fn what_was_accepted_survives_a_kill_of_everything() {
    for variant in [Variant::Cqrs, Variant::CqrsFifo] {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = ["--data-dir", dir.path().to_str().unwrap()];
        let stack = Stack::start(variant, &data_dir);
        let accepted = check(&stack, async {
            let api = stack.api();
            let (enough, mut is_enough) = watch::channel(0);
            let clients = join_all((0..4).map(|_| write_until_it_ends(&api, &enough)));
            let kill = async {
                is_enough.wait_for(|accepted| *accepted >= 60).await.unwrap();
                stack.kill();
            };
            let (accepted, ()) = join(clients, kill).await;
            accepted.concat()
        });
        drop(stack);

        let stack = Stack::start(variant, &data_dir);
        check(&stack, async {
            let api = stack.api();
            for (body, answer) in &accepted {
                let document = api.outcome(answer.json()["command_id"].as_str().unwrap()).await;
                assert_eq!(document["status"], "applied", "{document}");
                let path = document["href"].as_str().unwrap();
                // After a kill between the writes of state and view, the redelivered message repairs the view.
                let read = eventually("the item can be read", async || {
                    let read = api.get(path).token(&answer.token()).send().await;
                    (read.status != 503).then(|| read.expect(200).json())
                })
                .await;
                shows(&read, body);
            }
        });
    }
}

/// Creates items until the service does not answer. Returns the acknowledged ones.
async fn write_until_it_ends(api: &Api, count: &watch::Sender<usize>) -> Vec<(Value, Answer)> {
    let mut accepted = Vec::new();
    loop {
        let word = unique("survivor");
        let body = sample::main().body(&word);
        match api.post(&sample::main().path, &body).try_send().await {
            Ok(answer) if answer.status == 202 => accepted.push((body, answer)),
            Ok(answer) => panic!("{answer}"),
            Err(_) => return accepted,
        }
        count.send_modify(|count| *count += 1);
    }
}

#[test]
fn an_interrupt_lets_requests_finish_and_leaves_nothing_behind() {
    interrupted(Variant::Cqrs);
}

#[test]
fn an_interrupt_ends_a_stage_without_a_queue_as_well() {
    let stack = Stack::start(Variant::LambdaLith, &["--ephemeral"]);
    check(&stack, async { stack.api().any_item().await });
    assert_ends_well(&stack, &everything(&stack));
}

fn interrupted(variant: Variant) {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = ["--data-dir", dir.path().to_str().unwrap()];
    let stack = Stack::start(variant, &data_dir);
    let (item, command, processes) = check(&stack, async {
        let api = stack.api();
        let item = api.any_item().await;
        // The request waits 2 s for an outcome that does not come.
        let patch = api.patch(&item.path, &sample::main().patch("N")).if_match("\"999\"").prefer("wait=2");
        let mut writing = pin!(patch.send());
        assert!(timeout(UNDER_WAY_AFTER, writing.as_mut()).await.is_err(), "the write did not wait");
        let processes = everything(&stack);
        stack.signal(Signal::SIGINT);
        let answer = writing.await;
        (item, answer.expect(202).json()["command_id"].as_str().unwrap().to_owned(), processes)
    });
    assert_ended_well(&stack, &processes);
    drop(stack);

    let stack = Stack::start(variant, &data_dir);
    check(&stack, async {
        let api = stack.api();
        assert_eq!(api.get(&item.path).token(&item.token).send().await.expect(200).json(), item.body);
        let document = api.get(&format!("/commands/{command}")).send().await.expect(200).json();
        assert_eq!(document["status"], "pending");
    });
    assert_ends_well(&stack, &everything(&stack));
}

/// Returns the process ids of the runner and of all its descendants.
fn everything(stack: &Stack) -> Vec<u32> {
    let mut processes = program::descendants(stack.pid());
    processes.push(stack.pid());
    processes
}

fn assert_ends_well(stack: &Stack, processes: &[u32]) {
    stack.signal(Signal::SIGINT);
    assert_ended_well(stack, processes);
}

fn assert_ended_well(stack: &Stack, processes: &[u32]) {
    let status = stack.wait(DRAIN_MAX).unwrap_or_else(|| panic!("still running; {}", stack.last_output()));
    assert_eq!(status.code(), Some(0), "{}", stack.last_output());
    let survivors = program::survivors(processes, Duration::ZERO);
    assert!(survivors.is_empty(), "{survivors:?} of {processes:?} were left behind");
}

#[test]
fn a_data_directory_belongs_to_one_run_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = ["--data-dir", dir.path().to_str().unwrap()];
    let stack = Stack::start(Variant::LambdaLith, &data_dir);
    let refused = Stack::try_start(Variant::LambdaLith, &data_dir).unwrap_err();
    assert!(refused.contains("in use"), "{refused}");
    check(&stack, async { stack.api().any_item().await });
}
