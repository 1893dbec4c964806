//! The history of a run, seen from outside: the messages sent, and each version with the time of its write. It checks invariants
//! that can be checked at once; [`check`](crate::check) checks the others at rest.

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

/// The invariants, numbered as in docs/guarantees.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Invariant {
    /// 1. Each acknowledged command ends in exactly one of applied, rejected and superseded; or failed, until it is redriven.
    EndsOnce = 1,
    /// 2. The final state results from the applied commands in the order of their versions. Versions are contiguous from 1.
    FoldOfApplied,
    /// 3. An applied `If-Match: n` has the predecessor n. An applied `If-None-Match` has a predecessor that the header does not
    ///    name.
    NoLostUpdate,
    /// 4. Rejected and superseded commands have no effect, and were judged correctly.
    NoEffect,
    /// 5. At rest, the read store equals the write store, if the stage writes one.
    ReadStoreEqual,
    /// 6. At rest, an entry of the shared cache equals the write store, if the stage reads the cache and no failure prevented the
    ///    update.
    CacheEqual,
    /// 7. A read returns a version that was written, with its body.
    OnlyWhatWasWritten,
    /// 8. In a session with tokens, versions never decrease. A read with a token is as new as the token demands, or an error.
    SessionOrder,
    /// 9. A deleted item never comes back.
    NoResurrection,
    /// 10. The unique keys are those of the live items, one each.
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
    /// 16. On a FIFO queue the commands for an item are judged in the order of sending. Synchronous commands bypass this order.
    FifoOrder,
    /// 17. No panic occurs.
    NoPanic,
    /// 18. No data crosses kinds. A page, cursor, token, record, unique key or cache entry of one kind never shows up in another
    ///     kind, and is never accepted for it.
    KindsApart,
    /// 19. In a session that sends its tokens, an ordered command is judged after the command that its token names, and after the
    ///     ordered commands before it. It is judged on top of their results, unless the reorder window has passed.
    OrderedInSession,
}

/// A violation of an invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The violated invariant.
    pub invariant: Invariant,
    /// The case, in words.
    pub detail: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "invariant {} ({:?}): {}", self.invariant as u8, self.invariant, self.detail)
    }
}

/// A command as the client sent it.
#[derive(Debug, Clone)]
pub(crate) struct Operation {
    pub(crate) kind: Kind,
    pub(crate) asked: Asked,
    pub(crate) expected: ExpectedVersion,
    pub(crate) excluded: Option<Excluded>,
    /// Whether the client knew at the time of sending that the item was created.
    pub(crate) created: bool,
    /// Whether the client sent a token. Then the stamp must follow the token's.
    pub(crate) in_session: bool,
    /// The commands of its session that must be judged before it.
    pub(crate) after: Vec<CommandId>,
}

/// A command as the service accepted it.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) operation: usize,
    pub(crate) aggregate: AggregateId,
    pub(crate) stamp: Stamp,
    /// Its position in the order of sending.
    pub(crate) place: usize,
    /// Whether a client got the acknowledgement.
    pub(crate) acknowledged: bool,
}

/// A stored version of an item.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) view: Option<Bytes>,
    pub(crate) stored_at: Instant,
}

/// The history of a run.
#[derive(Debug)]
pub(crate) struct History(Mutex<Events>);

#[derive(Debug, Default)]
pub(crate) struct Events {
    pub(crate) operations: Vec<Operation>,
    pub(crate) commands: BTreeMap<CommandId, Taken>,
    /// The stored versions. A batch plan of several commands stores only its last version.
    pub(crate) versions: BTreeMap<AggregateKey, BTreeMap<u64, Version>>,
    /// The views that the read store held, with the time of each write.
    pub(crate) views: BTreeMap<(Projection, AggregateKey), Vec<(Instant, Snapshot)>>,
    pub(crate) violations: Vec<Violation>,
    pub(crate) reads: u64,
    /// The last stamp that each environment gave outside a session. A token moves only the stamp of its own command.
    latest_stamps: BTreeMap<u64, Timestamp>,
    /// Whether an environment serves several requests at a time. Then commands may be sent in another order than accepted.
    is_concurrent: bool,
    /// The judge of each command.
    pub(crate) judges: BTreeMap<CommandId, Judge>,
    /// The commands in the order of their judgement.
    pub(crate) judged: Vec<CommandId>,
    /// The commands in the queue: sent, and since then neither judged nor dead letters.
    on_their_way: BTreeSet<CommandId>,
    /// The commands that were failed and then got a final status, by a redrive or by a late delivery. With the time of that.
    pub(crate) revived: BTreeMap<CommandId, Instant>,
    /// Whether an operator has redriven a dead letter.
    pub(crate) redriven: bool,
}

/// The function that judged a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judge {
    /// ingest-fn.
    Ingest,
    /// write-fn.
    Writer {
        /// The answer to writes in the environment's stage.
        answer: WriteAnswer,
        /// Whether the create of the item was still pending.
        create_is_behind: bool,
    },
}

/// The client's operation for which an invocation works.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Actor {
    /// The index of the client's operation.
    pub(crate) operation: usize,
    /// The number of the environment.
    pub(crate) environment: u64,
    /// The answer to writes in the environment's stage.
    pub(crate) answer: WriteAnswer,
}

thread_local! {
    /// The operation of the invocation that is being polled; `None` for ingest-fn and operators.
    static ACTING: Cell<Option<Actor>> = const { Cell::new(None) };
}

/// Polls an invocation on behalf of a client.
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

    /// Records that a client is about to send a command. Returns the operation's index.
    pub(crate) fn begins(&self, operation: Operation) -> usize {
        let mut events = self.lock();
        events.operations.push(operation);
        events.operations.len() - 1
    }

    /// Records that a message reached the queue.
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

    /// Records that a message became a dead letter.
    pub(crate) fn given_up(&self, message: &OutgoingMessage) {
        if let Ok(envelope) = RawEnvelope::read(&message.body) {
            self.lock().on_their_way.remove(&envelope.stamp.command);
        }
    }

    /// Records that a transaction was committed.
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

    /// Records that a command record was written outside a transaction.
    pub(crate) fn recorded(&self, record: &CommandRecord, before: Option<&CommandRecord>) {
        self.lock().recorded(record, before);
    }

    /// Records that a view was written.
    pub(crate) fn projected(&self, projection: Projection, key: &AggregateKey, view: &Snapshot) {
        self.lock().projected(projection, key, view);
    }
}

/// Returns whether a status is final. Independent of the code under test.
pub(crate) fn is_final(status: &CommandStatus) -> bool {
    !matches!(status, CommandStatus::Pending | CommandStatus::Failed { .. })
}

impl Events {
    pub(crate) fn violated(&mut self, invariant: Invariant, detail: String) {
        self.violations.push(Violation { invariant, detail });
    }

    /// Checks that all entries of a transaction have the kind of its item.
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
                // Under an idempotency key, the command may keep a stamp from another environment.
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

/// Returns the time from `than` to `at`; zero if `at` is earlier.
pub(crate) fn later(at: Timestamp, than: Timestamp) -> std::time::Duration {
    at.since(than).unwrap_or_default()
}
