//! The contract of a [`RecordWriter`](kernel::ports::RecordWriter).

use kernel::ids::AggregateId;
use kernel::record::{CommandRecord, CommandStatus, Fingerprint};
use tokio::task::JoinSet;

use super::sample::{NOW, failed, final_statuses, key, nothing, record, tenant};
use super::{Stores, run};

/// Runs all checks.
pub async fn suite(stores: &Stores) {
    run!(
        stores,
        a_missing_record_is_absent,
        a_record_is_read_back_whole_in_every_status,
        a_pending_record_is_put_only_if_there_is_none,
        a_pending_record_put_again_is_recognised,
        a_failed_record_is_put_unless_there_is_a_final_one,
        records_of_two_tenants_are_apart,
        of_racing_pending_records_one_is_put,
    );
}

async fn get(stores: &Stores, record: &CommandRecord) -> Option<CommandRecord> {
    stores.records.get(&record.key).await.unwrap()
}

/// Puts a record in any status.
async fn put(stores: &Stores, record: &CommandRecord) {
    let key = key(&record.key.tenant);
    let transaction = kernel::ports::Transaction { records: vec![record.clone()], ..nothing(&key) };
    stores.write.commit(&transaction).await.unwrap();
}

fn all_statuses() -> impl Iterator<Item = CommandStatus> {
    final_statuses().into_iter().chain([CommandStatus::Pending, failed()])
}

async fn a_missing_record_is_absent(stores: &Stores) {
    assert_eq!(get(stores, &record(&key(&tenant()), CommandStatus::Pending)).await, None);
}

async fn a_record_is_read_back_whole_in_every_status(stores: &Stores) {
    for status in all_statuses() {
        let record = record(&key(&tenant()), status);
        put(stores, &record).await;
        assert_eq!(get(stores, &record).await, Some(record));
    }
    let without = CommandRecord { fingerprint: None, kind: None, ..record(&key(&tenant()), failed()) };
    put(stores, &without).await;
    assert_eq!(get(stores, &without).await, Some(without));
}

async fn a_pending_record_is_put_only_if_there_is_none(stores: &Stores) {
    for status in all_statuses() {
        let found = record(&key(&tenant()), status);
        put(stores, &found).await;
        let base = CommandRecord { status: CommandStatus::Pending, completed_at: None, ..found.clone() };
        let later = CommandRecord { accepted_at: NOW.plus_micros(1), ..base.clone() };
        let elsewhere = CommandRecord { aggregate: AggregateId::generate(NOW), ..base.clone() };
        let another = CommandRecord { fingerprint: Some(Fingerprint::of(&[b"other"])), ..base };
        for record in [later, elsewhere, another] {
            assert_eq!(stores.records.put_pending(&record).await.unwrap(), Some(found.clone()));
        }
        assert_eq!(get(stores, &found).await, Some(found));
    }
}

async fn a_pending_record_put_again_is_recognised(stores: &Stores) {
    let record = record(&key(&tenant()), CommandStatus::Pending);
    for _ in 0..2 {
        assert_eq!(stores.records.put_pending(&record).await.unwrap(), None);
        assert_eq!(get(stores, &record).await.as_ref(), Some(&record));
    }
}

async fn a_failed_record_is_put_unless_there_is_a_final_one(stores: &Stores) {
    let fresh = record(&key(&tenant()), failed());
    assert_eq!(stores.records.put_failed(&fresh).await.unwrap(), None);
    assert_eq!(get(stores, &fresh).await, Some(fresh));
    for status in all_statuses() {
        let found = record(&key(&tenant()), status);
        put(stores, &found).await;
        let status = CommandStatus::Failed { reason: "again".to_owned() };
        let record = CommandRecord { status, completed_at: Some(NOW.plus_micros(99)), ..found.clone() };
        let is_final = found.status.is_final();
        assert_eq!(stores.records.put_failed(&record).await.unwrap(), is_final.then(|| found.clone()));
        assert_eq!(get(stores, &found).await, Some(if is_final { found } else { record }));
    }
}

async fn records_of_two_tenants_are_apart(stores: &Stores) {
    let mine = record(&key(&tenant()), CommandStatus::Pending);
    put(stores, &mine).await;
    let mut other = mine.clone();
    other.key.tenant = tenant();
    assert_eq!(get(stores, &other).await, None);
    assert_eq!(stores.records.put_pending(&other).await.unwrap(), None);
}

async fn of_racing_pending_records_one_is_put(stores: &Stores) {
    let base = record(&key(&tenant()), CommandStatus::Pending);
    let mut tasks = JoinSet::new();
    for n in 0..16 {
        let record = CommandRecord { accepted_at: NOW.plus_micros(n), ..base.clone() };
        let records = stores.records.clone();
        tasks.spawn(async move { (records.put_pending(&record).await.unwrap(), record) });
    }
    let (winners, losers): (Vec<_>, Vec<_>) =
        tasks.join_all().await.into_iter().partition(|(found, _)| found.is_none());
    let [(None, winner)] = winners.as_slice() else { unreachable!("one must win: {winners:?}") };
    assert!(losers.iter().all(|(found, _)| found.as_ref() == Some(winner)), "{losers:?}");
    assert_eq!(get(stores, &base).await.as_ref(), Some(winner));
}
