//! Tests for the runbooks: the command line while Redis is down, with a backlog and with unreadable messages; and the next command
//! that it names.

use std::process::Output;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use futures::future::{join, join_all};
use kernel::clock::{Clock as _, SystemClock, Timestamp};
use kernel::ids::CommandId;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::process::Command;

use super::{Target, ToolOutput, die, envelope, item, key};
use crate::harness::redis::Redis;
use crate::harness::{Item, Variant, check, eventually, program, seed, unique};
use crate::sample;

/// The delay of a message: longer than the test.
const DELAY_SECONDS: i32 = 600;

impl Target {
    /// Returns the output without `--json`.
    async fn plainly(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(program::watershed());
        command.env_clear().current_dir(self.dir.path()).args(["--stack", &self.stack.service.url]).args(arguments);
        let Output { stdout, .. } = command.output().await.unwrap();
        String::from_utf8(stdout).unwrap()
    }

    /// Queues a command that no function receives for this number of seconds.
    async fn delay(&self, item: &Item, seconds: i32) {
        let (sqs, url) = (self.sqs().await, self.place("QUEUE_URL").await);
        let send = sqs.send_message().queue_url(url).message_body(envelope(item, &unique("late")));
        send.delay_seconds(seconds).send().await.unwrap();
    }

    /// Writes this number of unique keys into the write table, as creates do.
    async fn unique_key(&self, count: usize) {
        let (dynamodb, write) = (self.dynamodb().await, self.place("WRITE_TABLE").await);
        let put = async |number: usize| {
            let put = dynamodb.put_item().table_name(&write);
            let put = put.item("pk", AttributeValue::S(format!("Q#local#unique#{number}")));
            put.item("holder", AttributeValue::S(unique("holder"))).send().await.unwrap();
        };
        for first in (0..count).step_by(50) {
            join_all((first..(first + 50).min(count)).map(put)).await;
        }
    }

    async fn lose_view(&self, item: &Item) {
        let read = self.place("READ_TABLE").await;
        self.dynamodb().await.delete_item().table_name(read).key("pk", key(item)).send().await.unwrap();
    }
}

impl ToolOutput {
    /// Asserts that the command continued without Redis, and reports that.
    fn is_without_redis(&self, at: &str) {
        let failure = self.json.pointer(at).unwrap_or_else(|| panic!("no {at} in {self:?}"));
        assert!(failure.as_str().is_some_and(|why| why.contains("shared cache")), "{at} in {self:?}");
    }

    fn to_do(&self) -> &str {
        self.json["to_do"].as_str().unwrap_or_else(|| panic!("nothing to do in {self:?}"))
    }
}

/// Runs the commands that read Redis and write nothing.
async fn looks_go_on(target: &Target, item: &Item, command_id: &str) {
    let output = target.watershed(&["verify"]).await;
    assert_eq!(
        (output.code, &output.json["items"], &output.json["differences"]),
        (1, &json!(1), &json!(0)),
        "{output:?}"
    );
    output.is_without_redis("/cache_failure");
    let output = target.watershed(&["item", "show", &item.path]).await;
    assert_eq!((output.code, &output.json["state"]["version"], &output.json["cached"]), (1, &json!(2), &Value::Null));
    output.is_without_redis("/cache_failure");
    let output = target.watershed(&["command", "show", command_id]).await;
    assert_eq!((output.code, &output.json["item"]["view"]["version"]), (1, &json!(2)), "{output:?}");
    output.is_without_redis("/item/cache_failure");
    for arguments in [&["verify"][..], &["item", "show", &item.path], &["command", "show", command_id]] {
        let output = target.plainly(arguments).await;
        assert!(output.contains("Redis failed and was skipped"), "{arguments:?}: {output}");
    }
}

#[test]
fn every_command_goes_on_without_a_redis_that_is_held_or_refuses_and_says_so() {
    if !Redis::is_installed() {
        return;
    }
    let redis = Redis::start();
    let target = Target::start_with(Variant::Cqrs, &["--ephemeral", "--redis-url", &redis.url()]);
    check(&target.stack, async {
        let api = target.stack.api();
        let item = item(&api).await;
        let changed = sample::main().changed.name;
        let written = api.patch(&item.path, &json!({changed: item.body[changed]})).send().await.expect(202);
        let command_id = written.json()["command_id"].as_str().unwrap().to_owned();
        eventually("it is recorded", async || {
            let output = target.watershed(&["command", "show", &command_id]).await;
            (output.code == 0 && output.json["record"]["status"] != "pending").then_some(())
        })
        .await;

        redis.signal(Signal::SIGSTOP);
        looks_go_on(&target, &item, &command_id).await;
        target.lose_view(&item).await;
        let output = target.watershed(&["verify", "--repair"]).await;
        assert_eq!((output.code, &output.json["repaired"]), (1, &json!(1)), "{output:?}");
        output.is_without_redis("/cache_failure");
        let output = target.watershed(&["rebuild", "build", "--to", "2"]).await;
        assert_eq!((output.code, &output.json["copied"]), (0, &json!(1)), "{output:?}");
        output.is_without_redis("/comparison/cache_failure");

        redis.kill();
        looks_go_on(&target, &item, &command_id).await;
        let output = target.plainly(&["rebuild", "flip"]).await;
        assert!(
            output.contains("Redis failed and was skipped") && output.contains("readers use watershed-read-v2"),
            "{output}"
        );
        assert_eq!(target.watershed(&["rebuild", "finish"]).await.code, 0);
        let advance = ["migrate", "advance", "--to", "read-store", "--soak", "1s", "--retention", "0s"];
        let output = target.watershed(&advance).await;
        assert_eq!((output.code, &output.json["wrong"]), (0, &json!(0)), "{output:?}");
        output.is_without_redis("/cache_failure");
    });
}

