//! The expected result of all commands for one item, calculated twice: with the resource's own rules, and with a simpler model of
//! its fields.

use std::collections::BTreeMap;
use std::time::Duration;

use kernel::aggregate::Aggregate;
use kernel::domain::{Context, Decision};
use kernel::envelope::ExpectedVersion;
use kernel::ids::{AggregateKey, Stamp};
use kernel::ports::Snapshot;
use kernel::projection::Projection;
use kernel::record::{CommandRecord, CommandStatus};
use resource::{Operation, Resource};
use serde_json::{Map, Value as Json};
use service::stages::WriteAnswer;

use crate::asked::Asked;
use crate::functions::REORDER_WINDOW;
use crate::history::{self, Events, Invariant, Judge, Taken, later};
use crate::world::World;

/// One item at rest.
#[derive(Debug)]
pub(crate) struct Item<'a> {
    pub(crate) world: &'a World,
    pub(crate) events: &'a Events,
    pub(crate) key: &'a AggregateKey,
    pub(crate) records: &'a [&'a CommandRecord],
    pub(crate) stored: Option<&'a Snapshot>,
}

/// An item at one version.
struct At<R: Resource> {
    state: Option<R::State>,
    fields: Fields,
}

/// The simpler model: for each field, the later stamp wins.
#[derive(Debug, Clone, Default)]
struct Fields(BTreeMap<String, (Json, Stamp)>);

impl Fields {
    fn set(&mut self, given: &Map<String, Json>, asked: Stamp, is_conditional: bool) {
        let stamp = match self.0.values().map(|(_, stamp)| *stamp).max() {
            Some(latest) if is_conditional => asked.winning_over(latest),
            _ => asked,
        };
        for (name, value) in given {
            if !self.is_later(name, stamp) {
                self.0.insert(name.clone(), (value.clone(), stamp));
            }
        }
    }

    /// Returns whether a later command has set the field.
    fn is_later(&self, name: &str, stamp: Stamp) -> bool {
        self.0.get(name).is_some_and(|(_, set)| *set >= stamp)
    }

    /// Returns whether a view shows the value of each field.
    fn are_shown_by(&self, view: &Json) -> bool {
        self.0.iter().all(|(name, (value, _))| view.get(name) == Some(value))
    }
}

/// Returns all violations by an item and by the records of its commands.
pub(crate) fn wrong<R: Resource>(item: &Item<'_>) -> Vec<(Invariant, String)> {
    let versions = match fold::<R>(item) {
        Ok(versions) => versions,
        Err(detail) => return vec![(Invariant::FoldOfApplied, format!("{}: {detail}", item.key))],
    };
    let wrong = |record: &&CommandRecord| {
        let (invariant, why) = judged_rightly(item, record, &versions).err()?;
        Some((invariant, format!("{record:?}: {why}")))
    };
    item.records.iter().filter_map(wrong).collect()
}

/// Applies the applied commands in the order of their versions, and compares the result with the stored state. Returns the item at
/// each version, from 0.
fn fold<R: Resource>(item: &Item<'_>) -> Result<Vec<At<R>>, String> {
    let applied = item.records.iter().filter_map(|record| match record.status {
        CommandStatus::Applied { version } => Some((version, *record)),
        _ => None,
    });
    let mut applied: Vec<_> = applied.collect();
    applied.sort_by_key(|(version, _)| *version);
    let made: Vec<_> = applied.iter().map(|(version, _)| *version).collect();
    if !made.iter().copied().eq(1..=made.len() as u64) {
        return Err(format!("commands made the versions {made:?}"));
    }
    let mut last = At { state: None, fields: Fields::default() };
    let mut versions = Vec::new();
    for (version, record) in applied {
        let (taken, operation) = sent(item, record).ok_or("an unknown command was applied")?;
        let next = step::<R>(&last, version, taken, operation)?;
        versions.push(std::mem::replace(&mut last, next));
    }
    is_stored(item, made.len() as u64, &last)?;
    versions.push(last);
    Ok(versions)
}

/// Returns the command of a record, as the service accepted it and as the client sent it.
fn sent<'a>(item: &Item<'a>, record: &CommandRecord) -> Option<(&'a Taken, &'a history::Operation)> {
    let taken = item.events.commands.get(&record.key.command)?;
    let operation = item.events.operations.get(taken.operation)?;
    (operation.kind == item.key.kind).then_some((taken, operation))
}

/// Returns the item after the command that made `version`.
fn step<R: Resource>(
    before: &At<R>,
    version: u64,
    taken: &Taken,
    operation: &history::Operation,
) -> Result<At<R>, String> {
    if let ExpectedVersion::Version(expected) = operation.expected
        && expected + 1 != version
    {
        return Err(format!("a command on top of {expected} made {version}"));
    }
    if operation.excluded.as_ref().is_some_and(|excluded| excluded.has(version - 1)) {
        return Err(format!("a command that excludes the version before {version} made it"));
    }
    let Asked { operation: asked, fields: given } = &operation.asked;
    if operation.asked.creates() != (before.state.is_none() && version == 1) {
        return Err(format!("{asked:?} made version {version} of {:?}", before.state));
    }
    let Decision::Accept(event) = decide::<R>(before, taken, operation) else {
        return Err(format!("{asked:?} made version {version} of {:?}, which does not allow it", before.state));
    };
    let mut fields = if *asked == Operation::Delete { Fields::default() } else { before.fields.clone() };
    fields.set(given, taken.stamp, is_conditional(operation));
    Ok(At { state: R::evolve(before.state.clone(), event), fields })
}

fn decide<R: Resource>(before: &At<R>, taken: &Taken, operation: &history::Operation) -> Decision<R::Event> {
    let context = Context { stamp: taken.stamp, conditional: is_conditional(operation) };
    R::decide(before.state.as_ref(), &operation.asked.command::<R>(), &context)
}

