//! Tests from the acknowledgement of a command to its outcome, through the queue.
//!
//! The same checks run with the local stores and queues. If `WATERSHED_MINISTACK_URL` is set, they also run with ministack, a
//! second implementation of DynamoDB and SQS.
//!
//! Known limits of ministack, and their effect here:
//! - It does not redrive dead letters (`StartMessageMoveTask`), so no check redrives.
//! - It runs in one process without rate limits, so it throttles no more than the local stores do.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::client::shows;
use crate::harness::stores::Stores;
use crate::harness::{Stack, Variant, unique};
use crate::sample;

/// The maximum size of an SQS message, in bytes, since January 2026.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// Returns the stack of a variant on ministack. Prints a message if there is no ministack.
fn on_ministack(variant: Variant) -> Option<&'static Stack> {
    static STACKS: [OnceLock<Stack>; 2] = [const { OnceLock::new() }; 2];
    let Ok(url) = std::env::var("WATERSHED_MINISTACK_URL") else {
        println!("skipped: WATERSHED_MINISTACK_URL does not say where ministack serves");
        return None;
    };
    let stack = &STACKS[usize::from(variant == Variant::CqrsFifo)];
    Some(stack.get_or_init(|| Stack::start(variant, &["--ephemeral", "--dynamodb-url", &url, "--sqs-url", &url])))
}

