//! Every form that is stored, travels, or is held by clients, as a committed text. Today's code reads it, and writes
//! exactly it: a form that changes unnoticed fails here. How to change one on purpose: docs/evolving-data.md.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test may panic")]

use std::fs;

use kernel::clock::Timestamp;
use kernel::cursor;
use kernel::domain::Domain;
use kernel::envelope::{ENVELOPE_SCHEMA, Envelope, Excluded, Expected, schema_of};
use kernel::ids::{AggregateId, AggregateKey, CommandId, Stamp, Subject, Tenant};
use kernel::ports::Position;
use kernel::problem::{FieldError, Problem};
use kernel::project::Projection;
use kernel::record::Fingerprint;
use kernel::seal::{KeyRing, SealedFor};
use kernel::token::Token;
use serde_json::{Value, json};
use users::field::{Email, Name, Status};
use users::{Details, Patch, Stamped, User, UserCommand, UserState};

/// In September 2026.
const AT: Timestamp = Timestamp::from_micros(1_790_000_000_123_456);
/// The list of all users, as its cursors are bound to it.
const LIST: &str = "v1\nname\n0#\n";

fn golden(name: &str) -> String {
    let path = format!("{}/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim_end().to_owned()
}

#[track_caller]
fn is_written(name: &str, text: impl AsRef<[u8]>) {
    let text = str::from_utf8(text.as_ref()).unwrap();
    assert_eq!(text, golden(name), "{name} has another form: see docs/evolving-data.md");
}

fn tenant() -> Tenant {
    "acme".parse().unwrap()
}

fn aggregate() -> AggregateId {
    "019a0b5e-6c7b-7000-8000-000000000001".parse().unwrap()
}

fn key() -> AggregateKey {
    AggregateKey { kind: User::KIND, tenant: tenant(), id: aggregate() }
}

fn stamp(micros: u64) -> Stamp {
    Stamp { at: AT.plus_micros(micros), command: "019a0b5e-6c7b-7000-8000-0000000000ff".parse().unwrap() }
}

fn keys() -> KeyRing {
    // 32 zero bytes.
    format!("k1:{}=", "A".repeat(43)).parse().unwrap()
}

fn details() -> Details {
    Details {
        name: Name::try_from("Zoë \"Z\" Ångström".to_owned()).unwrap(),
        email: Email::try_from("Zoe@example.com".to_owned()).unwrap(),
        status: Status::Active,
    }
}

fn state() -> UserState {
    let Details { name, email, status } = details();
    UserState {
        name: Stamped { value: name, stamp: stamp(0) },
        email: Stamped { value: email, stamp: stamp(1) },
        status: Stamped { value: status, stamp: stamp(2) },
        created_at: AT,
        updated_at: AT.plus_micros(2),
    }
}

fn envelope(expected: Expected, command: UserCommand) -> Envelope<UserCommand> {
    Envelope {
        schema: ENVELOPE_SCHEMA,
        tenant: tenant(),
        subject: "zoe".parse().unwrap(),
        kind: None,
        aggregate: aggregate(),
        stamp: stamp(0),
        expected,
        excluded: None,
        fingerprint: None,
        traceparent: None,
        command_schema: User::COMMAND_SCHEMA,
        command,
    }
}

/// One of each command, and of everything that may come along with one.
fn messages() -> [(&'static str, Envelope<UserCommand>); 6] {
    let create = Envelope {
        fingerprint: Some(Fingerprint::of(&[b"/users", b"{}"])),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        ..envelope(Expected::Unsaid, UserCommand::Create(details()))
    };
    let excluding = |excluded: Excluded, command| Envelope {
        schema: schema_of(None, Some(&excluded)),
        excluded: Some(excluded),
        ..envelope(Expected::Unsaid, command)
    };
    let patch = Patch { status: Some(Status::Suspended), ..Patch::default() };
    [
        ("message-create-1", create),
        ("message-replace-1", envelope(Expected::Exists, UserCommand::Replace(details()))),
        ("message-update-1", envelope(Expected::Version(7), UserCommand::Update(patch))),
        ("message-delete-1", envelope(Expected::Unsaid, UserCommand::Delete)),
        ("message-replace-2", excluding(Excluded::Any, UserCommand::Replace(details()))),
        ("message-delete-2", excluding(Excluded::Versions(vec![3, 7]), UserCommand::Delete)),
    ]
}

#[test]
fn a_state_is_stored_and_read_as_ever() {
    is_written("state-1", User::encode(&state()));
    assert_eq!(User::decode(1, golden("state-1").as_bytes()).unwrap(), state());
}

#[test]
fn a_view_is_stored_as_ever() {
    is_written("view-1", User::project(Projection::FIRST, aggregate(), 7, &state()));
}

#[test]
fn messages_travel_and_are_read_as_ever() {
    for (name, message) in messages() {
        is_written(name, serde_json::to_string(&message).unwrap());
        assert_eq!(Envelope::parse::<User>(&golden(name)).unwrap(), message);
    }
}

#[test]
fn a_message_that_does_not_say_its_commands_schema_has_one_of_the_first() {
    let (_, message) = &messages()[0];
    let mut text: Value = serde_json::to_value(message).unwrap();
    text.as_object_mut().unwrap().remove("command_schema").unwrap();
    assert_eq!(Envelope::parse::<User>(&text.to_string()).unwrap(), *message);
}

#[test]
fn the_reason_of_a_rejection_is_stored_and_read_as_ever() {
    let errors = vec![FieldError { pointer: "/name".to_owned(), detail: "must not be blank".to_owned() }];
    let with_fields = Problem { errors, ..Problem::new("invalid", 422, "Invalid", "look at the fields") };
    for (name, problem) in [("problem-fields-1", with_fields), ("problem-1", Problem::version_conflict(7))] {
        is_written(name, serde_json::to_string(&problem).unwrap());
        assert_eq!(serde_json::from_str::<Problem>(&golden(name)).unwrap(), problem);
    }
}

#[test]
fn tokens_and_cursors_hold_what_they_ever_held() {
    let (keys, tenant) = (keys(), tenant());
    let plain = |use_: &SealedFor<'_>, text: &str| keys.open(use_, text).unwrap();

    let for_token = SealedFor { purpose: "token", tenant: &tenant, scope: "" };
    let of_version = Token::of_version(None, aggregate(), 7);
    let of_command = Token { command: Some(stamp(0).command), accepted_at: Some(AT), ..of_version.clone() };
    for (name, token) in [("token-version-1", of_version), ("token-command-1", of_command)] {
        is_written(name, plain(&for_token, &token.seal(&keys, &tenant, AT)));
        let sealed = keys.seal(&for_token, golden(name).as_bytes());
        assert_eq!(Token::open(&keys, &tenant, Some((User::KIND, aggregate())), AT, &sealed), Ok(token));
    }

    let for_cursor = SealedFor { purpose: "cursor", tenant: &tenant, scope: LIST };
    let at = Position { sort: User::index(Projection::FIRST, &key(), &state()).swap_remove(0).sort, id: aggregate() };
    is_written("cursor-1", plain(&for_cursor, &cursor::seal(&keys, &tenant, LIST, AT, &at)));
    let sealed = keys.seal(&for_cursor, golden("cursor-1").as_bytes());
    assert_eq!(cursor::open(&keys, &tenant, LIST, AT, &sealed), Ok(at));
}

#[test]
fn texts_that_clients_hold_are_still_believed() {
    let held: Value = serde_json::from_str(&golden("held-by-clients")).unwrap();
    let text = |name: &str| held[name].as_str().unwrap();
    let token = Token::open(&keys(), &tenant(), Some((User::KIND, aggregate())), AT, text("token")).unwrap();
    assert_eq!(token, Token::of_version(None, aggregate(), 7));
    assert_eq!(cursor::open(&keys(), &tenant(), LIST, AT, text("cursor")).unwrap().id, aggregate());
    assert_eq!(keys().verify_command(&tenant(), text("command")), Some(stamp(0).command));
    assert_eq!(keys().sign_command(&tenant(), stamp(0).command), text("command"));
}

/// A key that is computed otherwise is not found again: duplicates would be applied twice, an email address could be
/// taken twice.
#[test]
fn keys_are_computed_as_ever() {
    let subject: Subject = "zoe".parse().unwrap();
    let claims: Vec<_> = User::claims(&tenant(), &state()).iter().map(ToString::to_string).collect();
    let index = User::index(Projection::FIRST, &key(), &state());
    let index: Vec<_> = index.iter().map(|entry| json!([entry.index, entry.partition, entry.sort])).collect();
    let computed = json!({
        "aggregate": key().to_string(),
        "cache": Projection::FIRST.cache_key(&key()),
        "claims": claims,
        "command_of_idempotency_key": CommandId::derive(&tenant(), &subject, "POST", "/users", "key").to_string(),
        "fingerprint": Fingerprint::of(&[b"/users", b"{}"]),
        "index": index,
    });
    assert_eq!(computed, serde_json::from_str::<Value>(&golden("keys")).unwrap());
}
