//! Tests for `watershed rebuild`: replaces the read store during traffic.

use std::process::Stdio;
use std::time::{Duration, Instant};

use adapters::dynamo::DynamoViewStore;
use futures::future::{join, join_all};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::sleep;

use super::{Target, command};
use crate::harness::client::shows;
use crate::harness::{Api, Variant, check, eventually, seed, unique};
use crate::sample;

/// The number of items.
const USERS: usize = 3_000;
/// The number of items that are copied per second. It leaves time to kill the run.
const RATE: &str = "1000";
/// The numbers of copied items after which a run is killed.
const KILLS: [u64; 3] = [400, 1_200, 2_000];
const READERS: usize = 4;
/// The pause between two requests of a client.
const PAUSE: Duration = Duration::from_millis(10);

#[test]
fn a_read_store_is_rebuilt_under_load_and_three_kills_and_no_read_fails() {
    let target = Target::start(Variant::Cqrs);
    let ran = check(&target.stack, async {
        let items = seed::items(&target.stack, USERS).await;
        let (stop, stopped) = watch::channel(());
        let api = target.stack.api();
        let readers = join_all((0..READERS).map(|reader| read(&api, &items, reader, &stopped)));
        let clients = join(readers, write(&api, &items, &stopped));
        let operator = async {
            let began = Instant::now();
            build_and_kill(&target).await;
            let built = began.elapsed();
            assert_eq!(target.place("READ_TABLE").await, "watershed-read-v1");
            let output = target.watershed(&["rebuild", "flip"]).await;
            assert_eq!((output.code, &output.json["read"]), (0, &json!("watershed-read-v2")), "{output:?}");
            sleep(Duration::from_secs(1)).await;
            let output = target.watershed(&["rebuild", "rollback"]).await;
            assert_eq!((output.code, &output.json["read"]), (0, &json!("watershed-read-v1")), "{output:?}");
            let output = target.watershed(&["rebuild", "flip"]).await;
            assert_eq!((output.code, &output.json["read"]), (0, &json!("watershed-read-v2")), "{output:?}");
            drop(stop);
            built
        };
        let ((reads, writes), built) = join(clients, operator).await;
        let output = target.watershed(&["verify"]).await;
        assert_eq!((output.code, &output.json["items"]), (0, &json!(USERS)), "{output:?}");
        (reads.iter().sum::<usize>(), writes, built)
    });
    let (reads, writes, built) = ran;
    println!(
        "{USERS} items copied in {built:?} with {} kills; flipped, taken back and flipped again; {reads} reads, none \
         failed; {writes} writes",
        KILLS.len()
    );
}

/// Reads items and lists. All reads must succeed.
async fn read(api: &Api, items: &[String], reader: usize, stopped: &watch::Receiver<()>) -> usize {
    let mut reads = 0;
    while stopped.has_changed().is_ok() {
        let item = &items[(reads * 7919 + reader) % items.len()];
        api.get(&sample::main().resource.item(item)).send().await.expect(200);
        if reads % 10 == 0 {
            api.get(&sample::main().list("limit=5")).send().await.expect(200);
        }
        reads += 1;
        sleep(PAUSE).await;
    }
    reads
}

/// Writes, and reads its own writes.
async fn write(api: &Api, items: &[String], stopped: &watch::Receiver<()>) -> usize {
    let mut writes = 0;
    while stopped.has_changed().is_ok() {
        let path = sample::main().resource.item(&items[writes * 31 % items.len()]);
        let patch = sample::main().patch(&unique("rebuilt"));
        let written = api.patch(&path, &patch).write().await.expect(200);
        let read = api.get(&path).token(&written.token.unwrap()).send().await.expect(200);
        shows(&read.json(), &patch);
        writes += 1;
        sleep(PAUSE).await;
    }
    writes
}

/// Kills the command line several times. Each run resumes where the one before was killed.
async fn build_and_kill(target: &Target) {
    let arguments = ["rebuild", "build", "--to", "2", "--segments", "4", "--rate", RATE];
    let mut copied = 0;
    for kill_at in KILLS {
        let mut build = command(target.dir.path());
        build.args(["--stack", &target.stack.service.url]).args(arguments).kill_on_drop(true).stdout(Stdio::null());
        let mut build = build.spawn().unwrap();
        let now = eventually("more is copied", async || {
            let output = target.watershed(&["rebuild", "status"]).await;
            output.json["copied"].as_u64().filter(|copied| *copied >= kill_at)
        })
        .await;
        assert!(now >= copied && now < USERS as u64, "{now} items copied, {copied} before");
        assert!(build.try_wait().unwrap().is_none(), "the build ended by itself");
        build.kill().await.unwrap();
        copied = now;
    }
    let output = target.watershed(&arguments).await;
    assert_eq!((output.code, &output.json["copied"]), (0, &json!(USERS)), "{output:?}");
}

