//! One batch of messages: group by aggregate, apply, project, and say which messages must come again.
//!
//! The message is the redo log: it is acknowledged only after state and projection are done. Every effect is
//! idempotent by version, so that a redelivery repairs whatever an earlier delivery left half done.

use std::collections::HashSet;
use std::iter;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::future::FutureExt;
use futures::stream::{self, StreamExt};
use kernel::apply::{Applied, Order, Verdict};
use kernel::causes::Chain;
use kernel::clock::Timestamp;
use kernel::domain::Domain;
use kernel::envelope::{Envelope, Heading};
use kernel::ids::AggregateKey;
use kernel::mutant;
use kernel::ports::{LOAD_KEYS_MAX, Projected, Snapshot};
use kernel::problem::Problem;
use kernel::random::jitter;
use kernel::record::CommandStatus;
use shared::metrics::Tally;
use shared::wiring::{DEFERRAL_MAX, IngestSide};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, error, warn};

/// The most aggregates worked on at the same time.
const AGGREGATES_AT_ONCE: usize = 8;
/// Work that would begin later than this before the deadline is left for another delivery.
const START_MARGIN: Duration = Duration::from_secs(2);
/// Work that is not done by this before the deadline is dropped, so that the answer still gets out.
const ANSWER_MARGIN: Duration = Duration::from_millis(300);

/// A message, as far as a batch needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The identity that a failure is reported under.
    pub id: String,
    /// What changes the message's visibility.
    pub receipt_handle: String,
    /// The serialised envelope.
    pub body: String,
    /// How often it was delivered, this time included.
    pub receive_count: u32,
    /// What it is ordered within, on a FIFO queue.
    pub order_group: Option<String>,
}

/// Ingests batches.
#[derive(Debug)]
pub struct Ingest<D: Domain> {
    side: IngestSide<D>,
    /// After so many deliveries the queue gives a message up.
    receive_count_max: u32,
}

/// The commands of one aggregate, each once, in the order of their arrival.
struct Group<C> {
    key: AggregateKey,
    commands: Vec<Envelope<C>>,
    /// For each command the places of the messages that carry it.
    places: Vec<Vec<usize>>,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The identities of the messages that must come again.
    pub failed: Vec<String>,
    /// What became of the commands, for metrics.
    pub tally: Tally,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// Everything is done: it may be forgotten.
    Done,
    /// It came too early.
    Deferred,
    /// It must come again, because of this.
    Failed(String),
}

/// What this delivery of a command changed.
#[derive(Debug, Clone, Copy, Default)]
struct Effect {
    /// Whether it took effect; `None` where that was not judged now.
    applied: Option<bool>,
    /// How long after its acceptance the view could be read, where this delivery saw to that.
    lag: Option<Duration>,
}

/// What became of the message at a place in the batch.
type Done = (usize, Fate, Effect);

impl<D: Domain> Ingest<D> {
    /// Ingests through these ports; a message is given up by its queue after `receive_count_max` deliveries.
    #[must_use]
    pub fn new(side: IngestSide<D>, receive_count_max: u32) -> Self {
        Self { side, receive_count_max }
    }

    /// Does what can be done before `deadline`.
    pub async fn batch(&self, messages: &[Message], deadline: Instant) -> Outcome {
        let mut fates: Vec<Fate> = vec![Fate::Failed("not reached".to_owned()); messages.len()];
        let groups = self.group(messages, &mut fates);
        let done: Vec<_> = stream::iter(chunks(groups))
            .then(|groups| self.chunk(groups, deadline))
            .flat_map(stream::iter)
            .collect()
            .await;
        let mut outcome = Outcome::default();
        for (place, fate, effect) in done {
            effect.count(&mut outcome.tally);
            if let Some(slot) = fates.get_mut(place) {
                *slot = fate;
            }
        }
        if mutant!(NotFoundByReceiveCount) {
            self.reject_the_patient(messages, &mut fates).await;
        }
        for (message, fate) in messages.iter().zip(fates).filter(|(_, fate)| *fate != Fate::Done) {
            outcome.tally.failed += usize::from(self.is_last_delivery(message));
            outcome.tally.deliveries_failed += usize::from(matches!(fate, Fate::Failed(_)));
            outcome.failed.push(self.hand_back(message, fate).await);
        }
        outcome
    }

