//! Stored forms and messages, as golden files. Today's code must read all of them, and write those of its own schema without a
//! difference. To change a form on purpose, see docs/evolving-data.md.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use kernel::clock::Timestamp;
use kernel::domain::{Context, Decision};
use kernel::envelope::{Envelope, ExpectedVersion, schema_of};
use kernel::ids::{AggregateId, AggregateKey, Stamp, Tenant};
use kernel::projection::Projection;
use serde_json::{Value as Json, json};

use super::full_body;
use crate::{Description, Operation, Resource};

/// A time in September 2026.
const AT: Timestamp = Timestamp::from_micros(1_790_000_000_123_456);
/// The version of the views.
const VERSION: u64 = 7;

pub(super) fn tenant() -> Tenant {
    "acme".parse().unwrap()
}

pub(super) fn aggregate() -> AggregateId {
    "019a0b5e-6c7b-7000-8000-000000000001".parse().unwrap()
}

pub(super) fn stamp_at(at: Timestamp) -> Stamp {
    Stamp { at, command: "019a0b5e-6c7b-7000-8000-0000000000ff".parse().unwrap() }
}

/// Checks that the stored form of each schema can be read, and that the current form and its view are written as before.
pub fn states_are_stored_as_before<R: Resource>(golden: &str) {
    let mut written = with_current_state::<R>(golden);
    for (name, text) in texts(golden, "state-") {
        let state = R::decode(schema_in(&name), text.as_bytes());
        let state = state.unwrap_or_else(|error| panic!("{name} cannot be read: {error}"));
        if schema_in(&name) == R::SCHEMA {
            assert_eq!(str::from_utf8(&R::encode(&state)).unwrap(), text, "{name} has changed");
        }
        let view = R::project(Projection::FIRST, aggregate(), VERSION, &state);
        written.extend(is_as_kept(golden, &name.replace("state-", "view-"), str::from_utf8(&view).unwrap()));
    }
    assert_nothing_was_missing(&written);
}

/// Checks that messages of each schema can be read, and that messages of the current schema are written as before.
pub fn messages_are_written_as_before<R: Resource>(golden: &str) {
    let mut written = Vec::new();
    for operation in Description::of::<R>().operations() {
        let of = match operation {
            Operation::Create => "create",
            Operation::Replace => "replace",
            Operation::Update => "update",
            Operation::Delete => "delete",
            Operation::Act(action) => action,
        };
        let name = format!("message-{of}-{}", schema_of(R::KIND.name(), None, &[]));
        let message = || serde_json::to_string(&message::<R>(operation)).unwrap();
        written.extend(write_if_missing(golden, &name, message));
    }
    for (name, text) in texts(golden, "message-") {
        let message = Envelope::parse::<R>(&text).unwrap_or_else(|error| panic!("{name} cannot be read: {error}"));
        if message.command_schema == R::COMMAND_SCHEMA {
            assert_eq!(serde_json::to_string(&message).unwrap(), text, "{name} has changed");
        }
        let mut first: Json = serde_json::from_str(&text).unwrap();
        first.as_object_mut().unwrap().remove("command_schema");
        if message.command_schema == 1 {
            let read = Envelope::parse::<R>(&first.to_string()).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), text, "a message that names no schema has the first one");
        }
    }
    assert_nothing_was_missing(&written);
}

/// Checks that keys are computed as before. With another key, a unique value could be taken twice, and an item would be missing
/// in a list.
pub fn keys_are_computed_as_before<R: Resource>(golden: &str) {
    let mut written = with_current_state::<R>(golden);
    let key = AggregateKey { kind: R::KIND, tenant: tenant(), id: aggregate() };
    for (name, text) in texts(golden, "state-") {
        let state = R::decode(schema_in(&name), text.as_bytes()).unwrap();
        let unique_keys: Vec<_> = R::unique_keys(&tenant(), &state).iter().map(ToString::to_string).collect();
        let index = R::index(Projection::FIRST, &key, &state);
        let index: Vec<_> = index.iter().map(|entry| json!([entry.slot.name(), entry.partition, entry.sort])).collect();
        let keys = json!({
            "aggregate": key.to_string(), "cache": Projection::FIRST.cache_key(&key), "unique_keys": unique_keys, "index": index
        });
        written.extend(is_as_kept(golden, &name.replace("state-", "keys-"), &format!("{keys:#}")));
    }
    assert_nothing_was_missing(&written);
}

