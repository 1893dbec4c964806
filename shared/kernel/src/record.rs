//! The record of a command. It makes the command apply exactly once, and it holds the command's status.

use std::fmt;
use std::time::Duration;

use ring::digest;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{AggregateId, CommandId, Tenant};
use crate::problem::Problem;

/// How long the queue keeps a message.
pub const QUEUE_RETENTION: Duration = Duration::from_hours(4 * 24);

/// How long the dead-letter queue keeps a message: the maximum of SQS.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>
pub const DEAD_LETTER_RETENTION: Duration = Duration::from_hours(14 * 24);

/// How long a record is kept. It is longer than the longest wait of a command ([`COMMAND_AGE_MAX`]) plus the queue's retention.
pub const RECORD_TTL: Duration = Duration::from_hours(45 * 24);

/// The greatest age of a command. An older one is rejected as expired, because its record may be gone.
pub const COMMAND_AGE_MAX: Duration = Duration::from_hours(30 * 24);

/// The version of the stored form of a record without a kind.
pub const RECORD_SCHEMA: u16 = 1;

/// The version of the stored form of a record with a kind. Code that knows only one kind refuses it, so it never takes an order for
/// a user.
pub const RECORD_SCHEMA_WITH_KIND: u16 = 2;

/// The key of a record. It does not contain the MAC of the command id, so a rotation of keys never applies a retry twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordKey {
    /// The tenant that sent the command.
    pub tenant: Tenant,
    /// The command.
    pub command: CommandId,
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.tenant, self.command)
    }
}

/// A hash of a request: of its path, its preconditions and its canonical body. Two requests under one idempotency key must have the
/// same fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Returns the SHA-256 of the parts, each with its length.
    #[must_use]
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        Self(crate::seal::encode(context.finish().as_ref()))
    }
}

/// The status of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum CommandStatus {
    /// The command is acknowledged, but not judged yet.
    Pending,
    /// The command made this version of its aggregate.
    Applied {
        /// The version.
        version: u64,
    },
    /// A rule forbids the command. It changed nothing.
    Rejected {
        /// The version on which it was judged; 0 if the aggregate did not exist.
        version: u64,
        /// The reason.
        problem: Problem,
    },
    /// A later command had set all fields that this one sets. It changed nothing.
    Superseded {
        /// The version on which it was judged.
        version: u64,
    },
    /// The command was not judged within its deliveries. An operator can redrive it; then it gets one of the other statuses.
    Failed {
        /// The reason, for people.
        reason: String,
    },
}

impl CommandStatus {
    /// Returns whether the status is final: no later delivery may change it.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Applied { .. } | Self::Rejected { .. } | Self::Superseded { .. })
            || (matches!(self, Self::Failed { .. }) && mutant!(FailedIsFinal))
    }

    /// Returns the least version that a client with this result may expect from a read.
    #[must_use]
    pub fn version(&self) -> Option<u64> {
        match self {
            Self::Applied { version } | Self::Rejected { version, .. } | Self::Superseded { version } => Some(*version),
            Self::Pending | Self::Failed { .. } => None,
        }
    }
}

/// The record of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRecord {
    /// The record's key.
    pub key: RecordKey,
    /// The kind of the aggregate, from [`Kind::name`](crate::ids::Kind::name).
    pub kind: Option<String>,
    /// The aggregate that the command is for.
    pub aggregate: AggregateId,
    /// Time at which the command was accepted: the time in its stamp.
    pub accepted_at: Timestamp,
    /// The fingerprint of the request; absent if it had no idempotency key.
    pub fingerprint: Option<Fingerprint>,
    /// The command's status.
    pub status: CommandStatus,
    /// Time at which the command got this status; `None` while it is pending.
    pub completed_at: Option<Timestamp>,
}

impl CommandRecord {
    /// Returns the time from which the store may delete the record: [`RECORD_TTL`] after the command was accepted or, if later,
    /// completed.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.completed_at.unwrap_or(self.accepted_at).max(self.accepted_at).plus(RECORD_TTL)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{any_aggregate, any_command, any_tenant, any_time};

    #[test]
    fn a_command_may_wait_for_30_days_and_its_record_is_kept_for_45() {
        const DAY: u64 = 24 * 60 * 60;
        assert_eq!((COMMAND_AGE_MAX.as_secs(), RECORD_TTL.as_secs()), (30 * DAY, 45 * DAY));
    }

    #[test]
    fn pending_and_failed_are_not_final() {
        let problem = Problem::not_found();
        for end in [
            CommandStatus::Applied { version: 1 },
            CommandStatus::Rejected { version: 1, problem },
            CommandStatus::Superseded { version: 1 },
        ] {
            assert!(end.is_final(), "{end:?}");
        }
        assert!(!CommandStatus::Pending.is_final());
        assert!(!CommandStatus::Failed { reason: String::new() }.is_final());
    }

    proptest! {
        #[test]
        fn requests_whose_parts_end_at_different_bytes_differ(whole in prop::collection::vec(any::<u8>(), 1..40),
            a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>(),
        ) {
            let [a, b] = [a, b].map(|at| whole.split_at(at.index(whole.len())));
            prop_assert_eq!(Fingerprint::of(&[a.0, a.1]) == Fingerprint::of(&[b.0, b.1]), a == b);
        }

        #[test]
        fn a_record_outlives_the_longest_wait_after_all_that_happened_to_its_command(
            tenant in any_tenant(), command in any_command(), aggregate in any_aggregate(),
            accepted_at in any_time(), completed_at in prop::option::of(any_time()),
        ) {
            let (key, status) = (RecordKey { tenant, command }, CommandStatus::Pending);
            let record = CommandRecord { key, kind: None, aggregate, accepted_at, fingerprint: None, status, completed_at };
            for at in [Some(accepted_at), completed_at].into_iter().flatten() {
                prop_assert!(record.expires_at() >= at.plus(COMMAND_AGE_MAX));
            }
        }
    }
}
