//! Stored items of another version of this code, or of another application.

use std::collections::HashMap;

use adapters::contract::Stores;
use adapters::contract::sample::{SHADE, applied, key, nothing, snapshot, tenant};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use kernel::ports::{CommitError, Consistency, ListQuery, PortError, Transaction};
use kernel::record::CommandRecord;

use super::{database, names, tables_in};

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn n(digits: &str) -> AttributeValue {
    AttributeValue::N(digits.to_owned())
}

async fn get(client: &Client, table: &str, pk: &str) -> HashMap<String, AttributeValue> {
    let key = HashMap::from([("pk".to_owned(), s(pk))]);
    client.get_item().table_name(table).set_key(Some(key)).send().await.unwrap().item.unwrap()
}

/// Sets or removes one attribute of a stored item.
async fn change(client: &Client, table: &str, pk: &str, name: &str, value: Option<AttributeValue>) {
    let mut item = get(client, table, pk).await;
    match value {
        Some(value) => item.insert(name.to_owned(), value),
        None => item.remove(name),
    };
    client.put_item().table_name(table).set_item(Some(item)).send().await.unwrap();
}

async fn put_record(stores: &Stores) -> (CommandRecord, Transaction) {
    let aggregate = key(&tenant());
    let record = applied(&aggregate, 1);
    let transaction = Transaction { records: vec![record.clone()], ..nothing(&aggregate) };
    stores.write.commit(&transaction).await.unwrap();
    (record, transaction)
}

#[tokio::test]
async fn a_record_that_cannot_be_read_is_corrupt() {
    let client = database().await;
    let stores = tables_in(&client).await;
    let changes = [
        ("schema", Some(n("3"))),
        ("schema", Some(n("65536"))),
        ("schema", None),
        ("status", Some(s("applied?"))),
        ("status", Some(n("1"))),
        ("status", Some(s("rejected"))),
        ("version", None),
        ("version", Some(n("-1"))),
        ("version", Some(n("1.5"))),
        ("aggregate", Some(s("nobody"))),
        ("accepted_at", None),
        ("fingerprint", Some(n("1"))),
        ("completed_at", Some(s("yesterday"))),
    ];
    for (name, value) in changes {
        let (record, transaction) = put_record(&stores).await;
        let pk = record.key.to_string();
        change(&client, &names().commands, &pk, name, value.clone()).await;
        let found = stores.records.get(&record.key).await;
        assert!(
            matches!(&found, Err(PortError::Corrupt { key, .. }) if key.contains(&pk)),
            "{name} {value:?} {found:?}"
        );
        let committed = stores.write.commit(&transaction).await;
        let is_corrupt = matches!(committed, Err(CommitError::Port(PortError::Corrupt { .. })));
        assert!(is_corrupt, "{name} {value:?} {committed:?}");
    }
}

#[tokio::test]
async fn a_view_that_cannot_be_read_is_corrupt() {
    let client = database().await;
    let stores = tables_in(&client).await;
    let changes = [
        ("version", None),
        ("version", Some(s("1"))),
        ("schema", Some(n("-3"))),
        ("body", Some(s("text"))),
        ("i1_p", Some(s("another tenant's"))),
        ("i1_s", None),
        ("expires_at", Some(s("tomorrow"))),
    ];
    for (name, value) in changes {
        let key = key(&tenant());
        stores.view_writer.put(&key, &snapshot(1)).await.unwrap();
        change(&client, &names().read, &key.to_string(), name, value.clone()).await;
        let found = stores.views.get(&key, Consistency::Strong).await;
        assert!(matches!(found, Err(PortError::Corrupt { .. })), "{name} {value:?} {found:?}");
        let query = ListQuery {
            kind: key.kind,
            tenant: key.tenant.clone(),
            slot: SHADE,
            partition: "green".to_owned(),
            sort_prefix: String::new(),
            after: None,
            limit: 1,
        };
        let page = stores.views.list(&query).await;
        assert!(matches!(page, Err(PortError::Corrupt { .. })), "{name} {value:?} {page:?}");
    }
}

#[tokio::test]
async fn attributes_that_this_code_does_not_know_are_ignored() {
    let client = database().await;
    let stores = tables_in(&client).await;
    let key = key(&tenant());
    stores.view_writer.put(&key, &snapshot(1)).await.unwrap();
    change(&client, &names().read, &key.to_string(), "later", Some(AttributeValue::Bool(true))).await;
    assert_eq!(stores.views.get(&key, Consistency::Strong).await.unwrap(), Some(snapshot(1)));
    let (record, _) = put_record(&stores).await;
    change(&client, &names().commands, &record.key.to_string(), "later", Some(AttributeValue::Bool(true))).await;
    assert_eq!(stores.records.get(&record.key).await.unwrap(), Some(record));
}

#[tokio::test]
async fn the_time_to_live_is_in_seconds() {
    let client = database().await;
    let stores = tables_in(&client).await;
    let (record, _) = put_record(&stores).await;
    let item = get(&client, &names().commands, &record.key.to_string()).await;
    assert_eq!(item["expires_at"].as_n().unwrap(), &record.expires_at().as_seconds().to_string());
}
