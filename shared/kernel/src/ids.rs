//! Identities of tenants, aggregates and commands, and the stamp that orders commands.

use std::fmt;
use std::str::FromStr;

use ring::digest;
use serde::{Deserialize, Serialize};
use uuid::fmt::Hyphenated;
use uuid::{Builder, Uuid};

use crate::clock::Timestamp;

/// The longest tenant or subject, in bytes. Both come from a token's claims and become part of store keys.
pub const NAME_BYTES_MAX: usize = 128;

/// The reason why a text is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// It is empty, too long, or has a character that keys cannot contain.
    #[error("must be 1 to {NAME_BYTES_MAX} visible ASCII characters without `#`")]
    Name,
    /// It is not a hyphenated UUID.
    #[error("must be a hyphenated UUID")]
    Uuid,
}

/// The owner of aggregates. Every store key contains it, and no request crosses it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tenant(String);

/// The sender of a request, within a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subject(String);

fn is_name(text: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
}

macro_rules! name {
    ($type:ident) => {
        impl $type {
            /// Returns the text, as it is in keys and claims.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $type {
            type Error = IdError;

            fn try_from(text: String) -> Result<Self, IdError> {
                if is_name(&text) { Ok(Self(text)) } else { Err(IdError::Name) }
            }
        }

        impl FromStr for $type {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> Self {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(Tenant);
name!(Subject);

/// Parses a hyphenated UUID in any case (RFC 9562, section 4). Identities are always written in lower case, so each thing has one
/// key.
fn parse_uuid(text: &str) -> Result<Uuid, IdError> {
    text.parse().map(Hyphenated::into_uuid).map_err(|_| IdError::Uuid)
}

/// Returns the time in a `UUIDv7`, or `None` for another version.
fn uuid_time(uuid: Uuid) -> Option<Timestamp> {
    if uuid.get_version_num() != 7 {
        return None;
    }
    let (seconds, nanos) = uuid.get_timestamp()?.to_unix();
    Some(Timestamp::from_micros(seconds.saturating_mul(1_000_000).saturating_add(u64::from(nanos / 1_000))))
}

fn uuid_v7(at: Timestamp) -> Uuid {
    Builder::from_unix_timestamp_millis(at.as_millis(), &crate::random::bytes()).into_uuid()
}

/// The identity of one aggregate: a `UUIDv7` made by the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AggregateId(Uuid);

impl AggregateId {
    /// Returns a new identity. It contains `at` to the millisecond, so identities sort by time.
    #[must_use]
    pub fn generate(at: Timestamp) -> Self {
        Self(uuid_v7(at))
    }

    /// Returns the time at which the identity was made. `None` if this service did not make it.
    #[must_use]
    pub fn made_at(self) -> Option<Timestamp> {
        uuid_time(self.0)
    }
}

impl FromStr for AggregateId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        parse_uuid(text).map(Self)
    }
}

impl fmt::Display for AggregateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// The kind of an aggregate. It separates the aggregates of one domain from those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    letters: &'static str,
    is_implied: bool,
}

impl Kind {
    /// Returns a kind with these letters: one or two upper-case letters that no other domain of the service has.
    ///
    /// # Panics
    ///
    /// If the text is anything else. The constant is evaluated at compile time, so such a domain does not compile.
    #[must_use]
    pub const fn new(letters: &'static str) -> Self {
        assert!(
            matches!(letters.as_bytes(), [b'A'..=b'Z'] | [b'A'..=b'Z', b'A'..=b'Z']),
            "a kind is one or two upper-case letters"
        );
        Self { letters, is_implied: false }
    }

    /// Returns the implied kind: that of messages, records, tokens and unique keys without a kind. It belongs to the domain that
    /// the service had before it had a second one. A service has at most one implied kind.
    #[must_use]
    pub const fn implied(letters: &'static str) -> Self {
        Self { is_implied: true, ..Self::new(letters) }
    }

    /// Returns the letters, as they are in keys.
    #[must_use]
    pub const fn letters(self) -> &'static str {
        self.letters
    }

    /// Returns the kind as messages, records, tokens and unique keys name it; `None` for the implied kind.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        if self.is_implied { None } else { Some(self.letters) }
    }

    /// Returns whether an object with this kind in its form, or with none, is of this kind.
    #[must_use]
    pub fn has_name(self, name: Option<&str>) -> bool {
        self.name() == name
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.letters)
    }
}