/// Makes a test of each check, with each type of queue on each implementation.
macro_rules! on_every_queue {
    ($($(#[$attribute:meta])* $check:ident),+ $(,)?) => {
        on_every_queue!(@ standard |variant| Some(crate::harness::shared(variant)), Cqrs:
            $($(#[$attribute])* $check)+);
        on_every_queue!(@ fifo |variant| Some(crate::harness::shared(variant)), CqrsFifo:
            $($(#[$attribute])* $check)+);
        on_every_queue!(@ ministack_standard |variant| super::on_ministack(variant), Cqrs:
            $($(#[$attribute])* $check)+);
        on_every_queue!(@ ministack_fifo |variant| super::on_ministack(variant), CqrsFifo:
            $($(#[$attribute])* $check)+);
    };
    (@ $module:ident |$argument:ident| $stack:expr, $variant:ident: $($(#[$attribute:meta])* $check:ident)+) => {
        mod $module {
            use crate::harness::{Variant, check};
            $(
                #[test]
                $(#[$attribute])*
                fn $check() {
                    let $argument = Variant::$variant;
                    if let Some(stack) = $stack {
                        check(stack, super::$check(stack));
                    }
                }
            )+
        }
    };
}

on_every_queue!(
    a_command_is_pending_until_it_is_applied,
    a_storm_of_patches_to_one_item_loses_no_version,
    a_message_that_cannot_be_read_stops_nobody,
    messages_of_the_largest_size_stop_nobody_and_a_larger_one_is_refused,
    a_write_on_top_of_a_version_that_never_comes_waits_and_one_to_a_deleted_item_does_not,
    #[ignore = "long: make test-full"]
    a_write_on_top_of_a_version_that_never_comes_is_rejected_in_the_end,
);

async fn a_command_is_pending_until_it_is_applied(stack: &Stack) {
    let api = stack.api();
    let body = sample::main().body("Pending");
    let accepted = api.post(&sample::main().path, &body).send().await.expect(202);
    let command = accepted.json()["command_id"].as_str().unwrap().to_owned();
    let first = api.get(accepted.header("location")).send().await.expect(200).json();
    assert!(["pending", "applied"].contains(&first["status"].as_str().unwrap()), "{first}");
    let last = api.outcome(&command).await;
    assert_eq!(last["status"], "applied");
    let path = last["href"].as_str().unwrap();
    let read = api.get(path).token(&accepted.token()).send().await.expect(200).json();
    assert_eq!(read["version"], last["version"]);
    shows(&read, &body);
}

async fn a_storm_of_patches_to_one_item_loses_no_version(stack: &Stack) {
    const CLIENTS: usize = 8;
    const PATCHES_EACH: usize = 10;
    let api = stack.api();
    let item = api.any_item().await;
    let client = |client: usize| {
        let (api, path) = (api.clone(), item.path.clone());
        async move {
            let mut commands = Vec::new();
            for patch in 0..PATCHES_EACH {
                let body = sample::main().patch(&format!("client {client} patch {patch}"));
                let accepted = api.patch(&path, &body).send().await.expect(202);
                commands.push((accepted.json()["command_id"].as_str().unwrap().to_owned(), body));
            }
            commands
        }
    };
    let mut outcomes = Vec::new();
    for (command, body) in join_all((0..CLIENTS).map(client)).await.concat() {
        outcomes.push((api.outcome(&command).await, body));
    }
    let mut versions = BTreeMap::new();
    for (document, _) in &outcomes {
        match document["status"].as_str() {
            Some("applied") => {
                let taken = versions.insert(document["version"].as_u64().unwrap(), document["command_id"].clone());
                assert_eq!(taken, None, "two commands made one version");
            }
            Some("superseded") => {}
            _ => panic!("{document}"),
        }
    }
    let last_version = 1 + versions.len() as u64;
    assert!(versions.into_keys().eq(2..=last_version));
    let stamp = |document: &Value| (document["accepted_at"].to_string(), document["command_id"].to_string());
    let (last, body) = outcomes.iter().max_by_key(|(document, _)| stamp(document)).unwrap();
    assert_eq!(last["status"], "applied", "the last writer did not win: {last}");
    let after = api.get(&item.path).token(last["consistency_token"].as_str().unwrap()).send().await.expect(200).json();
    assert_eq!(after["version"], last_version);
    shows(&after, body);
}

async fn a_message_that_cannot_be_read_stops_nobody(stack: &Stack) {
    let api = stack.api();
    let stores = Stores::of(stack).await;
    let item = api.any_item().await;
    let at = 1_790_000_000_000_000_u64;
    let mut of_the_future = sample::main().message(&item.id, at, &json!({"delete": null}));
    of_the_future["schema"] = 999.into();
    let no_command = sample::main().message(&item.id, at, &json!({"promote": {}}));
    let poison = ["poison", "{}", "[]", "\u{1f4a9}", &of_the_future.to_string(), &no_command.to_string()];
    for message in poison {
        stores.send(message).await;
        let patch = sample::main().patch(&unique("not poison"));
        let written = api.patch(&item.path, &patch).write().await.expect(200);
        api.item(&written).await.shows(&patch);
    }
}

async fn messages_of_the_largest_size_stop_nobody_and_a_larger_one_is_refused(stack: &Stack) {
    let stores = Stores::of(stack).await;
    // Together they exceed the payload of one invocation, which is 6 MB.
    for _ in 0..8 {
        stores.send(&"x".repeat(MESSAGE_BYTES_MAX)).await;
    }
    stores.try_send(&"x".repeat(MESSAGE_BYTES_MAX + 1)).await.unwrap_err();
    stack.api().any_item().await;
}

async fn a_write_on_top_of_a_version_that_never_comes_waits_and_one_to_a_deleted_item_does_not(stack: &Stack) {
    let api = stack.api();
    let item = api.any_item().await;
    let ahead = || api.patch(&item.path, &sample::main().patch("Never")).if_match("\"999\"").prefer("wait=2");
    // The version may still come, so the command waits. The client waits for as long as it asked.
    let accepted = ahead().send().await.expect(202);
    assert_eq!(accepted.header("preference-applied"), "wait=2");
    let document = api.get(accepted.header("location")).send().await.expect(200).json();
    assert_eq!(document["status"], "pending");
    // No version follows a delete, so the answer comes long before the end of the wait.
    let deleted = api.any_item().await;
    api.delete(&deleted.path).write().await.expect(204);
    let late =
        api.patch(&deleted.path, &sample::main().patch("Never")).if_match("\"999\"").prefer("wait=10").send().await;
    assert_eq!(late.kind(404), "not-found");
}

async fn a_write_on_top_of_a_version_that_never_comes_is_rejected_in_the_end(stack: &Stack) {
    let api = stack.api();
    let item = api.any_item().await;
    let written = api.patch(&item.path, &sample::main().patch("Never")).if_match("\"999\"").write().await;
    assert_eq!(written.kind(412), "version-conflict");
    assert_eq!(api.reread(&item).await.body, item.body);
}
