//! A running service gets a second kind: how code with one kind and code with several read each other's forms.

use kernel::clock::{Clock as _, Timestamp};
use kernel::domain::Domain;
use kernel::envelope::{Envelope, EnvelopeError, EnvelopeHeader, schema_of};
use kernel::ids::{AggregateId, CommandId, Kind, Tenant};
use kernel::ports::{Slot, UniqueKey};
use kernel::query::{ListRequest, ListScope, QueryError};
use kernel::record::CommandStatus;
use kernel::seal::{KeyRing, SealedFor};
use kernel::token::{Token, TokenError};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::counter::{Counter, CounterCommand, KIND};
use crate::query::environment;
use crate::world::{World, open, tenant};

/// The kind that the service has first.
type First = Counter;
/// The kind that the service gets later.
type Named = Counter<1, true>;

/// The forms of code that knows one kind only. This copy never follows changes of the kernel.
mod old {
    use super::*;

    #[derive(Deserialize)]
    struct Schema {
        schema: u16,
    }

    #[derive(Debug, Serialize, Deserialize)]
    pub(super) struct OldEnvelope<'a> {
        schema: u16,
        tenant: Tenant,
        subject: String,
        aggregate: AggregateId,
        #[serde(borrow)]
        stamp: &'a RawValue,
        #[serde(borrow)]
        expected: &'a RawValue,
        command_schema: u16,
        #[serde(borrow)]
        command: &'a RawValue,
    }

    /// Reads a message. The error is the unknown schema version.
    pub(super) fn read(message: &str) -> Result<OldEnvelope<'_>, u16> {
        match serde_json::from_str(message).unwrap() {
            Schema { schema: 1 } => Ok(serde_json::from_str(message).unwrap()),
            Schema { schema } => Err(schema),
        }
    }

    /// Returns the key of a unique value.
    pub(super) fn unique_key(tenant: &Tenant, field: &str, value: &str) -> String {
        format!("Q#{tenant}#{field}#{value}")
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct OldToken {
        pub(super) a: AggregateId,
        pub(super) f: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub(super) c: Option<CommandId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub(super) s: Option<Timestamp>,
        pub(super) e: Timestamp,
    }

    fn sealed_for(tenant: &Tenant) -> SealedFor<'_> {
        SealedFor { purpose: "token", tenant, scope: "" }
    }

    pub(super) fn seal(keys: &KeyRing, token: &OldToken) -> String {
        keys.seal(&sealed_for(&tenant()), &serde_json::to_vec(token).unwrap())
    }

    pub(super) fn open(keys: &KeyRing, text: &str) -> OldToken {
        serde_json::from_slice(&keys.open(&sealed_for(&tenant()), text).unwrap()).unwrap()
    }
}

/// Returns the message that today's code sends for a domain.
fn message<D: Domain<Command = CounterCommand>>(world: &World) -> String {
    let kind = D::KIND.name();
    let command = world.command(world.new_id(), open("a"));
    let envelope = Envelope { schema: schema_of(kind, None, &[]), kind: kind.map(str::to_owned), ..command };
    serde_json::to_string(&envelope).unwrap()
}

#[test]
fn old_code_reads_a_message_of_the_first_kind_and_refuses_one_of_another_kind() {
    let world = World::new();
    let of_first = message::<First>(&world);
    let read = old::read(&of_first).unwrap();
    // Old code writes the same bytes as today's code.
    assert_eq!(serde_json::to_string(&read).unwrap(), of_first);
    assert_eq!(old::read(&message::<Named>(&world)).unwrap_err(), 2);
}

#[test]
fn each_domain_reads_the_messages_of_its_own_kind_alone() {
    let world = World::new();
    let (of_first, of_named) = (message::<First>(&world), message::<Named>(&world));
    Envelope::parse::<First>(&of_first).unwrap();
    Envelope::parse::<Named>(&of_named).unwrap();
    let refused = Envelope::parse::<First>(&of_named).unwrap_err();
    assert!(matches!(&refused, EnvelopeError::UnknownKind(Some(kind)) if kind == "N"), "{refused:?}");
    let refused = Envelope::parse::<Named>(&of_first).unwrap_err();
    assert!(matches!(refused, EnvelopeError::UnknownKind(None)), "{refused:?}");
}

