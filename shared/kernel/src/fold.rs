//! What a run of commands does to one aggregate: pure, so that it can be done again whenever the world has moved.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use crate::apply::{Order, Policy};
use crate::clock::Timestamp;
use crate::domain::{Decision, DecodeError, Domain};
use crate::envelope::{Envelope, Expected};
use crate::ids::{AggregateKey, CommandId, Tenant};
use crate::ports::{Claim, Snapshot};
use crate::problem::Problem;
use crate::project::Projection;
use crate::record::{COMMAND_AGE_MAX, CommandStatus};

/// How long a deleted aggregate is remembered, so that a late command finds out that it is gone.
const TOMBSTONE_TTL: Duration = Duration::from_hours(45 * 24);

/// An aggregate at one version.
#[derive(Debug)]
pub struct Aggregate<D: Domain> {
    /// The version; 0 where nothing was ever stored.
    pub version: u64,
    /// The state; `None` where nothing was stored, or where it was deleted.
    pub state: Option<D::State>,
    /// When the tombstone may be forgotten.
    expires_at: Option<Timestamp>,
}

impl<D: Domain> Clone for Aggregate<D> {
    fn clone(&self) -> Self {
        Self { version: self.version, state: self.state.clone(), expires_at: self.expires_at }
    }
}

impl<D: Domain> Aggregate<D> {
    /// Nothing.
    #[must_use]
    pub fn absent() -> Self {
        Self { version: 0, state: None, expires_at: None }
    }

    /// Reads what the write store holds.
    pub fn decode(stored: Option<&Snapshot>) -> Result<Self, DecodeError> {
        let Some(stored) = stored else { return Ok(Self::absent()) };
        let state = stored.body.as_ref().map(|body| D::decode(stored.schema, body)).transpose()?;
        Ok(Self { version: stored.version, state, expires_at: stored.expires_at })
    }

    /// What the write store shall hold.
    #[must_use]
    pub fn encode(&self, key: &AggregateKey, projection: Projection) -> Snapshot {
        self.snapshot(key, projection, self.state.as_ref().map(D::encode))
    }

    /// What the read store shall hold.
    #[must_use]
    pub fn view(&self, key: &AggregateKey, projection: Projection) -> Snapshot {
        let body = self.state.as_ref().map(|state| D::project(projection, key.id, self.version, state));
        self.snapshot(key, projection, body)
    }

    fn snapshot(&self, key: &AggregateKey, projection: Projection, body: Option<bytes::Bytes>) -> Snapshot {
        let mut index = self.state.as_ref().map(|state| D::index(projection, key, state)).unwrap_or_default();
        // Stores return them in this order, and snapshots are compared.
        index.sort_by_key(|entry| entry.slot);
        Snapshot { version: self.version, schema: D::SCHEMA, body, index, expires_at: self.expires_at }
    }

    fn claims(&self, tenant: &Tenant) -> Vec<Claim> {
        self.state.as_ref().map(|state| D::claims(tenant, state)).unwrap_or_default()
    }
}

/// What a command comes to, on top of one version.
enum Judgement<D: Domain> {
    Applied(Aggregate<D>),
    Rejected(Problem),
    Superseded,
    /// What it builds on may still be on its way.
    Waits,
}

fn judge<D: Domain>(
    aggregate: &Aggregate<D>,
    envelope: &Envelope<D::Command>,
    now: Timestamp,
    horizon: Duration,
) -> Judgement<D> {
    let age = now.since(envelope.stamp.at).unwrap_or_default();
    if age > COMMAND_AGE_MAX {
        return Judgement::Rejected(Problem::expired());
    }
    let may_wait = age < horizon && !mutant!(NothingIsDeferred);
    match (D::creates(&envelope.command), &aggregate.state) {
        (true, None) if aggregate.version == 0 => decide(aggregate, envelope, now),
        (true, _) => Judgement::Rejected(Problem::already_exists()),
        (false, None) if aggregate.version > 0 => Judgement::Rejected(Problem::not_found()),
        (false, None) if may_wait && create_may_be_behind(envelope, now, horizon) => Judgement::Waits,
        (false, None) => Judgement::Rejected(Problem::not_found()),
        (false, Some(_)) => match envelope.expected {
            Expected::Version(expected) if expected > aggregate.version && may_wait => Judgement::Waits,
            Expected::Version(expected) if expected != aggregate.version && !mutant!(IfMatchIgnored) => {
                Judgement::Rejected(Problem::version_conflict(aggregate.version))
            }
            // After `If-Match` (RFC 9110, section 13.2.2).
            _ if excludes(envelope, aggregate.version) => Judgement::Rejected(Problem::excluded(aggregate.version)),
            Expected::Version(_) | Expected::Exists | Expected::Unsaid => decide(aggregate, envelope, now),
        },
    }
}

fn excludes<C>(envelope: &Envelope<C>, version: u64) -> bool {
    envelope.excluded.as_ref().is_some_and(|excluded| excluded.has(version)) && !mutant!(IfNoneMatchIgnored)
}

/// Whether the aggregate's create can still be in the queue: identities are server-made and tell their time.
fn create_may_be_behind<C>(envelope: &Envelope<C>, now: Timestamp, horizon: Duration) -> bool {
    envelope.aggregate.made_at().is_some_and(|made_at| now.since(made_at).unwrap_or_default() < horizon)
}