    /// Reads the messages. One that cannot be read holds back those behind it in its order group.
    fn group(&self, messages: &[Message], fates: &mut [Fate]) -> Vec<Group<D::Command>> {
        let mut groups: Vec<Group<D::Command>> = Vec::new();
        let mut blocked = HashSet::new();
        for (place, (message, fate)) in messages.iter().zip(fates).enumerate() {
            let order_group = message.order_group.as_ref().filter(|_| self.side.applier.order() == Order::Strict);
            if order_group.is_some_and(|group| blocked.contains(group)) {
                *fate = Fate::Failed("a message before it in its order group cannot be read".to_owned());
                continue;
            }
            match Envelope::parse::<D>(&message.body) {
                Ok(mut envelope) if mutant!(DeduplicatesByMessageId) => {
                    envelope.stamp.command = message.id.parse().unwrap_or(envelope.stamp.command);
                    add(&mut groups, envelope.key::<D>(), envelope, place);
                }
                Ok(envelope) => add(&mut groups, envelope.key::<D>(), envelope, place),
                Err(error) => {
                    error!(message_id = message.id, error = %Chain(&error), "unreadable message");
                    blocked.extend(order_group);
                    *fate = match mutant!(UnreadableIsAcknowledged) {
                        true => Fate::Done,
                        false => Fate::Failed(error.to_string()),
                    };
                }
            }
        }
        groups
    }

    /// Works on as many aggregates as one read can load.
    async fn chunk(&self, groups: Vec<Group<D::Command>>, deadline: Instant) -> Vec<Done> {
        let keys: Vec<_> = groups.iter().map(|group| group.key.clone()).collect();
        let answer_by = deadline.checked_sub(ANSWER_MARGIN).unwrap_or(deadline);
        let stored = match timeout_at(answer_by, self.side.applier.load(&keys)).await {
            Ok(Ok(stored)) => stored,
            Ok(Err(error)) => {
                error!(error = %Chain(&error), "the batch was not loaded");
                return same_fate(&groups, &Fate::Failed(error.to_string()));
            }
            Err(_) => return same_fate(&groups, &Fate::Failed("out of time".to_owned())),
        };
        let work = groups.into_iter().zip(stored).map(|(group, stored)| self.guarded(group, stored, deadline));
        stream::iter(work).buffer_unordered(AGGREGATES_AT_ONCE).flat_map(stream::iter).collect().await
    }

    /// A panic or a lack of time fails one aggregate, not the batch.
    async fn guarded(&self, group: Group<D::Command>, stored: Option<Snapshot>, deadline: Instant) -> Vec<Done> {
        if deadline.saturating_duration_since(Instant::now()) < START_MARGIN {
            return same_fate([&group], &Fate::Failed("out of time".to_owned()));
        }
        let answer_by = deadline.checked_sub(ANSWER_MARGIN).unwrap_or(deadline);
        let work = AssertUnwindSafe(self.aggregate(&group, stored)).catch_unwind();
        match timeout_at(answer_by, work).await {
            Ok(Ok(fates)) => fates,
            Ok(Err(_)) => {
                error!(key = %group.key, "panicked");
                same_fate([&group], &Fate::Failed("an internal error".to_owned()))
            }
            Err(_) => same_fate([&group], &Fate::Failed("out of time".to_owned())),
        }
    }

    async fn aggregate(&self, group: &Group<D::Command>, stored: Option<Snapshot>) -> Vec<Done> {
        let applied = self.side.applier.apply(&group.key, &group.commands, stored).await;
        if let Some(error) = &applied.stopped_by {
            warn!(key = %group.key, error = %Chain(error), "commands are unfinished");
        }
        let projected = match applied.needs_projection() {
            true => self.side.projector.project(&group.key, &applied.current).await,
            false => Ok(Projected::Newer),
        };
        match projected {
            Err(error) if !mutant!(AcknowledgedBeforeProjection) => {
                warn!(key = %group.key, error = %Chain(&error), "not projected");
                let again = |(place, _, effect)| (place, Fate::Failed(error.to_string()), effect);
                group.done(&applied, None).into_iter().map(again).collect()
            }
            Ok(Projected::Stored) => group.done(&applied, Some(self.side.clock.now())),
            Ok(Projected::Newer) | Err(_) => group.done(&applied, None),
        }
    }

    /// What the protocol must not do, for the simulation: how often a message was received says nothing about what is
    /// behind it.
    async fn reject_the_patient(&self, messages: &[Message], fates: &mut [Fate]) {
        for (message, fate) in messages.iter().zip(fates) {
            if *fate == Fate::Deferred && message.receive_count >= 3 {
                let status = CommandStatus::Rejected { version: 0, problem: Problem::not_found() };
                let heading = Heading::parse(&message.body);
                let record = heading.map(|heading| heading.record(status, Some(self.side.clock.now())));
                if let Some(record) = record
                    && self.side.records.put_failed(&record).await.is_ok()
                {
                    *fate = Fate::Done;
                }
            }
        }
    }

