//! Plans the effect of a batch of commands on one aggregate. Planning is pure, so it can be repeated after a conflict.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use crate::aggregate::{Aggregate, TOMBSTONE_RETENTION};
use crate::clock::Timestamp;
use crate::domain::{Decision, Domain};
use crate::envelope::{Envelope, ExpectedVersion};
use crate::ids::CommandId;
use crate::policy::{Order, Policy};
use crate::ports::UniqueKey;
use crate::problem::Problem;
use crate::record::{COMMAND_AGE_MAX, CommandStatus};

/// The judgement of one command on one version of an aggregate.
enum Judgement<D: Domain> {
    Applied(Aggregate<D>),
    Rejected(Problem),
    Superseded,
    /// Its predecessor may still be in the queue.
    Waits,
}

fn judge<D: Domain>(
    aggregate: &Aggregate<D>,
    envelope: &Envelope<D::Command>,
    now: Timestamp,
    policy: &Policy,
    may_wait: bool,
) -> Judgement<D> {
    let age = now.since(envelope.stamp.at).unwrap_or_default();
    if age > COMMAND_AGE_MAX {
        return Judgement::Rejected(Problem::expired());
    }
    let may_wait = may_wait && !mutant!(NothingIsDeferred);
    match (D::creates(&envelope.command), &aggregate.state) {
        (true, None) if aggregate.version == 0 => decide(aggregate, envelope, now),
        (true, _) => Judgement::Rejected(Problem::already_exists()),
        (false, None) if aggregate.version > 0 => Judgement::Rejected(Problem::not_found()),
        (false, None) if may_wait && create_may_be_behind(envelope, now, policy.reorder_window) => Judgement::Waits,
        (false, None) => Judgement::Rejected(Problem::not_found()),
        (false, Some(_)) => match envelope.expected {
            ExpectedVersion::Version(expected)
                if expected > aggregate.version && may_wait && policy.awaits_versions =>
            {
                Judgement::Waits
            }
            ExpectedVersion::Version(expected) if expected != aggregate.version && !mutant!(IfMatchIgnored) => {
                Judgement::Rejected(Problem::version_conflict(aggregate.version))
            }
            // `If-None-Match` comes after `If-Match` (RFC 9110, section 13.2.2).
            _ if excludes(envelope, aggregate.version) => Judgement::Rejected(Problem::excluded(aggregate.version)),
            ExpectedVersion::Version(_) | ExpectedVersion::Exists | ExpectedVersion::Any => {
                decide(aggregate, envelope, now)
            }
        },
    }
}

fn excludes<C>(envelope: &Envelope<C>, version: u64) -> bool {
    envelope.excluded.as_ref().is_some_and(|excluded| excluded.has(version)) && !mutant!(IfNoneMatchIgnored)
}

/// Returns whether the aggregate's create may still be in the queue. The service makes ids, and an id contains its time.
fn create_may_be_behind<C>(envelope: &Envelope<C>, now: Timestamp, reorder_window: Duration) -> bool {
    envelope.aggregate.made_at().is_some_and(|made_at| now.since(made_at).unwrap_or_default() < reorder_window)
}

fn decide<D: Domain>(aggregate: &Aggregate<D>, envelope: &Envelope<D::Command>, now: Timestamp) -> Judgement<D> {
    match D::decide(aggregate.state.as_ref(), &envelope.command, &envelope.context()) {
        Decision::Reject(problem) => Judgement::Rejected(problem),
        Decision::Superseded => Judgement::Superseded,
        Decision::Accept(event) => {
            let state = D::evolve(aggregate.state.clone(), event);
            let expires_at = state.is_none().then(|| now.plus(TOMBSTONE_RETENTION));
            let version = if mutant!(DeleteResetsVersion) && state.is_none() { 0 } else { aggregate.version + 1 };
            Judgement::Applied(Aggregate { version, state, expires_at })
        }
    }
}

/// The effect of some commands on one aggregate: one transaction.
pub(crate) struct BatchPlan<D: Domain> {
    /// The aggregate after the plan.
    pub(crate) after: Aggregate<D>,
    /// The status of each judged command, with the command's index.
    pub(crate) judged: Vec<(usize, CommandStatus)>,
    /// The indices of the commands that wait for a predecessor.
    pub(crate) waiting: Vec<usize>,
    /// The index of the command that changes unique keys. A plan has one at most.
    pub(crate) unique_key_changer: Option<usize>,
    pub(crate) unique_keys_taken: Vec<UniqueKey>,
    pub(crate) unique_keys_released: Vec<UniqueKey>,
}

