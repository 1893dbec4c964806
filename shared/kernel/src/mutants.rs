//! Ways to break the code on purpose, in builds for the simulation only: it must notice each of them.
//!
//! A switch stands where the right code stands, so what is proved is that *this* code is watched, not a copy of it.
//! Outside such builds [`mutant!`](crate::mutant) is the constant `false`, and the compiler drops what it guards.

use std::cell::Cell;
use std::fmt;
use std::str::FromStr;

macro_rules! mutants {
    ($($(#[$doc:meta])+ $name:ident,)+) => {
        /// One wrong variant.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Mutant {
            $($(#[$doc])+ $name,)+
        }

        impl Mutant {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }
    };
}

mutants! {
    // The shared cache.
    /// A writer deletes the entry, and whoever missed it fills it: "delete, then set".
    CacheDeleteThenSet,
    /// A fill lands wherever nothing is: "set if absent".
    CacheFillsIfAbsent,
    /// A fill lands wherever nothing newer is: a guard on versions alone.
    CacheGuardsVersionsAlone,
    /// A writer puts its view though nobody had asked for it: write-through.
    CacheWritesThroughIfAbsent,
    /// The reader who fills reads the store eventually consistent.
    FillsFromEventualRead,
    /// The cache is updated before the read store.
    CacheBeforeReadStore,
    /// Cache keys leave the tenant out.
    CacheKeyWithoutTenant,
    /// Cache keys leave the kind out.
    CacheKeyWithoutKind,

    // Exactly once.
    /// A command is marked as in progress, applied, then marked as completed, in three steps.
    RecordAfterState,
    /// Records are put without a condition.
    RecordUnguarded,
    /// Duplicates are told by the queue's message id, which a redrive makes anew.
    DeduplicatesByMessageId,
    /// A retry under an idempotency key is given another user.
    RetryGetsNewUser,
    /// A retry under an idempotency key is stamped anew.
    RetryGetsNewStamp,
    /// A retry finds its pending record and takes it that its message was sent.
    PendingIsTakenForSent,
    /// Beside a queue a command is applied whatever an earlier request under its key was told.
    RetryBesideQueueForgets,
    /// Where nothing is queued any more a command is applied whatever an earlier request under its key was told.
    RetryAfterQueueForgets,

    // State.
    /// States are put without a condition.
    StateUnguarded,
    /// The version that a command builds on is not looked at.
    IfMatchIgnored,
    /// The versions that a command must not find are not looked at.
    IfNoneMatchIgnored,
    /// A delete starts the versions anew.
    DeleteResetsVersion,
    /// Unique keys are taken from whoever holds them.
    UniqueKeyUnguarded,
    /// A unique key is kept when the value changes.
    UniqueKeyNotReleased,
    /// A command is refused for a unique key that it wanted on top of a state that has moved.
    BlamedOnMovedState,
    /// Unique keys leave the kind out.
    UniqueKeyWithoutKind,
    /// Several commands of one transaction change the unique keys.
    ManyUniqueKeyChangesInOnePlan,
    /// An environment's accept times follow its clock, also backwards.
    StampsGoBack,
    /// An accept time may lie before what the client's session has seen.
    SessionStampIgnored,

    // Messages.
    /// A message leaves the kind out.
    MessageWithoutKind,
    /// A record leaves the kind out.
    RecordWithoutKind,
    /// The answer to a batch names no failure, as a misspelt field would.
    AnswerNamesNoFailure,
    /// A message that cannot be read is acknowledged.
    UnreadableIsAcknowledged,
    /// A message is acknowledged before its projection is done.
    AcknowledgedBeforeProjection,
    /// "No such user" is judged by how often a message was received.
    NotFoundByReceiveCount,
    /// What cannot be judged yet is rejected at once.
    NothingIsDeferred,
    /// Beside a queue, what cannot be judged yet is acknowledged, and that is all.
    EarlyIsNotQueued,
    /// Actions do not wait for what their session asked before.
    ActionsOvertake,
    /// An action is judged on the state that was read before the command before it had ended.
    ActionOnOldState,
    /// The token of a write forgets the action before it.
    ActionForgotten,
    /// A failed command stays failed, also after a redrive.
    FailedIsFinal,
    /// On a FIFO queue commands overtake one that waits.
    FifoOvertakes,

    // The read model.
    /// What was learned to be applied counts as shown, although reading it failed.
    VerdictsOutrunCurrent,
    /// A view that met a newer one once is left out of all later attempts.
    ViewLeftOutForGood,
    /// A duplicate skips the projection.
    DuplicateSkipsProjection,
    /// Views are put without a condition.
    ProjectionUnguarded,
    /// What is applied at once is not shown to the shared cache.
    AppliedAtOnceSkipsCache,
    /// Of two read stores only the one that is read is written.
    OtherProjectionSkipped,
    /// A message is acknowledged although the other read store was not written.
    OtherProjectionNotRetried,
    /// A delete removes the view.
    TombstoneRemovesView,
    /// The names that cursors and pages are bound to leave the kind out.
    ListNameWithoutKind,

    // Reading one's own writes.
    /// A token is believed for the same id of another kind.
    TokenKindIgnored,
    /// A token's command is not waited for.
    CommandTokenIgnored,
    /// What is older than the token demands is better than an error.
    StaleAnswerToToken,
    /// The token of a write forgets what the session had seen.
    SessionFloorDropped,
}

thread_local! {
    static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
}

/// From here on, this thread runs the mutant; with `None`, the right code.
pub fn activate(mutant: Option<Mutant>) {
    ACTIVE.set(mutant);
}

/// Whether this thread runs the mutant.
#[must_use]
pub fn is_active(mutant: Mutant) -> bool {
    ACTIVE.get() == Some(mutant)
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// There is no such mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no such mutant")]
pub struct UnknownMutant;

impl FromStr for Mutant {
    type Err = UnknownMutant;

    fn from_str(text: &str) -> Result<Self, UnknownMutant> {
        Self::ALL.iter().copied().find(|mutant| mutant.to_string() == text).ok_or(UnknownMutant)
    }
}
