//! The stored form of a user: its own type, because stored forms are promises to the future.

use bytes::Bytes;
use kernel::clock::Timestamp;
use kernel::domain::{DecodeError, Domain};
use serde::{Deserialize, Serialize};

use crate::field::{Email, Name, Status};
use crate::{Stamped, User, UserState};

/// Schema version 1.
#[derive(Serialize, Deserialize)]
struct StoredUser {
    name: Stamped<Name>,
    email: Stamped<Email>,
    status: Stamped<Status>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

pub(crate) fn encode(state: &UserState) -> Bytes {
    let UserState { name, email, status, created_at, updated_at } = state.clone();
    // Texts and numbers always serialise.
    serde_json::to_vec(&StoredUser { name, email, status, created_at, updated_at }).unwrap_or_default().into()
}

pub(crate) fn decode(schema: u16, body: &[u8]) -> Result<UserState, DecodeError> {
    if schema != User::SCHEMA {
        return Err(DecodeError::UnknownSchema(schema));
    }
    let StoredUser { name, email, status, created_at, updated_at } = serde_json::from_slice(body)?;
    Ok(UserState { name, email, status, created_at, updated_at })
}

#[cfg(test)]
mod tests {
    use kernel::ids::{CommandId, Stamp};

    use super::*;

    #[test]
    fn a_user_comes_back_as_it_was_stored_and_an_unknown_schema_is_refused() {
        let at = Timestamp::from_micros(1);
        let stamp = Stamp { at, command: CommandId::generate(at) };
        let user = UserState {
            name: Stamped { value: Name::try_from("Ada".to_owned()).unwrap(), stamp },
            email: Stamped { value: Email::try_from("ada@example.com".to_owned()).unwrap(), stamp },
            status: Stamped { value: Status::Suspended, stamp },
            created_at: at,
            updated_at: at,
        };
        let body = encode(&user);
        assert_eq!(decode(User::SCHEMA, &body).unwrap(), user);
        assert!(matches!(decode(User::SCHEMA + 1, &body), Err(DecodeError::UnknownSchema(2))));
        assert!(matches!(decode(User::SCHEMA, b"{}"), Err(DecodeError::Malformed(_))));
    }
}
