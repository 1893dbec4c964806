//! Old code meets the forms of new code, and new code those of old code. See docs/evolving-data.md.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kernel::apply::{Applier, ApplyError, ApplyReport, CommandResult};
use kernel::domain::{DecodeError, Domain};
use kernel::envelope::{
    ENVELOPE_SCHEMA, Envelope, EnvelopeError, EnvelopeHeader, Excluded, ExpectedVersion, schema_of,
};
use kernel::ids::AggregateId;
use kernel::policy::{Order, Policy};
use kernel::ports::{Consistency, PortError, Snapshot, ViewReader, ViewWriter};
use kernel::project::{ProjectingReader, Projector, ReadModel};
use kernel::projection::Projection;
use kernel::record::CommandStatus;
use proptest::prelude::*;

use crate::counter::CounterCommand::{Add, Close, Open};
use crate::counter::{Counter, CounterCommand};
use crate::world::{World, key, open};

type Old = Counter<1>;
type New = Counter<2>;

/// Returns the message that code of version `D` sends.
fn message<D: Domain>(world: &World, id: AggregateId, command: CounterCommand) -> String {
    let envelope = Envelope { command_schema: D::COMMAND_SCHEMA, ..world.command(id, command) };
    serde_json::to_string(&envelope).unwrap()
}

/// Applies a message with code of version `D`.
async fn deliver<D: Domain<Command = CounterCommand>>(world: &World, message: &str) -> ApplyReport<D> {
    let policy = Policy {
        reorder_window: Duration::ZERO,
        awaits_versions: true,
        order: Order::Loose,
        projection: Projection::FIRST,
        view_in_transaction: false,
    };
    let applier = Applier::<D>::new(
        Arc::new(world.stores.write()),
        Arc::new(world.stores.records()),
        world.clock.clone(),
        policy,
    );
    let envelope = Envelope::parse::<D>(message).unwrap();
    let key = envelope.key::<D>();
    let stored = applier.load(std::slice::from_ref(&key)).await.unwrap().remove(0);
    let applied = applier.apply(&key, &[envelope], stored).await;
    if applied.needs_projection() {
        let model = ReadModel { projection: Projection::FIRST, views: Some(Arc::new(world.stores.views())) };
        let projector = Projector::new(vec![model], None, world.clock.clone());
        projector.project(&key, &applied.current).await.unwrap();
    }
    applied
}

fn state(world: &World, id: AggregateId) -> Snapshot {
    world.stores.all_states()[&key(id)].clone()
}

fn view(world: &World, id: AggregateId) -> Snapshot {
    world.stores.all_views()[&key(id)].clone()
}

fn is_unknown<T>(result: &Result<T, EnvelopeError>, schema: u16) -> bool {
    matches!(result, Err(EnvelopeError::UnknownCommandSchema(found)) if *found == schema)
}

#[tokio::test]
async fn new_code_builds_on_a_state_of_old_code_and_stores_it_in_the_new_form() {
    let world = World::new();
    let id = world.new_id();
    deliver::<Old>(&world, &message::<Old>(&world, id, open("a"))).await;
    deliver::<Old>(&world, &message::<Old>(&world, id, Add(5))).await;
    let applied = deliver::<New>(&world, &message::<New>(&world, id, Add(1))).await;
    assert_eq!(applied.current.state.unwrap().total, 501);
    assert_eq!((state(&world, id).schema, state(&world, id).version), (2, 3));
}

#[tokio::test]
async fn old_code_leaves_a_state_of_new_code_as_it_is_and_the_command_to_a_later_delivery() {
    let world = World::new();
    let id = world.new_id();
    deliver::<New>(&world, &message::<New>(&world, id, open("a"))).await;
    let before = state(&world, id);
    let command = message::<Old>(&world, id, Add(5));
    let applied = deliver::<Old>(&world, &command).await;
    assert_eq!(applied.results, [CommandResult::Unfinished]);
    let unknown = |error| matches!(error, ApplyError::Undecodable { cause: DecodeError::UnknownSchema(2), .. });
    assert!(applied.stopped_by.is_some_and(unknown));
    assert_eq!((state(&world, id), world.stores.all_records().len()), (before, 1));
    // SQS delivers the message again, to new code.
    assert_eq!(deliver::<New>(&world, &command).await.current.state.unwrap().total, 500);
}

