//! The invariants at rest, after faults have stopped and the queue is empty.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kernel::ids::{AggregateKey, CommandId, Tenant};
use kernel::ports::{Snapshot, UniqueKey};
use kernel::projection::Projection;
use kernel::query::ListRequest;
use kernel::record::CommandRecord;
use serde_json::Value;
use service::stages::Cache;
use tokio::time::Instant;

use crate::functions::{self, REORDER_WINDOW, Reader};
use crate::history::{Invariant, Judge, is_final, later};
use crate::model::Item;
use crate::resources::{self, AnyResource};
use crate::world::World;

/// Checks all invariants at rest.
pub(crate) async fn at_rest(world: &Arc<World>) {
    let rest =
        Rest { states: world.stores.all_states(), records: world.stores.all_records().into_values().collect(), world };
    rest.commands_have_ended();
    rest.states_are_the_fold_of_what_was_applied();
    rest.read_store_equals_write_store();
    rest.cache_equals_write_store();
    rest.unique_keys_are_those_of_live_items();
    rest.fifo_order_was_kept();
    rest.sessions_were_kept_in_order();
    rest.lists_are_complete().await;
}

/// The views of a read store.
pub(crate) type Views = BTreeMap<AggregateKey, Snapshot>;

struct Rest<'a> {
    world: &'a Arc<World>,
    states: BTreeMap<AggregateKey, Snapshot>,
    records: Vec<CommandRecord>,
}

