//! Applies commands to one aggregate, each exactly once: fold, commit in one transaction, look again where the world
//! has moved.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::domain::{DecodeError, Domain};
use crate::envelope::Envelope;
pub use crate::fold::Aggregate;
use crate::fold::{Fold, Run};
use crate::ids::{AggregateKey, CommandId};
use crate::ports::{
    CommitError, FailedConditions, PortError, RecordReader, Snapshot, StateChange, Transaction, WriteStore,
};
use crate::problem::Problem;
use crate::project::Projection;
use crate::random::jitter;
use crate::record::{CommandRecord, CommandStatus, RecordKey};

/// The most commands in one transaction: with state, claims and view below DynamoDB's 100 actions.
pub const FOLD_COMMANDS_MAX: usize = 90;

/// How often a transaction is tried before the rest is left for a later delivery.
const ATTEMPTS_MAX: u32 = 12;

/// The longest pause before a contended transaction is tried again.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// How commands are judged where they come too early, and what a transaction takes along.
#[derive(Debug, Clone)]
pub struct Policy {
    /// How long after its acceptance a command may wait for its predecessor. Zero where nothing can be behind, because
    /// no command is queued.
    pub horizon: Duration,
    /// Whether a command that waits holds back those behind it.
    pub order: Order,
    /// What readers are shown.
    pub projection: Projection,
    /// Whether the view is put in the same transaction: where no message would redo the projection.
    pub view_in_transaction: bool,
}

/// What is known of the order of commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// They arrive in any order.
    Loose,
    /// They arrive in the order of sending, and must be applied in it.
    Strict,
}

/// Applies commands.
#[derive(Debug)]
pub struct Applier<D> {
    store: Arc<dyn WriteStore>,
    records: Arc<dyn RecordReader>,
    clock: Arc<dyn Clock>,
    policy: Policy,
    domain: std::marker::PhantomData<D>,
}

/// What became of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "at most a batch of them exists, and most are final")]
pub enum Verdict {
    /// It has its final record.
    Final {
        /// The record.
        record: CommandRecord,
        /// Whether it had it before: this is a duplicate.
        duplicate: bool,
    },
    /// What it builds on may still be on its way: deliver it again later.
    Deferred,
    /// It was not reached, or whether it took effect is unknown: deliver it again.
    Unfinished,
}

/// What became of some commands of one aggregate.
#[derive(Debug)]
pub struct Applied<D: Domain> {
    /// In the order of the commands.
    pub verdicts: Vec<Verdict>,
    /// The aggregate, at least as new as every final verdict says.
    pub current: Aggregate<D>,
    /// What stopped the work, where some of it is unfinished.
    pub stopped_by: Option<ApplyError>,
}

impl<D: Domain> Applied<D> {
    /// Whether a view must be projected: a command took effect, now or earlier. A duplicate skips the apply, never
    /// the projection, because the first delivery may have died in between.
    #[must_use]
    pub fn needs_projection(&self) -> bool {
        self.verdicts.iter().any(|verdict| match verdict {
            Verdict::Final { duplicate: true, .. } if mutant!(DuplicateSkipsProjection) => false,
            Verdict::Final { record, .. } => matches!(record.status, CommandStatus::Applied { .. }),
            Verdict::Deferred | Verdict::Unfinished => false,
        })
    }
}

/// Why commands were left unfinished.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A port failed.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The stored state cannot be read: an operator must look.
    #[error("the state of {key} cannot be read")]
    Undecodable {
        /// The aggregate.
        key: AggregateKey,
        /// Why.
        #[source]
        cause: DecodeError,
    },
    /// Others kept changing the same items: try again later.
    #[error("{0} is contended")]
    Contended(AggregateKey),
    /// A single command does not fit in a transaction.
    #[error("a command for {0} is too large to store")]
    TooLarge(AggregateKey),
}

impl<D: Domain> Applier<D> {
    /// An applier that writes to `store`, and looks in `records` for what became of other commands.
    pub fn new(
        store: Arc<dyn WriteStore>,
        records: Arc<dyn RecordReader>,
        clock: Arc<dyn Clock>,
        policy: Policy,
    ) -> Self {
        Self { store, records, clock, policy, domain: std::marker::PhantomData }
    }

    /// Whether commands must be applied in the order in which they arrive.
    #[must_use]
    pub fn order(&self) -> Order {
        self.policy.order
    }

    /// What readers are shown.
    #[must_use]
    pub fn projection(&self) -> Projection {
        self.policy.projection
    }

    /// The stored versions of aggregates, for [`Applier::apply`].
    pub async fn load(&self, keys: &[AggregateKey]) -> Result<Vec<Option<Snapshot>>, PortError> {
        self.store.load(keys).await
    }