#[test]
fn no_reader_asks_redis_before_its_stale_entries_are_deleted() {
    if !Redis::is_installed() {
        return;
    }
    let mut redis = Redis::start();
    let target = Target::start_with(Variant::MemoryCache, &["--ephemeral", "--redis-url", &redis.url()]);
    check(&target.stack, async {
        item(&target.stack.api()).await;
        redis.kill();
        let output = target.watershed(&["migrate", "advance", "--to", "redis-cache", "--soak", "1s"]).await;
        assert_eq!((output.code, &output.json["next"]), (1, &json!("refresh: before redis-cache")), "{output:?}");
        assert!(output.json["stopped"].as_str().unwrap().contains("stale entries"), "{output:?}");
        assert!(output.to_do().contains("`watershed migrate advance`"), "{output:?}");
        redis.start_again();
        let output = target.watershed(&["migrate", "advance", "--soak", "1s"]).await;
        assert_eq!((output.code, &output.json["cache_failure"]), (0, &Value::Null), "{output:?}");
    });
}

#[test]
fn verify_tells_of_commands_on_their_way_and_of_the_differences_that_they_may_explain() {
    let target = Target::start(Variant::Cqrs);
    check(&target.stack, async {
        let api = target.stack.api();
        let (late, lost) = (item(&api).await, item(&api).await);
        let output = target.watershed(&["verify"]).await;
        assert_eq!((output.code, &output.json["on_their_way"]), (0, &json!(0)), "{output:?}");
        target.lose_view(&lost).await;
        // The command arrives while `verify` checks the difference again, for 6 s.
        let sent = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            target.delay(&late, DELAY_SECONDS).await;
        };
        let (output, ()) = join(target.watershed(&["verify"]), sent).await;
        let found = (output.code, &output.json["on_their_way"], &output.json["by_kind"]);
        assert_eq!(found, (1, &json!(1), &json!({"view_missing": 1})), "{output:?}");
        assert!(output.to_do().contains("`watershed queue`") && !output.to_do().contains("--repair"), "{output:?}");
        let plain = target.plainly(&["verify"]).await;
        assert!(plain.contains("1 command is in the queue, and may explain 1 of 1 differences"), "{plain}");

        let output = target.watershed(&["verify", "--repair"]).await;
        assert_eq!((output.code, &output.json["repaired"]), (0, &json!(1)), "{output:?}");
        let output = target.watershed(&["verify"]).await;
        assert_eq!((output.code, &output.json["on_their_way"], &output.json["differences"]), (0, &json!(1), &json!(0)));

        // A backlog cannot explain a view without a state.
        let write = target.place("WRITE_TABLE").await;
        target.dynamodb().await.delete_item().table_name(write).key("pk", key(&lost)).send().await.unwrap();
        let output = target.watershed(&["verify"]).await;
        assert_eq!((output.code, &output.json["by_kind"]), (1, &json!({"view_orphaned": 1})), "{output:?}");
        assert!(output.to_do().contains("find out why") && output.to_do().contains("--repair"), "{output:?}");
        let plain = target.plainly(&["verify"]).await;
        assert!(plain.contains("1 command is in the queue, and explain"), "{plain}");
    });
}

#[test]
fn a_command_that_left_the_queue_during_the_comparison_was_on_its_way() {
    let target = Target::start(Variant::Cqrs);
    check(&target.stack, async {
        let api = target.stack.api();
        let (late, lost) = (item(&api).await, item(&api).await);
        target.lose_view(&lost).await;
        // `verify` checks the difference again for 6 s.
        target.delay(&late, 3).await;
        let output = target.watershed(&["verify"]).await;
        assert_eq!((output.code, &output.json["on_their_way"]), (1, &json!(1)), "{output:?}");
        assert_eq!(target.watershed(&["queue"]).await.json["queue"]["delayed"], 0);
    });
}

