//! The contract of a [`WriteStore`](kernel::ports::WriteStore).

use std::collections::BTreeSet;
use std::future::Future;

use bytes::Bytes;
use kernel::ids::{AggregateKey, Kind};
use kernel::ports::{
    CommitError, Consistency, FailedConditions, LOAD_KEYS_MAX, Snapshot, StateChange, Transaction, UniqueKey,
};
use kernel::record::CommandStatus;
use tokio::task::JoinSet;

use super::sample::{
    KIND, applied, failed, final_statuses, key, nothing, record, snapshot, step, tenant, tombstone, unique_key,
};
use super::{Stores, run};

/// The number of tasks in a race.
const RACERS: usize = 16;

/// Runs all checks.
pub async fn suite(stores: &Stores) {
    run!(
        stores,
        a_committed_state_is_loaded_whole,
        loading_keeps_the_order_and_says_what_is_absent,
        loading_more_than_the_most_is_refused,
        a_create_fails_if_a_state_is_stored,
        an_update_fails_unless_the_expected_version_is_stored,
        a_tombstone_replaces_a_state_and_keeps_its_version,
        a_final_record_stays_and_is_returned,
        a_pending_or_failed_record_is_replaced,
        a_repeated_commit_is_a_duplicate,
        another_holds_a_unique_key_until_it_is_released,
        a_unique_key_of_the_same_item_or_of_none_is_taken_and_released_freely,
        unique_keys_of_two_tenants_are_apart,
        unique_keys_of_two_kinds_are_apart,
        a_view_is_put_with_the_state_only_where_absent_or_older,
        every_combination_of_failures_is_named_and_writes_nothing,
        racing_updates_lose_nothing_and_apply_nothing_twice,
        racing_aggregates_share_no_unique_key,
        a_full_transaction_fits,
        a_transaction_that_is_too_large_is_refused_and_writes_nothing,
        two_operations_on_one_item_are_refused,
        an_empty_transaction_succeeds,
    );
}

async fn load(stores: &Stores, key: &AggregateKey) -> Option<Snapshot> {
    stores.write.load(std::slice::from_ref(key)).await.unwrap().remove(0)
}

async fn commit(stores: &Stores, transaction: Transaction) {
    stores.write.commit(&transaction).await.unwrap();
}

async fn refused(stores: &Stores, transaction: &Transaction) -> FailedConditions {
    match stores.write.commit(transaction).await {
        Err(CommitError::Conditions(failed)) => failed,
        other => unreachable!("conditions must fail: {other:?}"),
    }
}

fn state_moved() -> FailedConditions {
    FailedConditions { state_moved: true, ..FailedConditions::default() }
}

async fn a_committed_state_is_loaded_whole(stores: &Stores) {
    let key = key(&tenant());
    commit(stores, step(&key, 0)).await;
    assert_eq!(load(stores, &key).await, Some(snapshot(1)));
    let bare = Snapshot { body: Some(Bytes::new()), index: Vec::new(), ..snapshot(2) };
    let state = Some(StateChange { expected: 1, next: bare.clone() });
    commit(stores, Transaction { state, ..nothing(&key) }).await;
    assert_eq!(load(stores, &key).await, Some(bare));
}

async fn loading_keeps_the_order_and_says_what_is_absent(stores: &Stores) {
    let tenant = tenant();
    let keys: Vec<_> = (0..LOAD_KEYS_MAX).map(|_| key(&tenant)).collect();
    for key in keys.iter().step_by(3) {
        commit(stores, step(key, 0)).await;
    }
    let expected: Vec<_> = (0..LOAD_KEYS_MAX).map(|n| n.is_multiple_of(3).then(|| snapshot(1))).collect();
    assert_eq!(stores.write.load(&keys).await.unwrap(), expected);
    let twice: Vec<_> = keys.iter().take(3).chain(keys.iter().take(2)).cloned().collect();
    let expected = [Some(snapshot(1)), None, None, Some(snapshot(1)), None];
    assert_eq!(stores.write.load(&twice).await.unwrap(), expected);
    assert_eq!(stores.write.load(&[]).await.unwrap(), []);
}

async fn loading_more_than_the_most_is_refused(stores: &Stores) {
    let tenant = tenant();
    let keys: Vec<_> = (0..=LOAD_KEYS_MAX).map(|_| key(&tenant)).collect();
    assert!(stores.write.load(&keys).await.is_err());
}

async fn a_create_fails_if_a_state_is_stored(stores: &Stores) {
    let key = key(&tenant());
    commit(stores, step(&key, 0)).await;
    assert_eq!(refused(stores, &step(&key, 0)).await, state_moved());
}