/// Plans the commands of one aggregate.
pub(crate) struct Planner<'a, D: Domain> {
    pub(crate) commands: &'a [Envelope<D::Command>],
    /// Commands that need a unique key of another aggregate, with the problem of each.
    pub(crate) refused: &'a HashMap<CommandId, Problem>,
    /// Commands with a final status.
    pub(crate) settled: &'a HashSet<CommandId>,
    pub(crate) policy: &'a Policy,
    pub(crate) now: Timestamp,
}

impl<D: Domain> Planner<'_, D> {
    /// Judges the commands at the indices `pending`, each on top of those before it.
    ///
    /// A waiting command is judged again after each judged command. The plan ends before a second command that changes unique keys.
    /// So if another aggregate holds a key, exactly one command is to blame.
    pub(crate) fn plan(&self, before: &Aggregate<D>, pending: &[usize]) -> BatchPlan<D> {
        let mut plan = BatchPlan {
            after: before.clone(),
            judged: Vec::new(),
            waiting: Vec::new(),
            unique_key_changer: None,
            unique_keys_taken: Vec::new(),
            unique_keys_released: Vec::new(),
        };
        let mut ahead: VecDeque<usize> = pending.iter().copied().collect();
        while let Some(index) = ahead.pop_front() {
            match self.add(&mut plan, index) {
                Added::Judged => {
                    // The waiting commands arrived earlier, so they come first.
                    for waiting in plan.waiting.drain(..).rev() {
                        ahead.push_front(waiting);
                    }
                }
                Added::Waits => plan.waiting.push(index),
                Added::NotInThisPlan => return plan,
            }
            if self.policy.order == Order::Strict && !plan.waiting.is_empty() && !mutant!(FifoOvertakes) {
                plan.waiting.extend(ahead.drain(..));
            }
        }
        plan
    }

    fn add(&self, plan: &mut BatchPlan<D>, index: usize) -> Added {
        let Some(envelope) = self.commands.get(index) else { return Added::Judged };
        if !self.is_due(plan, envelope) {
            return Added::Waits;
        }
        let version = plan.after.version;
        let judgement = match self.refused.get(&envelope.stamp.command) {
            Some(problem) => Judgement::Rejected(problem.clone()),
            None => judge(&plan.after, envelope, self.now, self.policy, self.may_wait(envelope)),
        };
        let status = match judgement {
            Judgement::Waits => return Added::Waits,
            Judgement::Rejected(problem) => CommandStatus::Rejected { version, problem },
            Judgement::Superseded => CommandStatus::Superseded { version },
            Judgement::Applied(next) => {
                let (old, new) = (plan.after.unique_keys(&envelope.tenant), next.unique_keys(&envelope.tenant));
                if old != new {
                    if plan.unique_key_changer.is_some() && !mutant!(ManyUniqueKeyChangesInOnePlan) {
                        return Added::NotInThisPlan;
                    }
                    plan.unique_key_changer = Some(index);
                    plan.unique_keys_taken = new.iter().filter(|key| !old.contains(key)).cloned().collect();
                    plan.unique_keys_released =
                        old.into_iter().filter(|key| !new.contains(key) && !mutant!(UniqueKeyNotReleased)).collect();
                }
                plan.after = next;
                CommandStatus::Applied { version: version + 1 }
            }
        };
        plan.judged.push((index, status));
        Added::Judged
    }

    /// Returns whether the command may be judged: if all its predecessors are judged, or if its reorder window is over.
    fn is_due(&self, plan: &BatchPlan<D>, envelope: &Envelope<D::Command>) -> bool {
        let judged_now = |command: &CommandId| {
            let mut judged = plan.judged.iter().filter_map(|(index, _)| self.commands.get(*index));
            judged.any(|judged| judged.stamp.command == *command)
        };
        let mut after = envelope.after.iter();
        !self.may_wait(envelope) || after.all(|command| self.settled.contains(command) || judged_now(command))
    }

    /// Returns whether the command is young enough to wait for a predecessor.
    fn may_wait(&self, envelope: &Envelope<D::Command>) -> bool {
        let is_ignored = mutant!(PredecessorIgnoredAfterQueue) && !self.policy.awaits_versions;
        let age = self.now.since(envelope.stamp.at).unwrap_or_default();
        age < self.policy.reorder_window && !is_ignored
    }
}

/// The result of adding one command to a plan.
enum Added {
    Judged,
    Waits,
    /// It changes unique keys, and so does an earlier command of this plan.
    NotInThisPlan,
}