/// The key of an aggregate in the write store, in the read store and, behind a prefix, in caches.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AggregateKey {
    /// The kind of aggregate, from [`Domain::KIND`](crate::domain::Domain::KIND).
    pub kind: Kind,
    /// The tenant that owns the aggregate.
    pub tenant: Tenant,
    /// The aggregate's identity.
    pub id: AggregateId,
}

impl fmt::Display for AggregateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}#{}", self.kind, self.tenant, self.id)
    }
}

/// The identity of one command, without the MAC of its public form (see
/// [`KeyRing::sign_command`](crate::seal::KeyRing::sign_command)).
///
/// It is a `UUIDv8` if it is derived from an idempotency key, otherwise a `UUIDv7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandId(Uuid);

impl CommandId {
    /// Returns a new, time-ordered identity, for a command without an idempotency key.
    #[must_use]
    pub fn generate(at: Timestamp) -> Self {
        Self(uuid_v7(at))
    }

    /// Derives the identity of a command with an idempotency key. The same parts always give the same identity, in every
    /// environment. So a retried request is the same command:
    ///
    /// ```
    /// use kernel::ids::CommandId;
    ///
    /// let (tenant, subject) = ("acme".parse()?, "ada".parse()?);
    /// let command = |key| CommandId::derive(&tenant, &subject, "POST", "/orders", key);
    /// assert_eq!(command("8e03978e"), command("8e03978e"));
    /// assert_ne!(command("8e03978e"), command("8e03978f"));
    /// # Ok::<(), kernel::ids::IdError>(())
    /// ```
    #[must_use]
    pub fn derive(tenant: &Tenant, subject: &Subject, method: &str, path: &str, idempotency_key: &str) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for part in [tenant.as_str(), subject.as_str(), method, path, idempotency_key] {
            // The lengths keep ("ab", "c") and ("a", "bc") apart.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        Self(Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// Returns the time at which the command was accepted; `None` if the identity is derived from an idempotency key.
    #[must_use]
    pub fn accepted_at(self) -> Option<Timestamp> {
        uuid_time(self.0)
    }
}

impl FromStr for CommandId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        parse_uuid(text).map(Self)
    }
}

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

/// The total order of commands: by accept time, then by identity. The last writer wins by stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// When the command was accepted, in microseconds since 1970.
    pub at: Timestamp,
    /// The command, which breaks ties.
    pub command: CommandId,
}