#[tokio::test]
async fn new_code_reads_a_command_of_old_code_as_it_was_meant() {
    let world = World::new();
    let id = world.new_id();
    deliver::<New>(&world, &message::<Old>(&world, id, open("a"))).await;
    let applied = deliver::<New>(&world, &message::<Old>(&world, id, Add(5))).await;
    assert_eq!(applied.current.state.unwrap().total, 500);
    let envelope = Envelope::parse::<New>(&message::<Old>(&world, id, Add(5))).unwrap();
    let sent_on = serde_json::to_string(&envelope).unwrap();
    assert!(matches!(Envelope::parse::<New>(&sent_on).unwrap().command, Add(500)), "it is brought up to date once");
}

#[test]
fn old_code_refuses_a_command_of_new_code_and_can_still_record_that_it_failed() {
    let world = World::new();
    let message = message::<New>(&world, world.new_id(), Add(500));
    assert!(is_unknown(&Envelope::parse::<Old>(&message), 2));
    let status = CommandStatus::Failed { reason: "unknown".to_owned() };
    let record = EnvelopeHeader::parse(&message).unwrap().record(status.clone(), None);
    assert_eq!(record, Envelope::parse::<New>(&message).unwrap().record(status, None));
}

#[tokio::test]
async fn a_command_that_old_code_applied_is_a_duplicate_to_new_code() {
    let world = World::new();
    let id = world.new_id();
    deliver::<Old>(&world, &message::<Old>(&world, id, open("a"))).await;
    let command = message::<Old>(&world, id, Add(5));
    deliver::<Old>(&world, &command).await;
    let again = deliver::<New>(&world, &command).await;
    assert!(matches!(&again.results[..], [CommandResult::Final { duplicate: true, .. }]));
    assert_eq!((again.current.version, again.current.state.unwrap().total), (2, 500));
}

#[tokio::test]
async fn a_tombstone_says_the_same_to_old_and_new_code() {
    let world = World::new();
    let id = world.new_id();
    deliver::<New>(&world, &message::<New>(&world, id, open("a"))).await;
    deliver::<New>(&world, &message::<New>(&world, id, Close)).await;
    let late = deliver::<Old>(&world, &message::<Old>(&world, id, Add(5))).await;
    assert!(matches!(&late.results[..], [CommandResult::Final { record, .. }]
        if matches!(record.status, CommandStatus::Rejected { version: 2, .. })));
}

#[tokio::test]
async fn a_view_is_replaced_by_the_next_version_and_says_which_code_made_it() {
    let world = World::new();
    let id = world.new_id();
    deliver::<Old>(&world, &message::<Old>(&world, id, open("a"))).await;
    assert_eq!((view(&world, id).schema, view(&world, id).body), (1, Some(Bytes::from("a=0@1"))));
    deliver::<New>(&world, &message::<Old>(&world, id, Add(5))).await;
    assert_eq!((view(&world, id).schema, view(&world, id).body), (2, Some(Bytes::from("a=500@2"))));
    // A late write of an old environment changes nothing.
    let late = Snapshot { version: 1, schema: 1, ..view(&world, id) };
    world.stores.views().put(&key(id), &late).await.unwrap();
    assert_eq!(view(&world, id).schema, 2);
}