#[test]
fn a_migration_stopped_by_a_backlog_says_to_wait_for_the_queue() {
    let target = Target::start(Variant::Cqrs);
    check(&target.stack, async {
        let api = target.stack.api();
        let (late, lost) = (item(&api).await, item(&api).await);
        target.delay(&late, DELAY_SECONDS).await;
        target.lose_view(&lost).await;
        let output = target.watershed(&["migrate", "advance", "--to", "read-store", "--soak", "1s"]).await;
        assert_eq!((output.code, &output.json["next"]), (1, &json!("compare: before cqrs-expand")), "{output:?}");
        assert!(output.json["stopped"].as_str().unwrap().contains("1 command is in the queue"), "{output:?}");
        assert!(output.to_do().contains("`watershed queue`"), "{output:?}");
    });
}

#[test]
fn an_identity_without_a_record_tells_no_more_than_it_proves() {
    let target = Target::start(Variant::Cqrs);
    check(&target.stack, async {
        let (now, day) = (SystemClock.now(), Duration::from_hours(24));
        let at = |at: Timestamp| CommandId::generate(at).to_string();
        let long_ago = Timestamp::from_micros(now.as_micros() - u64::try_from(100 * day.as_micros()).unwrap());
        for (id, says) in [
            (at(now), "The command is pending, or was never queued."),
            (at(long_ago), "or its record expired after 45 days"),
            (at(now.plus(day)), "in the future: the command was never queued"),
            ("01a1fd43-133d-8699-a058-4496c435e7ef".to_owned(), "comes from an Idempotency-Key"),
            ("01a1fd43-133d-4699-a058-4496c435e7ef".to_owned(), "makes no ids of this kind"),
        ] {
            for id in [id.clone(), format!("{id}.AAAAAAAAAAA")] {
                let output = target.watershed(&["command", "show", &id]).await;
                let known = output.json["known"].as_str().unwrap();
                assert!(output.code == 1 && known.contains(says), "{id}: {output:?}");
                let plain = target.plainly(&["command", "show", &id]).await;
                assert!(plain.contains(known) && !plain.contains("accepted"), "{plain}");
            }
        }
        let output = target.watershed(&["command", "show", &at(now)]).await;
        let made_at = output.json["made_at"].as_str().unwrap();
        assert!(made_at.starts_with(&now.to_string()[..19]), "{made_at} is not {now}");
    });
}

/// Returns the positions and totals of the progress bar for this unit, as a terminal shows them.
async fn bar(target: &Target, of: &str, arguments: &[&str]) -> Vec<(u64, u64)> {
    let line = [&[program::watershed().to_str().unwrap(), "--stack", &target.stack.service.url], arguments].concat();
    let mut terminal = Command::new(
        program::find("script").unwrap_or_else(|| panic!("the program `script` is missing: install bsdutils")),
    );
    terminal.env("TERM", "xterm").args(["-qec", &line.join(" "), "/dev/null"]);
    let Output { stdout, .. } = terminal.output().await.unwrap();
    let shown = String::from_utf8_lossy(&stdout).into_owned();
    let drawn = shown.split(" of about ").collect::<Vec<_>>();
    let positions = drawn.windows(2).filter_map(|pair| {
        let (total, rest) = pair[1].split_once(' ')?;
        let position = pair[0].rsplit(' ').next()?;
        rest.starts_with(of).then_some((position.parse().ok()?, total.parse().ok()?))
    });
    let positions: Vec<_> = positions.collect();
    assert!(!positions.is_empty(), "no bar of {of} in {shown:?}");
    positions
}

#[test]
fn a_bar_ends_at_its_total_for_it_counts_what_is_read() {
    const USERS: usize = 3_000;
    let target = Target::start(Variant::Cqrs);
    check(&target.stack, async {
        seed::items(&target.stack, USERS).await;
        target.unique_key(USERS).await;
        let rebuild = ["rebuild", "build", "--to", "2", "--segments", "2"];
        for (of, arguments) in [("items,", &["verify", "--segments", "2"][..]), ("items read,", &rebuild)] {
            let shown = bar(&target, of, arguments).await;
            assert!(shown.iter().all(|(position, total)| position <= total), "{arguments:?}: {shown:?}");
            let nearest = shown.iter().map(|(position, total)| position * 100 / total).max().unwrap();
            // Some pages are read between two updates of the bar.
            assert!(nearest > 75, "{arguments:?} came to {nearest} %: {shown:?}");
        }
    });
}