async fn an_update_fails_unless_the_expected_version_is_stored(stores: &Stores) {
    let key = key(&tenant());
    assert_eq!(refused(stores, &step(&key, 1)).await, state_moved(), "absent");
    commit(stores, step(&key, 0)).await;
    commit(stores, step(&key, 1)).await;
    for wrong in [0, 1, 3, u64::MAX - 1] {
        assert_eq!(refused(stores, &step(&key, wrong)).await, state_moved(), "{wrong}");
    }
    assert_eq!(load(stores, &key).await, Some(snapshot(2)));
    commit(stores, step(&key, 2)).await;
    assert_eq!(load(stores, &key).await, Some(snapshot(3)));
}

async fn a_tombstone_replaces_a_state_and_keeps_its_version(stores: &Stores) {
    let key = key(&tenant());
    commit(stores, step(&key, 0)).await;
    let state = Some(StateChange { expected: 1, next: tombstone(2) });
    commit(stores, Transaction { state, ..nothing(&key) }).await;
    assert_eq!(load(stores, &key).await, Some(tombstone(2)));
    assert_eq!(refused(stores, &step(&key, 0)).await, state_moved());
}

async fn a_final_record_stays_and_is_returned(stores: &Stores) {
    for status in final_statuses() {
        let key = key(&tenant());
        let found = record(&key, status);
        commit(stores, Transaction { records: vec![found.clone()], ..nothing(&key) }).await;
        for status in final_statuses().into_iter().chain([CommandStatus::Pending, failed()]) {
            let other = kernel::record::CommandRecord { status, ..found.clone() };
            let fresh = applied(&key, 1);
            let again = Transaction { records: vec![fresh.clone(), other], ..step(&key, 0) };
            let expected = FailedConditions { final_records: vec![found.clone()], ..FailedConditions::default() };
            assert_eq!(refused(stores, &again).await, expected);
            assert_eq!(stores.records.get(&fresh.key).await.unwrap(), None);
        }
        assert_eq!(stores.records.get(&found.key).await.unwrap(), Some(found));
    }
}

async fn a_pending_or_failed_record_is_replaced(stores: &Stores) {
    for status in [CommandStatus::Pending, failed()] {
        let key = key(&tenant());
        let mut record = record(&key, status);
        commit(stores, Transaction { records: vec![record.clone()], ..nothing(&key) }).await;
        assert_eq!(stores.records.get(&record.key).await.unwrap().as_ref(), Some(&record));
        record.status = CommandStatus::Applied { version: 1 };
        commit(stores, Transaction { records: vec![record.clone()], ..step(&key, 0) }).await;
        assert_eq!(stores.records.get(&record.key).await.unwrap(), Some(record));
    }
}

async fn a_repeated_commit_is_a_duplicate(stores: &Stores) {
    let key = key(&tenant());
    let records = vec![applied(&key, 1), applied(&key, 1)];
    let transaction = Transaction { records: records.clone(), ..step(&key, 0) };
    commit(stores, transaction.clone()).await;
    let expected = FailedConditions { final_records: records, ..state_moved() };
    assert_eq!(refused(stores, &transaction).await, expected);
    assert_eq!(load(stores, &key).await, Some(snapshot(1)));
}

async fn another_holds_a_unique_key_until_it_is_released(stores: &Stores) {
    let tenant = tenant();
    let (mine, other) = (key(&tenant), key(&tenant));
    let unique_keys = vec![unique_key(&tenant, "red")];
    commit(stores, Transaction { unique_keys_taken: unique_keys.clone(), ..nothing(&mine) }).await;
    let held = FailedConditions { unique_keys_held: unique_keys.clone(), ..FailedConditions::default() };
    let take = Transaction { unique_keys_taken: unique_keys.clone(), ..nothing(&other) };
    let release = Transaction { unique_keys_released: unique_keys.clone(), ..nothing(&other) };
    assert_eq!(refused(stores, &take).await, held);
    assert_eq!(refused(stores, &release).await, held);
    commit(stores, Transaction { unique_keys_released: unique_keys, ..nothing(&mine) }).await;
    commit(stores, take).await;
}

async fn a_unique_key_of_the_same_item_or_of_none_is_taken_and_released_freely(stores: &Stores) {
    let tenant = tenant();
    let key = key(&tenant);
    let take = Transaction { unique_keys_taken: vec![unique_key(&tenant, "red")], ..nothing(&key) };
    let release = Transaction { unique_keys_released: vec![unique_key(&tenant, "red")], ..nothing(&key) };
    for transaction in [&release, &take, &take, &release, &release, &take] {
        commit(stores, transaction.clone()).await;
    }
    let change = Transaction { unique_keys_taken: vec![unique_key(&tenant, "blue")], ..release };
    commit(stores, change.clone()).await;
    commit(stores, change).await;
}

