//! Consistency tokens: with them a client reads its own writes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{AggregateId, CommandId, Kind, Tenant};
use crate::seal::{KeyRing, SealedFor};

/// How long a token is valid.
pub const TOKEN_TTL: Duration = Duration::from_hours(24);

/// How far the accept time in a token may be ahead of this environment's clock. A stamp far in the future would win over all later
/// writes. Lambda's clocks differ by milliseconds.
const AHEAD_MAX: Duration = Duration::from_mins(5);

/// The version that a client's session has seen of one aggregate, and its pending commands.
///
/// Every answer to a write carries a token. The client sends it with its next read, and so reads its own write:
///
/// ```
/// use kernel::clock::Timestamp;
/// use kernel::ids::{AggregateId, Kind};
/// use kernel::token::{Token, TokenError};
///
/// # let secret = "k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// let (keys, tenant) = (secret.parse()?, "acme".parse()?);
/// let now = Timestamp::from_micros(1_790_000_000_000_000);
/// let (orders, users) = (Kind::new("O"), Kind::new("U"));
/// let order = AggregateId::generate(now);
///
/// let text = Token::of_version(Some("O".to_owned()), order, 7).seal(&keys, &tenant, now);
///
/// // The read must return version 7 or a later one.
/// let token = Token::open(&keys, &tenant, Some((orders, order)), now, &text)?;
/// assert_eq!(token.floor, 7);
/// // The token is valid for no other aggregate.
/// let other = Token::open(&keys, &tenant, Some((users, order)), now, &text);
/// assert_eq!(other, Err(TokenError::OtherAggregate));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// The kind of the aggregate, from [`Kind::name`].
    pub kind: Option<String>,
    /// The aggregate. The token is valid for no other.
    pub aggregate: AggregateId,
    /// The least version that a read must return; 0 for any.
    pub floor: u64,
    /// The command that a read must wait for, if the token acknowledges a pending one.
    pub command: Option<CommandId>,
    /// The latest [ordered](crate::domain::Domain::is_ordered) command of this session, until its outcome is known.
    pub ordered: Option<CommandId>,
    /// The accept time of the latest command in this session. The next command gets a later stamp.
    pub accepted_at: Option<Timestamp>,
}

/// The reason why a token is refused. The client should drop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// This service did not make it for this tenant.
    #[error("this service did not give out the token")]
    Forged,
    /// Older than [`TOKEN_TTL`].
    #[error("the token has expired")]
    Expired,
    /// Its command was accepted in the future.
    #[error("the token stands for a write in the future")]
    Ahead,
    /// It is for another aggregate.
    #[error("the token stands for another item")]
    OtherAggregate,
}

/// The sealed form. The names are short, because a token travels with every answer.
#[derive(Serialize, Deserialize)]
struct Wire {
    a: AggregateId,
    f: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    c: Option<CommandId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    s: Option<Timestamp>,
    e: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    k: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    o: Option<CommandId>,
}

impl Token {
    /// Returns a token for a version.
    #[must_use]
    pub fn of_version(kind: Option<String>, aggregate: AggregateId, floor: u64) -> Self {
        Self { kind, aggregate, floor, command: None, ordered: None, accepted_at: None }
    }

    /// Returns the commands of the session whose outcome is not known.
    #[must_use]
    pub fn pending(&self) -> Vec<CommandId> {
        let ordered = self.ordered.filter(|ordered| self.command != Some(*ordered));
        self.command.into_iter().chain(ordered).collect()
    }

    /// Returns the sealed text for the client.
    #[must_use]
    pub fn seal(&self, keys: &KeyRing, tenant: &Tenant, now: Timestamp) -> String {
        let Self { kind, aggregate, floor, command, ordered, accepted_at } = self.clone();
        let wire =
            Wire { a: aggregate, f: floor, c: command, s: accepted_at, e: now.plus(TOKEN_TTL), k: kind, o: ordered };
        // Serialising integers and UUIDs into memory cannot fail. An empty token would be refused as forged.
        keys.seal(&sealed_for(tenant), &serde_json::to_vec(&wire).unwrap_or_default())
    }

    /// Reads a client's token for a request. `aggregate` is the aggregate of the request, or `None` for a create. A create accepts
    /// the token of any aggregate, because it follows the session's earlier commands.
    pub fn open(
        keys: &KeyRing,
        tenant: &Tenant,
        aggregate: Option<(Kind, AggregateId)>,
        now: Timestamp,
        text: &str,
    ) -> Result<Self, TokenError> {
        let plain = keys.open(&sealed_for(tenant), text).map_err(|_| TokenError::Forged)?;
        let wire: Wire = serde_json::from_slice(&plain).map_err(|_| TokenError::Forged)?;
        if wire.e < now {
            return Err(TokenError::Expired);
        }
        if wire.s.is_some_and(|stamp| stamp > now.plus(AHEAD_MAX)) {
            return Err(TokenError::Ahead);
        }
        let is_kind = |kind: Kind| kind.has_name(wire.k.as_deref()) || mutant!(TokenKindIgnored);
        if aggregate.is_some_and(|(kind, id)| id != wire.a || !is_kind(kind)) {
            return Err(TokenError::OtherAggregate);
        }
        Ok(Self {
            kind: wire.k,
            aggregate: wire.a,
            floor: wire.f,
            command: wire.c,
            ordered: wire.o,
            accepted_at: wire.s,
        })
    }
}

