//! Restores a backup as in docs/restore.md, on an emulator: a copy of a table replaces the restore to a point in time.

use adapters::tables;
use serde_json::json;

use super::{Target, die, envelope, item};
use crate::harness::stores::drained;
use crate::harness::{Variant, check, eventually, unique};
use crate::sample;

/// The options for the restored tables.
const RESTORED: [&str; 4] = ["--write-table", "watershed-write-r1", "--commands-table", "watershed-commands-r1"];

impl Target {
    /// Copies a table under another name.
    async fn restore(&self, from: &str, to: &str) {
        let dynamodb = self.dynamodb().await;
        tables::create(&dynamodb, to).await.unwrap();
        let items = dynamodb.scan().table_name(from).consistent_read(true).into_paginator().items().send();
        for item in items.collect::<Result<Vec<_>, _>>().await.unwrap() {
            dynamodb.put_item().table_name(to).set_item(Some(item)).send().await.unwrap();
        }
    }
}

#[test]
fn a_backup_is_restored_into_other_tables_and_the_service_goes_on_with_them() {
    let target = Target::start(Variant::Cqrs);
    check(&target.stack, async {
        let api = target.stack.api();
        let (kept, damaged) = (item(&api).await, item(&api).await);
        let name = sample::main().patch(&unique("earlier"));
        let earlier = || api.patch(&kept.path, &name).idempotency_key("earlier");
        assert_eq!(earlier().write().await.expect(200).version, Some(2));
        drained(&target.stack).await;

        // The point in time of the backup.
        target.restore("watershed-write", RESTORED[1]).await;
        target.restore("watershed-commands", RESTORED[3]).await;

        // After it: damage, a new item, a change with a key, and a dead letter.
        let damage =
            api.patch(&damaged.path, &sample::main().patch(&unique("damage"))).write().await.expect(200).token.unwrap();
        api.get(&damaged.path).token(&damage).send().await.expect(200);
        let lost = item(&api).await;
        let later = sample::main().patch(&unique("later"));
        let change = || api.patch(&kept.path, &later).idempotency_key("later");
        assert_eq!(change().write().await.expect(200).version, Some(3));
        let redriven = unique("redriven");
        die(&target, &envelope(&damaged, &redriven)).await;

        let elsewhere = target.elsewhere(&[]).await;
        let both = [&RESTORED[..], &["--other-read-table", "watershed-read-v2"]].concat();
        let output = elsewhere(&[&["rebuild", "build", "--to", "2"], &both[..]].concat()).await;
        assert_eq!((output.code, &output.json["copied"]), (0, &json!(2)), "{output:?}");
        let deployment = json!({"STAGE": "cqrs", "READ_TABLE": "watershed-read-v2", "WRITE_TABLE": RESTORED[1],
            "COMMANDS_TABLE": RESTORED[3]});
        api.put("/_local/deployment", &deployment).send_unchecked().await.expect(200);
        eventually("it is deployed", async || (target.stack.status().await["draining"] == 0).then_some(())).await;

        let output = target.watershed(&["verify"]).await;
        assert_eq!(
            (output.code, &output.json["items"], &output.json["views"]),
            (0, &json!(2), &json!(2)),
            "{output:?}"
        );
        // No cache shows a stale entry.
        assert_eq!(api.get(&damaged.path).send().await.expect(200).json(), damaged.body);
        api.get(&lost.path).send().await.expect(404);
        if let Some(held) = sample::main().held(&lost.body) {
            let listed = api.get(&sample::main().list(&held)).send().await.expect(200).json();
            assert_eq!(listed["items"], json!([]));
        }
        // The token of the lost version demands it, so an older version is not enough.
        assert_eq!(api.get(&damaged.path).token(&damage).send().await.kind(503), "not-yet-consistent");

        // Commands from before the backup are replayed. Later ones are applied again.
        let again = earlier().write().await.expect(200);
        assert_eq!((again.version, again.answer.find("idempotency-replayed")), (Some(2), Some("true")));
        let again = change().write().await.expect(200);
        assert_eq!((again.version, again.answer.find("idempotency-replayed")), (Some(3), None));
        assert_eq!(target.watershed(&["dlq", "redrive", "--all"]).await.code, 0);
        eventually("the dead letter is applied", async || {
            let (read, changed) = (api.get(&damaged.path).send().await.json(), sample::main().changed);
            (read[changed.name] == sample::main().value(changed, &redriven)).then_some(())
        })
        .await;
        api.create(sample::main(), &sample::main().keeping(&lost.body, "Once more")).await;

        // Later deployments keep the tables.
        assert_eq!(target.watershed(&["rebuild", "build", "--to", "3"]).await.code, 0);
        assert_eq!(target.place("WRITE_TABLE").await, RESTORED[1]);
        assert_eq!(target.place("COMMANDS_TABLE").await, RESTORED[3]);
        let output = target.watershed(&["verify"]).await;
        assert_eq!((output.code, &output.json["items"]), (0, &json!(3)), "{output:?}");
    });
}
