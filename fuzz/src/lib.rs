//! The fuzz targets: one function for each. A function panics if a property does not hold.
//!
//! `shared/service/tests/fuzz_seeds.rs` includes this file too, to run the seeds without a fuzzer.

// In a test build, `shared/tests/front_doors.rs` includes this module.
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

/// Checks an input with the function of `testing`, for each resource.
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

/// Runs [`testing::command_body`].
pub fn command_body(input: &[u8]) {
    for_each_resource!(command_body, input);
}

/// Runs [`testing::query_string`], and checks that a cursor in the input is refused.
pub fn query_string(input: &[u8]) {
    for_each_resource!(query_string, input);
    for (name, value) in form_urlencoded::parse(input) {
        if name == "cursor" {
            assert!(cursor::open(&keys(), &tenant(), "list", NOW, &value).is_err());
        }
    }
}

/// Runs [`testing::envelope`].
pub fn envelope(input: &[u8]) {
    for_each_resource!(envelope, input);
}

/// Runs [`testing::stored_item`], and checks that a rejection's problem survives a round trip through JSON.
pub fn stored_item(input: &[u8]) {
    for_each_resource!(stored_item, input);
    if let Ok(problem) = serde_json::from_slice::<Problem>(input) {
        assert_eq!(serde_json::from_str::<Problem>(&serde_json::to_string(&problem).unwrap()).unwrap(), problem);
    }
}

/// Checks that an opened cursor keeps its content if it is sealed again, and that a changed one is refused. Tries the input both
/// as a text from a client and as the sealed content of a cursor.
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

/// Checks the same properties for a token, and that a command's id has only one text.
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
    // The key is 32 zero bytes.
    format!("k1:{}=", "A".repeat(43)).parse().unwrap()
}

fn tenant() -> Tenant {
    "acme".parse().unwrap()
}

fn aggregate() -> AggregateId {
    "019a0b5e-6c7b-7000-8000-000000000001".parse().unwrap()
}

/// Returns the text with one character replaced. The input selects the character.
fn changed(text: &str, input: &[u8]) -> String {
    let at = input.iter().map(|byte| usize::from(*byte)).sum::<usize>() % text.len();
    text.char_indices().map(|(here, c)| if here == at { if c == 'A' { 'B' } else { 'A' } } else { c }).collect()
}
