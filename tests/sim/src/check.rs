//! What must hold when faults have stopped and everything is at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kernel::apply::Aggregate;
use kernel::domain::Domain;
use kernel::envelope::Expected;
use kernel::ids::{AggregateKey, Stamp, Tenant};
use kernel::ports::Snapshot;
use kernel::project::Projection;
use kernel::query::ListRequest;
use kernel::record::{CommandRecord, CommandStatus};
use serde_json::Value;
use service::stages::{Answer, Cache};
use tokio::time::Instant;
use users::field::{Email, Name, Status};
use users::list::Filter;
use users::{Patch, User, UserCommand, UserState};

use crate::functions::{self, HORIZON};
use crate::history::{Events, Invariant, Judge, is_final, later};
use crate::world::World;

/// Checks a world at rest.
pub(crate) async fn at_rest(world: &Arc<World>) {
    let rest =
        Rest { states: world.stores.all_states(), records: world.stores.all_records().into_values().collect(), world };
    rest.commands_have_ended();
    rest.states_are_the_fold_of_what_was_applied();
    rest.read_store_equals_write_store();
    rest.cache_equals_write_store();
    rest.claims_are_those_of_live_users();
    rest.fifo_order_was_kept();
    rest.lists_are_complete().await;
}

/// What a read store holds.
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

    /// The records of one user, in the order of the versions that they made or were judged against.
    fn by_aggregate(&self) -> BTreeMap<AggregateKey, Vec<&CommandRecord>> {
        let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for record in &self.records {
            let key = crate::history::user_key(&record.key.tenant, record.aggregate);
            groups.entry(key).or_default().push(record);
        }
        groups
    }

    /// What is stored is what the applied commands come to; and what was not applied had a reason.
    fn states_are_the_fold_of_what_was_applied(&self) {
        let mut groups = self.by_aggregate();
        for key in self.states.keys() {
            groups.entry(key.clone()).or_default();
        }
        let events = self.world.history.lock();
        let mut wrong = Vec::new();
        for (key, records) in groups {
            match fold(&events, &records, self.states.get(&key)) {
                Ok(users) => wrong.extend(records.iter().filter_map(|record| {
                    let (invariant, why) = judged_rightly(self.world, &events, record, &users).err()?;
                    Some((invariant, format!("{record:?}: {why}")))
                })),
                Err(detail) => wrong.push((Invariant::FoldOfApplied, format!("{key}: {detail}"))),
            }
        }
        drop(events);
        for (invariant, detail) in wrong {
            self.violated(invariant, detail);
        }
    }

    fn expected_views(&self, projection: Projection) -> Views {
        let view = |(key, state): (&AggregateKey, &Snapshot)| {
            Some((key.clone(), Aggregate::<User>::decode(Some(state)).ok()?.view(key, projection)))
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

    /// Where nothing kept the cache from being told, it holds nothing old. What is left there when nobody asks it any more
    /// does not matter.
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

    fn live(&self) -> impl Iterator<Item = (&AggregateKey, UserState)> {
        let state = |snapshot| Aggregate::<User>::decode(Some(snapshot)).ok().and_then(|aggregate| aggregate.state);
        self.states.iter().filter_map(move |(key, snapshot)| Some((key, state(snapshot)?)))
    }

    fn claims_are_those_of_live_users(&self) {
        let mut expected = BTreeMap::new();
        for (key, state) in self.live() {
            for claim in User::claims(&key.tenant, &state) {
                if let Some(other) = expected.insert(claim, key.clone()) {
                    self.violated(Invariant::Claims, format!("{key} and {other} have one email address"));
                }
            }
        }
        let found = self.world.stores.all_claims();
        if found != expected {
            self.violated(Invariant::Claims, format!("{expected:?} are due, but {found:?} are held"));
        }
    }

    /// What was sent earlier was judged earlier, unless it had died in between. What was judged where it came in went past
    /// the queue.
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
        for tenant in &self.world.tenants {
            let mut expected: Vec<_> =
                self.live().filter(|(key, _)| key.tenant == *tenant).map(|(key, _)| key.id.to_string()).collect();
            let mut found = pages(&reader, tenant).await;
            expected.sort();
            found.sort();
            if expected != found {
                self.violated(Invariant::ListsComplete, format!("{tenant}: {expected:?} exist, {found:?} are listed"));
            }
        }
    }
}

