//! Tests for `watershed migrate`: from stage to stage while the service serves.

use std::process::Stdio;

use adapters::dynamo::{DynamoViewStore, SnapshotTable};
use kernel::ids::AggregateKey;
use kernel::ports::Snapshot;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr};

use super::{Target, ToolOutput, command, die, set_in_redis};
use crate::harness::{Api, Item, Variant, check, eventually, program, unique};
use crate::sample;

/// Durations that are short enough for a test.
const SHORT: [&str; 4] = ["--soak", "1s", "--lease", "1s"];
/// The message if another run holds the migration.
const HELD: &str = "is running the migration";

/// A run that has printed the beginning of a phase.
struct Begun {
    process: Child,
    output: Lines<BufReader<ChildStderr>>,
}

impl Begun {
    /// Waits for the end, and returns the exit code.
    async fn code(&mut self) -> Option<i32> {
        eventually("it ends", async || self.process.try_wait().unwrap()).await.code()
    }
}

impl Target {
    async fn advance(&self, arguments: &[&str]) -> ToolOutput {
        self.when_free(&[&["migrate", "advance"], &SHORT[..], arguments].concat()).await
    }

    async fn rollback(&self) -> ToolOutput {
        self.when_free(&["migrate", "rollback", "--lease", "1s"]).await
    }

    /// Runs the command when the lease of a killed run has expired.
    async fn when_free(&self, arguments: &[&str]) -> ToolOutput {
        eventually("nobody else goes on with it", async || {
            let output = self.watershed(arguments).await;
            (!output.error.contains(HELD)).then_some(output)
        })
        .await
    }

    /// Starts a run when no other holds the migration, and waits until it prints the beginning of a phase.
    async fn until(&self, phase: &str, arguments: &[&str]) -> Begun {
        eventually(&format!("{phase} begins"), async || {
            let mut command = command(self.dir.path());
            command.args(["--stack", &self.stack.service.url, "migrate"]).args(arguments).kill_on_drop(true);
            let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            let mut output = BufReader::new(process.stderr.take().unwrap()).lines();
            let mut all = Vec::new();
            while let Some(line) = output.next_line().await.unwrap() {
                if line.starts_with(phase) {
                    return Some(Begun { process, output });
                }
                all.push(line);
            }
            assert!(all.iter().any(|line| line.contains(HELD)), "{phase} never began: {all:?}");
            None
        })
        .await
    }

    /// Kills a run when it prints the beginning of a phase.
    async fn kill_at(&self, phase: &str, arguments: &[&str]) {
        let mut begun = self.until(phase, arguments).await;
        begun.process.kill().await.unwrap();
    }

    async fn stage(&self) -> String {
        self.stack.status().await["stage"].as_str().unwrap().to_owned()
    }

    /// Returns the deployed stage and the state of the last migration.
    async fn stands(&self) -> Value {
        let mut output = self.watershed(&["migrate", "status"]).await;
        assert_eq!(output.code, 0, "{output:?}");
        if let Some(migration) = output.json["migration"].as_object_mut() {
            migration.remove("lease");
        }
        output.json
    }

    async fn views(&self) -> SnapshotTable {
        let table = self.place("READ_TABLE").await;
        DynamoViewStore::new(self.dynamodb().await, table).snapshots()
    }

    /// Replaces the body in the view of a new item.
    async fn tamper_with(&self, id: &str) {
        let tenant = "local".parse().unwrap();
        let key = AggregateKey { kind: sample::main().resource.kind, tenant, id: id.parse().unwrap() };
        let view = Snapshot { version: 1, schema: 1, body: Some("{}".into()), index: Vec::new(), expires_at: None };
        self.views().await.replace_up_to(&key, &view).await.unwrap();
    }
}

async fn items(api: &Api) -> Vec<Item> {
    let mut items = Vec::new();
    for _ in 0..5 {
        items.push(api.any_item().await);
    }
    items
}

/// Changes an item and reads it back, at any stage.
async fn rename(api: &Api, item: &mut Item) {
    let written = api.patch(&item.path, &sample::main().patch(&unique("renamed"))).write().await.expect(200);
    item.token = written.token.unwrap();
    *item = api.reread(item).await;
}

async fn all_is_as_it_was(target: &Target, items: &[Item]) {
    for item in items {
        assert_eq!(target.stack.api().reread(item).await.body, item.body);
    }
    let output = target.watershed(&["verify"]).await;
    assert_eq!((output.code, &output.json["items"]), (0, &json!(items.len())), "{output:?}");
}

