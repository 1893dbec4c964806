//! The stored forms, the messages and the texts that clients keep, as committed files. Today's code reads them and writes exactly
//! the same, so an accidental change of a form fails here. To change one on purpose, see docs/evolving-data.md.

use std::fs;

use kernel::clock::Timestamp;
use kernel::cursor;
use kernel::ids::{AggregateId, CommandId, Kind, Stamp, Subject, Tenant};
use kernel::ports::Position;
use kernel::problem::{FieldError, Problem};
use kernel::record::Fingerprint;
use kernel::seal::{KeyRing, SealedFor};
use kernel::token::Token;
use serde_json::{Value, json};

/// A time in September 2026.
const AT: Timestamp = Timestamp::from_micros(1_790_000_000_123_456);
/// The name of the list of all users, as its cursors are bound to it.
const LIST: &str = "v1\nname\n0#\n";
const KIND: Kind = Kind::implied("U");

fn golden(name: &str) -> String {
    let path = format!("{}/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}")).trim_end().to_owned()
}

#[track_caller]
fn is_written(name: &str, text: impl AsRef<[u8]>) {
    let text = str::from_utf8(text.as_ref()).unwrap();
    assert_eq!(text, golden(name), "{name} has changed: see docs/evolving-data.md");
}

fn tenant() -> Tenant {
    "acme".parse().unwrap()
}

fn aggregate() -> AggregateId {
    "019a0b5e-6c7b-7000-8000-000000000001".parse().unwrap()
}

fn stamp(micros: u64) -> Stamp {
    Stamp { at: AT.plus_micros(micros), command: "019a0b5e-6c7b-7000-8000-0000000000ff".parse().unwrap() }
}

fn keys() -> KeyRing {
    // 32 zero bytes.
    format!("k1:{}=", "A".repeat(43)).parse().unwrap()
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
fn tokens_and_cursors_have_the_same_content_as_before() {
    let (keys, tenant) = (keys(), tenant());
    let plain = |use_: &SealedFor<'_>, text: &str| keys.open(use_, text).unwrap();

    let for_token = SealedFor { purpose: "token", tenant: &tenant, scope: "" };
    let of_version = Token::of_version(None, aggregate(), 7);
    let of_command = Token { command: Some(stamp(0).command), accepted_at: Some(AT), ..of_version.clone() };
    for (name, token) in [("token-version-1", of_version), ("token-command-1", of_command)] {
        is_written(name, plain(&for_token, &token.seal(&keys, &tenant, AT)));
        let sealed = keys.seal(&for_token, golden(name).as_bytes());
        assert_eq!(Token::open(&keys, &tenant, Some((KIND, aggregate())), AT, &sealed), Ok(token));
    }

    let for_cursor = SealedFor { purpose: "cursor", tenant: &tenant, scope: LIST };
    let at: Value = serde_json::from_str(&golden("cursor-1")).unwrap();
    let at = Position { sort: at["s"].as_str().unwrap().to_owned(), id: aggregate() };
    is_written("cursor-1", plain(&for_cursor, &cursor::seal(&keys, &tenant, LIST, AT, &at)));
    let sealed = keys.seal(&for_cursor, golden("cursor-1").as_bytes());
    assert_eq!(cursor::open(&keys, &tenant, LIST, AT, &sealed), Ok(at));
}

#[test]
fn texts_that_clients_hold_are_still_accepted() {
    let held: Value = serde_json::from_str(&golden("held-by-clients")).unwrap();
    let text = |name: &str| held[name].as_str().unwrap();
    let token = Token::open(&keys(), &tenant(), Some((KIND, aggregate())), AT, text("token")).unwrap();
    assert_eq!(token, Token::of_version(None, aggregate(), 7));
    assert_eq!(cursor::open(&keys(), &tenant(), LIST, AT, text("cursor")).unwrap().id, aggregate());
    assert_eq!(keys().verify_command(&tenant(), text("command")), Some(stamp(0).command));
    assert_eq!(keys().sign_command(&tenant(), stamp(0).command), text("command"));
}

/// A changed key misses the stored one, so duplicates would be applied twice.
#[test]
fn keys_of_the_flow_are_computed_as_ever() {
    let subject: Subject = "zoe".parse().unwrap();
    let computed = json!({
        "command_of_idempotency_key": CommandId::derive(&tenant(), &subject, "POST", "/users", "key").to_string(),
        "fingerprint": Fingerprint::of(&[b"/users", b"{}"]),
    });
    assert_eq!(computed, serde_json::from_str::<Value>(&golden("keys")).unwrap());
}