fn sealed_for(tenant: &Tenant) -> SealedFor<'_> {
    SealedFor { purpose: "token", tenant, scope: "" }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::testing::{any_aggregate, any_command, any_tenant, any_time, damaged, keys, tenant};

    const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);
    const KIND: Kind = Kind::implied("U");
    const OTHER_KIND: Kind = Kind::new("O");

    #[test]
    fn a_token_comes_back_as_it_was_given() {
        let aggregate = AggregateId::generate(NOW);
        let token = Token {
            command: Some(CommandId::generate(NOW)),
            accepted_at: Some(NOW),
            ..Token::of_version(None, aggregate, 7)
        };
        let text = token.seal(&keys(), &tenant(), NOW);
        assert_eq!(Token::open(&keys(), &tenant(), Some((KIND, aggregate)), NOW, &text), Ok(token));
    }

    #[test]
    fn a_token_is_refused_once_expired_for_another_aggregate_or_by_another_tenant() {
        let (aggregate, other) = (AggregateId::generate(NOW), AggregateId::generate(NOW));
        let text = Token::of_version(None, aggregate, 7).seal(&keys(), &tenant(), NOW);
        Token::open(&keys(), &tenant(), Some((KIND, aggregate)), NOW.plus(TOKEN_TTL), &text).unwrap();
        let late = NOW.plus(TOKEN_TTL).plus_micros(1);
        assert_eq!(Token::open(&keys(), &tenant(), Some((KIND, aggregate)), late, &text), Err(TokenError::Expired));
        assert_eq!(Token::open(&keys(), &tenant(), Some((KIND, other)), NOW, &text), Err(TokenError::OtherAggregate));
        let of_other =
            Token::of_version(OTHER_KIND.name().map(str::to_owned), aggregate, 7).seal(&keys(), &tenant(), NOW);
        for (kind, text) in [(OTHER_KIND, &text), (KIND, &of_other)] {
            let opened = Token::open(&keys(), &tenant(), Some((kind, aggregate)), NOW, text);
            assert_eq!(opened, Err(TokenError::OtherAggregate), "{kind}");
        }
        Token::open(&keys(), &tenant(), Some((OTHER_KIND, aggregate)), NOW, &of_other).unwrap();
        Token::open(&keys(), &tenant(), None, NOW, &of_other).unwrap();
        let stranger = "stranger".parse().unwrap();
        assert_eq!(Token::open(&keys(), &stranger, Some((KIND, aggregate)), NOW, &text), Err(TokenError::Forged));
    }

    #[test]
    fn a_token_from_the_future_is_refused() {
        let stamped = |at: Timestamp| {
            let token = Token { accepted_at: Some(at), ..Token::of_version(None, AggregateId::generate(NOW), 7) };
            Token::open(&keys(), &tenant(), None, NOW, &token.seal(&keys(), &tenant(), NOW))
        };
        stamped(NOW.plus(AHEAD_MAX)).unwrap();
        assert_eq!(stamped(NOW.plus(AHEAD_MAX).plus_micros(1)), Err(TokenError::Ahead));
    }

    /// Any token that is not ahead of `now`.
    fn any_token(now: Timestamp) -> impl Strategy<Value = Token> {
        let commands = [(); 2].map(|()| prop::option::of(any_command()));
        let (kind, accepted_at) = (prop::option::of(Just("O".to_owned())), prop::option::of(any_time()));
        (kind, any_aggregate(), any::<u64>(), commands, accepted_at).prop_map(
            move |(kind, aggregate, floor, [command, ordered], accepted_at)| Token {
                kind,
                aggregate,
                floor,
                command,
                ordered,
                accepted_at: accepted_at.map(|at| at.min(now)),
            },
        )
    }

    fn any_time_and_token() -> impl Strategy<Value = (Timestamp, Token)> {
        any_time().prop_flat_map(|now| (Just(now), any_token(now)))
    }

    proptest! {
        #[test]
        fn a_token_is_good_for_its_tenant_and_aggregate_and_for_nothing_else(
            (now, token) in any_time_and_token(), other in any_aggregate(),
            owner in any_tenant(), stranger in any_tenant(),
        ) {
            let text = token.seal(&keys(), &owner, now);
            let open = |tenant, aggregate| Token::open(&keys(), tenant, aggregate, now, &text);
            let (kind, other_kind) = if token.kind.is_some() { (OTHER_KIND, KIND) } else { (KIND, OTHER_KIND) };
            prop_assert_eq!(open(&owner, Some((kind, token.aggregate))), Ok(token.clone()));
            prop_assert_eq!(open(&owner, Some((other_kind, token.aggregate))), Err(TokenError::OtherAggregate));
            prop_assert_eq!(open(&owner, None), Ok(token.clone()));
            prop_assume!(other != token.aggregate && stranger != owner);
            prop_assert_eq!(open(&owner, Some((kind, other))), Err(TokenError::OtherAggregate));
            prop_assert_eq!(open(&stranger, Some((kind, token.aggregate))), Err(TokenError::Forged));
        }

        #[test]
        fn a_token_that_was_changed_or_cut_off_anywhere_is_refused(
            (now, token) in any_time_and_token(), at in any::<Index>(), by in any::<char>(),
        ) {
            let text = token.seal(&keys(), &tenant(), now);
            for damaged in damaged(&text, at, by) {
                prop_assert_eq!(Token::open(&keys(), &tenant(), None, now, &damaged), Err(TokenError::Forged));
            }
        }
    }
}