#[test]
fn steps_lead_forward_and_back_and_the_data_stays() {
    let target = Target::start(Variant::RedisCache);
    check(&target.stack, async {
        let api = target.stack.api();
        let mut items = items(&api).await;
        let output = target.watershed(&["migrate", "plan", "--to", "read-store"]).await;
        let steps = output.json["steps"].as_array().unwrap();
        assert_eq!((output.code, &steps[1]["step"]), (0, &json!("backfill: before read-store")), "{output:?}");

        // A view without an item, as a delete leaves it while no writer updates views.
        target.tamper_with(&uuid::Uuid::now_v7().to_string()).await;
        // All items are compared once before the cutover. Without a soak they are compared once after it.
        let output =
            target.when_free(&["migrate", "advance", "--to", "read-store", "--soak", "0s", "--lease", "1s"]).await;
        let rows = json!(["read-store-expand", "read-store"]);
        assert_eq!((output.code, &output.json["rows"], &output.json["wrong"]), (0, &rows, &json!(0)), "{output:?}");
        assert_eq!((&output.json["copied"], target.stage().await), (&json!(5), "read-store".to_owned()), "{output:?}");
        assert_eq!(output.json["compared"], 10, "{output:?}");
        rename(&api, &mut items[0]).await;

        let output = target.advance(&["--to", "cqrs"]).await;
        assert_eq!((output.code, target.stage().await), (0, "cqrs".to_owned()), "{output:?}");
        rename(&api, &mut items[1]).await;

        let output = target.advance(&["--to", "read-store"]).await;
        assert_eq!((output.code, &output.json["next"]), (1, &json!("contract: before read-store")), "{output:?}");
        assert_eq!(target.stage().await, "cqrs-idle");
        rename(&api, &mut items[2]).await;
        let output = target.advance(&["--retention", "0s"]).await;
        assert_eq!((output.code, target.stage().await), (0, "read-store".to_owned()), "{output:?}");

        let output = target.advance(&["--to", "redis-cache"]).await;
        assert_eq!((output.code, target.stage().await), (1, "read-store-expand".to_owned()), "{output:?}");
        rename(&api, &mut items[3]).await;
        let output = target.rollback().await;
        assert_eq!((output.code, target.stage().await), (0, "read-store".to_owned()), "{output:?}");
        let output = target.advance(&["--to", "redis-cache", "--retention", "0s"]).await;
        assert_eq!((output.code, target.stage().await), (0, "redis-cache".to_owned()), "{output:?}");
        rename(&api, &mut items[4]).await;
        all_is_as_it_was(&target, &items).await;
    });
}

/// Kills a run in each of these phases. Each run resumes where the one before was killed.
async fn advance_and_kill(target: &Target, items: &mut [Item], to: &str, phases: &[&str]) {
    let arguments = [&["advance", "--to", to, "--retention", "0s"], &SHORT[..]].concat();
    for phase in phases {
        target.kill_at(phase, &arguments).await;
        rename(&target.stack.api(), &mut items[0]).await;
    }
    let output = target.when_free(&[&["migrate"], &arguments[..]].concat()).await;
    assert_eq!((output.code, target.stage().await), (0, to.to_owned()), "{output:?}");
    all_is_as_it_was(target, items).await;
}

#[test]
fn a_read_store_comes_and_goes_though_each_phase_is_killed() {
    let target = Target::start(Variant::RedisCache);
    check(&target.stack, async {
        let mut items = items(&target.stack.api()).await;
        let forward = ["expand:", "backfill:", "compare:", "cut over:", "soak:"];
        advance_and_kill(&target, &mut items, "read-store", &forward).await;
        let back = ["compare:", "cut over:", "soak:", "contract: deploying redis-cache"];
        advance_and_kill(&target, &mut items, "redis-cache", &back).await;
    });
}

#[test]
fn a_queue_comes_and_goes_though_each_phase_is_killed() {
    let target = Target::start(Variant::ReadStore);
    check(&target.stack, async {
        let mut items = items(&target.stack.api()).await;
        let forward = ["expand:", "compare:", "cut over:", "soak:"];
        advance_and_kill(&target, &mut items, "cqrs", &forward).await;
        let back = [
            "compare:",
            "cut over:",
            "soak:",
            "contract: deploying cqrs-drain",
            "drain:",
            "contract: deploying cqrs-idle",
            "dead letters:",
            "contract: deploying read-store",
        ];
        advance_and_kill(&target, &mut items, "read-store", &back).await;
    });
}