/// The identities on all pages of the list of all users, two a page.
async fn pages(reader: &functions::Reader, tenant: &Tenant) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let request = ListRequest { scope: Filter::All.scope(), tenant, cursor: cursor.as_deref(), limit: 2 };
        let Ok(page) = reader.lists.page(&request).await else { return ids };
        let body: Value = serde_json::from_slice(&page.body).unwrap_or_default();
        let items = body.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
        ids.extend(items.iter().filter_map(|item| item.get("id")?.as_str().map(ToOwned::to_owned)));
        cursor = page.next_cursor;
        if cursor.is_none() {
            return ids;
        }
    }
}

/// A user by a second, simpler reading of the contract.
#[derive(Debug, Clone, PartialEq)]
struct Model {
    name: (Name, Stamp),
    email: (Email, Stamp),
    status: (Status, Stamp),
}

impl Model {
    fn latest(&self) -> Stamp {
        self.name.1.max(self.email.1).max(self.status.1)
    }

    /// Whether all fields of the patch had been set later.
    fn is_later_than(&self, patch: &Patch, stamp: Stamp) -> bool {
        patch.name.as_ref().is_none_or(|_| self.name.1 >= stamp)
            && patch.email.as_ref().is_none_or(|_| self.email.1 >= stamp)
            && patch.status.as_ref().is_none_or(|_| self.status.1 >= stamp)
    }

    fn set(&mut self, patch: &Patch, stamp: Stamp) {
        set(&mut self.name, patch.name.as_ref(), stamp);
        set(&mut self.email, patch.email.as_ref(), stamp);
        set(&mut self.status, patch.status.as_ref(), stamp);
    }
}

fn set<T: Clone>(field: &mut (T, Stamp), value: Option<&T>, stamp: Stamp) {
    if let Some(value) = value.filter(|_| stamp > field.1) {
        *field = (value.clone(), stamp);
    }
}

fn patch_of(command: &UserCommand) -> Patch {
    match command {
        UserCommand::Create(details) | UserCommand::Replace(details) => Patch::from(details.clone()),
        UserCommand::Update(patch) => patch.clone(),
        UserCommand::Delete => Patch::default(),
    }
}

/// Folds the applied commands of one user, and compares what comes out with what is stored. Returns the user at each
/// version, from 0.
fn fold(events: &Events, records: &[&CommandRecord], stored: Option<&Snapshot>) -> Result<Vec<Option<Model>>, String> {
    let applied = records.iter().filter_map(|record| match record.status {
        CommandStatus::Applied { version } => Some((version, *record)),
        _ => None,
    });
    let mut applied: Vec<_> = applied.collect();
    applied.sort_by_key(|(version, _)| *version);
    let versions: Vec<_> = applied.iter().map(|(version, _)| *version).collect();
    if !versions.iter().copied().eq(1..=versions.len() as u64) {
        return Err(format!("commands made the versions {versions:?}"));
    }
    let mut users = vec![None];
    for (version, record) in &applied {
        let taken = events.commands.get(&record.key.command).ok_or("an unknown command was applied")?;
        let operation = events.operations.get(taken.operation).ok_or("an unknown operation")?;
        if let Expected::Version(expected) = operation.expected
            && expected + 1 != *version
        {
            return Err(format!("a command on top of {expected} made {version}"));
        }
        if operation.excluded.as_ref().is_some_and(|excluded| excluded.has(version - 1)) {
            return Err(format!("a command that excludes the version before {version} made it"));
        }
        let before = users.last().cloned().flatten();
        let after = step(before, &operation.command, operation.expected, taken.stamp);
        users.push(after.ok_or_else(|| format!("version {version} was made of nothing by {:?}", operation.command))?);
    }
    let stored_version = stored.map_or(0, |stored| stored.version);
    if stored_version != versions.len() as u64 {
        return Err(format!("{} commands were applied, but {stored_version} is stored", versions.len()));
    }
    let state = Aggregate::<User>::decode(stored).map_err(|error| error.to_string())?.state;
    let found = state.map(|state| Model {
        name: (state.name.value, state.name.stamp),
        email: (state.email.value, state.email.stamp),
        status: (state.status.value, state.status.stamp),
    });
    match users.last() {
        Some(due) if *due != found => Err(format!("{due:?} is due, but {found:?} is stored")),
        _ => Ok(users),
    }
}