#[test]
fn readers_see_another_read_store_only_if_nothing_differs() {
    let target = Target::start(Variant::Cqrs);
    check(&target.stack, async {
        seed::items(&target.stack, 20).await;
        for (too_early, says) in [("flip", "rebuild build"), ("rollback", "rebuild build"), ("finish", "rebuild build")]
        {
            let output = target.watershed(&["rebuild", too_early]).await;
            assert!(output.code == 3 && output.error.contains(says), "{output:?}");
        }
        for wrong in [&["--to", "0"][..], &["--to", "2", "--rate", "0"], &["--to", "2", "--rate", "4000000000"]] {
            let output = target.watershed(&[&["rebuild", "build"], wrong].concat()).await;
            assert_eq!(output.code, 2, "{output:?}");
        }
        assert_eq!(target.watershed(&["rebuild", "build", "--to", "2", "--dry-run"]).await.code, 0);
        assert!(target.watershed(&["rebuild", "status"]).await.json["other"].is_null());
        let output = target.watershed(&["rebuild", "build", "--to", "1"]).await;
        assert!(output.code == 3 && output.error.contains("--to"), "{output:?}");
        let output = target.watershed(&["rebuild", "build", "--to", "2"]).await;
        assert_eq!((output.code, &output.json["copied"]), (0, &json!(20)), "{output:?}");
        let api = target.stack.api();
        let kept = api.any_item().await;
        let read = || api.get(&kept.path).token(&kept.token).if_none_match("\"1-v1\"").send();
        read().await.expect(304);
        let output = target.watershed(&["rebuild", "build", "--to", "3"]).await;
        assert!(output.code == 3 && output.error.contains("rebuild finish"), "{output:?}");

        let next = DynamoViewStore::new(target.dynamodb().await, "watershed-read-v2").snapshots();
        let page = next.scan(&[sample::main().resource.kind], 0, 1, None).await.unwrap();
        next.remove(&page.entries[0].0).await.unwrap();
        let output = target.watershed(&["rebuild", "flip"]).await;
        assert_eq!((output.code, &output.json["comparison"]["differences"]), (1, &json!(1)), "{output:?}");
        assert_eq!(target.place("READ_TABLE").await, "watershed-read-v1");
        let output = target.watershed(&["verify", "--repair", "--read-table", "watershed-read-v2"]).await;
        assert_eq!((output.code, &output.json["repaired"]), (0, &json!(1)), "{output:?}");
        for step in ["flip", "rollback", "finish"] {
            assert_eq!(target.watershed(&["rebuild", step, "--dry-run"]).await.code, 0);
        }
        let places = (target.place("READ_TABLE").await, target.place("OTHER_READ_TABLE").await);
        assert_eq!(places, ("watershed-read-v1".to_owned(), "watershed-read-v2".to_owned()));
        assert_eq!(target.watershed(&["rebuild", "flip"]).await.code, 0);
        assert_eq!(target.place("READ_TABLE").await, "watershed-read-v2");

        let output = target.watershed(&["rebuild", "finish"]).await;
        assert_eq!((output.code, &output.json["given_up"]), (0, &json!("watershed-read-v1")), "{output:?}");
        // The new projection shows the same version with another body, so the old tag does not match.
        assert_eq!(read().await.expect(200).header("etag"), "\"1-v2\"");
        let change = api.patch(&kept.path, &sample::main().patch("Changed")).if_match("\"1-v1\"").prefer("wait=10");
        assert_eq!(change.send().await.expect(200).header("etag"), "\"2-v2\"");
        let item = api.any_item().await;
        assert_eq!(target.watershed(&["verify"]).await.json["items"], 22);
        let output = target.watershed(&["verify", "--read-table", "watershed-read-v1"]).await;
        assert_eq!(
            (output.code, &output.json["by_kind"]),
            (1, &json!({"view_missing": 1, "view_older": 1})),
            "{item:?} {output:?}"
        );
    });
}

#[test]
fn what_was_deployed_last_is_deployed_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--data-dir", dir.path().to_str().unwrap()];
    let target = Target::start_with(Variant::Cqrs, &arguments);
    let item = check(&target.stack, async {
        let item = target.stack.api().any_item().await;
        for step in [&["rebuild", "build", "--to", "2"][..], &["rebuild", "flip"], &["rebuild", "finish"]] {
            let output = target.watershed(step).await;
            assert_eq!(output.code, 0, "{output:?}");
        }
        item
    });
    drop(target);
    let target = Target::start_with(Variant::Cqrs, &arguments);
    check(&target.stack, async {
        assert_eq!(target.place("READ_TABLE").await, "watershed-read-v2");
        assert_eq!(target.stack.api().reread(&item).await.body, item.body);
    });
}

#[test]
fn without_a_local_stack_it_is_said_what_to_deploy() {
    let target = Target::start(Variant::Cqrs);
    check(&target.stack, async {
        seed::items(&target.stack, 3).await;
        let elsewhere = target.elsewhere(&[]).await;
        let output = elsewhere(&["rebuild", "build", "--to", "2"]).await;
        let deploy = output.json["deploy"].as_str().unwrap_or_default();
        assert!(output.code == 1 && deploy.contains("OTHER_READ_TABLE=watershed-read-v2"), "{output:?}");
        let both = ["--other-read-table", "watershed-read-v2"];
        let output = elsewhere(&[&["rebuild", "build", "--to", "2"], &both[..]].concat()).await;
        assert_eq!((output.code, &output.json["copied"]), (0, &json!(3)), "{output:?}");
        let output = elsewhere(&[&["rebuild", "flip"], &both[..]].concat()).await;
        let deploy = output.json["deploy"].as_str().unwrap_or_default();
        assert!(output.code == 1 && deploy.contains("READ_TABLE=watershed-read-v2"), "{output:?}");
        assert_eq!(target.place("READ_TABLE").await, "watershed-read-v1");
    });
}
