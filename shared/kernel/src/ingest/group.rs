//! The messages of a batch, by aggregate, and what becomes of them.

use std::iter;
use std::sync::Arc;
use std::time::Duration;

use super::{KindIngest, Tally};
use crate::apply::{Applied, Verdict};
use crate::clock::Timestamp;
use crate::domain::Domain;
use crate::envelope::RawEnvelope;
use crate::ids::{AggregateKey, Kind};
use crate::ports::LOAD_KEYS_MAX;
use crate::record::CommandStatus;

/// The commands of one aggregate, each once, in the order of their arrival.
#[derive(Debug)]
pub struct Group {
    pub(super) ingest: Arc<dyn KindIngest>,
    pub(super) key: AggregateKey,
    pub(super) commands: Vec<RawEnvelope>,
    /// For each command the places of the messages that carry it.
    places: Vec<Vec<usize>>,
}

/// What became of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// Everything is done: it may be forgotten.
    Done,
    /// It came too early.
    Deferred,
    /// It must come again, because of this.
    Failed(String),
}

/// What this delivery of a command changed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Effect {
    /// Whether it took effect; `None` where that was not judged now.
    applied: Option<bool>,
    /// How long after its acceptance the view could be read, where this delivery saw to that.
    lag: Option<Duration>,
}

/// What became of the message at a place in the batch.
pub(super) type Done = (usize, Fate, Effect);

impl Group {
    /// The places of all its messages, each with their kind.
    pub(super) fn kinds(&self) -> impl Iterator<Item = (usize, Kind)> {
        self.places.iter().flatten().map(|place| (*place, self.key.kind))
    }

    /// `shown_at` is when the view could be read, where this delivery saw to that.
    pub(super) fn done<D: Domain>(&self, applied: &Applied<D>, shown_at: Option<Timestamp>) -> Vec<Done> {
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

    pub(super) fn count(self, tally: &mut Tally) {
        tally.applied += usize::from(self.applied == Some(true));
        tally.refused += usize::from(self.applied == Some(false));
        tally.projection_lags.extend(self.lag);
    }
}

/// Puts a command behind the others of its aggregate, unless it is among them already.
pub(super) fn add(groups: &mut Vec<Group>, ingest: Arc<dyn KindIngest>, envelope: RawEnvelope, place: usize) {
    let key = AggregateKey { kind: ingest.kind(), tenant: envelope.tenant.clone(), id: envelope.aggregate };
    let Some(group) = groups.iter_mut().find(|group| group.key == key) else {
        groups.push(Group { ingest, key, commands: vec![envelope], places: vec![vec![place]] });
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

pub(super) fn chunks(groups: Vec<Group>) -> Vec<Vec<Group>> {
    let mut groups = groups.into_iter().peekable();
    let mut chunks = Vec::new();
    while groups.peek().is_some() {
        chunks.push(groups.by_ref().take(LOAD_KEYS_MAX).collect());
    }
    chunks
}

pub(super) fn same_fate<'a>(groups: impl IntoIterator<Item = &'a Group>, fate: &Fate) -> Vec<Done> {
    let places = groups.into_iter().flat_map(|group| group.places.iter().flatten());
    places.map(|place| (*place, fate.clone(), Effect::default())).collect()
}
