//! Ingests a batch of messages: groups them by aggregate, applies, projects, and reports the messages to deliver again.
//!
//! The message is the redo log: ingest acknowledges it only after state and projection are stored. Every write is idempotent
//! by version, so a redelivery completes an earlier delivery that stopped halfway.

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

use crate::clock::Clock;
use crate::envelope::{EnvelopeError, EnvelopeHeader, RawEnvelope};
use crate::error_chain::ErrorChain;
use crate::ids::Kind;
use crate::policy::Order;
use crate::ports::{MessageDeferral, RecordWriter, Snapshot, StateReader};
use crate::problem::Problem;
use crate::random::jitter;
use crate::record::CommandStatus;

use self::group::{Disposition, Done, Group, add, chunks, same_disposition};
pub use self::kind::{KindIngest, OneKind};

/// The longest pause before a deferred message is delivered again.
pub const DEFERRAL_MAX: Duration = Duration::from_secs(20);

/// The fewest deliveries after which the queue may make a message a dead letter. Deferrals and crashes count too.
pub const RECEIVES_MIN: u32 = 20;

/// Number of aggregates that ingest processes at the same time.
const AGGREGATES_AT_ONCE: usize = 8;
/// Ingest starts no aggregate later than this before the deadline. It leaves the aggregate for another delivery.
const START_MARGIN: Duration = Duration::from_secs(2);
/// A function drops unfinished work this long before its deadline, to have time for its response.
pub const ANSWER_MARGIN: Duration = Duration::from_millis(300);

/// A message from the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The id that reports a failure of this message.
    pub id: String,
    /// The handle for changing the message's visibility.
    pub receipt_handle: String,
    /// The serialised envelope.
    pub body: String,
    /// Number of deliveries, this one included.
    pub receive_count: u32,
    /// The message group, on a FIFO queue.
    pub order_group: Option<String>,
}

/// Ingests batches of messages. A batch may hold commands of several kinds.
#[derive(Debug)]
pub struct Ingest {
    /// One entry for each kind that this code knows.
    pub kinds: Vec<Arc<dyn KindIngest>>,
    /// Loads states.
    pub states: Arc<dyn StateReader>,
    /// `Strict` if an unreadable message holds back the later messages of its message group.
    pub order: Order,
    /// Stores the records of failed commands.
    pub records: Arc<dyn RecordWriter>,
    /// Defers early messages.
    pub deferral: Arc<dyn MessageDeferral>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// The queue moves a message to the dead-letter queue after this number of deliveries.
    pub receive_count_max: u32,
}

/// The result of a batch.
#[derive(Debug, Default)]
pub struct BatchReport {
    /// The ids of the messages to deliver again.
    pub failed: Vec<String>,
    /// Counts for metrics, by kind. `None` counts unreadable messages.
    pub tallies: BTreeMap<Option<Kind>, Tally>,
}

/// Counts of the commands of one kind in one batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Commands that this batch applied.
    pub applied: usize,
    /// Commands that this batch rejected, or found superseded.
    pub refused: usize,
    /// Commands whose messages are dead letters after this batch.
    pub failed: usize,
    /// Failed deliveries. SQS delivers their messages again, or moves them to the dead-letter queue. Deferred messages do not
    /// count, because they are only early.
    pub deliveries_failed: usize,
    /// Times from the acceptance of an applied command until its view was readable, for the views that this batch stored.
    pub projection_lags: Vec<Duration>,
}

impl Ingest {
    /// Ingests the messages. Stops before `deadline`, and reports the rest for another delivery.
    pub async fn batch(&self, messages: &[Message], deadline: Instant) -> BatchReport {
        let mut dispositions: Vec<Disposition> = vec![Disposition::Failed("not processed".to_owned()); messages.len()];
        let groups = self.group(messages, &mut dispositions);
        let kinds: HashMap<_, _> = groups.iter().flat_map(Group::kinds).collect();
        let done: Vec<_> = stream::iter(chunks(groups))
            .then(|groups| self.chunk(groups, deadline))
            .flat_map(stream::iter)
            .collect()
            .await;
        let mut report = BatchReport::default();
        for (index, disposition, metrics) in done {
            metrics.count(report.tallies.entry(kinds.get(&index).copied()).or_default());
            if let Some(slot) = dispositions.get_mut(index) {
                *slot = disposition;
            }
        }
        if mutant!(NotFoundByReceiveCount) {
            self.reject_by_receive_count(messages, &mut dispositions).await;
        }
        let undone = messages
            .iter()
            .zip(dispositions)
            .enumerate()
            .filter(|(_, (_, disposition))| *disposition != Disposition::Done);
        for (index, (message, disposition)) in undone {
            let tally = report.tallies.entry(kinds.get(&index).copied()).or_default();
            tally.failed += usize::from(self.is_last_delivery(message));
            tally.deliveries_failed += usize::from(matches!(disposition, Disposition::Failed(_)));
            let id = self.defer_or_fail(message, disposition).await;
            if !mutant!(AnswerNamesNoFailure) {
                report.failed.push(id);
            }
        }
        report
    }

