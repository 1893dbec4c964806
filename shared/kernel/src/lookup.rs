//! Looks up commands by their public ids.

use std::sync::Arc;

use crate::clock::{Clock, Timestamp};
use crate::ids::{CommandId, Tenant};
use crate::ports::{PortError, RecordReader};
use crate::record::{COMMAND_AGE_MAX, CommandRecord, RecordKey};
use crate::seal::KeyRing;
use crate::token::Token;

/// Looks up commands by their public ids.
#[derive(Debug)]
pub struct CommandLookup {
    records: Arc<dyn RecordReader>,
    clock: Arc<dyn Clock>,
    keys: Arc<KeyRing>,
}

/// The state of a command.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one exists at a time")]
pub enum CommandState {
    /// It has a record.
    Recorded(CommandRecord),
    /// It was accepted at this time, and has no record yet.
    Pending(Timestamp),
}

impl CommandLookup {
    /// Returns a lookup that reads `records`.
    pub fn new(records: Arc<dyn RecordReader>, clock: Arc<dyn Clock>, keys: Arc<KeyRing>) -> Self {
        Self { records, clock, keys }
    }

    /// Returns the state of a command. `None` if this service gave this tenant no such id, or if the record has expired.
    pub async fn get(&self, tenant: &Tenant, text: &str) -> Result<Option<CommandState>, PortError> {
        let Some(command) = self.keys.verify_command(tenant, text) else { return Ok(None) };
        let record = self.records.get(&RecordKey { tenant: tenant.clone(), command }).await?;
        Ok(record.map(CommandState::Recorded).or_else(|| self.pending(command)))
    }

    /// Returns the state of a command without a record. A command without an idempotency key has no record until it is judged, but
    /// its id contains its accept time.
    fn pending(&self, command: CommandId) -> Option<CommandState> {
        let accepted_at = command.accepted_at()?;
        let age = self.clock.now().since(accepted_at).unwrap_or_default();
        (age < COMMAND_AGE_MAX).then_some(CommandState::Pending(accepted_at))
    }

    /// Seals a token of a version that a command made.
    #[must_use]
    pub fn token(&self, tenant: &Tenant, token: &Token) -> String {
        token.seal(&self.keys, tenant, self.clock.now())
    }
}
