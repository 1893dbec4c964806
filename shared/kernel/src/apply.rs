//! Applies commands to one aggregate, each exactly once: plan, commit in one transaction, plan again after a conflict.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use crate::aggregate::Aggregate;
use crate::clock::Clock;
use crate::domain::{DecodeError, Domain};
use crate::envelope::Envelope;
use crate::ids::{AggregateKey, CommandId};
use crate::plan::{BatchPlan, Planner};
use crate::policy::{Order, Policy};
use crate::ports::{
    CommitError, FailedConditions, PortError, RecordReader, Snapshot, StateChange, Transaction, WriteStore,
};
use crate::problem::Problem;
use crate::projection::Projection;
use crate::random::jitter;
use crate::record::{CommandRecord, CommandStatus, RecordKey};

/// The most commands in one transaction. With the state, the unique keys and the view it stays below DynamoDB's 100 actions.
pub const PLAN_COMMANDS_MAX: usize = 90;

/// Number of attempts to commit. After them the remaining commands wait for another delivery.
const ATTEMPTS_MAX: u32 = 12;

/// The longest pause before the next attempt to commit.
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Applies commands to the aggregates of one domain.
#[derive(Debug)]
pub struct Applier<D> {
    store: Arc<dyn WriteStore>,
    records: Arc<dyn RecordReader>,
    clock: Arc<dyn Clock>,
    policy: Policy,
    domain: std::marker::PhantomData<D>,
}

/// The result of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "at most a batch of them exists, and most are final")]
pub enum CommandResult {
    /// It is judged, and its record is stored.
    Final {
        /// The record.
        record: CommandRecord,
        /// Whether the record was stored before: this delivery is a duplicate.
        duplicate: bool,
    },
    /// Its predecessor may still be in the queue. Deliver it again later.
    Deferred,
    /// It was not reached, or a write failed without an answer. Deliver it again.
    Unfinished,
}

/// The results of the commands of one aggregate.
#[derive(Debug)]
pub struct ApplyReport<D: Domain> {
    /// One result for each command, in the order of the commands.
    pub results: Vec<CommandResult>,
    /// The aggregate, at least as new as every final result.
    pub current: Aggregate<D>,
    /// The error that left commands unfinished.
    pub stopped_by: Option<ApplyError>,
}

impl<D: Domain> ApplyReport<D> {
    /// Returns whether the view must be projected: if a command was applied, now or by an earlier delivery. A duplicate skips the
    /// apply but never the projection, because the first delivery may have stopped in between.
    #[must_use]
    pub fn needs_projection(&self) -> bool {
        self.results.iter().any(|result| match result {
            CommandResult::Final { duplicate: true, .. } if mutant!(DuplicateSkipsProjection) => false,
            CommandResult::Final { record, .. } => matches!(record.status, CommandStatus::Applied { .. }),
            CommandResult::Deferred | CommandResult::Unfinished => false,
        })
    }
}

/// The error that left commands unfinished.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// A port failed.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The stored state is unreadable. An operator must repair it.
    #[error("the state of {key} cannot be read")]
    Undecodable {
        /// The aggregate.
        key: AggregateKey,
        /// The cause.
        #[source]
        cause: DecodeError,
    },
    /// Other transactions changed the same items on each attempt. Try again later.
    #[error("too many concurrent writes to {0}")]
    Contended(AggregateKey),
    /// A single command does not fit in a transaction.
    #[error("a command for {0} is too large to store")]
    TooLarge(AggregateKey),
}

impl<D: Domain> Applier<D> {
    /// Returns an applier that writes to `store`, and reads the status of other commands from `records`.
    pub fn new(
        store: Arc<dyn WriteStore>,
        records: Arc<dyn RecordReader>,
        clock: Arc<dyn Clock>,
        policy: Policy,
    ) -> Self {
        Self { store, records, clock, policy, domain: std::marker::PhantomData }
    }

    /// Returns the order in which commands must be applied.
    #[must_use]
    pub fn order(&self) -> Order {
        self.policy.order
    }

    /// Returns the projection that readers see.
    #[must_use]
    pub fn projection(&self) -> Projection {
        self.policy.projection
    }