/// `None` where the command cannot have been applied to what was there.
#[expect(clippy::option_option, reason = "the inner one is the user, who may be gone")]
fn step(user: Option<Model>, command: &UserCommand, expected: Expected, stamp: Stamp) -> Option<Option<Model>> {
    match (command, user) {
        (UserCommand::Create(details), None) => Some(Some(Model {
            name: (details.name.clone(), stamp),
            email: (details.email.clone(), stamp),
            status: (details.status, stamp),
        })),
        (UserCommand::Delete, Some(_)) => Some(None),
        (UserCommand::Replace(_) | UserCommand::Update(_), Some(mut user)) => {
            let stamp = match expected {
                Expected::Version(_) => stamp.winning_over(user.latest()),
                Expected::Unsaid | Expected::Exists => stamp,
            };
            user.set(&patch_of(command), stamp);
            Some(Some(user))
        }
        (UserCommand::Create(_), Some(_)) | (_, None) => None,
    }
}

/// Whether a command was rejected or superseded for a reason that was there.
fn judged_rightly(
    world: &World,
    events: &Events,
    record: &CommandRecord,
    users: &[Option<Model>],
) -> Result<(), (Invariant, String)> {
    let no_effect = |detail: &str| Err((Invariant::NoEffect, detail.to_owned()));
    if record.status == CommandStatus::Pending {
        // Nobody was told that it was taken in; otherwise it would not have ended, which is checked elsewhere.
        return Ok(());
    }
    let taken = events.commands.get(&record.key.command);
    let Some((taken, operation)) = taken.and_then(|taken| Some((taken, events.operations.get(taken.operation)?)))
    else {
        return no_effect("nobody asked for it");
    };
    let at = |version: u64| usize::try_from(version).ok().and_then(|version| users.get(version));
    match &record.status {
        CommandStatus::Rejected { version, problem } => match (problem.code.as_ref(), operation.expected) {
            ("not-found", _) if at(*version) != Some(&None) => no_effect("there was one"),
            ("not-found", _) if *version == 0 && operation.created && !was_waited_for(world, events, record) => {
                no_effect("its user's create was acknowledged before, and it was not waited for")
            }
            ("not-found", _) => Ok(()),
            ("version-conflict", Expected::Version(expected)) if expected != *version => Ok(()),
            ("precondition-failed", _) if operation.excluded.as_ref().is_some_and(|it| it.has(*version)) => {
                if at(*version).is_some_and(Option::is_some) { Ok(()) } else { no_effect("there was none") }
            }
            ("precondition-failed", _) => Err((Invariant::NoLostUpdate, "the version was not excluded".to_owned())),
            ("version-conflict", _) => Err((Invariant::NoLostUpdate, "the version was the expected one".to_owned())),
            ("email-taken", _) if patch_of(&operation.command).email.is_some() => Ok(()),
            _ => no_effect("there was no reason for that"),
        },
        CommandStatus::Superseded { version } => match at(*version) {
            Some(Some(user)) if user.is_later_than(&patch_of(&operation.command), taken.stamp) => Ok(()),
            _ => no_effect("no later command had set its fields"),
        },
        _ => Ok(()),
    }
}

/// The create may have been behind for as long as the user's own identity is young. Where nothing is queued any more it
/// was judged already, or given up.
fn was_waited_for(world: &World, events: &Events, record: &CommandRecord) -> bool {
    let made_at = record.aggregate.made_at().unwrap_or(record.accepted_at);
    let waited = record.completed_at.map(|at| later(at, made_at)).unwrap_or_default();
    let due = HORIZON.saturating_sub(Duration::from_millis(2 * world.setup.skew_ms + 10));
    let nothing_is_queued = Judge::Writer { answer: Answer::Result, create_is_behind: false };
    waited >= due || events.judges.get(&record.key.command) == Some(&nothing_is_queued)
}

/// A moment so far away that a run that is not over by then never will be.
pub(crate) fn far_away() -> Instant {
    Instant::now() + Duration::from_hours(6)
}
