//! The contract of a read store. The write store keeps the same contract for reads and lists.

use kernel::clock::Timestamp;
use kernel::ids::{AggregateKey, Kind, Tenant};
use kernel::ports::{
    Consistency, IndexEntry, ListQuery, Page, Position, Projected, Snapshot, StateChange, Transaction, ViewReader,
};
use tokio::task::JoinSet;

use super::sample::{ALL, KIND, SHADE, key, nothing, snapshot, tenant, tombstone};
use super::{Stores, run};

/// Runs all checks.
pub async fn suite(stores: &Stores) {
    run!(
        stores,
        a_view_is_read_back_whole,
        a_time_to_live_is_kept_in_whole_seconds,
        an_older_or_equal_version_changes_nothing,
        a_tombstone_is_read_but_not_listed_and_not_replaced_by_what_is_older,
        of_racing_versions_the_highest_stays,
        a_view_appears_only_in_the_lists_that_it_has_an_entry_in,
        a_view_moves_when_its_entry_changes,
        pages_of_any_size_make_up_the_list,
        the_last_page_says_that_there_is_no_more,
        a_list_goes_on_after_an_entry_that_is_gone,
        a_prefix_narrows_a_list,
        a_position_outside_the_prefix_is_before_or_after_all,
        a_limit_is_at_least_one_and_at_most_a_hundred,
        lists_of_two_tenants_and_two_kinds_are_apart,
        states_are_read_and_listed_like_views,
    );
}

async fn get(stores: &Stores, key: &AggregateKey) -> Option<Snapshot> {
    let strong = stores.views.get(key, Consistency::Strong).await.unwrap();
    assert_eq!(stores.views.get(key, Consistency::Eventual).await.unwrap(), strong);
    strong
}

async fn put(stores: &Stores, key: &AggregateKey, view: &Snapshot) {
    assert_eq!(stores.view_writer.put(key, view).await.unwrap(), Projected::Stored);
}

/// Returns a view with one entry, in the index of all.
fn at(sort: &str) -> Snapshot {
    let entry = IndexEntry { slot: ALL, partition: "0".to_owned(), sort: sort.to_owned() };
    Snapshot { index: vec![entry], ..snapshot(1) }
}

fn query(tenant: &Tenant) -> ListQuery {
    ListQuery {
        kind: KIND,
        tenant: tenant.clone(),
        slot: ALL,
        partition: "0".to_owned(),
        sort_prefix: String::new(),
        after: None,
        limit: 100,
    }
}

/// Puts a view at each sort key, in another order than that of the keys.
async fn put_at(stores: &Stores, tenant: &Tenant, sorts: &[&str]) -> Vec<AggregateKey> {
    let keys: Vec<_> = sorts.iter().map(|_| key(tenant)).collect();
    for (key, sort) in keys.iter().zip(sorts).rev() {
        put(stores, key, &at(sort)).await;
    }
    keys
}

fn sorts(page: &Page) -> Vec<&str> {
    page.entries.iter().map(|(position, _)| position.sort.as_str()).collect()
}

async fn list(stores: &Stores, query: &ListQuery) -> Page {
    stores.views.list(query).await.unwrap()
}

async fn a_view_is_read_back_whole(stores: &Stores) {
    let key = key(&tenant());
    assert_eq!(get(stores, &key).await, None);
    for view in [snapshot(1), tombstone(2), Snapshot { index: Vec::new(), ..snapshot(u64::MAX) }] {
        put(stores, &key, &view).await;
        assert_eq!(get(stores, &key).await, Some(view));
    }
}

async fn a_time_to_live_is_kept_in_whole_seconds(stores: &Stores) {
    let key = key(&tenant());
    put(stores, &key, &Snapshot { expires_at: Some(Timestamp::from_micros(5_999_999)), ..tombstone(1) }).await;
    let kept = Snapshot { expires_at: Some(Timestamp::from_micros(5_000_000)), ..tombstone(1) };
    assert_eq!(get(stores, &key).await, Some(kept));
}

async fn an_older_or_equal_version_changes_nothing(stores: &Stores) {
    let key = key(&tenant());
    put(stores, &key, &snapshot(10)).await;
    for version in [1, 9, 10] {
        let other = Snapshot { body: Some("other".into()), ..snapshot(version) };
        assert_eq!(stores.view_writer.put(&key, &other).await.unwrap(), Projected::Newer);
        assert_eq!(get(stores, &key).await, Some(snapshot(10)));
    }
    put(stores, &key, &snapshot(11)).await;
    assert_eq!(get(stores, &key).await, Some(snapshot(11)));
}

