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
    use kernel::ids::Stamp;
    use proptest::prelude::*;

    use super::*;

    fn stamp() -> impl Strategy<Value = Stamp> {
        let command = "[0-9a-f]{8}-[0-9a-f]{4}-[78][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}";
        (any::<u64>(), command)
            .prop_map(|(at, command)| Stamp { at: Timestamp::from_micros(at), command: command.parse().unwrap() })
    }

    fn user() -> impl Strategy<Value = UserState> {
        let name = "[^\\pC\\pZ]\\PC{0,99}".prop_filter_map("a name", |text| Name::try_from(text).ok());
        let email = "[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]{1,64}@[a-z0-9]{1,9}\\.[A-Za-z]{1,9}";
        let email = email.prop_map(|text| Email::try_from(text).unwrap());
        let status = prop_oneof![Just(Status::Active), Just(Status::Suspended)];
        let times = (any::<u64>(), any::<u64>());
        (name, email, status, prop::array::uniform3(stamp()), times).prop_map(
            |(name, email, status, [a, b, c], (created_at, updated_at))| UserState {
                name: Stamped { value: name, stamp: a },
                email: Stamped { value: email, stamp: b },
                status: Stamped { value: status, stamp: c },
                created_at: Timestamp::from_micros(created_at),
                updated_at: Timestamp::from_micros(updated_at),
            },
        )
    }

    proptest! {
        #[test]
        fn a_user_comes_back_as_it_was_stored(user in user()) {
            prop_assert_eq!(decode(User::SCHEMA, &encode(&user)).unwrap(), user);
        }

        #[test]
        fn a_user_that_was_cut_off_or_is_of_another_schema_is_refused(
            user in user(), cut in any::<prop::sample::Index>(), schema in any::<u16>(),
        ) {
            let body = encode(&user);
            let cut = &body[..cut.index(body.len())];
            prop_assert!(matches!(decode(User::SCHEMA, cut), Err(DecodeError::Malformed(_))));
            prop_assume!(schema != User::SCHEMA);
            prop_assert!(matches!(decode(schema, &body), Err(DecodeError::UnknownSchema(told)) if told == schema));
        }

        #[test]
        fn whatever_is_stored_a_user_that_is_read_is_a_valid_one(
            user in user(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
            rubbish in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            prop_assert!(decode(User::SCHEMA, &rubbish).is_err());
            let mut body = encode(&user).to_vec();
            let at = at.index(body.len());
            body[at] = byte;
            if let Ok(read) = decode(User::SCHEMA, &body) {
                prop_assert!(Name::try_from(read.name.value.as_str().to_owned()).is_ok());
                prop_assert!(Email::try_from(read.email.value.as_str().to_owned()).is_ok());
                prop_assert_eq!(decode(User::SCHEMA, &encode(&read)).unwrap(), read);
            }
        }
    }
}
