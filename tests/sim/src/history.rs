//! What happened in a run, seen from outside: what was sent, what was stored and when. Checks that can be made at once
//! are made here; the others when all is at rest, in [`check`](crate::check).

use std::cell::Cell;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use kernel::clock::Timestamp;
use kernel::envelope::{Excluded, ExpectedVersion, RawEnvelope};
use kernel::ids::{AggregateId, AggregateKey, CommandId, Kind, Stamp};
use kernel::ports::{OutgoingMessage, Snapshot, Transaction};
use kernel::projection::Projection;
use kernel::record::{CommandRecord, CommandStatus};
use service::stages::WriteAnswer;
use tokio::time::Instant;

use crate::asked::Asked;

/// What must hold, numbered as in docs/guarantees.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Invariant {
    /// 1. Each acknowledged command ends in exactly one of applied, rejected, superseded; or failed until redriven.
    EndsOnce = 1,
    /// 2. The final state is the fold of the applied commands by version; versions are contiguous from 1.
    FoldOfApplied,
    /// 3. An applied `If-Match: n` has the predecessor n, and an applied `If-None-Match` another than those that it names.
    NoLostUpdate,
    /// 4. Rejected and superseded commands have no effect, and were judged rightly.
    NoEffect,
    /// 5. At rest, the read store, where it is written, equals the write store.
    ReadStoreEqual,
    /// 6. At rest, an entry of the shared cache, where it is asked, equals the write store, unless a failure kept it from
    ///    being told.
    CacheEqual,
    /// 7. A read returns a version that was written, with its body.
    OnlyWhatWasWritten,
    /// 8. A session with tokens never goes back; a read with a token is as new as the token demands, or an error.
    SessionOrder,
    /// 9. Nothing comes back after a delete.
    NoResurrection,
    /// 10. Unique keys are those of the live items, one each.
    UniqueKeys,
    /// 11. A read without a token is stale within bounds.
    BoundedStaleness,
    /// 12. The queue drains once faults stop.
    Drains,
    /// 13. No bytes cross tenants.
    TenantsApart,
    /// 14. The pages of a list are the full set, without duplicates.
    ListsComplete,
    /// 15. A retry under an idempotency key is the same command, for the same item, with the same stamp.
    SameRetry,
    /// 16. On a FIFO queue the commands for an item are judged in the order of sending, except those applied at once.
    FifoOrder,
    /// 17. Nothing panics.
    NoPanic,
    /// 18. Nothing crosses kinds: no page, cursor, token, record, unique key or cache entry of one kind shows up in or is
    ///     accepted for another.
    KindsApart,
    /// 19. In a session that sends its tokens along, an ordered command is judged after the ordered ones before it and
    ///     after the command that the token names, and on top of what they left, unless the reorder window has passed.
    OrderedInSession,
}

/// Something did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What.
    pub invariant: Invariant,
    /// The case.
    pub detail: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "invariant {} ({:?}): {}", self.invariant as u8, self.invariant, self.detail)
    }
}

/// A command as a client meant it.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) kind: Kind,
    pub(crate) asked: Asked,
    pub(crate) expected: ExpectedVersion,
    pub(crate) excluded: Option<Excluded>,
    /// What the client knew of the item's creation when it sent this.
    pub(crate) created: bool,
    /// Whether it was sent with a token, whose stamp it comes after.
    pub(crate) in_session: bool,
    /// The commands of its session that must be judged before it.
    pub(crate) after: Vec<CommandId>,
}

/// A command as the service took it in.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) operation: usize,
    pub(crate) aggregate: AggregateId,
    pub(crate) stamp: Stamp,
    /// Its place in the order of sending.
    pub(crate) place: usize,
    /// Whether a client was told that it was taken in.
    pub(crate) acknowledged: bool,
}

/// One version of an item, as it was stored.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) view: Option<Bytes>,
    pub(crate) stored_at: Instant,
}

/// What happened in a run.
#[derive(Debug)]
pub(crate) struct History(Mutex<Events>);

#[derive(Debug, Default)]
pub(crate) struct Events {
    pub(crate) operations: Vec<Operation>,
    pub(crate) commands: BTreeMap<CommandId, Taken>,
    /// The versions that were stored. A fold of several commands stores its last one only.
    pub(crate) versions: BTreeMap<AggregateKey, BTreeMap<u64, Version>>,
    /// What the read store held, and since when.
    pub(crate) views: BTreeMap<(Projection, AggregateKey), Vec<(Instant, Snapshot)>>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) reads: u64,
    /// What each environment accepted last, outside a session: what a client has seen moves no other's stamps.
    latest_stamps: BTreeMap<u64, Timestamp>,
    /// Whether an environment serves several requests at a time, so that what it accepts first may be sent last.
    is_concurrent: bool,
    /// Who judged each command.
    pub(crate) judges: BTreeMap<CommandId, Judge>,
    /// The commands in the order in which they were judged.
    pub(crate) judged: Vec<CommandId>,
    /// The commands that were sent, and neither judged nor given up since.
    on_their_way: BTreeSet<CommandId>,
    /// The commands that had failed, and when they ended otherwise: after a redrive, or by another delivery.
    pub(crate) revived: BTreeMap<CommandId, Instant>,
    /// Whether a dead letter was sent back.
    pub(crate) redriven: bool,
}