impl Stamp {
    /// Returns `self` if it is later than `stored`, otherwise the stamp of this command 1 µs after `stored`. A conditional write
    /// uses it, because it must win.
    ///
    /// ```
    /// use kernel::clock::Timestamp;
    /// use kernel::ids::{CommandId, Stamp};
    ///
    /// let stamp = |micros| {
    ///     let at = Timestamp::from_micros(micros);
    ///     Stamp { at, command: CommandId::generate(at) }
    /// };
    /// let (mine, stored) = (stamp(1_000), stamp(2_000));
    /// assert_eq!(mine.winning_over(stored).at, Timestamp::from_micros(2_001));
    /// assert_eq!(stored.winning_over(mine), stored);
    /// ```
    #[must_use]
    pub fn winning_over(self, stored: Self) -> Self {
        if self > stored { self } else { Self { at: stored.at.plus_micros(1), command: self.command } }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{any_aggregate, any_tenant, any_uuid};

    #[test]
    fn the_same_parts_derive_the_same_command_and_shifted_parts_another() {
        let tenant: Tenant = "t".parse().unwrap();
        let subject: Subject = "s".parse().unwrap();
        let id = CommandId::derive(&tenant, &subject, "POST", "/users", "k");
        assert_eq!(id, CommandId::derive(&tenant, &subject, "POST", "/users", "k"));
        assert_ne!(id, CommandId::derive(&tenant, &subject, "POST", "/user", "sk"));
        assert_eq!(id.accepted_at(), None);
    }

    #[test]
    fn a_stamp_that_must_win_is_later_than_what_is_stored_and_no_later_than_needed() {
        let stamp =
            |at| Stamp { at: Timestamp::from_micros(at), command: CommandId::generate(Timestamp::from_micros(1)) };
        let (early, late) = (stamp(5), stamp(9));
        assert_eq!(late.winning_over(early), late);
        for (mine, stored) in [(early, late), (late, late)] {
            let won = mine.winning_over(stored);
            assert!(won > stored && won.command == mine.command, "{won:?}");
            assert_eq!(won.at, stored.at.plus_micros(1));
        }
    }

    #[test]
    fn a_generated_identity_holds_its_time_to_the_millisecond() {
        let at = Timestamp::from_micros(1_790_000_000_123_456);
        assert_eq!(AggregateId::generate(at).made_at(), Some(Timestamp::from_micros(1_790_000_000_123_000)));
    }

    #[test]
    fn a_hyphenated_uuid_is_the_same_identity_in_any_case() {
        let id = AggregateId::generate(Timestamp::from_micros(1_790_000_000_000_000)).to_string();
        for spelling in [id.clone(), id.to_uppercase()] {
            assert_eq!(spelling.parse::<AggregateId>().unwrap().to_string(), id);
        }
        for wrong in [id.replace('-', ""), format!("{{{id}}}"), String::new(), "x".repeat(99)] {
            assert_eq!(wrong.parse::<AggregateId>(), Err(IdError::Uuid), "{wrong}");
        }
    }

    #[test]
    fn a_tenant_cannot_reach_into_another_key() {
        for wrong in ["", "a#b", "a b", "ü", &"x".repeat(NAME_BYTES_MAX + 1)] {
            assert_eq!(wrong.parse::<Tenant>(), Err(IdError::Name), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_text_that_is_an_identity_is_written_in_lower_case(
            uuid in any_uuid(), text in "\\PC{0,40}|[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}",
        ) {
            prop_assert_eq!(uuid.parse::<AggregateId>().unwrap().to_string(), uuid);
            if let Ok(id) = text.parse::<CommandId>() {
                prop_assert_eq!(id.to_string(), text.to_lowercase());
            }
        }

        #[test]
        fn every_identity_has_a_time(uuid in any_uuid()) {
            let (aggregate, command): (AggregateId, CommandId) = (uuid.parse().unwrap(), uuid.parse().unwrap());
            prop_assert_eq!(aggregate.made_at(), command.accepted_at());
            prop_assert_eq!(aggregate.made_at().is_some(), uuid.as_bytes()[14] == b'7');
        }

        #[test]
        fn a_name_is_taken_as_it_is_or_refused(text in any::<String>()) {
            let serialised = serde_json::to_string(&text).unwrap();
            match text.parse::<Tenant>() {
                Ok(tenant) => prop_assert_eq!(tenant.as_str(), text),
                Err(_) => prop_assert!(serde_json::from_str::<Tenant>(&serialised).is_err()),
            }
        }

        #[test]
        fn a_key_tells_its_parts_apart(tenant in any_tenant(), id in any_aggregate()) {
            let key = AggregateKey { kind: Kind::new("U"), tenant: tenant.clone(), id }.to_string();
            prop_assert_eq!(key.split('#').collect::<Vec<_>>(), ["U", tenant.as_str(), &id.to_string()]);
        }
    }
}