#[test]
fn a_redrive_warns_of_messages_that_cannot_be_read_in_a_dry_run_as_well() {
    for variant in [Variant::Cqrs, Variant::CqrsFifo] {
        let target = Target::start(variant);
        check(&target.stack, async {
            let item = item(&target.stack.api()).await;
            let mut newer: Value = serde_json::from_str(&envelope(&item, "newer")).unwrap();
            newer["schema"] = 99.into();
            let newer = newer.to_string();
            assert!(newer.contains("99"));
            let mut unreadable = vec![die(&target, "poison").await, die(&target, &newer).await];
            unreadable.sort();
            die(&target, &envelope(&item, &unique("fine"))).await;
            for arguments in [&["dlq", "redrive", "--all", "--dry-run"][..], &["dlq", "redrive", "--all"]] {
                assert_eq!(target.watershed(&["queue"]).await.json["dead_letters"]["visible"], 3);
                let output = target.watershed(arguments).await;
                assert_eq!((output.code, &output.json["done"], &output.json["unreadable"]), (1, &json!(3), &json!(1)));
                let warnings = output.json["warnings"].as_array().unwrap();
                let mut warned: Vec<_> =
                    warnings.iter().map(|warning| warning["message_id"].as_str().unwrap()).collect();
                warned.sort_unstable();
                assert_eq!(warned, unreadable, "{output:?}");
                assert!(
                    output.json["warnings"].to_string().contains("envelope schema version 99 is unknown"),
                    "{output:?}"
                );
                assert!(output.to_do().contains("`watershed dlq discard`"), "{output:?}");
            }
        });
    }
}

#[test]
fn whatever_leaves_something_to_do_names_the_next_command() {
    let target = Target::start(Variant::Cqrs);
    check(&target.stack, async {
        let item = item(&target.stack.api()).await;
        let names = async |arguments: &[&str], code: i32, next: &str| {
            let output = target.watershed(arguments).await;
            assert!(output.code == code && output.to_do().contains(next), "{arguments:?}: {output:?}");
            let plain = target.plainly(arguments).await;
            assert!(plain.lines().any(|line| line == format!("next: {}", output.to_do())), "{arguments:?}: {plain}");
        };
        target.lose_view(&item).await;
        names(&["verify"], 1, "`watershed verify --repair`").await;
        names(&["verify", "--repair", "--dry-run"], 1, "`watershed verify --repair`").await;
        assert!(target.watershed(&["verify", "--repair"]).await.json["to_do"].is_null());
        assert!(target.watershed(&["verify"]).await.json["to_do"].is_null());

        let letter = die(&target, &envelope(&item, &unique("dead"))).await;
        names(&["queue"], 1, "`watershed dlq list`").await;
        let plain = target.plainly(&["dlq", "list"]).await;
        assert!(
            plain.contains("next: run `watershed dlq sync`") && plain.contains("`watershed dlq redrive"),
            "{plain}"
        );
        names(&["dlq", "show", &letter], 0, "`watershed dlq redrive").await;
        names(&["dlq", "sync", "--dry-run"], 0, "`watershed dlq sync`").await;
        names(&["dlq", "redrive", "--all", "--dry-run"], 0, "`watershed dlq redrive`").await;
        names(&["dlq", "discard", "--all", "--dry-run"], 0, "`watershed dlq discard`").await;

        names(&["migrate", "plan", "--to", "read-store"], 0, "`watershed migrate advance --to read-store`").await;
        names(&["rebuild", "build", "--to", "2", "--dry-run"], 0, "`watershed rebuild build --to 2`").await;
        assert_eq!(target.watershed(&["rebuild", "build", "--to", "2"]).await.code, 0);
        names(&["rebuild", "status"], 0, "`watershed rebuild flip`").await;
        let lose = target.dynamodb().await.delete_item().table_name("watershed-read-v2").key("pk", key(&item));
        lose.send().await.unwrap();
        names(&["rebuild", "flip"], 1, "`watershed verify --repair --read-table watershed-read-v2`").await;
        assert_eq!(target.watershed(&["verify", "--repair", "--read-table", "watershed-read-v2"]).await.code, 0);
        names(&["rebuild", "flip", "--dry-run"], 0, "without --dry-run").await;
        let output = target.watershed(&["rebuild", "flip"]).await;
        assert!(output.code == 0 && output.to_do().contains("`watershed rebuild finish`"), "{output:?}");
        names(&["rebuild", "finish", "--dry-run"], 0, "without --dry-run").await;
        assert_eq!(target.watershed(&["rebuild", "finish"]).await.code, 0);

        let advance = ["migrate", "advance", "--to", "read-store", "--soak", "1s", "--retention"];
        names(&[&advance[..], &["1h"]].concat(), 1, "`watershed dlq redrive`").await;
        assert_eq!(target.watershed(&["dlq", "discard", "--all"]).await.code, 0);
        names(&[&advance[..], &["1h"]].concat(), 1, "--retention 0s").await;
        names(&["migrate", "status"], 0, "`watershed migrate advance`").await;
    });
}
