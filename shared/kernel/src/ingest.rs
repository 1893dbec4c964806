//! One batch of messages: group by aggregate, apply, project, and say which messages must come again.
//!
//! The message is the redo log: it is acknowledged only after state and projection are done. Every effect is idempotent by
//! version, so that a redelivery repairs whatever an earlier delivery left half done.

mod group;
mod kind;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::future::FutureExt;
use futures::stream::{self, StreamExt};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, error};

use crate::apply::Order;
use crate::causes::Chain;
use crate::clock::Clock;
use crate::envelope::{EnvelopeError, Heading, RawEnvelope};
use crate::ids::Kind;
use crate::ports::{MessageDeferral, RecordWriter, Snapshot, StateReader};
use crate::problem::Problem;
use crate::random::jitter;
use crate::record::CommandStatus;

use self::group::{Done, Fate, Group, add, chunks, same_fate};
pub use self::kind::{KindIngest, OneKind};

/// The longest pause before a deferred message comes again.
pub const DEFERRAL_MAX: Duration = Duration::from_secs(20);

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

/// Ingests batches. A batch may hold commands of several kinds.
#[derive(Debug)]
pub struct Ingest {
    /// A port for each kind that this code knows.
    pub kinds: Vec<Arc<dyn KindIngest>>,
    /// Where states are loaded from.
    pub states: Arc<dyn StateReader>,
    /// Whether a message that cannot be read holds back those behind it.
    pub order: Order,
    /// Where failures are recorded.
    pub records: Arc<dyn RecordWriter>,
    /// Postpones messages that came too early.
    pub deferral: Arc<dyn MessageDeferral>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// After so many deliveries the queue gives a message up.
    pub receive_count_max: u32,
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The identities of the messages that must come again.
    pub failed: Vec<String>,
    /// What became of the commands of each kind, for metrics; `None` stands for messages that cannot be read.
    pub tallies: BTreeMap<Option<Kind>, Tally>,
}

/// What became of the commands of one kind in one batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Took effect in this batch.
    pub applied: usize,
    /// Were judged in this batch, and had no effect: rejected, or superseded.
    pub refused: usize,
    /// Were given up in this batch: their messages are dead letters now.
    pub failed: usize,
    /// Deliveries that failed, so that SQS delivers their messages again or gives them up. Deferred messages do not count:
    /// they came too early, and nothing is wrong with them.
    pub deliveries_failed: usize,
    /// From the acceptance of each command that took effect until its view could be read, for the views that this batch
    /// put.
    pub projection_lags: Vec<Duration>,
}

impl Ingest {
    /// Does what can be done before `deadline`.
    pub async fn batch(&self, messages: &[Message], deadline: Instant) -> Outcome {
        let mut fates: Vec<Fate> = vec![Fate::Failed("not reached".to_owned()); messages.len()];
        let groups = self.group(messages, &mut fates);
        let kinds: HashMap<_, _> = groups.iter().flat_map(Group::kinds).collect();
        let done: Vec<_> = stream::iter(chunks(groups))
            .then(|groups| self.chunk(groups, deadline))
            .flat_map(stream::iter)
            .collect()
            .await;
        let mut outcome = Outcome::default();
        for (place, fate, effect) in done {
            effect.count(outcome.tallies.entry(kinds.get(&place).copied()).or_default());
            if let Some(slot) = fates.get_mut(place) {
                *slot = fate;
            }
        }
        if mutant!(NotFoundByReceiveCount) {
            self.reject_the_patient(messages, &mut fates).await;
        }
        let undone = messages.iter().zip(fates).enumerate().filter(|(_, (_, fate))| *fate != Fate::Done);
        for (place, (message, fate)) in undone {
            let tally = outcome.tallies.entry(kinds.get(&place).copied()).or_default();
            tally.failed += usize::from(self.is_last_delivery(message));
            tally.deliveries_failed += usize::from(matches!(fate, Fate::Failed(_)));
            let id = self.hand_back(message, fate).await;
            if !mutant!(AnswerNamesNoFailure) {
                outcome.failed.push(id);
            }
        }
        outcome
    }