    /// Applies commands, all for the aggregate of `key`, no command twice among them, on top of what was just loaded.
    pub async fn apply(
        &self,
        key: &AggregateKey,
        commands: &[Envelope<D::Command>],
        stored: Option<Snapshot>,
    ) -> Applied<D> {
        let mut work = Work {
            applier: self,
            key,
            commands,
            current: Aggregate::absent(),
            pending: (0..commands.len()).collect(),
            verdicts: vec![Verdict::Unfinished; commands.len()],
            refused: HashMap::new(),
            settled: HashSet::new(),
            fold_commands_max: FOLD_COMMANDS_MAX,
            with_view: self.policy.view_in_transaction,
        };
        let stopped_by = match work.decode(stored.as_ref()) {
            Ok(()) => work.run().await.err(),
            Err(error) => Some(error),
        };
        work.withdraw_what_current_does_not_show();
        Applied { verdicts: work.verdicts, current: work.current, stopped_by }
    }
}

/// The work on one aggregate: what is known, what is done, what is left.
struct Work<'a, D: Domain> {
    applier: &'a Applier<D>,
    key: &'a AggregateKey,
    commands: &'a [Envelope<D::Command>],
    current: Aggregate<D>,
    pending: Vec<usize>,
    verdicts: Vec<Verdict>,
    refused: HashMap<CommandId, Problem>,
    /// Commands of other deliveries that are judged for good.
    settled: HashSet<CommandId>,
    fold_commands_max: usize,
    with_view: bool,
}

