//! The consistency and the pages of reads. Requests are recorded, because the embedded database is always consistent and its
//! pages are full.

use std::path::Path;

use adapters::contract::sample::{ALL, KIND, applied, key, tenant};
use adapters::dynamo::{DynamoRecords, DynamoViewStore, DynamoWriteStore};
use adapters::tables::{index_partition_attribute, index_sort_attribute};
use kernel::ids::{AggregateKey, Tenant};
use kernel::ports::{Consistency, ListQuery, RecordReader as _, StateReader as _, ViewReader as _};
use serde_json::{Value, json};

use super::faults::scripted_client;
use super::names;

/// Returns the operation, the table, and whether the read is strongly consistent.
fn read((operation, body): &(String, Value)) -> (String, String, bool) {
    let (table, request) = match body["RequestItems"].as_object().and_then(|tables| tables.iter().next()) {
        Some((table, request)) => (table.as_str(), request),
        None => (body["TableName"].as_str().unwrap(), body),
    };
    (operation.clone(), table.to_owned(), request["ConsistentRead"] == true)
}

fn everything(tenant: &Tenant) -> ListQuery {
    ListQuery {
        kind: KIND,
        tenant: tenant.clone(),
        slot: ALL,
        partition: "0".to_owned(),
        sort_prefix: String::new(),
        after: None,
        limit: 20,
    }
}

#[tokio::test]
async fn every_read_is_strongly_consistent_but_for_lists_and_views_that_need_not_be() {
    let (client, requests) = scripted_client(|_, _| (200, json!({}))).await;
    let (names, tenant) = (names(), tenant());
    let (key, list) = (key(&tenant), everything(&tenant));
    let write = DynamoWriteStore::new(&client, &names);
    let views = DynamoViewStore::new(client.clone(), names.read.clone());
    let records = DynamoRecords::new(client.clone(), names.commands.clone());
    let states = write.snapshots();

    write.load(std::slice::from_ref(&key)).await.unwrap();
    views.snapshots().load(std::slice::from_ref(&key)).await.unwrap();
    records.get(&applied(&key, 1).key).await.unwrap();
    states.get(&key, Consistency::Strong).await.unwrap();
    views.get(&key, Consistency::Strong).await.unwrap();
    states.bookmark("here").await.unwrap();
    states.scan(&[KIND], 0, 1, None).await.unwrap();
    states.scan_some(7, &[KIND], 0, 1, None).await.unwrap();
    let strong = requests.lock().unwrap().len();
    states.get(&key, Consistency::Eventual).await.unwrap();
    views.get(&key, Consistency::Eventual).await.unwrap();
    // A global secondary index has only eventually consistent reads.
    states.list(&list).await.unwrap();
    views.list(&list).await.unwrap();

    let due = [
        ("BatchGetItem", &names.write),
        ("BatchGetItem", &names.read),
        ("GetItem", &names.commands),
        ("GetItem", &names.write),
        ("GetItem", &names.read),
        ("GetItem", &names.write),
        ("Scan", &names.write),
        ("Scan", &names.write),
        ("GetItem", &names.write),
        ("GetItem", &names.read),
        ("Query", &names.write),
        ("Query", &names.read),
    ];
    let due = due.into_iter().enumerate();
    let due: Vec<_> =
        due.map(|(index, (operation, table))| (operation.to_owned(), table.clone(), index < strong)).collect();
    assert_eq!(requests.lock().unwrap().iter().map(read).collect::<Vec<_>>(), due);
}

/// Returns how often a text occurs in the Rust files of a directory and its subdirectories.
fn count(directory: &Path, text: &str) -> usize {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let counts = entries.map(|path| match path.is_dir() {
        true => count(&path, text),
        false => std::fs::read_to_string(path).unwrap().matches(text).count(),
    });
    counts.sum()
}

#[test]
fn no_read_is_missing_in_the_list_above() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let reads = [
        (".batch_get_item()", 1),
        (".get_item()", 3),
        (".scan()", 1),
        (".query()", 1),
        (".transact_get_items()", 0),
        (".execute_statement()", 0),
    ];
    for (call, times) in reads {
        assert_eq!(count(&source, call), times, "{call}: name the new read in the test above");
    }
}

/// Returns the item of a view in the list of all.
fn entry(key: &AggregateKey) -> Value {
    let text = |text: String| json!({ "S": text });
    json!({ "pk": text(key.to_string()), "version": { "N": "1" }, "schema": { "N": "1" },
        index_partition_attribute(ALL): text(format!("{KIND}#{}#0", key.tenant)),
        index_sort_attribute(ALL): text("s".to_owned()) })
}

#[tokio::test]
async fn a_page_that_the_service_ends_early_is_not_the_last_one() {
    let tenant = tenant();
    let key = key(&tenant);
    let found = entry(&key);
    let answer = json!({ "Items": [found], "LastEvaluatedKey": found });
    let (client, requests) = scripted_client(move |_, _| (200, answer.clone())).await;
    let page = DynamoViewStore::new(client, names().read).list(&everything(&tenant)).await.unwrap();
    assert_eq!((page.entries.len(), page.entries[0].0.id, page.more), (1, key.id, true));
    assert_eq!(requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn an_empty_page_that_the_service_ends_early_is_continued() {
    let tenant = tenant();
    let (passed, found) = (entry(&key(&tenant)), entry(&key(&tenant)));
    let end = passed.clone();
    let script = move |n: usize, _: &Value| match n {
        0 | 1 => (200, json!({ "Items": [], "LastEvaluatedKey": end })),
        _ => (200, json!({ "Items": [found] })),
    };
    let (client, requests) = scripted_client(script).await;
    let page = DynamoViewStore::new(client, names().read).list(&everything(&tenant)).await.unwrap();
    assert_eq!((page.entries.len(), page.more), (1, false));
    let requests = requests.lock().unwrap();
    let starts: Vec<_> = requests.iter().map(|(_, body)| body["ExclusiveStartKey"].clone()).collect();
    assert_eq!(starts, [Value::Null, passed.clone(), passed]);
}

#[tokio::test]
async fn a_short_or_empty_step_of_a_scan_is_not_the_last_one() {
    let tenant = tenant();
    let (view, unique_key) = (entry(&key(&tenant)), json!({ "pk": { "S": "Q#unique_key" } }));
    for (items, met) in [(json!([]), 0), (json!([unique_key]), 0), (json!([unique_key, view]), 1)] {
        let answer = json!({ "Items": items, "LastEvaluatedKey": { "pk": { "S": "here" } } });
        let (client, _) = scripted_client(move |_, _| (200, answer.clone())).await;
        let states = DynamoWriteStore::new(&client, &names()).snapshots();
        for page in
            [states.scan(&[KIND], 0, 1, None).await.unwrap(), states.scan_some(9, &[KIND], 0, 1, None).await.unwrap()]
        {
            assert_eq!((page.entries.len(), page.next.as_deref()), (met, Some("here")));
        }
    }
}
