//! Cursors: a cursor names a position in a list.
//!
//! A page of a list ends with the cursor of its last item. The client sends it back to get the next page. A cursor is valid only
//! for the list that it came from:
//!
//! ```
//! use kernel::clock::Timestamp;
//! use kernel::cursor::{self, CursorError};
//! use kernel::ids::AggregateId;
//! use kernel::ports::Position;
//!
//! # let secret = "k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
//! let (keys, tenant) = (secret.parse()?, "acme".parse()?);
//! let now = Timestamp::from_micros(1_790_000_000_000_000);
//! let last = Position { sort: "ada".to_owned(), id: AggregateId::generate(now) };
//!
//! let text = cursor::seal(&keys, &tenant, "v1#name", now, &last);
//! assert_eq!(cursor::open(&keys, &tenant, "v1#name", now, &text), Ok(last));
//! assert_eq!(cursor::open(&keys, &tenant, "v1#status", now, &text), Err(CursorError::Forged));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ids::{AggregateId, Tenant};
use crate::ports::Position;
use crate::seal::{KeyRing, SealedFor};

/// How long a cursor is valid.
pub const CURSOR_TTL: Duration = Duration::from_hours(24);

/// The reason why a cursor is refused. The client should start the list again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// This service did not make it for this tenant, filter and projection.
    #[error("this service did not give out the cursor for this list")]
    Forged,
    /// Older than [`CURSOR_TTL`].
    #[error("the cursor has expired")]
    Expired,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    s: String,
    i: AggregateId,
    e: Timestamp,
}

/// Returns the cursor of a position. `scope` names the list: its filter and the projection's version.
#[must_use]
pub fn seal(keys: &KeyRing, tenant: &Tenant, scope: &str, now: Timestamp, at: &Position) -> String {
    let wire = Wire { s: at.sort.clone(), i: at.id, e: now.plus(CURSOR_TTL) };
    // Serialising strings into memory cannot fail. An empty cursor would be refused as forged.
    keys.seal(&sealed_for(tenant, scope), &serde_json::to_vec(&wire).unwrap_or_default())
}

/// Returns the position that a client's cursor names.
pub fn open(keys: &KeyRing, tenant: &Tenant, scope: &str, now: Timestamp, text: &str) -> Result<Position, CursorError> {
    let plain = keys.open(&sealed_for(tenant, scope), text).map_err(|_| CursorError::Forged)?;
    let wire: Wire = serde_json::from_slice(&plain).map_err(|_| CursorError::Forged)?;
    if wire.e < now { Err(CursorError::Expired) } else { Ok(Position { sort: wire.s, id: wire.i }) }
}

fn sealed_for<'a>(tenant: &'a Tenant, scope: &'a str) -> SealedFor<'a> {
    SealedFor { purpose: "cursor", tenant, scope }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::testing::{any_aggregate, any_tenant, any_time, damaged, keys, tenant};

    #[test]
    fn a_cursor_comes_back_for_its_own_list_until_it_expires() {
        let now = Timestamp::from_micros(1_790_000_000_000_000);
        let at = Position { sort: "ada#1".into(), id: AggregateId::generate(now) };
        let text = seal(&keys(), &tenant(), "v1#name", now, &at);
        assert_eq!(open(&keys(), &tenant(), "v1#name", now, &text), Ok(at));
        assert_eq!(open(&keys(), &tenant(), "v2#name", now, &text), Err(CursorError::Forged));
        open(&keys(), &tenant(), "v1#name", now.plus(CURSOR_TTL), &text).unwrap();
        let late = now.plus(CURSOR_TTL).plus_micros(1);
        assert_eq!(open(&keys(), &tenant(), "v1#name", late, &text), Err(CursorError::Expired));
    }

    proptest! {
        #[test]
        fn a_cursor_is_good_for_its_tenant_and_list_and_for_nothing_else(
            sort in any::<String>(), id in any_aggregate(), now in any_time(),
            owner in any_tenant(), other in any_tenant(),
            scope in "v[12]#(name|status)", elsewhere in "v[12]#(name|status)",
        ) {
            let at = Position { sort, id };
            let text = seal(&keys(), &owner, &scope, now, &at);
            prop_assert_eq!(open(&keys(), &owner, &scope, now, &text), Ok(at));
            let opened = open(&keys(), &other, &elsewhere, now, &text);
            prop_assert_eq!(opened == Err(CursorError::Forged), (owner, scope) != (other, elsewhere));
        }

        #[test]
        fn a_cursor_that_was_changed_or_cut_off_anywhere_is_refused(
            sort in any::<String>(), id in any_aggregate(), now in any_time(),
            at in any::<Index>(), by in any::<char>(),
        ) {
            let text = seal(&keys(), &tenant(), "v1#name", now, &Position { sort, id });
            for damaged in damaged(&text, at, by) {
                prop_assert_eq!(open(&keys(), &tenant(), "v1#name", now, &damaged), Err(CursorError::Forged));
            }
        }
    }
}