    /// Loads the stored versions of aggregates, for [`Applier::apply`].
    pub async fn load(&self, keys: &[AggregateKey]) -> Result<Vec<Option<Snapshot>>, PortError> {
        self.store.load(keys).await
    }

    /// Applies commands of the aggregate `key` on top of its stored version. The commands must be distinct.
    pub async fn apply(
        &self,
        key: &AggregateKey,
        commands: &[Envelope<D::Command>],
        stored: Option<Snapshot>,
    ) -> ApplyReport<D> {
        let mut work = Work {
            applier: self,
            key,
            commands,
            current: Aggregate::absent(),
            pending: (0..commands.len()).collect(),
            results: vec![CommandResult::Unfinished; commands.len()],
            refused: HashMap::new(),
            settled: HashSet::new(),
            plan_commands_max: PLAN_COMMANDS_MAX,
            with_view: self.policy.view_in_transaction,
        };
        let stopped_by = match work.decode(stored.as_ref()) {
            Ok(()) => work.run().await.err(),
            Err(error) => Some(error),
        };
        work.withdraw_unshown_results();
        ApplyReport { results: work.results, current: work.current, stopped_by }
    }
}

/// The work on one aggregate.
struct Work<'a, D: Domain> {
    applier: &'a Applier<D>,
    key: &'a AggregateKey,
    commands: &'a [Envelope<D::Command>],
    current: Aggregate<D>,
    pending: Vec<usize>,
    results: Vec<CommandResult>,
    refused: HashMap<CommandId, Problem>,
    /// Commands with a final status.
    settled: HashSet<CommandId>,
    plan_commands_max: usize,
    with_view: bool,
}