    /// Prepares a message to come again. At its last delivery its command is told to have failed.
    async fn hand_back(&self, message: &Message, fate: Fate) -> String {
        let reason = match fate {
            Fate::Failed(reason) => reason,
            Fate::Deferred | Fate::Done => {
                let delay = deferral(message.receive_count);
                if let Err(error) = self.side.deferral.defer(&message.receipt_handle, delay).await {
                    // It comes again all the same, after the queue's visibility timeout.
                    debug!(message_id = message.id, error = %Chain(&error), "not deferred");
                }
                "what it builds on did not come".to_owned()
            }
        };
        if self.is_last_delivery(message) {
            self.give_up(message, reason).await;
        }
        message.id.clone()
    }

    /// Whether the queue gives the message up, unless it is done now.
    fn is_last_delivery(&self, message: &Message) -> bool {
        message.receive_count >= self.receive_count_max
    }

    async fn give_up(&self, message: &Message, reason: String) {
        let Some(heading) = Heading::parse(&message.body) else { return };
        let record = heading.record(CommandStatus::Failed { reason }, Some(self.side.clock.now()));
        if let Err(error) = self.side.records.put_failed(&record).await {
            // The dead letter tells the tale; an operator's `dlq sync` marks it from there.
            error!(message_id = message.id, error = %Chain(&error), "the failure was not recorded");
        }
    }
}

impl<C> Group<C> {
    /// `shown_at` is when the view could be read, where this delivery saw to that.
    fn done<D: Domain>(&self, applied: &Applied<D>, shown_at: Option<Timestamp>) -> Vec<Done> {
        let why = applied.stopped_by.as_ref().map_or_else(|| "not reached".to_owned(), ToString::to_string);
        let fate = |verdict: &Verdict| match verdict {
            Verdict::Final { .. } => Fate::Done,
            Verdict::Deferred => Fate::Deferred,
            Verdict::Unfinished => Fate::Failed(why.clone()),
        };
        let verdicts = self.places.iter().zip(&applied.verdicts);
        let done = verdicts.flat_map(|(places, verdict)| {
            // Of several messages with the same command the first one has the effect.
            let effects = iter::once(Effect::of(verdict, shown_at)).chain(iter::repeat(Effect::default()));
            places.iter().zip(effects).map(|(place, effect)| (*place, fate(verdict), effect)).collect::<Vec<_>>()
        });
        done.collect()
    }
}

impl Effect {
    fn of(verdict: &Verdict, shown_at: Option<Timestamp>) -> Self {
        let Verdict::Final { record, duplicate } = verdict else { return Self::default() };
        let applied = matches!(record.status, CommandStatus::Applied { .. });
        let lag = |shown_at: Timestamp| shown_at.since(record.accepted_at).unwrap_or_default();
        // A duplicate that has its view put is one whose first delivery died before it did.
        Self { applied: (!duplicate).then_some(applied), lag: shown_at.filter(|_| applied).map(lag) }
    }

    fn count(self, tally: &mut Tally) {
        tally.applied += usize::from(self.applied == Some(true));
        tally.refused += usize::from(self.applied == Some(false));
        tally.projection_lags.extend(self.lag);
    }
}

/// Puts a command behind the others of its aggregate, unless it is among them already.
fn add<C>(groups: &mut Vec<Group<C>>, key: AggregateKey, envelope: Envelope<C>, place: usize) {
    let Some(group) = groups.iter_mut().find(|group| group.key == key) else {
        groups.push(Group { key, commands: vec![envelope], places: vec![vec![place]] });
        return;
    };
    let known = group.commands.iter().position(|command| command.stamp.command == envelope.stamp.command);
    if let Some(places) = known.and_then(|known| group.places.get_mut(known)) {
        places.push(place);
    } else {
        group.commands.push(envelope);
        group.places.push(vec![place]);
    }
}

fn chunks<C>(groups: Vec<Group<C>>) -> Vec<Vec<Group<C>>> {
    let mut groups = groups.into_iter().peekable();
    let mut chunks = Vec::new();
    while groups.peek().is_some() {
        chunks.push(groups.by_ref().take(LOAD_KEYS_MAX).collect());
    }
    chunks
}

fn same_fate<'a, C: 'a>(groups: impl IntoIterator<Item = &'a Group<C>>, fate: &Fate) -> Vec<Done> {
    let places = groups.into_iter().flat_map(|group| group.places.iter().flatten());
    places.map(|place| (*place, fate.clone(), Effect::default())).collect()
}

/// 1 s, doubled with each delivery, up to [`DEFERRAL_MAX`]; at random by half, so that messages part.
fn deferral(receive_count: u32) -> Duration {
    let longest = Duration::from_secs(1 << receive_count.saturating_sub(1).min(5)).min(DEFERRAL_MAX);
    jitter(longest, 0.5..1.0)
}