/// Returns whether the command names its expected version. Then it wins over every stored field.
fn is_conditional(operation: &history::Operation) -> bool {
    matches!(operation.expected, ExpectedVersion::Version(_))
}

/// Compares the result of all commands with the stored state.
fn is_stored<R: Resource>(item: &Item<'_>, version: u64, due: &At<R>) -> Result<(), String> {
    let stored = Aggregate::<R>::decode(item.stored).map_err(|error| error.to_string())?;
    if stored.version != version {
        return Err(format!("{version} commands were applied, but {} is stored", stored.version));
    }
    if due.state.as_ref().map(R::encode) != item.stored.and_then(|stored| stored.body.clone()) {
        return Err(format!("{:?} is due, but {:?} is stored", due.state, stored.state));
    }
    let view = stored.view(item.key, Projection::FIRST).body.unwrap_or_default();
    match due.fields.are_shown_by(&serde_json::from_slice(&view).unwrap_or_default()) {
        true => Ok(()),
        false => Err(format!("{:?} is due, but {view:?} is shown", due.fields)),
    }
}

/// Checks that a rejected or superseded command had a valid reason.
fn judged_rightly<R: Resource>(
    item: &Item<'_>,
    record: &CommandRecord,
    versions: &[At<R>],
) -> Result<(), (Invariant, String)> {
    let no_effect = |detail: &str| Err((Invariant::NoEffect, detail.to_owned()));
    if record.status == CommandStatus::Pending {
        // The client got no acknowledgement. If it had got one, `at_rest` would report the command as not ended.
        return Ok(());
    }
    let Some((taken, operation)) = sent(item, record) else { return no_effect("nobody asked for it") };
    let at = |version: u64| usize::try_from(version).ok().and_then(|version| versions.get(version));
    match &record.status {
        CommandStatus::Rejected { version, problem } => {
            let Some(at) = at(*version) else { return no_effect("that version was not there") };
            let code = problem.code.as_ref();
            rejected_rightly(item, record, operation, *version, at.state.is_some(), code).unwrap_or_else(|| {
                match may_be_taken::<R>(&operation.asked, code) || rejects(at, taken, operation, code) {
                    true => Ok(()),
                    false => no_effect("there was no reason for that"),
                }
            })
        }
        CommandStatus::Superseded { version } => match at(*version) {
            Some(at) if is_superseded(at, taken, operation) => Ok(()),
            _ => no_effect("no later command had set its fields"),
        },
        _ => Ok(()),
    }
}

/// Checks a rejection by the kernel; `None` if the code is not one of the kernel's.
fn rejected_rightly(
    item: &Item<'_>,
    record: &CommandRecord,
    operation: &history::Operation,
    version: u64,
    existed: bool,
    code: &str,
) -> Option<Result<(), (Invariant, String)>> {
    let wrong = |invariant, detail: &str| Err((invariant, detail.to_owned()));
    let is_excluded = operation.excluded.as_ref().is_some_and(|excluded| excluded.has(version));
    Some(match (code, operation.expected) {
        ("not-found", _) if existed => wrong(Invariant::NoEffect, "there was one"),
        ("not-found", _) if version == 0 && operation.created && !was_waited_for(item, record) => {
            wrong(Invariant::NoEffect, "its item's create was acknowledged before, and it was not waited for")
        }
        ("version-conflict", ExpectedVersion::Version(expected)) if expected != version => Ok(()),
        ("version-conflict", _) => wrong(Invariant::NoLostUpdate, "the version was the expected one"),
        ("precondition-failed", _) if !is_excluded => wrong(Invariant::NoLostUpdate, "the version was not excluded"),
        ("precondition-failed", _) if !existed => wrong(Invariant::NoEffect, "there was none"),
        ("not-found" | "precondition-failed", _) => Ok(()),
        _ => return None,
    })
}

/// Returns whether the code stands for a unique field that the command sets. Another item may have the value.
fn may_be_taken<R: Resource>(asked: &Asked, code: &str) -> bool {
    let is_it = |field: &&resource::Field| field.taken.is_some_and(|(taken, _)| taken == code);
    R::FIELDS.iter().find(is_it).is_some_and(|field| asked.fields.contains_key(field.name))
}

/// Returns whether the resource's rules reject the command with this code.
fn rejects<R: Resource>(at: &At<R>, taken: &Taken, operation: &history::Operation, code: &str) -> bool {
    matches!(decide(at, taken, operation), Decision::Reject(problem) if problem.code == code)
}

/// Returns whether later commands had set all fields of the command, by the resource's rules and by the model.
fn is_superseded<R: Resource>(at: &At<R>, taken: &Taken, operation: &history::Operation) -> bool {
    let are_later = operation.asked.fields.keys().all(|name| at.fields.is_later(name, taken.stamp));
    are_later && matches!(decide(at, taken, operation), Decision::Superseded)
}

/// Returns whether ingest waited for the item's create: for the reorder window after the item's id was made, less the clock skew.
/// In a stage without a queue the create was judged before, or is a dead letter.
fn was_waited_for(item: &Item<'_>, record: &CommandRecord) -> bool {
    let made_at = record.aggregate.made_at().unwrap_or(record.accepted_at);
    let waited = record.completed_at.map(|at| later(at, made_at)).unwrap_or_default();
    let due = REORDER_WINDOW.saturating_sub(Duration::from_millis(2 * item.world.setup.skew_ms + 10));
    let nothing_is_queued = Judge::Writer { answer: WriteAnswer::Result, create_is_behind: false };
    waited >= due || item.events.judges.get(&record.key.command) == Some(&nothing_is_queued)
}
