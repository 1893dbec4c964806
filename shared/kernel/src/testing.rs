//! Helpers for the unit tests.

use proptest::prelude::*;

use crate::clock::Timestamp;
use crate::ids::{AggregateId, CommandId, Tenant};
use crate::seal::KeyRing;

pub(crate) fn tenant() -> Tenant {
    "t".parse().unwrap()
}

pub(crate) fn keys() -> KeyRing {
    // 32 zero bytes.
    format!("k1:{}=", "A".repeat(43)).parse().unwrap()
}

pub(crate) fn any_time() -> impl Strategy<Value = Timestamp> {
    any::<u64>().prop_map(Timestamp::from_micros)
}

pub(crate) fn any_tenant() -> impl Strategy<Value = Tenant> {
    "[!-\"$-~]{1,128}".prop_map(|text| text.parse().unwrap())
}

/// A UUID of any version, even of one that does not exist.
pub(crate) fn any_uuid() -> impl Strategy<Value = String> {
    "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
}

pub(crate) fn any_aggregate() -> impl Strategy<Value = AggregateId> {
    any_uuid().prop_map(|text| text.parse().unwrap())
}

pub(crate) fn any_command() -> impl Strategy<Value = CommandId> {
    any_uuid().prop_map(|text| text.parse().unwrap())
}

/// Returns the text with one character replaced, and the text cut off at that character.
pub(crate) fn damaged(text: &str, at: prop::sample::Index, by: char) -> [String; 2] {
    let mut chars: Vec<char> = text.chars().collect();
    let at = at.index(chars.len());
    let cut = chars[..at].iter().collect();
    chars[at] = if chars[at] == by { '~' } else { by };
    [chars.into_iter().collect(), cut]
}