/// Who judged a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judge {
    /// The ingest function.
    Ingest,
    /// The writer that took it in.
    Writer {
        /// What writes are answered with there.
        answer: WriteAnswer,
        /// Whether its item's create was on its way.
        create_is_behind: bool,
    },
}

/// On whose behalf an invocation works.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Actor {
    /// The client's operation.
    pub(crate) operation: usize,
    /// The environment.
    pub(crate) environment: u64,
    /// What writes are answered with there.
    pub(crate) answer: WriteAnswer,
}

thread_local! {
    /// The invocation that is being polled, where it is a client's.
    static ACTING: Cell<Option<Actor>> = const { Cell::new(None) };
}

/// Polls on behalf of a client.
pub(crate) fn acting_for<T>(actor: Option<Actor>, poll: impl FnOnce() -> T) -> T {
    let before = ACTING.replace(actor);
    let result = poll();
    ACTING.set(before);
    result
}

impl History {
    pub(crate) fn new(is_concurrent: bool) -> Self {
        Self(Mutex::new(Events { is_concurrent, ..Events::default() }))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Events> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn violated(&self, invariant: Invariant, detail: String) {
        self.lock().violated(invariant, detail);
    }

    /// A client is about to send a command.
    pub(crate) fn begins(&self, operation: Operation) -> usize {
        let mut events = self.lock();
        events.operations.push(operation);
        events.operations.len() - 1
    }

    /// A message reached the queue.
    pub(crate) fn sent(&self, message: &OutgoingMessage) {
        match RawEnvelope::read(&message.body) {
            Ok(envelope) => {
                let (mut events, command) = (self.lock(), envelope.stamp.command);
                events.taken(envelope.stamp, envelope.kind.as_deref(), envelope.aggregate);
                if !events.judges.contains_key(&command) {
                    events.on_their_way.insert(command);
                }
            }
            Err(error) => self.violated(Invariant::EndsOnce, format!("an unreadable message was sent: {error}")),
        }
    }

    /// A message became a dead letter.
    pub(crate) fn given_up(&self, message: &OutgoingMessage) {
        if let Ok(envelope) = RawEnvelope::read(&message.body) {
            self.lock().on_their_way.remove(&envelope.stamp.command);
        }
    }

    /// A transaction took effect.
    pub(crate) fn committed(&self, transaction: &Transaction, before: &[Option<CommandRecord>]) {
        let mut events = self.lock();
        for (record, before) in transaction.records.iter().zip(before) {
            events.recorded(record, before.as_ref());
        }
        events.is_of_one_kind(transaction);
        if let Some(change) = &transaction.state {
            events.advanced(&transaction.key, &change.next);
        }
        if let Some(view) = &transaction.view {
            events.projected(Projection::FIRST, &transaction.key, view);
        }
    }

    /// A record was put outside a transaction.
    pub(crate) fn recorded(&self, record: &CommandRecord, before: Option<&CommandRecord>) {
        self.lock().recorded(record, before);
    }

    /// A view was put.
    pub(crate) fn projected(&self, projection: Projection, key: &AggregateKey, view: &Snapshot) {
        self.lock().projected(projection, key, view);
    }
}

/// Whether the status may never change, whatever the code under test says.
pub(crate) fn is_final(status: &CommandStatus) -> bool {
    !matches!(status, CommandStatus::Pending | CommandStatus::Failed { .. })
}

impl Events {
    pub(crate) fn violated(&mut self, invariant: Invariant, detail: String) {
        self.violations.push(Violation { invariant, detail });
    }

    /// All that a transaction puts is of its aggregate's kind.
    fn is_of_one_kind(&mut self, transaction: &Transaction) {
        let Transaction { key, records, unique_keys_taken, unique_keys_released, .. } = transaction;
        let mut unique_keys = unique_keys_taken.iter().chain(unique_keys_released);
        if !records.iter().all(|record| key.kind.has_name(record.kind.as_deref()))
            || !unique_keys.all(|unique_key| unique_key.kind == key.kind)
        {
            self.violated(Invariant::KindsApart, format!("{key} was put with something of another kind"));
        }
    }