#[test]
fn a_command_of_an_unknown_kind_can_be_recorded_as_failed() {
    let world = World::new();
    let failed = CommandStatus::Failed { reason: "the kind N is unknown".to_owned() };
    let record = EnvelopeHeader::parse(&message::<Named>(&world)).unwrap().record(failed, None);
    assert_eq!(record.kind.as_deref(), Some("N"));
}

/// Old and new code run side by side. Values stay unique only if both write the same key.
#[test]
fn unique_values_of_the_first_kind_keep_their_keys_and_those_of_two_kinds_never_meet() {
    let unique_key = |kind| UniqueKey { kind, tenant: tenant(), field: "label", value: "a".to_owned() }.to_string();
    assert_eq!(unique_key(KIND), old::unique_key(&tenant(), "label", "a"));
    assert_eq!(unique_key(Named::KIND), "Q#N#t#label#a");
    // A tenant may have the name of a kind.
    let named_so = UniqueKey { kind: KIND, tenant: "N".parse().unwrap(), field: "t", value: "label".to_owned() };
    assert_ne!(named_so.to_string(), unique_key(Named::KIND));
}

#[test]
fn tokens_of_the_first_kind_are_the_same_to_old_and_new_code() {
    let world = World::new();
    let (id, now) = (world.new_id(), world.clock.now());
    let command = Some(CommandId::generate(now));
    let token = Token { command, accepted_at: Some(now), ..Token::of_version(None, id, 7) };
    let read = old::open(&world.keys, &token.seal(&world.keys, &tenant(), now));
    assert_eq!((read.a, read.f, read.c, read.s), (id, 7, command, Some(now)));
    let sent = old::seal(&world.keys, &read);
    assert_eq!(Token::open(&world.keys, &tenant(), Some((KIND, id)), now, &sent), Ok(token));
}

#[test]
fn a_token_of_one_kind_is_of_no_use_for_another_and_orders_its_creates() {
    let world = World::new();
    let (id, now) = (world.new_id(), world.clock.now());
    let name = |kind: Kind| kind.name().map(str::to_owned);
    for (of, other) in [(KIND, Named::KIND), (Named::KIND, KIND)] {
        let token = Token::of_version(name(of), id, 7);
        let text = token.seal(&world.keys, &tenant(), now);
        let open = |aggregate| Token::open(&world.keys, &tenant(), aggregate, now, &text);
        assert_eq!(open(Some((of, id))), Ok(token.clone()));
        assert_eq!(open(Some((other, id))), Err(TokenError::OtherAggregate));
        assert_eq!(open(None), Ok(token));
    }
}

/// Two lists may share one index and one partition, for example users and orders by status.
#[tokio::test]
async fn a_page_and_a_cursor_belong_to_one_kind() {
    let world = World::new();
    for label in ["a", "b", "c"] {
        crate::query::write(&world, world.new_id(), open(label), true).await;
    }
    let (here, tenant) = (environment(&world), tenant());
    let page = async |kind, cursor: Option<&str>| {
        let scope =
            ListScope { kind, list: "label", slot: Slot::I1, partition: "C#t".to_owned(), sort_prefix: String::new() };
        here.lists.page(&ListRequest { scope, tenant: &tenant, cursor, limit: 2 }).await
    };
    let first = page(KIND, None).await.unwrap();
    assert!(first.body.starts_with(br#"{"items":[a=0@1"#), "{:?}", first.body);
    let other = page(Named::KIND, None).await.unwrap();
    assert_eq!(&other.body[..], br#"{"items":[],"next_cursor":null}"#);
    let foreign = page(Named::KIND, first.next_cursor.as_deref()).await;
    assert!(matches!(foreign, Err(QueryError::Cursor(_))), "{foreign:?}");
}