fn decide<D: Domain>(aggregate: &Aggregate<D>, envelope: &Envelope<D::Command>, now: Timestamp) -> Judgement<D> {
    match D::decide(aggregate.state.as_ref(), &envelope.command, &envelope.context()) {
        Decision::Reject(problem) => Judgement::Rejected(problem),
        Decision::Superseded => Judgement::Superseded,
        Decision::Accept(event) => {
            let state = D::evolve(aggregate.state.clone(), event);
            let expires_at = state.is_none().then(|| now.plus(TOMBSTONE_TTL));
            let version = if mutant!(DeleteResetsVersion) && state.is_none() { 0 } else { aggregate.version + 1 };
            Judgement::Applied(Aggregate { version, state, expires_at })
        }
    }
}

/// The result of one run.
pub(crate) struct Fold<D: Domain> {
    /// The aggregate after it.
    pub(crate) after: Aggregate<D>,
    /// What became of each command that was judged: its place among the commands, and its status.
    pub(crate) judged: Vec<(usize, CommandStatus)>,
    /// The places of the commands that wait for a predecessor.
    pub(crate) waiting: Vec<usize>,
    /// The command that changed the claims; at most one does.
    pub(crate) claimant: Option<usize>,
    pub(crate) claims_taken: Vec<Claim>,
    pub(crate) claims_released: Vec<Claim>,
}

/// One run over commands of one aggregate, in the order given by `pending`.
pub(crate) struct Run<'a, D: Domain> {
    pub(crate) commands: &'a [Envelope<D::Command>],
    /// Commands that lost a claim to another aggregate, and why.
    pub(crate) refused: &'a HashMap<CommandId, Problem>,
    /// Commands that are judged for good.
    pub(crate) settled: &'a HashSet<CommandId>,
    pub(crate) policy: &'a Policy,
    pub(crate) now: Timestamp,
}

impl<D: Domain> Run<'_, D> {
    /// Judges the commands one after the other, each on top of those before; those that wait are looked at again
    /// after each that was judged. The run ends before a second command that changes the claims, because a claim that
    /// is held elsewhere must be blamed on one command.
    pub(crate) fn fold(&self, before: &Aggregate<D>, pending: &[usize]) -> Fold<D> {
        let mut fold = Fold {
            after: before.clone(),
            judged: Vec::new(),
            waiting: Vec::new(),
            claimant: None,
            claims_taken: Vec::new(),
            claims_released: Vec::new(),
        };
        let mut ahead: VecDeque<usize> = pending.iter().copied().collect();
        while let Some(place) = ahead.pop_front() {
            match self.step(&mut fold, place) {
                Step::Judged => {
                    // Those that wait come first: they were here earlier.
                    for waiting in fold.waiting.drain(..).rev() {
                        ahead.push_front(waiting);
                    }
                }
                Step::Waits => fold.waiting.push(place),
                Step::SecondClaimant => return fold,
            }
            if self.policy.order == Order::Strict && !fold.waiting.is_empty() && !mutant!(FifoOvertakes) {
                fold.waiting.extend(ahead.drain(..));
            }
        }
        fold
    }

    fn step(&self, fold: &mut Fold<D>, place: usize) -> Step {
        let Some(envelope) = self.commands.get(place) else { return Step::Judged };
        if !self.is_due(fold, envelope) {
            return Step::Waits;
        }
        let version = fold.after.version;
        let judgement = match self.refused.get(&envelope.stamp.command) {
            Some(problem) => Judgement::Rejected(problem.clone()),
            None => judge(&fold.after, envelope, self.now, self.policy.horizon),
        };
        let status = match judgement {
            Judgement::Waits => return Step::Waits,
            Judgement::Rejected(problem) => CommandStatus::Rejected { version, problem },
            Judgement::Superseded => CommandStatus::Superseded { version },
            Judgement::Applied(next) => {
                let (old, new) = (fold.after.claims(&envelope.tenant), next.claims(&envelope.tenant));
                if old != new {
                    if fold.claimant.is_some() && !mutant!(ManyClaimantsInOneFold) {
                        return Step::SecondClaimant;
                    }
                    fold.claimant = Some(place);
                    fold.claims_taken = new.iter().filter(|claim| !old.contains(claim)).cloned().collect();
                    fold.claims_released =
                        old.into_iter().filter(|claim| !new.contains(claim) && !mutant!(ClaimNotReleased)).collect();
                }
                fold.after = next;
                CommandStatus::Applied { version: version + 1 }
            }
        };
        fold.judged.push((place, status));
        Step::Judged
    }

    /// Whether everything that must be judged before the command is judged, or will not be waited for any longer.
    fn is_due(&self, fold: &Fold<D>, envelope: &Envelope<D::Command>) -> bool {
        let judged_now = |command: &CommandId| {
            let mut judged = fold.judged.iter().filter_map(|(place, _)| self.commands.get(*place));
            judged.any(|judged| judged.stamp.command == *command)
        };
        let age = self.now.since(envelope.stamp.at).unwrap_or_default();
        let mut after = envelope.after.iter();
        age >= self.policy.horizon || after.all(|command| self.settled.contains(command) || judged_now(command))
    }
}

enum Step {
    Judged,
    Waits,
    SecondClaimant,
}