async fn a_tombstone_is_read_but_not_listed_and_not_replaced_by_what_is_older(stores: &Stores) {
    let tenant = tenant();
    let key = key(&tenant);
    put(stores, &key, &at("a")).await;
    assert_eq!(sorts(&list(stores, &query(&tenant)).await), ["a"]);
    put(stores, &key, &tombstone(3)).await;
    assert_eq!(stores.view_writer.put(&key, &Snapshot { version: 2, ..at("a") }).await.unwrap(), Projected::Newer);
    assert_eq!(get(stores, &key).await, Some(tombstone(3)));
    assert_eq!(list(stores, &query(&tenant)).await, Page { entries: Vec::new(), more: false });
}

async fn of_racing_versions_the_highest_stays(stores: &Stores) {
    let key = key(&tenant());
    let mut tasks = JoinSet::new();
    for version in 1..=16 {
        let (writer, key) = (stores.view_writer.clone(), key.clone());
        tasks.spawn(async move { writer.put(&key, &snapshot(version)).await.unwrap() });
    }
    tasks.join_all().await;
    assert_eq!(get(stores, &key).await, Some(snapshot(16)));
}

async fn a_view_appears_only_in_the_lists_that_it_has_an_entry_in(stores: &Stores) {
    let tenant = tenant();
    let (in_both, in_all) = (key(&tenant), key(&tenant));
    put(stores, &in_both, &snapshot(1)).await;
    put(stores, &in_all, &at("t")).await;
    put(stores, &key(&tenant), &Snapshot { index: Vec::new(), ..snapshot(1) }).await;
    assert_eq!(sorts(&list(stores, &query(&tenant)).await), ["s", "t"]);
    let green = ListQuery { slot: SHADE, partition: "green".to_owned(), ..query(&tenant) };
    let position = Position { sort: "s".to_owned(), id: in_both.id };
    assert_eq!(list(stores, &green).await, Page { entries: vec![(position, snapshot(1))], more: false });
    let red = ListQuery { partition: "red".to_owned(), ..green };
    assert_eq!(sorts(&list(stores, &red).await), [""; 0]);
}

async fn a_view_moves_when_its_entry_changes(stores: &Stores) {
    let tenant = tenant();
    let key = key(&tenant);
    put(stores, &key, &snapshot(1)).await;
    let mut moved = snapshot(2);
    for entry in &mut moved.index {
        "red".clone_into(&mut entry.partition);
        "z".clone_into(&mut entry.sort);
    }
    put(stores, &key, &moved).await;
    let green = ListQuery { slot: SHADE, partition: "green".to_owned(), ..query(&tenant) };
    assert_eq!(list(stores, &green).await.entries, []);
    let red = ListQuery { partition: "red".to_owned(), ..green };
    assert_eq!(list(stores, &red).await.entries, [(Position { sort: "z".to_owned(), id: key.id }, moved)]);
}

async fn pages_of_any_size_make_up_the_list(stores: &Stores) {
    let tenant = tenant();
    let expected = ["", "A", "Z", "a", "a#1", "a#10", "a#2", "b", "\u{e9}", "\u{ffff}", "\u{10000}"];
    // An empty sort key cannot be stored.
    put_at(stores, &tenant, &expected[1..]).await;
    for limit in 1..=11 {
        let mut found = Vec::new();
        let mut next = ListQuery { limit, ..query(&tenant) };
        loop {
            let page = list(stores, &next).await;
            assert!(page.entries.len() <= limit);
            found.extend(sorts(&page).into_iter().map(str::to_owned));
            next.after = page.entries.last().map(|(position, _)| position.clone());
            if !page.more {
                break;
            }
        }
        assert_eq!(found, expected[1..], "{limit}");
    }
}

async fn the_last_page_says_that_there_is_no_more(stores: &Stores) {
    let tenant = tenant();
    put_at(stores, &tenant, &["a", "b", "c"]).await;
    for (limit, more) in [(2, true), (3, false), (4, false)] {
        assert_eq!(list(stores, &ListQuery { limit, ..query(&tenant) }).await.more, more, "{limit}");
    }
}

