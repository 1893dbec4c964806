//! What each fuzz target does with an input. Panics where a property does not hold.
//!
//! Also a part of `shared/users/tests/fuzz_seeds.rs`, which tries the seeds without a fuzzer.

// A part of `shared/tests/front_doors.rs` instead.
#[cfg(not(test))]
pub mod events;

use kernel::clock::Timestamp;
use kernel::cursor;
use kernel::domain::Domain;
use kernel::envelope::{Envelope, Heading};
use kernel::ids::{AggregateId, AggregateKey, Tenant};
use kernel::problem::Problem;
use kernel::project::Projection;
use kernel::record::CommandStatus;
use kernel::seal::{KeyRing, SealedFor};
use kernel::token::Token;
use resource::{BodyError, Operation, Resource as _};
use serde_json::Value;
use users::list::{Filter, FilterError};
use users::{User, UserCommand};

const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

/// A body is a command that travels unchanged, or it is refused, and every error points into it.
pub fn command_body(input: &[u8]) {
    for operation in [Operation::Create, Operation::Replace, Operation::Update] {
        match User::parse(operation, input) {
            Ok(command) => {
                let text = serde_json::to_string(&command).unwrap();
                assert_eq!(User::decode_command(User::COMMAND_SCHEMA, &text).unwrap(), command);
            }
            Err(BodyError::Fields(errors)) => {
                assert!(!errors.is_empty());
                assert!(errors.iter().all(|error| error.pointer.is_empty() || error.pointer.starts_with('/')));
            }
            Err(BodyError::Syntax(_)) => {}
        }
    }
}

/// A query is one filter, which leads to an index, or it is refused. Its cursor is none of ours.
pub fn query_string(input: &[u8]) {
    let [mut cursor, mut email, mut status, mut name_prefix] = [const { None }; 4];
    for (name, value) in form_urlencoded::parse(input) {
        match name.as_ref() {
            "cursor" => cursor = Some(value),
            "email" => email = Some(value),
            "status" => status = Some(value),
            "name_prefix" => name_prefix = Some(value),
            _ => {}
        }
    }
    let filters = [&email, &status, &name_prefix].into_iter().flatten().count();
    match Filter::parse(email.as_deref(), status.as_deref(), name_prefix.as_deref()) {
        Ok(filter) => {
            assert!(filters <= 1);
            let scope = filter.scope();
            assert!(User::INDEXES.contains(&scope.index));
            let list = format!("{}\n{}\n{}", scope.index, scope.partition, scope.sort_prefix);
            let opened = cursor.map(|text| cursor::open(&keys(), &tenant(), &list, NOW, &text));
            assert!(opened.is_none_or(|opened| opened.is_err()));
        }
        Err(error) => assert_eq!(error == FilterError::Several, filters > 1),
    }
}

/// A cursor says the same when it is sealed again. The input is tried as a text of a client, which must have been sealed
/// by us, and as what is inside one.
pub fn cursor(input: &[u8]) {
    let (keys, tenant) = (keys(), tenant());
    let open = |text: &str| cursor::open(&keys, &tenant, "list", NOW, text);
    let inside = keys.seal(&SealedFor { purpose: "cursor", tenant: &tenant, scope: "list" }, input);
    for text in [&String::from_utf8_lossy(input), inside.as_str()] {
        if let Ok(position) = open(text) {
            assert_eq!(open(&cursor::seal(&keys, &tenant, "list", NOW, &position)).as_ref(), Ok(&position));
            assert!(cursor::open(&keys, &tenant, "another list", NOW, text).is_err());
            assert!(open(&changed(text, input)).is_err());
        }
    }
}

/// As for a cursor; and the id of a command has one text.
pub fn token(input: &[u8]) {
    let (keys, tenant) = (keys(), tenant());
    let open = |text: &str| Token::open(&keys, &tenant, None, NOW, text);
    let inside = keys.seal(&SealedFor { purpose: "token", tenant: &tenant, scope: "" }, input);
    for text in [&String::from_utf8_lossy(input), inside.as_str()] {
        if let Some(command) = keys.verify_command(&tenant, text) {
            assert_eq!(keys.sign_command(&tenant, command), *text);
        }
        if let Ok(token) = open(text) {
            assert_eq!(open(&token.seal(&keys, &tenant, NOW)).as_ref(), Ok(&token));
            assert_eq!(
                token.aggregate != aggregate(),
                Token::open(&keys, &tenant, Some((User::KIND, aggregate())), NOW, text).is_err()
            );
            assert!(open(&changed(text, input)).is_err());
        }
    }
}

/// A message that is read is read again as the same, and its heading as of the same command.
pub fn envelope(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let heading = Heading::parse(text);
    if let Ok(envelope) = Envelope::parse::<User>(text) {
        let again = serde_json::to_string(&envelope).unwrap();
        assert_eq!(Envelope::parse::<User>(&again).unwrap(), envelope);
        assert_eq!(
            heading.unwrap().record(CommandStatus::Pending, None),
            envelope.record(CommandStatus::Pending, None)
        );
    }
}

/// What a store holds is a user that can be shown and is stored again as the same, or the reason of a rejection, or it is
/// refused.
pub fn stored_item(input: &[u8]) {
    if let Ok(user) = User::decode(User::SCHEMA, input) {
        assert_eq!(User::decode(User::SCHEMA, &User::encode(&user)).unwrap(), user);
        let view: Value = serde_json::from_slice(&User::project(Projection::FIRST, aggregate(), 1, &user)).unwrap();
        let patch = ["name", "email", "status"].map(|field| (field.to_owned(), view[field].clone()));
        let patch = serde_json::to_vec(&Value::Object(patch.into_iter().collect())).unwrap();
        assert!(
            matches!(User::parse(Operation::Update, &patch), Ok(UserCommand::Update(_))),
            "what is shown can be sent back"
        );
        let key = AggregateKey { kind: User::KIND, tenant: tenant(), id: aggregate() };
        assert_eq!(User::index(Projection::FIRST, &key, &user).len(), User::INDEXES.len());
    }
    if let Ok(problem) = serde_json::from_slice::<Problem>(input) {
        assert_eq!(serde_json::from_str::<Problem>(&serde_json::to_string(&problem).unwrap()).unwrap(), problem);
    }
}

fn keys() -> KeyRing {
    // 32 zero bytes.
    format!("k1:{}=", "A".repeat(43)).parse().unwrap()
}

fn tenant() -> Tenant {
    "acme".parse().unwrap()
}

fn aggregate() -> AggregateId {
    "019a0b5e-6c7b-7000-8000-000000000001".parse().unwrap()
}

/// The text with one character replaced by another; which one, the input decides.
fn changed(text: &str, input: &[u8]) -> String {
    let at = input.iter().map(|byte| usize::from(*byte)).sum::<usize>() % text.len();
    text.char_indices().map(|(here, c)| if here == at { if c == 'A' { 'B' } else { 'A' } } else { c }).collect()
}