impl<D: Domain> Work<'_, D> {
    async fn run(&mut self) -> Result<(), ApplyError> {
        self.load_predecessors().await?;
        let mut attempts = 0;
        while !self.pending.is_empty() {
            let plan = self.plan();
            if plan.judged.is_empty() {
                self.defer(&plan);
                break;
            }
            let transaction = self.transaction(&plan);
            match self.commit(&transaction).await {
                Ok(()) => {
                    self.settle(plan, transaction.records);
                    attempts = 0;
                    continue;
                }
                Err(CommitError::Conditions(failed)) => {
                    self.refresh_after_conflict(&plan, &transaction, failed).await?;
                }
                Err(CommitError::Contended) => pause(attempts).await,
                Err(CommitError::TooLarge) if plan.judged.len() > 1 => self.plan_commands_max = plan.judged.len() / 2,
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

    /// Looks up the predecessors of these commands that are not in this batch.
    async fn load_predecessors(&mut self) -> Result<(), ApplyError> {
        if self.applier.policy.reorder_window.is_zero() {
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
        // The state was read before the records, so it may be older. A rejection changes no state, so no condition of the
        // transaction would fail.
        let is_old = newest > self.current.version && !mutant!(ActionOnOldState);
        if is_old { self.reload().await } else { Ok(()) }
    }

    async fn commit(&self, transaction: &Transaction) -> Result<(), CommitError> {
        if !mutant!(RecordAfterState) {
            return self.applier.store.commit(transaction).await;
        }
        let only_records = Transaction {
            state: None,
            unique_keys_taken: Vec::new(),
            unique_keys_released: Vec::new(),
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

    fn plan(&self) -> BatchPlan<D> {
        let planner = Planner {
            commands: self.commands,
            refused: &self.refused,
            settled: &self.settled,
            policy: &self.applier.policy,
            now: self.applier.clock.now(),
        };
        let indices = self.pending.get(..self.plan_commands_max).unwrap_or(&self.pending);
        planner.plan(&self.current, indices)
    }

    fn transaction(&self, plan: &BatchPlan<D>) -> Transaction {
        let (completed_at, projection) = (Some(self.applier.clock.now()), self.applier.policy.projection);
        let record = |(index, status): &(usize, _)| {
            let envelope: Option<&Envelope<_>> = self.commands.get(*index);
            envelope.map(|envelope| envelope.record(Clone::clone(status), completed_at))
        };
        let changed = plan.after.version > self.current.version;
        Transaction {
            key: self.key.clone(),
            state: changed
                .then(|| StateChange { expected: self.current.version, next: plan.after.encode(self.key, projection) }),
            records: plan.judged.iter().filter_map(record).collect(),
            unique_keys_taken: plan.unique_keys_taken.clone(),
            unique_keys_released: plan.unique_keys_released.clone(),
            view: (changed && self.with_view).then(|| plan.after.view(self.key, projection)),
        }
    }

    /// Records the results of a committed plan.
    fn settle(&mut self, plan: BatchPlan<D>, records: Vec<CommandRecord>) {
        for ((index, _), record) in plan.judged.into_iter().zip(records) {
            self.finish(index, CommandResult::Final { record, duplicate: false });
        }
        self.current = plan.after;
        self.with_view = self.applier.policy.view_in_transaction;
    }

    /// Defers all remaining commands.
    fn defer(&mut self, plan: &BatchPlan<D>) {
        for index in plan.waiting.clone() {
            self.finish(index, CommandResult::Deferred);
        }
        // The commands beyond the size of this plan come later, so they wait too.
        for index in std::mem::take(&mut self.pending) {
            self.finish(index, CommandResult::Deferred);
        }
    }

    fn finish(&mut self, index: usize, result: CommandResult) {
        self.pending.retain(|pending| *pending != index);
        if let (CommandResult::Final { .. }, Some(envelope)) = (&result, self.commands.get(index)) {
            self.settled.insert(envelope.stamp.command);
        }
        if let Some(slot) = self.results.get_mut(index) {
            *slot = result;
        }
    }

    /// Applies the failed conditions: finishes duplicates, refuses a command whose unique key is held, and reloads a changed state.
    async fn refresh_after_conflict(
        &mut self,
        plan: &BatchPlan<D>,
        transaction: &Transaction,
        failed: FailedConditions,
    ) -> Result<(), ApplyError> {
        let moved = failed.state_moved;
        for record in failed.final_records {
            let index = self.commands.iter().position(|envelope| envelope.stamp.command == record.key.command);
            if let Some(index) = index {
                // If the stored record is the one to put, an earlier attempt stored it and its answer was lost.
                let duplicate = !transaction.records.contains(&record);
                self.finish(index, CommandResult::Final { record, duplicate });
            }
        }
        // If the state changed, the command may need other unique keys, or none.
        if let (false, Some(unique_key), Some(index)) =
            (moved && !mutant!(BlamedOnMovedState), failed.unique_keys_held.first(), plan.unique_key_changer)
            && let Some(envelope) = self.commands.get(index)
        {
            self.refused.insert(envelope.stamp.command, D::unique_key_held(unique_key));
        }
        // If the state did not change, the read store holds a view as new or newer. If it changed, the condition proves nothing
        // about the view.
        self.with_view =
            self.applier.policy.view_in_transaction && (!failed.view_exists || (moved && !mutant!(ViewLeftOutForGood)));
        if moved { self.reload().await } else { Ok(()) }
    }

    /// Reloads the state if it is older than a result. A duplicate may have been applied after the state was read.
    async fn catch_up(&mut self) -> Result<(), ApplyError> {
        let behind = self.results.iter().any(|result| !self.is_shown(result));
        if behind { self.reload().await } else { Ok(()) }
    }

    /// Returns whether the current version is as new as the result.
    fn is_shown(&self, result: &CommandResult) -> bool {
        match result {
            CommandResult::Final { record, .. } if record.aggregate == self.key.id => {
                record.status.version().is_none_or(|known| known <= self.current.version)
            }
            CommandResult::Final { .. } | CommandResult::Deferred | CommandResult::Unfinished => true,
        }
    }

    /// Marks results as unfinished if they are newer than the current version. The work stopped before it reloaded the state, so a
    /// projection now would be older than the result.
    fn withdraw_unshown_results(&mut self) {
        let mut results = std::mem::take(&mut self.results);
        let withdrawn = |result: &&mut CommandResult| !self.is_shown(result) && !mutant!(VerdictsOutrunCurrent);
        for result in results.iter_mut().filter(withdrawn) {
            *result = CommandResult::Unfinished;
        }
        self.results = results;
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

/// Waits before another attempt: up to 10 ms, doubled with each attempt. The random part separates competing transactions.
async fn pause(attempts: u32) {
    let longest = Duration::from_millis(10).saturating_mul(1 << attempts.min(8)).min(PAUSE_MAX);
    tokio::time::sleep(jitter(longest, 0.2..1.0)).await;
}