fn with_current_state<R: Resource>(golden: &str) -> Vec<PathBuf> {
    let state = || String::from_utf8(R::encode(&created::<R>()).to_vec()).unwrap();
    write_if_missing(golden, &format!("state-{}", R::SCHEMA), state).into_iter().collect()
}

/// Returns the number in the name of a golden file, for example 1 in `state-1`.
fn schema_in(name: &str) -> u16 {
    name.split('-').nth(1).unwrap().parse().unwrap()
}

/// Returns an item after its create.
fn created<R: Resource>() -> R::State {
    let context = Context { stamp: stamp_at(AT), conditional: false };
    match R::decide(None, &command::<R>(Operation::Create), &context) {
        Decision::Accept(event) => R::evolve(None, event).expect("a create makes an item"),
        Decision::Superseded | Decision::Reject(_) => panic!("the resource refuses the create of a sample"),
    }
}

fn command<R: Resource>(operation: Operation) -> R::Command {
    command_of::<R>(operation, &full_body(R::FIELDS, 1))
}

pub(super) fn command_of<R: Resource>(operation: Operation, body: &Json) -> R::Command {
    let body = match operation {
        Operation::Act(_) | Operation::Delete => String::new(),
        Operation::Create | Operation::Replace | Operation::Update => body.to_string(),
    };
    R::parse(operation, body.as_bytes()).unwrap_or_else(|error| panic!("{body}: {error:?}"))
}

fn message<R: Resource>(operation: Operation) -> Envelope<R::Command> {
    Envelope {
        schema: schema_of(R::KIND.name(), None, &[]),
        tenant: tenant(),
        subject: "zoe".parse().unwrap(),
        kind: R::KIND.name().map(str::to_owned),
        aggregate: aggregate(),
        stamp: stamp_at(AT),
        expected: ExpectedVersion::Any,
        excluded: None,
        after: Vec::new(),
        fingerprint: None,
        traceparent: None,
        command_schema: R::COMMAND_SCHEMA,
        command: command::<R>(operation),
    }
}

fn path(golden: &str, name: &str) -> PathBuf {
    Path::new(golden).join(format!("{name}.json"))
}

/// Returns the golden files whose names begin with this text, with their contents.
fn texts(golden: &str, beginning: &str) -> Vec<(String, String)> {
    let entries = fs::read_dir(golden).unwrap_or_else(|error| panic!("{golden}: {error}"));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let named = |path: &PathBuf| {
        let name = path.file_stem()?.to_str()?.to_owned();
        name.starts_with(beginning).then(|| (name, fs::read_to_string(path).unwrap().trim_end().to_owned()))
    };
    paths.iter().filter_map(named).collect()
}

/// Writes a golden file if it is missing, and returns its path.
///
/// The file appears in one step, because another test of the same run may read it at the same time.
fn write_if_missing(golden: &str, name: &str, text: impl FnOnce() -> String) -> Option<PathBuf> {
    let path = path(golden, name);
    if path.exists() {
        return None;
    }
    fs::create_dir_all(golden).unwrap();
    let unfinished = path.with_file_name(format!(".{name}-{:?}", thread::current().id()));
    fs::write(&unfinished, format!("{}\n", text())).unwrap();
    fs::rename(&unfinished, &path).unwrap();
    Some(path)
}

fn is_as_kept(golden: &str, name: &str, text: &str) -> Option<PathBuf> {
    let written = write_if_missing(golden, name, || text.to_owned());
    let kept = fs::read_to_string(path(golden, name)).unwrap();
    assert_eq!(text, kept.trim_end(), "{name} has changed: see docs/evolving-data.md");
    written
}

fn assert_nothing_was_missing(written: &[PathBuf]) {
    assert!(
        written.is_empty(),
        "these golden files were missing, and this test wrote them: check them and commit them: {written:#?}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_at_the_same_time_never_read_half_a_golden_file() {
        let golden = std::env::temp_dir().join(format!("watershed-golden-{}", std::process::id()));
        let (folder, text) = (golden.to_str().unwrap(), "x".repeat(100_000));
        for round in 0..100 {
            let name = format!("state-{round}");
            thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        write_if_missing(folder, &name, || text.clone());
                        let [(_, kept)] = &texts(folder, &name)[..] else { panic!("there is one file") };
                        assert_eq!(*kept, text);
                    });
                }
            });
            fs::remove_file(path(folder, &name)).unwrap();
        }
        fs::remove_dir(&golden).unwrap();
    }
}
