//! What each fuzz target does with an input. Panics where a property does not hold.
//!
//! Also a part of `shared/service/tests/fuzz_seeds.rs`, which tries the seeds without a fuzzer.

// A part of `shared/tests/front_doors.rs` instead.
#[cfg(not(test))]
pub mod events;

use kernel::clock::Timestamp;
use kernel::cursor;
use kernel::ids::{AggregateId, Kind, Tenant};
use kernel::problem::Problem;
use kernel::seal::{KeyRing, SealedFor};
use kernel::token::Token;
use resource::{Resource, Visitor, testing};
use service::resources::{RESOURCES, visit};

const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);
const KIND: Kind = Kind::implied("U");

/// Checks an input for each resource.
macro_rules! for_each_resource {
    ($check:ident, $input:expr) => {{
        struct Check<'a>(&'a [u8]);
        impl Visitor for Check<'_> {
            type Output = ();
            fn visit<R: Resource>(self) {
                testing::$check::<R>(self.0)
            }
        }
        for resource in RESOURCES {
            visit(resource, Check($input)).unwrap();
        }
    }};
}

/// See [`testing::command_body`].
pub fn command_body(input: &[u8]) {
    for_each_resource!(command_body, input);
}

/// See [`testing::query_string`]. Its cursor is none of ours.
pub fn query_string(input: &[u8]) {
    for_each_resource!(query_string, input);
    for (name, value) in form_urlencoded::parse(input) {
        if name == "cursor" {
            assert!(cursor::open(&keys(), &tenant(), "list", NOW, &value).is_err());
        }
    }
}

/// See [`testing::envelope`].
pub fn envelope(input: &[u8]) {
    for_each_resource!(envelope, input);
}

/// See [`testing::stored_item`]; or the reason of a rejection.
pub fn stored_item(input: &[u8]) {
    for_each_resource!(stored_item, input);
    if let Ok(problem) = serde_json::from_slice::<Problem>(input) {
        assert_eq!(serde_json::from_str::<Problem>(&serde_json::to_string(&problem).unwrap()).unwrap(), problem);
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
                Token::open(&keys, &tenant, Some((KIND, aggregate())), NOW, text).is_err()
            );
            assert!(open(&changed(text, input)).is_err());
        }
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