impl Rest<'_> {
    fn violated(&self, invariant: Invariant, detail: String) {
        self.world.history.violated(invariant, detail);
    }

    fn commands_have_ended(&self) {
        let statuses: BTreeMap<_, _> = self.records.iter().map(|record| (record.key.command, &record.status)).collect();
        let mut lost = Vec::new();
        for (command, taken) in &self.world.history.lock().commands {
            if !statuses.get(command).is_some_and(|status| is_final(status)) {
                lost.push(format!("{command} ({taken:?}) is {:?}", statuses.get(command)));
            }
        }
        for detail in lost {
            self.violated(Invariant::EndsOnce, detail);
        }
    }

    /// Returns the records of each item.
    fn by_aggregate(&self) -> BTreeMap<AggregateKey, Vec<&CommandRecord>> {
        let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for record in &self.records {
            // The history reports such a record when it is written.
            let Some(resource) = service::resources::of_kind(record.kind.as_deref()) else { continue };
            let tenant = record.key.tenant.clone();
            let key = AggregateKey { kind: resource.kind, tenant, id: record.aggregate };
            groups.entry(key).or_default().push(record);
        }
        groups
    }

    /// Checks that the states result from the applied commands, and that each other command had a reason to have no effect.
    fn states_are_the_fold_of_what_was_applied(&self) {
        let mut groups = self.by_aggregate();
        for key in self.states.keys() {
            groups.entry(key.clone()).or_default();
        }
        let events = self.world.history.lock();
        let mut wrong = Vec::new();
        for (key, records) in &groups {
            let Some(resource) = resources::of_key(key) else { continue };
            let (stored, world) = (self.states.get(key), self.world);
            wrong.extend(resource.wrong(&Item { world, events: &events, key, records, stored }));
        }
        drop(events);
        for (invariant, detail) in wrong {
            self.violated(invariant, detail);
        }
    }

    fn expected_views(&self, projection: Projection) -> Views {
        let view = |(key, state): (&AggregateKey, &Snapshot)| {
            Some((key.clone(), service::resources::view(key, state, projection)?))
        };
        self.states.iter().filter_map(view).collect()
    }

    fn read_store_equals_write_store(&self) {
        for projection in self.world.deployments.latest().written() {
            self.read_store_shows(projection);
        }
    }

    fn read_store_shows(&self, projection: Projection) {
        let (expected, found) = (self.expected_views(projection), self.world.all_views_of(projection));
        let keys: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
        for key in keys {
            let show = |view: Option<&Snapshot>| view.map(|view| (view.version, view.body.clone(), view.index.clone()));
            let (expected, found) = (show(expected.get(key)), show(found.get(key)));
            if expected != found {
                self.violated(
                    Invariant::ReadStoreEqual,
                    format!("{projection} {key} is {expected:?}, but {found:?} is shown"),
                );
            }
        }
    }

    /// Checks that the shared cache has no stale entry, unless a fault may have prevented an update. Entries do not matter if the
    /// stage does not read the cache.
    fn cache_equals_write_store(&self) {
        if !self.world.cache_is_told() || !self.world.deployments.latest().row.has(Cache::Redis) {
            return;
        }
        let expected = self.expected_views(Projection::FIRST);
        let by_cache_key: BTreeMap<_, _> =
            expected.iter().map(|(key, view)| (Projection::FIRST.cache_key(key), view)).collect();
        for (key, cached) in self.world.cache.views() {
            let (version, body) =
                by_cache_key.get(&key).map(|view| (view.version, view.body.clone())).unwrap_or_default();
            if (cached.version, &cached.body) != (version, &body) {
                self.violated(Invariant::CacheEqual, format!("{key} is {version}, but {} is cached", cached.version));
            }
        }
    }

    /// Returns the unique keys of all items.
    fn unique_keys(&self) -> impl Iterator<Item = (UniqueKey, &AggregateKey)> {
        let unique_keys = |(key, state)| Some((resources::of_key(key)?.unique_keys(key, state), key));
        self.states
            .iter()
            .filter_map(unique_keys)
            .flat_map(|(unique_keys, key)| unique_keys.into_iter().map(move |unique_key| (unique_key, key)))
    }

    fn unique_keys_are_those_of_live_items(&self) {
        let mut expected = BTreeMap::new();
        for (unique_key, key) in self.unique_keys() {
            if let Some(other) = expected.insert(unique_key, key.clone()) {
                self.violated(Invariant::UniqueKeys, format!("{key} and {other} have one unique value"));
            }
        }
        let found = self.world.stores.all_unique_keys();
        if found != expected {
            self.violated(Invariant::UniqueKeys, format!("{expected:?} are due, but {found:?} are held"));
        }
        for unique_key in found.into_keys() {
            self.is_of_one_kind(&unique_key);
        }
    }

    /// Checks that no other resource can have the same key, even with a field of the same name and value.
    fn is_of_one_kind(&self, unique_key: &UniqueKey) {
        for other in resources::all().iter().map(|resource| resource.kind()).filter(|kind| *kind != unique_key.kind) {
            let of_other = UniqueKey { kind: other, ..unique_key.clone() };
            if of_other.to_string() == unique_key.to_string() {
                self.violated(
                    Invariant::KindsApart,
                    format!("{unique_key} may be a key of {} and of {other}", unique_key.kind),
                );
            }
        }
    }

    /// Checks that each ordered command was judged after the commands before it in its session, unless the reorder window had
    /// passed.
    fn sessions_were_kept_in_order(&self) {
        let events = self.world.history.lock();
        let places: BTreeMap<_, _> =
            events.judged.iter().enumerate().map(|(place, command)| (*command, place)).collect();
        let made: BTreeMap<_, _> = self.records.iter().map(|record| (record.key.command, record)).collect();
        let mut overtaken = Vec::new();
        for record in &self.records {
            let command = record.key.command;
            let operation = events.commands.get(&command).and_then(|taken| events.operations.get(taken.operation));
            let (Some(operation), Some(judged)) = (operation, places.get(&command)) else { continue };
            let has_waited = record.completed_at.is_some_and(|at| later(at, record.accepted_at) >= REORDER_WINDOW);
            let is_later = |earlier: &CommandId| places.get(earlier).is_none_or(|place| place > judged);
            let is_newer = |earlier: &CommandId| {
                let earlier = made.get(earlier).filter(|earlier| earlier.aggregate == record.aggregate);
                earlier.is_some_and(|earlier| earlier.status.version() > record.status.version())
            };
            let earlier = operation.after.iter().filter(|earlier| is_later(earlier) || is_newer(earlier));
            overtaken.extend(earlier.filter(|_| !has_waited).map(|earlier| (*earlier, command)));
        }
        drop(events);
        for (earlier, command) in overtaken {
            self.violated(
                Invariant::OrderedInSession,
                format!("{command} was judged before {earlier}, or on top of an older version"),
            );
        }
    }

    /// Checks that ingest judged the commands for each item in the order of sending. Synchronous commands bypass the queue. A
    /// redrive changes the order, so a run with one is not checked.
    fn fifo_order_was_kept(&self) {
        if !self.world.setup.fifo || self.world.history.lock().redriven {
            return;
        }
        for (key, records) in self.by_aggregate() {
            let events = self.world.history.lock();
            let place = |record: &&&CommandRecord| events.commands.get(&record.key.command).map(|taken| taken.place);
            let through_queue =
                |record: &&&CommandRecord| events.judges.get(&record.key.command) == Some(&Judge::Ingest);
            let mut sent: Vec<_> = records.iter().filter(through_queue).collect();
            sent.sort_by_key(place);
            let versions: Vec<_> = sent.iter().filter_map(|record| record.status.version()).collect();
            drop(events);
            if !versions.is_sorted() {
                self.violated(Invariant::FifoOrder, format!("{key}: judged at {versions:?} in the order of sending"));
            }
        }
    }

    async fn lists_are_complete(&self) {
        let reader = functions::reader(self.world, &self.world.deployments.latest());
        for (tenant, resource) in self.world.tenants.iter().flat_map(all_with) {
            let is_of_it = |key: &AggregateKey| key.tenant == *tenant && key.kind == resource.kind();
            let live = self.states.iter().filter(|(key, state)| is_of_it(key) && state.body.is_some());
            let mut expected: Vec<_> = live.map(|(key, _)| key.id.to_string()).collect();
            let mut found = pages(&reader, tenant, resource).await;
            expected.sort();
            found.sort();
            if expected != found {
                let name = resource.description().collection;
                let detail = format!("{tenant}: {expected:?} exist, {found:?} are listed among {name}");
                self.violated(Invariant::ListsComplete, detail);
            }
        }
    }
}

/// Returns the tenant, paired with each resource.
fn all_with(tenant: &Tenant) -> impl Iterator<Item = (&Tenant, &'static dyn AnyResource)> {
    resources::all().iter().map(move |resource| (tenant, *resource))
}

/// Returns the ids on all pages of the list of all items, with two items on a page.
async fn pages(reader: &Reader, tenant: &Tenant, resource: &dyn AnyResource) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), None::<String>);
    let Some(all) = resource.list_of_all() else { return ids };
    loop {
        let request = ListRequest { scope: all.clone(), tenant, cursor: cursor.as_deref(), limit: 2 };
        let Ok(page) = reader.of(resource.kind()).lists.page(&request).await else { return ids };
        ids.extend(listed(&page.body));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return ids;
        }
    }
}

/// Returns the ids on a page.
pub(crate) fn listed(body: &[u8]) -> Vec<String> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let items = body.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    items.iter().filter_map(|item| item.get("id")?.as_str().map(ToOwned::to_owned)).collect()
}

/// Returns a deadline of 6 hours from now. A run that is not over by then never ends.
pub(crate) fn far_away() -> Instant {
    Instant::now() + Duration::from_hours(6)
}