async fn unique_keys_of_two_kinds_are_apart(stores: &Stores) {
    let tenant = tenant();
    for kind in [KIND, Kind::new("Y"), Kind::implied("Z")] {
        let unique_key = UniqueKey { kind, ..unique_key(&tenant, "red") };
        let key = AggregateKey { kind, ..key(&tenant) };
        commit(stores, Transaction { unique_keys_taken: vec![unique_key], ..nothing(&key) }).await;
    }
}

async fn unique_keys_of_two_tenants_are_apart(stores: &Stores) {
    for tenant in [tenant(), tenant()] {
        commit(stores, Transaction { unique_keys_taken: vec![unique_key(&tenant, "red")], ..nothing(&key(&tenant)) })
            .await;
    }
}

async fn a_view_is_put_with_the_state_only_where_absent_or_older(stores: &Stores) {
    let key = key(&tenant());
    let with_view = |expected| Transaction { view: Some(snapshot(expected + 1)), ..step(&key, expected) };
    commit(stores, with_view(0)).await;
    commit(stores, with_view(1)).await;
    assert_eq!(stores.views.get(&key, Consistency::Strong).await.unwrap(), Some(snapshot(2)));
    let exists = FailedConditions { view_exists: true, ..FailedConditions::default() };
    for version in [1, 2] {
        let stale = Transaction { view: Some(snapshot(version)), ..step(&key, 2) };
        assert_eq!(refused(stores, &stale).await, exists);
    }
    assert_eq!(load(stores, &key).await, Some(snapshot(2)));
}

/// Makes every subset of a transaction's conditions fail. The store must name exactly that subset.
async fn every_combination_of_failures_is_named_and_writes_nothing(stores: &Stores) {
    for combination in 1..32_u32 {
        let fails = |bit: u32| combination & (1 << bit) != 0;
        let tenant = tenant();
        let (mine, other) = (key(&tenant), key(&tenant));
        let (record, duplicate) = (applied(&mine, 1), applied(&mine, 7));
        let (taken, released) = (unique_key(&tenant, "taken"), unique_key(&tenant, "released"));
        let mut expected = FailedConditions::default();
        if fails(0) {
            commit(stores, step(&mine, 0)).await;
            expected.state_moved = true;
        }
        if fails(1) {
            commit(stores, Transaction { records: vec![duplicate.clone()], ..nothing(&other) }).await;
            expected.final_records.push(duplicate.clone());
        }
        for (unique_key, bit) in [(&taken, 2), (&released, 3)] {
            if fails(bit) {
                commit(stores, Transaction { unique_keys_taken: vec![unique_key.clone()], ..nothing(&other) }).await;
                expected.unique_keys_held.push(unique_key.clone());
            }
        }
        if fails(4) {
            stores.view_writer.put(&mine, &snapshot(5)).await.unwrap();
            expected.view_exists = true;
        }
        let transaction = Transaction {
            key: mine.clone(),
            state: Some(StateChange { expected: 0, next: snapshot(1) }),
            records: vec![record.clone(), duplicate],
            unique_keys_taken: vec![taken.clone()],
            unique_keys_released: vec![released],
            view: Some(snapshot(1)),
        };
        assert_eq!(refused(stores, &transaction).await, expected, "{combination:05b}");
        assert_eq!(load(stores, &mine).await, fails(0).then(|| snapshot(1)), "{combination:05b}");
        assert_eq!(stores.records.get(&record.key).await.unwrap(), None, "{combination:05b}");
        let view = stores.views.get(&mine, Consistency::Strong).await.unwrap();
        assert_eq!(view, fails(4).then(|| snapshot(5)), "{combination:05b}");
        let take = Transaction { unique_keys_taken: vec![taken], ..nothing(&key(&tenant)) };
        assert_eq!(stores.write.commit(&take).await.is_err(), fails(2), "{combination:05b}");
    }
}

async fn race<T: Send + 'static, F: Future<Output = T> + Send + 'static>(racer: impl Fn() -> F) -> Vec<T> {
    let mut tasks = JoinSet::new();
    for _ in 0..RACERS {
        tasks.spawn(racer());
    }
    tasks.join_all().await
}

