//! Properties that hold for any input.

use std::collections::{BTreeMap, BTreeSet};

use kernel::envelope::{Envelope, EnvelopeHeader};
use kernel::ids::AggregateKey;
use kernel::projection::Projection;
use kernel::record::CommandStatus;
use serde_json::{Map, Value as Json};

use super::forms::{aggregate, tenant};
use crate::{BodyError, Description, Operation, Parameters, Resource};

/// Checks that a body is a command that serialisation leaves unchanged, or is refused with errors that each point to another
/// part of the body.
pub fn command_body<R: Resource>(input: &[u8]) {
    for operation in Description::of::<R>().operations() {
        match R::parse(operation, input) {
            Ok(command) => {
                let text = serde_json::to_string(&command).unwrap();
                let again = R::decode_command(R::COMMAND_SCHEMA, &text).unwrap();
                assert_eq!(serde_json::to_string(&again).unwrap(), text);
            }
            Err(BodyError::Fields(errors)) => {
                assert!(!errors.is_empty());
                assert!(errors.iter().all(|error| error.pointer.is_empty() || error.pointer.starts_with('/')));
                let pointers: BTreeSet<_> = errors.iter().map(|error| &error.pointer).collect();
                assert_eq!(pointers.len(), errors.len(), "each error points to another part");
            }
            Err(BodyError::Syntax(_)) => {}
        }
    }
}

/// Checks that a query is refused, or is a filter for a list of this kind.
pub fn query_string<R: Resource>(input: &[u8]) {
    let given: BTreeMap<_, _> = form_urlencoded::parse(input).into_owned().collect();
    let mut parameters = Parameters::default();
    for (name, value) in &given {
        parameters.add(name, value);
    }
    if let Ok(scope) = R::filter(&mut parameters) {
        assert_eq!(scope.kind, R::KIND);
        assert!(!scope.partition.contains('\n') && !scope.sort_prefix.contains('\n'));
        assert!(!given.is_empty() || scope.sort_prefix.is_empty());
    }
}

/// Checks that a valid message is the same after another round trip, and that its header gives the same record.
pub fn envelope<R: Resource>(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(envelope) = Envelope::parse::<R>(text) {
        let again = serde_json::to_string(&envelope).unwrap();
        assert_eq!(serde_json::to_string(&Envelope::parse::<R>(&again).unwrap()).unwrap(), again);
        let header = EnvelopeHeader::parse(text).unwrap();
        assert_eq!(header.record(CommandStatus::Pending, None), envelope.record(CommandStatus::Pending, None));
    }
}

/// Checks that stored data is refused or is a valid item. A valid item can be shown, its fields can be sent back, and it is
/// stored again without a difference.
pub fn stored_item<R: Resource>(input: &[u8]) {
    let Ok(state) = R::decode(R::SCHEMA, input) else { return };
    let stored = R::encode(&state);
    assert_eq!(R::encode(&R::decode(R::SCHEMA, &stored).unwrap()), stored);
    let view: Json = serde_json::from_slice(&R::project(Projection::FIRST, aggregate(), 1, &state)).unwrap();
    let settable = R::FIELDS.iter().filter(|field| field.is_settable);
    let patch: Map<_, _> = settable.map(|field| (field.name.to_owned(), view[field.name].clone())).collect();
    R::parse(Operation::Update, Json::Object(patch).to_string().as_bytes()).expect("a view can be sent back");
    let key = AggregateKey { kind: R::KIND, tenant: tenant(), id: aggregate() };
    let index = R::index(Projection::FIRST, &key, &state);
    let slots: BTreeSet<_> = index.iter().map(|entry| entry.slot).collect();
    assert_eq!(slots.len(), index.len(), "each index has one entry at most");
    assert!(index.iter().all(|entry| entry.sort.len() <= 1_024 && entry.partition.len() <= 1_024), "keys are short");
}
