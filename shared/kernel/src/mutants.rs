//! Deliberate faults in the code, in builds for the simulation only. The simulation must notice each of them.
//!
//! Each switch is inside the production code, so the simulation proves that it tests *this* code, not a copy of it. In other builds
//! [`mutant!`](crate::mutant) is the constant `false`, and the compiler drops the faulty branch.

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;

macro_rules! mutants {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// A deliberate fault.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Mutant {
            $($(#[$doc])+ $name,)+
        }

        impl Mutant {
            /// All mutants.
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }
    };
}

mutants! {
    // The shared cache.
    /// A writer deletes the entry, and the next reader fills it: "delete, then set".
    CacheDeleteThenSet,
    /// A fill succeeds if the entry is absent: "set if absent".
    CacheFillsIfAbsent,
    /// A fill succeeds unless a newer version is there: it checks the version, but not the lease.
    CacheGuardsVersionsAlone,
    /// A writer stores its view although no reader has requested it: write-through.
    CacheWritesThroughIfAbsent,
    /// A reader fills the entry from an eventually consistent read.
    FillsFromEventualRead,
    /// The cache is updated before the read store.
    CacheBeforeReadStore,
    /// Cache keys leave the tenant out.
    CacheKeyWithoutTenant,
    /// Cache keys leave the kind out.
    CacheKeyWithoutKind,

    // Exactly once.
    /// A command is marked as in progress, applied, then marked as completed, in three separate steps.
    RecordAfterState,
    /// Records are put without a condition.
    RecordUnguarded,
    /// Duplicates are recognised by the queue's message id, which changes with a redrive.
    DeduplicatesByMessageId,
    /// A retry under an idempotency key gets a new aggregate.
    RetryGetsNewUser,
    /// A retry under an idempotency key gets a new stamp.
    RetryGetsNewStamp,
    /// A retry finds its pending record and assumes that the message was sent.
    PendingIsTakenForSent,
    /// With a queue beside it, a direct write ignores an earlier request under the same idempotency key.
    RetryBesideQueueForgets,
    /// After the queue is out of use, a direct write ignores an earlier request under the same idempotency key.
    RetryAfterQueueForgets,

    // State.
    /// States are put without a condition.
    StateUnguarded,
    /// The version that a command builds on is not checked.
    IfMatchIgnored,
    /// The versions that a command must not find are not checked.
    IfNoneMatchIgnored,
    /// A delete restarts the versions at 0.
    DeleteResetsVersion,
    /// A unique key is taken even if another aggregate holds it.
    UniqueKeyUnguarded,
    /// The old unique key stays reserved when the value changes.
    UniqueKeyNotReleased,
    /// A command is refused for a unique key, although the state that needed the key has changed.
    BlamedOnMovedState,
    /// Unique keys leave the kind out.
    UniqueKeyWithoutKind,
    /// Several commands of one transaction change the unique keys.
    ManyUniqueKeyChangesInOnePlan,
    /// The accept times of an environment follow its clock, even backwards.
    StampsGoBack,
    /// A command's accept time may be earlier than the latest that the client's session has seen.
    SessionStampIgnored,

    // Messages.
    /// A message leaves the kind out.
    MessageWithoutKind,
    /// A record leaves the kind out.
    RecordWithoutKind,
    /// The batch response names no failure, as if its field name were wrong.
    AnswerNamesNoFailure,
    /// An unreadable message is acknowledged.
    UnreadableIsAcknowledged,
    /// A message is acknowledged before its projection is done.
    AcknowledgedBeforeProjection,
    /// The receive count decides that an aggregate does not exist.
    NotFoundByReceiveCount,
    /// A command whose predecessor is missing is rejected at once.
    NothingIsDeferred,
    /// With a queue beside the direct route, an early command is acknowledged but not queued.
    EarlyIsNotQueued,
    /// Actions do not wait for the earlier commands of their session.
    ActionsOvertake,
    /// An action is judged on a state that was read before its predecessor was judged.
    ActionOnOldState,
    /// The token of a write drops the pending action before it.
    ActionForgotten,
    /// After the queue is out of use, a direct write is judged although its predecessor may still be queued.
    PredecessorIgnoredAfterQueue,
    /// A failed command stays failed, even after a redrive.
    FailedIsFinal,
    /// On a FIFO queue, commands overtake a waiting command.
    FifoOvertakes,

    // The read model.
    /// A result counts as shown although reloading the state failed.
    VerdictsOutrunCurrent,
    /// After one conflict with a newer view, all later attempts leave the view out.
    ViewLeftOutForGood,
    /// A duplicate skips the projection.
    DuplicateSkipsProjection,
    /// Views are put without a condition.
    ProjectionUnguarded,
    /// A command that is applied at once does not update the shared cache.
    AppliedAtOnceSkipsCache,
    /// Of two read stores, only the one that readers use is written.
    OtherProjectionSkipped,
    /// A message is acknowledged although writing the other read store failed.
    OtherProjectionNotRetried,
    /// A delete removes the view.
    TombstoneRemovesView,
    /// The names that cursors and pages are bound to leave the kind out.
    ListNameWithoutKind,

    // Reading one's own writes.
    /// A token is accepted for the same id of another kind.
    TokenKindIgnored,
    /// A read does not wait for its token's command.
    CommandTokenIgnored,
    /// A read returns a version older than its token demands, instead of an error.
    StaleAnswerToToken,
    /// The token of a write drops the version that the session has seen.
    SessionFloorDropped,
}

thread_local! {
    static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// Makes this thread run the mutant from now on, or the right code for `None`.
pub fn activate(mutant: Option<Mutant>) {
    ACTIVE.set(mutant);
}

/// Returns whether this thread runs the mutant.
#[must_use]
pub fn is_active(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The error of an unknown mutant name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such mutant")]
pub struct UnknownMutant;

impl FromStr for Mutant {
    type Err = UnknownMutant;

    fn from_str(text: &str) -> Result<Self, UnknownMutant> {
        Self::ALL.iter().copied().find(|mutant| mutant.to_string() == text).ok_or(UnknownMutant)
    }
}