    fn taken(&mut self, stamp: Stamp, kind: Option<&str>, aggregate: AggregateId) {
        let place = self.commands.len();
        let operation = self.commands.get(&stamp.command).map(|taken| taken.operation);
        let operation = operation.or_else(|| ACTING.get().map(|actor| actor.operation));
        let asked = operation.and_then(|operation| self.operations.get(operation));
        if asked.is_some_and(|asked| !asked.kind.has_name(kind)) {
            self.violated(Invariant::KindsApart, format!("{} became a command of kind {kind:?}", stamp.command));
        }
        match (self.commands.get(&stamp.command), ACTING.get()) {
            (Some(first), _) if (first.stamp, first.aggregate) != (stamp, aggregate) => {
                let detail = format!(
                    "{} was for {} at {}, then for {aggregate} at {}",
                    stamp.command, first.aggregate, first.stamp.at, stamp.at
                );
                self.violated(Invariant::SameRetry, detail);
            }
            (Some(_), _) => {}
            (None, Some(Actor { operation, environment, .. })) => {
                let taken = Taken { operation, aggregate, stamp, place, acknowledged: false };
                self.commands.insert(stamp.command, taken);
                // Under an idempotency key it may carry the stamp that another environment gave it.
                let in_session = self.operations.get(operation).is_some_and(|operation| operation.in_session);
                if stamp.command.accepted_at().is_some() && !self.is_concurrent && !in_session {
                    let latest = self.latest_stamps.insert(environment, stamp.at);
                    if latest.is_some_and(|latest| latest >= stamp.at) {
                        let detail = format!("environment {environment} went back to {}", stamp.at);
                        self.violated(Invariant::SessionOrder, detail);
                    }
                }
            }
            (None, None) => self.violated(Invariant::FoldOfApplied, format!("nobody sent {}", stamp.command)),
        }
    }

    fn recorded(&mut self, record: &CommandRecord, before: Option<&CommandRecord>) {
        if let Some(before) = before.filter(|before| is_final(&before.status) && *before != record) {
            let detail = format!("{} was {:?}, then {:?}", record.key.command, before.status, record.status);
            self.violated(Invariant::EndsOnce, detail);
        }
        if is_final(&record.status) {
            let stamp = Stamp { at: record.accepted_at, command: record.key.command };
            self.taken(stamp, record.kind.as_deref(), record.aggregate);
            self.on_their_way.remove(&record.key.command);
            if before.is_some_and(|before| matches!(before.status, CommandStatus::Failed { .. })) {
                self.revived.insert(record.key.command, Instant::now());
            }
            let judge = ACTING.get().map_or(Judge::Ingest, |Actor { answer, .. }| Judge::Writer {
                answer,
                create_is_behind: self.create_is_behind(record.aggregate),
            });
            if let Entry::Vacant(first) = self.judges.entry(record.key.command) {
                first.insert(judge);
                self.judged.push(record.key.command);
            }
        }
    }

    fn create_is_behind(&self, item: AggregateId) -> bool {
        let taken = self.on_their_way.iter().filter_map(|command| self.commands.get(command));
        let mut of_item = taken.filter(|taken| taken.aggregate == item);
        of_item.any(|taken| self.operations.get(taken.operation).is_some_and(|sent| sent.asked.creates()))
    }

    fn advanced(&mut self, key: &AggregateKey, next: &Snapshot) {
        let Some(view) = service::resources::view(key, next, Projection::FIRST) else {
            return self.violated(Invariant::FoldOfApplied, format!("{key} cannot be read"));
        };
        let versions = self.versions.entry(key.clone()).or_default();
        let last = versions.last_key_value().map(|(version, last)| (*version, last.view.is_some()));
        versions.insert(next.version, Version { view: view.body, stored_at: Instant::now() });
        match last {
            Some((last, _)) if next.version <= last => {
                self.violated(Invariant::FoldOfApplied, format!("{key}: version {} came after {last}", next.version));
            }
            Some((last, false)) => {
                self.violated(
                    Invariant::NoResurrection,
                    format!("{key}: version {} came after the delete {last}", next.version),
                );
            }
            Some((_, true)) | None => {}
        }
    }

    fn projected(&mut self, projection: Projection, key: &AggregateKey, view: &Snapshot) {
        self.views.entry((projection, key.clone())).or_default().push((Instant::now(), view.clone()));
    }
}

/// The time between two accept times, or nothing where the second is earlier.
pub(crate) fn later(at: Timestamp, than: Timestamp) -> std::time::Duration {
    at.since(than).unwrap_or_default()
}
