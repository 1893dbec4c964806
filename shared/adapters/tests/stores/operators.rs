//! The operations of operators' tools on a table: scan it, repair it, and store their progress.

use std::collections::BTreeMap;

use adapters::contract::sample::{KIND, key, snapshot, tenant, tombstone};
use adapters::dynamo::{DynamoViewStore, SnapshotTable};
use aws_sdk_dynamodb::types::AttributeValue;
use kernel::ids::{AggregateKey, Kind};
use kernel::ports::{Consistency, LOAD_KEYS_MAX, PortError, Projected, Snapshot, ViewReader as _, ViewWriter as _};

use super::{database, names, tables_in};

async fn views() -> DynamoViewStore {
    let client = database().await;
    tables_in(&client).await;
    DynamoViewStore::new(client, names().read)
}

/// Returns all snapshots in all segments, with the number of pages.
async fn walk(table: &SnapshotTable, segments: u32) -> (BTreeMap<AggregateKey, Snapshot>, usize) {
    let (mut met, mut pages) = (BTreeMap::new(), 0);
    for segment in 0..segments {
        let mut after = None;
        loop {
            let page = table.scan(&[KIND], segment, segments, after).await.unwrap();
            pages += 1;
            for (key, snapshot) in page.entries {
                assert!(met.insert(key, snapshot).is_none(), "met twice");
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    (met, pages)
}

#[tokio::test]
async fn a_scan_meets_each_snapshot_of_its_kind_once_in_any_number_of_segments() {
    let views = views().await;
    let (table, tenants) = (views.snapshots(), [tenant(), tenant()]);
    let mut put = BTreeMap::new();
    for number in 0..1_200_u64 {
        let key = key(&tenants[usize::from(number % 3 == 0)]);
        let view = if number % 7 == 0 { tombstone(number + 1) } else { snapshot(number + 1) };
        assert_eq!(views.put(&key, &view).await.unwrap(), Projected::Stored);
        put.insert(key, view);
    }
    let another_kind = AggregateKey { kind: Kind::new("XY"), ..key(&tenants[0]) };
    views.put(&another_kind, &snapshot(1)).await.unwrap();
    table.set_bookmark("here", b"a bookmark is no snapshot".to_vec()).await.unwrap();
    for segments in [1, 4] {
        let (met, pages) = walk(&table, segments).await;
        assert_eq!(met, put);
        assert!(pages > 2, "{pages} pages: a page is no small step");
    }
}

#[tokio::test]
async fn a_repair_replaces_what_is_as_old_and_never_what_is_newer() {
    let views = views().await;
    let (table, key) = (views.snapshots(), key(&tenant()));
    let damaged = Snapshot { body: Some("damaged".into()), ..snapshot(5) };
    table.replace_up_to(&key, &damaged).await.unwrap();
    for (put, stays) in [(snapshot(5), 5), (snapshot(4), 5), (snapshot(6), 6), (snapshot(5), 6)] {
        table.replace_up_to(&key, &put).await.unwrap();
        assert_eq!(views.get(&key, Consistency::Strong).await.unwrap(), Some(snapshot(stays)));
    }
    table.remove(&key).await.unwrap();
    table.remove(&key).await.unwrap();
    assert_eq!(views.get(&key, Consistency::Strong).await.unwrap(), None);
}

#[tokio::test]
async fn a_bookmark_is_found_again_until_it_is_removed() {
    let table = views().await.snapshots();
    assert_eq!(table.bookmark("a").await.unwrap(), None);
    for stand in [b"one".to_vec(), b"two".to_vec()] {
        table.set_bookmark("a", stand.clone()).await.unwrap();
        assert_eq!(table.bookmark("a").await.unwrap(), Some(stand));
    }
    assert_eq!(table.bookmark("b").await.unwrap(), None);
    table.remove_bookmark("a").await.unwrap();
    assert_eq!(table.bookmark("a").await.unwrap(), None);
}

#[tokio::test]
async fn a_bookmark_is_replaced_only_if_it_has_the_expected_content() {
    let table = views().await.snapshots();
    let replace = async |expected: Option<&[u8]>, next: &[u8]| {
        table.replace_bookmark("a", expected, next.to_vec()).await.unwrap()
    };
    assert!(!replace(Some(b"one"), b"two").await, "there is nothing to replace");
    assert!(replace(None, b"one").await);
    assert!(!replace(None, b"another").await, "there is one already");
    assert!(!replace(Some(b"zero"), b"another").await, "it has other content");
    assert!(replace(Some(b"one"), b"two").await);
    assert!(replace(Some(b"one"), b"two").await, "it was sent twice, because the first answer was lost");
    assert_eq!(table.bookmark("a").await.unwrap(), Some(b"two".to_vec()));
}

#[tokio::test]
async fn a_step_of_a_scan_is_as_small_as_is_wanted() {
    let views = views().await;
    let tenant = tenant();
    for number in 1..=10 {
        views.put(&key(&tenant), &snapshot(number)).await.unwrap();
    }
    let page = views.snapshots().scan_some(3, &[KIND], 0, 1, None).await.unwrap();
    assert_eq!(page.entries.len(), 3);
    let rest = views.snapshots().scan(&[KIND], 0, 1, page.next).await.unwrap();
    assert_eq!((rest.entries.len(), rest.next), (7, None));
}

#[tokio::test]
async fn a_scan_that_fails_names_the_key() {
    let client = database().await;
    tables_in(&client).await;
    let views = DynamoViewStore::new(client.clone(), names().read);
    let key = key(&tenant());
    let pk = ("pk".to_owned(), AttributeValue::S(key.to_string()));
    client.put_item().table_name(names().read).set_item(Some([pk].into())).send().await.unwrap();
    let failed = views.snapshots().scan(&[KIND], 0, 1, None).await.unwrap_err();
    assert!(matches!(&failed, PortError::Corrupt { key: found, .. } if found.contains(&key.to_string())), "{failed:?}");
    let keys = vec![key; LOAD_KEYS_MAX + 1];
    views.snapshots().load(&keys).await.unwrap_err();
}