#[test]
fn a_way_back_is_killed_and_ends_where_it_came_from() {
    let target = Target::start(Variant::ReadStore);
    check(&target.stack, async {
        let mut items = items(&target.stack.api()).await;
        let soaking = ["advance", "--to", "cqrs", "--soak", "1h", "--lease", "1s"];
        target.kill_at("soak:", &soaking).await;
        let arguments = ["rollback", "--lease", "1s"];
        for phase in ["roll back: deploying cqrs-expand", "drain:", "roll back: deploying read-store"] {
            target.kill_at(phase, &arguments).await;
            rename(&target.stack.api(), &mut items[0]).await;
            let output = target.when_free(&[&["migrate"], &soaking[..]].concat()).await;
            output.is_refused("migrate rollback");
        }
        let output = target.rollback().await;
        assert_eq!((output.code, target.stage().await), (0, "read-store".to_owned()), "{output:?}");
        target.rollback().await.is_refused("advance --to cqrs");
        all_is_as_it_was(&target, &items).await;
    });
}

#[test]
fn what_makes_no_sense_is_refused_and_nothing_is_changed() {
    let target = Target::start(Variant::RedisCache);
    check(&target.stack, async {
        let refused = async |arguments: &[&str], says: &str| {
            let before = target.stands().await;
            target.when_free(&[&["migrate"], arguments].concat()).await.is_refused(says);
            assert_eq!(target.stands().await, before, "{arguments:?}");
        };
        refused(&["advance", "--to", "red-store"], "`red-store` is not a stage: choose one of").await;
        refused(&["advance", "--to", "cqrs"], "go to memory-cache or read-store").await;
        let output = target.watershed(&["migrate", "advance", "--to", "redis-cache"]).await;
        assert_eq!((output.code, &output.json["is_complete"]), (0, &json!(true)), "{output:?}");
        refused(&["advance", "--to", "read-store-expand"], "no single step").await;
        refused(&["plan", "--to", "cqrs"], "no single step").await;
        refused(&["advance"], "begin one with --to").await;
        refused(&["rollback"], "no migration has begun").await;
        for wrong in [["--soak", "soon"], ["--retention", "-1d"], ["--lease", "0s"], ["--sample", "0"]] {
            let output = target.watershed(&[&["migrate", "advance", "--to", "read-store"], &wrong[..]].concat()).await;
            assert_eq!(output.code, 2, "{output:?}");
        }
        let output = target.advance(&["--to", "read-store", "--retention", "1h"]).await;
        assert_eq!((output.code, &output.json["next"]), (1, &json!("contract: before read-store")), "{output:?}");
        refused(&["advance", "--to", "cqrs"], "a migration from redis-cache to read-store is under way").await;
        let output = target.watershed(&["rebuild", "build", "--to", "2"]).await;
        output.is_refused("a migration from redis-cache to read-store is under way");

        let output = target.advance(&[]).await;
        assert_eq!(output.code, 0, "{output:?}");
        refused(&["rollback"], "advance --to redis-cache").await;
        // The contract phase has given up the read store, so a rollback would be incomplete.
        let arguments = ["advance", "--to", "redis-cache", "--retention", "0s", "--soak", "0s", "--lease", "1s"];
        target.kill_at("contract: deploying redis-cache", &arguments).await;
        refused(&["rollback"], "advance --to read-store").await;
        let output = target.advance(&[]).await;
        assert_eq!((output.code, target.stage().await), (0, "redis-cache".to_owned()), "{output:?}");
    });
}

#[test]
fn of_two_runs_one_goes_on_and_whoever_was_overtaken_deploys_nothing_more() {
    let target = Target::start(Variant::ReadWrite);
    check(&target.stack, async {
        let soaking = ["advance", "--to", "memory-cache", "--soak", "1h", "--lease", "2s"];
        let mut first = target.until("soak:", &soaking).await;
        let pid = first.process.id().unwrap();
        for other in [&["migrate", "advance"][..], &["migrate", "rollback"]] {
            let output = target.watershed(other).await;
            output.is_refused(&format!("process {pid} {HELD}"));
        }
        program::send_signal(pid, Signal::SIGSTOP);
        let output = target.rollback().await;
        assert_eq!((output.code, target.stage().await), (0, "read-write".to_owned()), "{output:?}");
        program::send_signal(pid, Signal::SIGCONT);
        assert_eq!(first.code().await, Some(3));
        let says = first.output.next_line().await.unwrap().unwrap();
        assert!(says.contains("another run has taken over"), "{says}");
        assert_eq!(target.stage().await, "read-write");
    });
}

