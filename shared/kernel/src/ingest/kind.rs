//! Ingests the commands of one kind, behind a trait, because a batch may hold several kinds.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use tracing::warn;

use super::group::{Disposition, Done, Group, same_disposition};
use crate::apply::Applier;
use crate::clock::Clock;
use crate::domain::Domain;
use crate::envelope::{EnvelopeError, RawEnvelope};
use crate::error_chain::ErrorChain;
use crate::ids::Kind;
use crate::ports::{Projected, Snapshot};
use crate::project::Projector;

/// Applies and projects the commands of one kind.
#[async_trait]
pub trait KindIngest: fmt::Debug + Send + Sync {
    /// Returns the kind.
    fn kind(&self) -> Kind;

    /// Returns an error if this code cannot read the command of an envelope of this kind.
    fn check(&self, envelope: &RawEnvelope) -> Result<(), EnvelopeError>;

    /// Applies the commands of one aggregate on top of its stored version, and projects the result.
    async fn ingest(&self, group: &Group, stored: Option<Snapshot>) -> Vec<Done>;
}

/// Ingests commands of the domain `D`.
#[derive(Debug)]
pub struct OneKind<D> {
    applier: Applier<D>,
    projector: Arc<Projector>,
    clock: Arc<dyn Clock>,
}

impl<D: Domain> OneKind<D> {
    /// Returns an ingest of one kind.
    pub fn new(applier: Applier<D>, projector: Arc<Projector>, clock: Arc<dyn Clock>) -> Self {
        Self { applier, projector, clock }
    }
}

#[async_trait]
impl<D: Domain> KindIngest for OneKind<D> {
    fn kind(&self) -> Kind {
        D::KIND
    }

    fn check(&self, envelope: &RawEnvelope) -> Result<(), EnvelopeError> {
        D::decode_command(envelope.command_schema, envelope.command.get())?;
        Ok(())
    }

    async fn ingest(&self, group: &Group, stored: Option<Snapshot>) -> Vec<Done> {
        let typed: Result<Vec<_>, _> = group.commands.iter().map(|envelope| envelope.clone().typed::<D>()).collect();
        let commands = match typed {
            Ok(commands) => commands,
            // `check` has parsed each command before.
            Err(error) => return same_disposition([group], &Disposition::Failed(error.to_string())),
        };
        let applied = self.applier.apply(&group.key, &commands, stored).await;
        if let Some(error) = &applied.stopped_by {
            warn!(key = %group.key, error = %ErrorChain(error), "commands are unfinished");
        }
        let projected = match applied.needs_projection() {
            true => self.projector.project(&group.key, &applied.current).await,
            false => Ok(Projected::Newer),
        };
        match projected {
            Err(error) if !mutant!(AcknowledgedBeforeProjection) => {
                warn!(key = %group.key, error = %ErrorChain(&error), "the view was not projected");
                let again = |(index, _, metrics)| (index, Disposition::Failed(error.to_string()), metrics);
                group.done(&applied, None).into_iter().map(again).collect()
            }
            Ok(Projected::Stored) => group.done(&applied, Some(self.clock.now())),
            Ok(Projected::Newer) | Err(_) => group.done(&applied, None),
        }
    }
}