    /// Reads the messages. One that cannot be read holds back those behind it in its order group, of whatever kind.
    fn group(&self, messages: &[Message], fates: &mut [Fate]) -> Vec<Group> {
        let mut groups = Vec::new();
        let mut blocked = HashSet::new();
        for (place, (message, fate)) in messages.iter().zip(fates).enumerate() {
            let order_group = message.order_group.as_ref().filter(|_| self.order == Order::Strict);
            if order_group.is_some_and(|group| blocked.contains(group)) {
                *fate = Fate::Failed("a message before it in its order group cannot be read".to_owned());
                continue;
            }
            match self.read(message) {
                Ok((ingest, envelope)) => add(&mut groups, ingest, envelope, place),
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

    fn read(&self, message: &Message) -> Result<(Arc<dyn KindIngest>, RawEnvelope), EnvelopeError> {
        let mut envelope = RawEnvelope::read(&message.body)?;
        let kind = self.kinds.iter().find(|ingest| ingest.kind().has_name(envelope.kind.as_deref()));
        let Some(ingest) = kind else { return Err(EnvelopeError::UnknownKind(envelope.kind)) };
        ingest.check(&envelope)?;
        if mutant!(DeduplicatesByMessageId) {
            envelope.stamp.command = message.id.parse().unwrap_or(envelope.stamp.command);
        }
        Ok((Arc::clone(ingest), envelope))
    }

    /// Works on as many aggregates as one read can load.
    async fn chunk(&self, groups: Vec<Group>, deadline: Instant) -> Vec<Done> {
        let keys: Vec<_> = groups.iter().map(|group| group.key.clone()).collect();
        let answer_by = deadline.checked_sub(ANSWER_MARGIN).unwrap_or(deadline);
        let stored = match timeout_at(answer_by, self.states.load(&keys)).await {
            Ok(Ok(stored)) => stored,
            Ok(Err(error)) => {
                error!(error = %Chain(&error), "the batch was not loaded");
                return same_fate(&groups, &Fate::Failed(error.to_string()));
            }
            Err(_) => return same_fate(&groups, &Fate::Failed("out of time".to_owned())),
        };
        let work = groups.into_iter().zip(stored).map(|(group, stored)| guarded(group, stored, deadline));
        stream::iter(work).buffer_unordered(AGGREGATES_AT_ONCE).flat_map(stream::iter).collect().await
    }

    /// What the protocol must not do, for the simulation: how often a message was received says nothing about what is
    /// behind it.
    async fn reject_the_patient(&self, messages: &[Message], fates: &mut [Fate]) {
        for (message, fate) in messages.iter().zip(fates) {
            if *fate == Fate::Deferred && message.receive_count >= 3 {
                let status = CommandStatus::Rejected { version: 0, problem: Problem::not_found() };
                let heading = Heading::parse(&message.body);
                let record = heading.map(|heading| heading.record(status, Some(self.clock.now())));
                if let Some(record) = record
                    && self.records.put_failed(&record).await.is_ok()
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
                if let Err(error) = self.deferral.defer(&message.receipt_handle, delay).await {
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
        let record = heading.record(CommandStatus::Failed { reason }, Some(self.clock.now()));
        if let Err(error) = self.records.put_failed(&record).await {
            // The dead letter tells the tale; an operator's `dlq sync` marks it from there.
            error!(message_id = message.id, error = %Chain(&error), "the failure was not recorded");
        }
    }
}

/// A panic or a lack of time fails one aggregate, not the batch.
async fn guarded(group: Group, stored: Option<Snapshot>, deadline: Instant) -> Vec<Done> {
    if deadline.saturating_duration_since(Instant::now()) < START_MARGIN {
        return same_fate([&group], &Fate::Failed("out of time".to_owned()));
    }
    let answer_by = deadline.checked_sub(ANSWER_MARGIN).unwrap_or(deadline);
    let work = AssertUnwindSafe(group.ingest.ingest(&group, stored)).catch_unwind();
    match timeout_at(answer_by, work).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => {
            error!(key = %group.key, "panicked");
            same_fate([&group], &Fate::Failed("an internal error".to_owned()))
        }
        Err(_) => same_fate([&group], &Fate::Failed("out of time".to_owned())),
    }
}

/// 1 s, doubled with each delivery, up to [`DEFERRAL_MAX`]; at random by half, so that messages part.
fn deferral(receive_count: u32) -> Duration {
    let longest = Duration::from_secs(1 << receive_count.saturating_sub(1).min(5)).min(DEFERRAL_MAX);
    jitter(longest, 0.5..1.0)
}