#[test]
fn nothing_is_cut_over_and_nothing_soaks_while_a_view_is_wrong() {
    let target = Target::start(Variant::RedisCache);
    check(&target.stack, async {
        let api = target.stack.api();
        let items = items(&api).await;
        // The backfill skips views that have the current version.
        target.tamper_with(&items[0].id).await;
        let output = target.advance(&["--to", "read-store"]).await;
        assert_eq!(
            (output.code, &output.json["wrong"], target.stage().await),
            (1, &json!(1), "read-store-expand".to_owned())
        );
        assert_eq!(output.json["next"], "compare: before read-store", "{output:?}");
        assert_eq!(target.advance(&[]).await.code, 1);
        let output = target.watershed(&["verify", "--repair"]).await;
        assert_eq!((output.code, &output.json["repaired"]), (0, &json!(1)), "{output:?}");

        let mut soaking = target.until("soak:", &["advance", "--soak", "1h", "--lease", "1s"]).await;
        target.tamper_with(&items[1].id).await;
        assert_eq!(soaking.code().await, Some(1));
        assert_eq!((target.stage().await, target.advance(&[]).await.code), ("read-store".to_owned(), 1));
        let output = target.rollback().await;
        assert_eq!((output.code, target.stage().await), (0, "redis-cache".to_owned()), "{output:?}");
    });
}

#[test]
fn a_shared_cache_forgets_what_it_holds_of_an_earlier_stay() {
    let target = Target::start(Variant::MemoryCache);
    check(&target.stack, async {
        let items = items(&target.stack.api()).await;
        let arguments = [&["advance", "--to", "redis-cache"], &SHORT[..]].concat();
        target.kill_at("refresh:", &arguments).await;
        set_in_redis(&target.place("REDIS_URL").await, &items[0], "V00000000000000000009|b|1|{}");
        let output = target.advance(&[]).await;
        assert_eq!((output.code, &output.json["wrong"]), (0, &json!(0)), "{output:?}");
        all_is_as_it_was(&target, &items).await;
    });
}

#[test]
fn no_queue_falls_out_of_use_while_it_has_dead_letters() {
    let target = Target::start(Variant::Cqrs);
    check(&target.stack, async {
        die(&target, "poison").await;
        let output = target.advance(&["--to", "read-store", "--retention", "0s"]).await;
        assert_eq!((output.code, &output.json["next"]), (1, &json!("dead letters: before cqrs-idle")), "{output:?}");
        assert_eq!(target.stage().await, "cqrs-drain");
        assert_eq!(target.watershed(&["dlq", "discard", "--all"]).await.code, 0);
        let output = target.advance(&["--retention", "0s"]).await;
        assert_eq!((output.code, target.stage().await), (0, "read-store".to_owned()), "{output:?}");
    });
}

#[test]
fn without_a_local_stack_the_operator_deploys_each_row() {
    let target = Target::start(Variant::RedisCache);
    check(&target.stack, async {
        items(&target.stack.api()).await;
        let elsewhere = target.elsewhere(&[]).await;
        let advance =
            async |arguments: &[&str]| elsewhere(&[&["migrate", "advance"], &SHORT[..], arguments].concat()).await;
        for _ in 0..2 {
            let output = advance(&["--to", "read-store"]).await;
            let deploy = output.json["deploy"].as_str().unwrap_or_default();
            assert!(
                output.code == 1 && deploy.contains("make deploy STAGE=read-store-expand FROM=redis-cache "),
                "{output:?}"
            );
            assert!(deploy.contains("STAGE=read-store-expand, READ_TABLE=watershed-read-v1"), "{output:?}");
        }
        advance(&["--stage", "read-store"]).await.is_refused("read-store is deployed, but");
        let output = advance(&["--stage", "read-store-expand"]).await;
        let deploy = output.json["deploy"].as_str().unwrap_or_default();
        assert!(
            output.code == 1 && deploy.contains("make deploy STAGE=read-store FROM=read-store-expand "),
            "{output:?}"
        );
        assert_eq!(
            (&output.json["copied"], &output.json["rows"]),
            (&json!(5), &json!(["read-store-expand"])),
            "{output:?}"
        );
        let output = advance(&["--stage", "read-store"]).await;
        assert_eq!((output.code, &output.json["is_complete"]), (0, &json!(true)), "{output:?}");
        assert_eq!(target.stage().await, "redis-cache");
    });
}
