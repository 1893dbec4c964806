//! The messages of a batch, grouped by aggregate, and the disposition of each message.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use super::{KindIngest, Tally};
use crate::apply::{ApplyReport, CommandResult};
use crate::clock::Timestamp;
use crate::domain::Domain;
use crate::envelope::RawEnvelope;
use crate::ids::{AggregateKey, Kind};
use crate::ports::LOAD_KEYS_MAX;
use crate::record::CommandStatus;

/// The distinct commands of one aggregate, in the order of their arrival.
#[derive(Debug)]
pub struct Group {
    pub(super) ingest: Arc<dyn KindIngest>,
    pub(super) key: AggregateKey,
    pub(super) commands: Vec<RawEnvelope>,
    /// For each command, the indices of the messages that carry it.
    indices: Vec<Vec<usize>>,
}

/// The result of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// Finished: the queue deletes the message.
    Done,
    /// Early: deliver it again after a pause.
    Deferred,
    /// Failed for this reason: deliver it again.
    Failed(String),
}

/// The contribution of one message to the metrics.
#[derive(Debug, Clone, Copy, Default)]
pub struct CommandMetrics {
    /// Whether the command was applied. `None` if this delivery did not judge it.
    applied: Option<bool>,
    /// Time from acceptance until the view was readable, if this delivery stored the view.
    lag: Option<Duration>,
}

/// The index of a message in the batch, with its result.
pub(super) type Done = (usize, Disposition, CommandMetrics);

impl Group {
    /// Returns the indices of all its messages, each with the kind.
    pub(super) fn kinds(&self) -> impl Iterator<Item = (usize, Kind)> {
        self.indices.iter().flatten().map(|index| (*index, self.key.kind))
    }

    /// Returns the results of all its messages. `shown_at` is the time at which this delivery stored the view, if it did.
    pub(super) fn done<D: Domain>(&self, applied: &ApplyReport<D>, shown_at: Option<Timestamp>) -> Vec<Done> {
        let why = applied.stopped_by.as_ref().map_or_else(|| "not processed".to_owned(), ToString::to_string);
        let disposition = |result: &CommandResult| match result {
            CommandResult::Final { .. } => Disposition::Done,
            CommandResult::Deferred => Disposition::Deferred,
            CommandResult::Unfinished => Disposition::Failed(why.clone()),
        };
        let results = self.indices.iter().zip(&applied.results);
        let done = results.flat_map(|(indices, result)| {
            // Metrics count a command once, at its first message.
            let metrics =
                iter::once(CommandMetrics::of(result, shown_at)).chain(iter::repeat(CommandMetrics::default()));
            indices
                .iter()
                .zip(metrics)
                .map(|(index, metrics)| (*index, disposition(result), metrics))
                .collect::<Vec<_>>()
        });
        done.collect()
    }
}

impl CommandMetrics {
    fn of(result: &CommandResult, shown_at: Option<Timestamp>) -> Self {
        let CommandResult::Final { record, duplicate } = result else { return Self::default() };
        let applied = matches!(record.status, CommandStatus::Applied { .. });
        let lag = |shown_at: Timestamp| shown_at.since(record.accepted_at).unwrap_or_default();
        // A duplicate stores the view if its first delivery stopped before that.
        Self { applied: (!duplicate).then_some(applied), lag: shown_at.filter(|_| applied).map(lag) }
    }

    pub(super) fn count(self, tally: &mut Tally) {
        tally.applied += usize::from(self.applied == Some(true));
        tally.refused += usize::from(self.applied == Some(false));
        tally.projection_lags.extend(self.lag);
    }
}

/// Adds a command behind the others of its aggregate. A duplicate only adds its message to the command's indices.
pub(super) fn add(groups: &mut Vec<Group>, ingest: Arc<dyn KindIngest>, envelope: RawEnvelope, index: usize) {
    let key = AggregateKey { kind: ingest.kind(), tenant: envelope.tenant.clone(), id: envelope.aggregate };
    let Some(group) = groups.iter_mut().find(|group| group.key == key) else {
        groups.push(Group { ingest, key, commands: vec![envelope], indices: vec![vec![index]] });
        return;
    };
    let known = group.commands.iter().position(|command| command.stamp.command == envelope.stamp.command);
    if let Some(indices) = known.and_then(|known| group.indices.get_mut(known)) {
        indices.push(index);
    } else {
        group.commands.push(envelope);
        group.indices.push(vec![index]);
    }
}

pub(super) fn chunks(groups: Vec<Group>) -> Vec<Vec<Group>> {
    let mut groups = groups.into_iter().peekable();
    let mut chunks = Vec::new();
    while groups.peek().is_some() {
        chunks.push(groups.by_ref().take(LOAD_KEYS_MAX).collect());
    }
    chunks
}

pub(super) fn same_disposition<'a>(
    groups: impl IntoIterator<Item = &'a Group>,
    disposition: &Disposition,
) -> Vec<Done> {
    let indices = groups.into_iter().flat_map(|group| group.indices.iter().flatten());
    indices.map(|index| (*index, disposition.clone(), CommandMetrics::default())).collect()
}