#[tokio::test]
async fn new_code_projects_states_of_old_code_and_old_code_refuses_states_of_new_code() {
    let world = World::new();
    let (old, new) = (world.new_id(), world.new_id());
    deliver::<Old>(&world, &message::<Old>(&world, old, open("a"))).await;
    deliver::<Old>(&world, &message::<Old>(&world, old, Add(5))).await;
    deliver::<New>(&world, &message::<New>(&world, new, open("b"))).await;
    let states = || Arc::new(world.stores.write());
    let shown = ProjectingReader::<New>::new(states(), Projection::FIRST)
        .get(&key(old), Consistency::Strong)
        .await
        .unwrap()
        .unwrap();
    assert_eq!((shown.schema, shown.body), (2, Some(Bytes::from("a=500@2"))));
    let refused = ProjectingReader::<Old>::new(states(), Projection::FIRST).get(&key(new), Consistency::Strong).await;
    assert!(matches!(refused, Err(PortError::Corrupt { .. })));
}

fn any_command() -> impl Strategy<Value = CounterCommand> {
    let label = any::<String>().prop_map(|label| Open { label });
    prop_oneof![label, (0..=u32::MAX / 100).prop_map(Add), Just(Close)]
}

fn any_expected() -> impl Strategy<Value = ExpectedVersion> {
    prop_oneof![
        Just(ExpectedVersion::Any),
        Just(ExpectedVersion::Exists),
        any::<u64>().prop_map(ExpectedVersion::Version)
    ]
}

fn any_excluded() -> impl Strategy<Value = Option<Excluded>> {
    let versions = prop::collection::vec(any::<u64>(), 1..4).prop_map(Excluded::Versions);
    prop::option::of(prop_oneof![Just(Excluded::Any), versions])
}

/// Code must refuse a condition that it does not know, not ignore it.
#[test]
fn a_message_that_excludes_versions_has_a_schema_of_its_own() {
    let excluded = Some(Excluded::Any);
    assert_eq!(
        (schema_of(None, None, &[]), schema_of(None, excluded.as_ref(), &[])),
        (ENVELOPE_SCHEMA, ENVELOPE_SCHEMA + 1)
    );
    let world = World::new();
    let message = serde_json::to_string(&world.command(world.new_id(), Close)).unwrap();
    assert!(!message.contains("excluded"), "{message}");
}

proptest! {
    #[test]
    fn an_envelope_comes_back_as_it_was_sent_and_cut_off_it_is_refused(
        command in any_command(), cut in any::<prop::sample::Index>(),
        expected in any_expected(), excluded in any_excluded(), traceparent in prop::option::of(any::<String>()),
    ) {
        let world = World::new();
        let schema = schema_of(None, excluded.as_ref(), &[]);
        let sent = Envelope { schema, expected, excluded, traceparent, ..world.command(world.new_id(), command) };
        let text = serde_json::to_string(&sent).unwrap();
        prop_assert_eq!(format!("{:?}", Envelope::parse::<Old>(&text).unwrap()), format!("{sent:?}"));
        let cut = (0..=cut.index(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap();
        prop_assert!(matches!(Envelope::parse::<Old>(&text[..cut]), Err(EnvelopeError::Malformed(_))));
    }

    #[test]
    fn a_message_of_any_schema_but_those_known_is_refused_by_its_number_whatever_else_has_changed(
        schema in any::<u16>(), command_schema in any::<u16>(), rest in "(,\"[a-z]{1,9}\":[1-9][0-9]{0,8}){0,3}",
    ) {
        prop_assume!(!(1..=2).contains(&schema) && !(1..=2).contains(&command_schema));
        let refused = Envelope::parse::<New>(&format!("{{\"schema\":{schema}{rest}}}"));
        prop_assert!(matches!(refused, Err(EnvelopeError::UnknownSchema(found)) if found == schema));
        let world = World::new();
        let newer = Envelope { command_schema, ..world.command(world.new_id(), Close) };
        prop_assert!(is_unknown(&Envelope::parse::<New>(&serde_json::to_string(&newer).unwrap()), command_schema));
    }

    #[test]
    fn no_text_panics_the_reader_of_messages(text in "\\PC{0,60}|[{}\\[\\]\":,a-z0-9]{0,60}") {
        prop_assert!(Envelope::parse::<Old>(&text).is_err());
        prop_assert!(EnvelopeHeader::parse(&text).is_none());
    }
}