    /// Groups the messages by aggregate. An unreadable message holds back the later messages of its message group.
    fn group(&self, messages: &[Message], dispositions: &mut [Disposition]) -> Vec<Group> {
        let mut groups = Vec::new();
        let mut blocked = HashSet::new();
        for (index, (message, disposition)) in messages.iter().zip(dispositions).enumerate() {
            let order_group = message.order_group.as_ref().filter(|_| self.order == Order::Strict);
            if order_group.is_some_and(|group| blocked.contains(group)) {
                *disposition = Disposition::Failed("an earlier message of its order group cannot be read".to_owned());
                continue;
            }
            match self.read(message) {
                Ok((ingest, envelope)) => add(&mut groups, ingest, envelope, index),
                Err(error) => {
                    error!(message_id = message.id, error = %ErrorChain(&error), "unreadable message");
                    blocked.extend(order_group);
                    *disposition = match mutant!(UnreadableIsAcknowledged) {
                        true => Disposition::Done,
                        false => Disposition::Failed(error.to_string()),
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

    /// Ingests the aggregates of one chunk. One read loads all their states.
    async fn chunk(&self, groups: Vec<Group>, deadline: Instant) -> Vec<Done> {
        let keys: Vec<_> = groups.iter().map(|group| group.key.clone()).collect();
        let answer_by = deadline.checked_sub(ANSWER_MARGIN).unwrap_or(deadline);
        let stored = match timeout_at(answer_by, self.states.load(&keys)).await {
            Ok(Ok(stored)) => stored,
            Ok(Err(error)) => {
                error!(error = %ErrorChain(&error), "cannot load the items of the batch: the queue delivers it again");
                return same_disposition(&groups, &Disposition::Failed(error.to_string()));
            }
            Err(_) => return same_disposition(&groups, &Disposition::Failed("processing ran out of time".to_owned())),
        };
        let work = groups.into_iter().zip(stored).map(|(group, stored)| guarded(group, stored, deadline));
        stream::iter(work).buffer_unordered(AGGREGATES_AT_ONCE).flat_map(stream::iter).collect().await
    }

    /// Rejects by receive count: a mutant for the simulation. The protocol must not do so, because the receive count proves nothing
    /// about the messages that are still in the queue.
    async fn reject_by_receive_count(&self, messages: &[Message], dispositions: &mut [Disposition]) {
        for (message, disposition) in messages.iter().zip(dispositions) {
            if *disposition == Disposition::Deferred && message.receive_count >= 3 {
                let status = CommandStatus::Rejected { version: 0, problem: Problem::not_found() };
                let header = EnvelopeHeader::parse(&message.body);
                let record = header.map(|header| header.record(status, Some(self.clock.now())));
                if let Some(record) = record
                    && self.records.put_failed(&record).await.is_ok()
                {
                    *disposition = Disposition::Done;
                }
            }
        }
    }

    /// Returns the id of a message to deliver again. Defers an early message. At the last delivery, records its command as failed.
    async fn defer_or_fail(&self, message: &Message, disposition: Disposition) -> String {
        let reason = match disposition {
            Disposition::Failed(reason) => reason,
            Disposition::Deferred | Disposition::Done => {
                let delay = deferral(message.receive_count);
                if let Err(error) = self.deferral.defer(&message.receipt_handle, delay).await {
                    // SQS delivers the message anyway, after the visibility timeout.
                    debug!(message_id = message.id, error = %ErrorChain(&error), "the message was not deferred");
                }
                "its predecessor did not arrive".to_owned()
            }
        };
        if self.is_last_delivery(message) {
            self.give_up(message, reason).await;
        }
        message.id.clone()
    }

    /// Returns whether the message becomes a dead letter if this delivery fails.
    fn is_last_delivery(&self, message: &Message) -> bool {
        message.receive_count >= self.receive_count_max
    }

    async fn give_up(&self, message: &Message, reason: String) {
        let Some(header) = EnvelopeHeader::parse(&message.body) else { return };
        let record = header.record(CommandStatus::Failed { reason }, Some(self.clock.now()));
        if let Err(error) = self.records.put_failed(&record).await {
            // An operator can record it later from the dead letter, with `watershed dlq sync`.
            error!(message_id = message.id, error = %ErrorChain(&error), "unrecorded failure: run watershed dlq sync");
        }
    }
}

/// Ingests one aggregate. A panic or a timeout fails this aggregate, not the batch.
async fn guarded(group: Group, stored: Option<Snapshot>, deadline: Instant) -> Vec<Done> {
    if deadline.saturating_duration_since(Instant::now()) < START_MARGIN {
        return same_disposition([&group], &Disposition::Failed("processing ran out of time".to_owned()));
    }
    let answer_by = deadline.checked_sub(ANSWER_MARGIN).unwrap_or(deadline);
    let work = AssertUnwindSafe(group.ingest.ingest(&group, stored)).catch_unwind();
    match timeout_at(answer_by, work).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => {
            error!(key = %group.key, "the processing of an item panicked: the queue delivers its commands again");
            same_disposition([&group], &Disposition::Failed("processing panicked: see the log".to_owned()))
        }
        Err(_) => same_disposition([&group], &Disposition::Failed("processing ran out of time".to_owned())),
    }
}

/// Returns 1 s, doubled with each delivery up to [`DEFERRAL_MAX`]. A random half of it spreads the messages.
fn deferral(receive_count: u32) -> Duration {
    let longest = Duration::from_secs(1 << receive_count.saturating_sub(1).min(5)).min(DEFERRAL_MAX);
    jitter(longest, 0.5..1.0)
}