async fn a_list_goes_on_after_an_entry_that_is_gone(stores: &Stores) {
    let tenant = tenant();
    let keys = put_at(stores, &tenant, &["a", "b", "c", "d"]).await;
    let page = list(stores, &ListQuery { limit: 2, ..query(&tenant) }).await;
    let after = page.entries.last().map(|(position, _)| position.clone());
    put(stores, &keys[1], &tombstone(2)).await;
    assert_eq!(sorts(&list(stores, &ListQuery { after, ..query(&tenant) }).await), ["c", "d"]);
}

async fn a_prefix_narrows_a_list(stores: &Stores) {
    let tenant = tenant();
    put_at(stores, &tenant, &["a", "ab", "abc", "abd", "ac", "b"]).await;
    let narrow = ListQuery { sort_prefix: "ab".to_owned(), limit: 2, ..query(&tenant) };
    let page = list(stores, &narrow).await;
    assert_eq!((sorts(&page), page.more), (vec!["ab", "abc"], true));
    let after = page.entries.last().map(|(position, _)| position.clone());
    let page = list(stores, &ListQuery { after, ..narrow }).await;
    assert_eq!((sorts(&page), page.more), (vec!["abd"], false));
}

async fn a_position_outside_the_prefix_is_before_or_after_all(stores: &Stores) {
    let tenant = tenant();
    let keys = put_at(stores, &tenant, &["a", "ba", "bb", "c"]).await;
    for (key, sort, expected) in [(&keys[0], "a", vec!["ba", "bb"]), (&keys[3], "c", vec![])] {
        let after = Some(Position { sort: sort.to_owned(), id: key.id });
        let page = list(stores, &ListQuery { sort_prefix: "b".to_owned(), after, ..query(&tenant) }).await;
        assert_eq!((sorts(&page), page.more), (expected, false));
    }
}

async fn a_limit_is_at_least_one_and_at_most_a_hundred(stores: &Stores) {
    let tenant = tenant();
    for n in 0..101 {
        put(stores, &key(&tenant), &at(&format!("{n:03}"))).await;
    }
    for (limit, expected) in [(0, 1), (1, 1), (99, 99), (100, 100), (usize::MAX, 100)] {
        let page = list(stores, &ListQuery { limit, ..query(&tenant) }).await;
        assert_eq!((page.entries.len(), page.more), (expected, true), "{limit}");
    }
}

/// All of them use the same partition.
async fn lists_of_two_tenants_and_two_kinds_are_apart(stores: &Stores) {
    let (mine, other) = (tenant(), tenant());
    put_at(stores, &mine, &["a"]).await;
    put_at(stores, &other, &["b"]).await;
    put(stores, &AggregateKey { kind: Kind::new("Y"), ..key(&mine) }, &at("c")).await;
    assert_eq!(sorts(&list(stores, &query(&mine)).await), ["a"]);
    assert_eq!(sorts(&list(stores, &query(&other)).await), ["b"]);
    assert_eq!(sorts(&list(stores, &ListQuery { kind: Kind::new("Y"), ..query(&mine) }).await), ["c"]);
    assert_eq!(sorts(&list(stores, &ListQuery { tenant: tenant(), ..query(&mine) }).await), [""; 0]);
}

async fn states_are_read_and_listed_like_views(stores: &Stores) {
    let tenant = tenant();
    let key = key(&tenant);
    let states: &dyn ViewReader = &*stores.states;
    assert_eq!(states.get(&key, Consistency::Strong).await.unwrap(), None);
    let commit = async |expected, next: Snapshot| {
        let state = Some(StateChange { expected, next });
        stores.write.commit(&Transaction { state, ..nothing(&key) }).await.unwrap();
    };
    commit(0, snapshot(1)).await;
    assert_eq!(states.get(&key, Consistency::Strong).await.unwrap(), Some(snapshot(1)));
    let position = Position { sort: "s".to_owned(), id: key.id };
    let page = states.list(&query(&tenant)).await.unwrap();
    assert_eq!(page, Page { entries: vec![(position, snapshot(1))], more: false });
    assert_eq!(list(stores, &query(&tenant)).await.entries, [], "a state is no view");
    commit(1, tombstone(2)).await;
    assert_eq!(states.get(&key, Consistency::Eventual).await.unwrap(), Some(tombstone(2)));
    assert_eq!(states.list(&query(&tenant)).await.unwrap().entries, []);
}