impl<D: Domain> Work<'_, D> {
    async fn run(&mut self) -> Result<(), ApplyError> {
        self.look_for_what_comes_before().await?;
        let mut attempts = 0;
        while !self.pending.is_empty() {
            let fold = self.fold();
            if fold.judged.is_empty() {
                self.defer(&fold);
                break;
            }
            let transaction = self.transaction(&fold);
            match self.commit(&transaction).await {
                Ok(()) => {
                    self.settle(fold, transaction.records);
                    attempts = 0;
                    continue;
                }
                Err(CommitError::Conditions(failed)) => self.look_again(&fold, &transaction, failed).await?,
                Err(CommitError::Contended) => pause(attempts).await,
                Err(CommitError::TooLarge) if fold.judged.len() > 1 => self.fold_commands_max = fold.judged.len() / 2,
                Err(CommitError::TooLarge) => return Err(ApplyError::TooLarge(self.key.clone())),
                Err(CommitError::Port(error)) => return Err(error.into()),
            }
            attempts += 1;
            if attempts >= ATTEMPTS_MAX {
                return Err(ApplyError::Contended(self.key.clone()));
            }
        }
        self.catch_up().await
    }

    /// Learns which commands are judged that others of these must come after. Those among these are judged here.
    async fn look_for_what_comes_before(&mut self) -> Result<(), ApplyError> {
        if self.applier.policy.horizon.is_zero() {
            return Ok(());
        }
        let mut newest = self.current.version;
        for command in self.commands.iter().flat_map(|envelope| &envelope.after) {
            if self.settled.contains(command) || self.commands.iter().any(|here| here.stamp.command == *command) {
                continue;
            }
            let key = RecordKey { tenant: self.key.tenant.clone(), command: *command };
            let record = self.applier.records.get(&key).await?;
            if let Some(record) = record.filter(|record| record.status.is_final()) {
                if record.aggregate == self.key.id {
                    newest = newest.max(record.status.version().unwrap_or_default());
                }
                self.settled.insert(*command);
            }
        }
        // The state was read before the records. A refusal changes no state, so no condition would notice that it is older.
        let is_old = newest > self.current.version && !mutant!(ActionOnOldState);
        if is_old { self.reload().await } else { Ok(()) }
    }

    async fn commit(&self, transaction: &Transaction) -> Result<(), CommitError> {
        if !mutant!(RecordAfterState) {
            return self.applier.store.commit(transaction).await;
        }
        let only_records = Transaction {
            state: None,
            claims_taken: Vec::new(),
            claims_released: Vec::new(),
            view: None,
            ..transaction.clone()
        };
        let mut in_progress = only_records.clone();
        for record in &mut in_progress.records {
            record.status = CommandStatus::Pending;
        }
        self.applier.store.commit(&in_progress).await?;
        self.applier.store.commit(&Transaction { records: Vec::new(), ..transaction.clone() }).await?;
        self.applier.store.commit(&only_records).await
    }

    fn fold(&self) -> Fold<D> {
        let run = Run {
            commands: self.commands,
            refused: &self.refused,
            settled: &self.settled,
            policy: &self.applier.policy,
            now: self.applier.clock.now(),
        };
        let places = self.pending.get(..self.fold_commands_max).unwrap_or(&self.pending);
        run.fold(&self.current, places)
    }

    fn transaction(&self, fold: &Fold<D>) -> Transaction {
        let (completed_at, projection) = (Some(self.applier.clock.now()), self.applier.policy.projection);
        let record = |(place, status): &(usize, _)| {
            let envelope: Option<&Envelope<_>> = self.commands.get(*place);
            envelope.map(|envelope| envelope.record(Clone::clone(status), completed_at))
        };
        let changed = fold.after.version > self.current.version;
        Transaction {
            key: self.key.clone(),
            state: changed
                .then(|| StateChange { expected: self.current.version, next: fold.after.encode(self.key, projection) }),
            records: fold.judged.iter().filter_map(record).collect(),
            claims_taken: fold.claims_taken.clone(),
            claims_released: fold.claims_released.clone(),
            view: (changed && self.with_view).then(|| fold.after.view(self.key, projection)),
        }
    }

    /// The transaction took effect.
    fn settle(&mut self, fold: Fold<D>, records: Vec<CommandRecord>) {
        for ((place, _), record) in fold.judged.into_iter().zip(records) {
            self.finish(place, Verdict::Final { record, duplicate: false });
        }
        self.current = fold.after;
        self.with_view = self.applier.policy.view_in_transaction;
    }

    /// Nothing more can be judged now.
    fn defer(&mut self, fold: &Fold<D>) {
        for place in fold.waiting.clone() {
            self.finish(place, Verdict::Deferred);
        }
        // Those beyond this fold's size come behind, and wait as well.
        for place in std::mem::take(&mut self.pending) {
            self.finish(place, Verdict::Deferred);
        }
    }

    fn finish(&mut self, place: usize, verdict: Verdict) {
        self.pending.retain(|pending| *pending != place);
        if let (Verdict::Final { .. }, Some(envelope)) = (&verdict, self.commands.get(place)) {
            self.settled.insert(envelope.stamp.command);
        }
        if let Some(slot) = self.verdicts.get_mut(place) {
            *slot = verdict;
        }
    }

    /// The transaction met another world than it was made for. Learn from what it met.
    async fn look_again(
        &mut self,
        fold: &Fold<D>,
        transaction: &Transaction,
        failed: FailedConditions,
    ) -> Result<(), ApplyError> {
        let moved = failed.state_moved;
        for record in failed.final_records {
            let place = self.commands.iter().position(|envelope| envelope.stamp.command == record.key.command);
            if let Some(place) = place {
                // The very record that was to be put is there: it was, and only the answer was lost.
                let duplicate = !transaction.records.contains(&record);
                self.finish(place, Verdict::Final { record, duplicate });
            }
        }
        // On top of another state the command may want other claims, or none.
        if let (false, Some(claim), Some(place)) =
            (moved && !mutant!(BlamedOnMovedState), failed.claims_held.first(), fold.claimant)
            && let Some(envelope) = self.commands.get(place)
        {
            self.refused.insert(envelope.stamp.command, D::claim_held(claim));
        }
        // On top of the same state a view as new or newer needs no help. On top of another one nothing is known yet.
        self.with_view =
            self.applier.policy.view_in_transaction && (!failed.view_exists || (moved && !mutant!(ViewLeftOutForGood)));
        if moved { self.reload().await } else { Ok(()) }
    }

    /// A duplicate may have been applied after the state was read: what is projected must include it.
    async fn catch_up(&mut self) -> Result<(), ApplyError> {
        let behind = self.verdicts.iter().any(|verdict| !self.is_shown(verdict));
        if behind { self.reload().await } else { Ok(()) }
    }

    /// Whether the current version is as new as the verdict says.
    fn is_shown(&self, verdict: &Verdict) -> bool {
        match verdict {
            Verdict::Final { record, .. } if record.aggregate == self.key.id => {
                record.status.version().is_none_or(|known| known <= self.current.version)
            }
            Verdict::Final { .. } | Verdict::Deferred | Verdict::Unfinished => true,
        }
    }

    /// The work may have stopped between learning of a verdict and reading what it left. Its delivery must come again,
    /// because what would be projected now is older.
    fn withdraw_what_current_does_not_show(&mut self) {
        let mut verdicts = std::mem::take(&mut self.verdicts);
        let withdrawn = |verdict: &&mut Verdict| !self.is_shown(verdict) && !mutant!(VerdictsOutrunCurrent);
        for verdict in verdicts.iter_mut().filter(withdrawn) {
            *verdict = Verdict::Unfinished;
        }
        self.verdicts = verdicts;
    }

    async fn reload(&mut self) -> Result<(), ApplyError> {
        let stored = self.applier.store.load(std::slice::from_ref(self.key)).await?;
        self.decode(stored.into_iter().next().flatten().as_ref())
    }

    fn decode(&mut self, stored: Option<&Snapshot>) -> Result<(), ApplyError> {
        let undecodable = |cause| ApplyError::Undecodable { key: self.key.clone(), cause };
        self.current = Aggregate::decode(stored).map_err(undecodable)?;
        Ok(())
    }
}

/// Waits before another attempt: up to 10 ms, doubled with each, at random so that rivals part.
async fn pause(attempts: u32) {
    let longest = Duration::from_millis(10).saturating_mul(1 << attempts.min(8)).min(PAUSE_MAX);
    tokio::time::sleep(jitter(longest, 0.2..1.0)).await;
}