/// Repeats a commit until the store is not contended.
async fn commit_uncontended(stores: &Stores, transaction: &Transaction) -> Result<(), FailedConditions> {
    loop {
        match stores.write.commit(transaction).await {
            Ok(()) => return Ok(()),
            Err(CommitError::Conditions(failed)) => return Err(failed),
            Err(CommitError::Contended) => tokio::task::yield_now().await,
            Err(other) => unreachable!("{other:?}"),
        }
    }
}

async fn racing_updates_lose_nothing_and_apply_nothing_twice(stores: &Stores) {
    let aggregate = key(&tenant());
    let duplicated = applied(&aggregate, 0);
    let versions = race(|| {
        let (stores, key, duplicated) = (stores.clone(), aggregate.clone(), duplicated.clone());
        async move {
            let mut records = vec![applied(&key, 0), duplicated.clone()];
            loop {
                let expected = load(&stores, &key).await.map_or(0, |stored| stored.version);
                let transaction = Transaction { records: records.clone(), ..step(&key, expected) };
                match commit_uncontended(&stores, &transaction).await {
                    Ok(()) => return (expected + 1, records.len()),
                    Err(failed) if failed.final_records == [duplicated.clone()] => records.truncate(1),
                    Err(failed) => assert_eq!(failed, state_moved()),
                }
            }
        }
    })
    .await;
    let made: BTreeSet<_> = versions.iter().map(|(version, _)| *version).collect();
    assert_eq!(made, (1..=RACERS as u64).collect());
    assert_eq!(versions.iter().filter(|(_, records)| *records == 2).count(), 1);
    assert_eq!(load(stores, &aggregate).await, Some(snapshot(RACERS as u64)));
}

async fn racing_aggregates_share_no_unique_key(stores: &Stores) {
    let tenant = tenant();
    let unique_keys = vec![unique_key(&tenant, "red")];
    let outcomes = race(|| {
        let (stores, key) = (stores.clone(), key(&tenant));
        let transaction = Transaction { unique_keys_taken: unique_keys.clone(), ..step(&key, 0) };
        async move {
            let outcome = commit_uncontended(&stores, &transaction).await;
            (load(&stores, &key).await.is_some(), outcome)
        }
    })
    .await;
    let held = FailedConditions { unique_keys_held: unique_keys, ..FailedConditions::default() };
    let (winners, losers): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|(_, outcome)| outcome.is_ok());
    assert_eq!(winners, [(true, Ok(()))]);
    assert!(losers.iter().all(|loser| *loser == (false, Err(held.clone()))), "{losers:?}");
}

async fn a_full_transaction_fits(stores: &Stores) {
    let key = key(&tenant());
    let records = (0..99).map(|_| applied(&key, 1)).collect();
    commit(stores, Transaction { records, ..step(&key, 0) }).await;
    let next = Snapshot { body: Some(vec![7; 390_000].into()), ..snapshot(2) };
    let state = Some(StateChange { expected: 1, next: next.clone() });
    commit(stores, Transaction { state, ..nothing(&key) }).await;
    assert_eq!(load(stores, &key).await, Some(next));
}

async fn a_transaction_that_is_too_large_is_refused_and_writes_nothing(stores: &Stores) {
    let key = key(&tenant());
    let many = (0..100).map(|_| applied(&key, 1)).collect();
    let reason = "r".repeat(60_000);
    let long = (0..80).map(|_| record(&key, CommandStatus::Failed { reason: reason.clone() })).collect();
    let next = Snapshot { body: Some(vec![7; 410_000].into()), ..snapshot(1) };
    let wide = Transaction { state: Some(StateChange { expected: 0, next }), ..nothing(&key) };
    for transaction in
        [Transaction { records: many, ..step(&key, 0) }, Transaction { records: long, ..step(&key, 0) }, wide]
    {
        assert!(matches!(stores.write.commit(&transaction).await, Err(CommitError::TooLarge)));
        assert_eq!(load(stores, &key).await, None);
    }
}

async fn two_operations_on_one_item_are_refused(stores: &Stores) {
    let tenant = tenant();
    let key = key(&tenant);
    let record = applied(&key, 1);
    let unique_keys = vec![unique_key(&tenant, "red")];
    let twice = Transaction { records: vec![record.clone(), record], ..step(&key, 0) };
    let both =
        Transaction { unique_keys_taken: unique_keys.clone(), unique_keys_released: unique_keys, ..step(&key, 0) };
    for transaction in [twice, both] {
        assert!(matches!(stores.write.commit(&transaction).await, Err(CommitError::Port(_))));
    }
    assert_eq!(load(stores, &key).await, None);
}

async fn an_empty_transaction_succeeds(stores: &Stores) {
    commit(stores, nothing(&key(&tenant()))).await;
}
