//! Synchronous writes beside a queue: clients move to acknowledgements one at a time.

use futures::future::join_all;

use crate::harness::client::Written;
use crate::harness::stores::{Stores, drained};
use crate::harness::{Stack, Variant, check, unique};
use crate::sample;

#[test]
fn a_client_may_have_its_writes_queued_before_all_others_do() {
    let stack = Stack::start(Variant::Cqrs, &["--ephemeral"]);
    check(&stack, async {
        stack.deploy("cqrs-expand").await;
        let api = stack.api();
        let now = api.post(&sample::main().path, &sample::main().body("Beside")).send().await.expect(201);
        assert!(now.find("preference-applied").is_none());
        let later = api
            .post(&sample::main().path, &sample::main().body("Beside"))
            .prefer("respond-async")
            .send()
            .await
            .expect(202);
        assert_eq!(later.header("preference-applied"), "respond-async");
        let path = sample::main().resource.item(later.json()[&sample::main().id].as_str().unwrap());
        api.get(&path).token(&later.token()).send().await.expect(200);
        let waits = api
            .post(&sample::main().path, &sample::main().body("Beside"))
            .prefer("respond-async, wait=10")
            .send()
            .await
            .expect(201);
        assert!(waits.header("preference-applied").contains("wait=10"));

        stack.deploy("cqrs").await;
        api.post(&sample::main().path, &sample::main().body("Beside")).send().await.expect(202);
        api.post(&sample::main().path, &sample::main().body("Beside")).prefer("wait=10").send().await.expect(201);

        stack.deploy("cqrs-drain").await;
        api.post(&sample::main().path, &sample::main().body("Beside")).prefer("respond-async").send().await.expect(201);
    });
}

#[test]
fn nobody_is_told_that_an_item_is_missing_whose_create_is_queued() {
    let stack = Stack::start(Variant::Cqrs, &["--ephemeral"]);
    check(&stack, async {
        let api = stack.api();
        for row in ["cqrs-expand", "cqrs-drain", "cqrs-idle"] {
            stack.deploy("cqrs").await;
            let creates =
                join_all((0..20).map(|_| api.post(&sample::main().path, &sample::main().body("Beside")).send())).await;
            stack.deploy(row).await;
            let patches = creates.iter().map(|create| {
                let path = sample::main().resource.item(create.json()[&sample::main().id].as_str().unwrap());
                api.patch(&path, &sample::main().patch("Patched")).write()
            });
            for patched in join_all(patches).await {
                assert_eq!(patched.expect(200).version, Some(2));
            }
        }
    });
}

#[test]
fn writes_to_one_item_may_be_applied_at_once_and_queued_at_the_same_time() {
    let stack = Stack::start(Variant::Cqrs, &["--ephemeral"]);
    check(&stack, async {
        stack.deploy("cqrs-expand").await;
        let api = stack.api();
        let item = api.any_item().await;
        let write = |number: usize| {
            let call = api.patch(&item.path, &sample::main().patch(&format!("Both {number}")));
            if number.is_multiple_of(2) { call.write() } else { call.prefer("respond-async").write() }
        };
        let written: Vec<Written> = join_all((0..40).map(write)).await;
        drained(&stack).await;
        let queued = written.iter().filter(|written| written.answer.status == 202).count();
        assert_eq!(queued, 20);
        // A write that arrived too late for its only field is superseded, and makes no version.
        let highest = written.iter().filter_map(|written| written.version).max().unwrap();
        let token = written.iter().find_map(|written| written.token.as_deref()).unwrap();
        let read = api.get(&item.path).token(token).send().await.expect(200);
        assert_eq!(read.json()["version"], highest);
        let content = Stores::of(&stack).await.content().await;
        assert_eq!(content.violations(), [""; 0]);
    });
}

#[test]
fn a_retry_after_a_stage_change_is_the_same_command() {
    let stack = Stack::start(Variant::Cqrs, &["--ephemeral"]);
    check(&stack, async {
        let api = stack.api();
        let (body, key) = (sample::main().body("Beside"), unique("key"));
        let create = || api.post(&sample::main().path, &body).idempotency_key(&key);
        let first = create().send().await.expect(202);
        for (row, status) in [("cqrs-expand", 201), ("cqrs-drain", 201), ("cqrs-idle", 201), ("cqrs", 202)] {
            stack.deploy(row).await;
            let again = create().send().await.expect(status);
            assert_eq!(again.header("idempotency-replayed"), "true");
            let id = if status == 202 { sample::main().id.as_str() } else { "id" };
            assert_eq!(again.json()[id], first.json()[&sample::main().id]);
        }
    });
}
