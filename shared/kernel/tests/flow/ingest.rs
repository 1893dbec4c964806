//! Batches over stores in memory: which messages are finished, delivered again, or recorded as failed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adapters::faults::{Fault, FaultPlan, Faulty, Operation};
use adapters::memory::{MemoryQueue, MemorySharedCache, MemoryStores};
use async_trait::async_trait;
use kernel::apply::Applier;
use kernel::clock::Clock as _;
use kernel::domain::Domain as _;
use kernel::envelope::{Envelope, schema_of};
use kernel::ids::{AggregateId, AggregateKey};
use kernel::ingest::{BatchReport, Ingest, KindIngest, Message, OneKind, Tally};
use kernel::policy::{Order, Policy};
use kernel::ports::{MessageDeferral, PortError, Projected, Snapshot, ViewWriter, WriteStore};
use kernel::project::{Projector, ReadModel};
use kernel::projection::Projection;
use kernel::record::{CommandStatus, RecordKey};
use tokio::time::Instant;

use crate::counter::{Counter, CounterCommand, KIND};
use crate::world::{ManualClock, accepted};

struct World {
    clock: Arc<ManualClock>,
    stores: MemoryStores,
    ingest: Ingest,
}

fn world(order: Order) -> World {
    let stores = MemoryStores::default();
    let views = Arc::new(stores.views());
    world_with(order, stores, views)
}

fn world_with(order: Order, stores: MemoryStores, views: Arc<dyn ViewWriter>) -> World {
    let write = Arc::new(stores.write());
    world_over(order, stores, write, views, None)
}

fn world_over(
    order: Order,
    stores: MemoryStores,
    write: Arc<dyn WriteStore>,
    views: Arc<dyn ViewWriter>,
    deferral: Option<Arc<dyn MessageDeferral>>,
) -> World {
    let clock = Arc::new(ManualClock::new());
    let policy = Policy {
        reorder_window: Duration::from_secs(60),
        awaits_versions: true,
        order,
        projection: Projection::FIRST,
        view_in_transaction: false,
    };
    let cache = Arc::new(MemorySharedCache::new(clock.clone()));
    let model = ReadModel { projection: Projection::FIRST, views: Some(views) };
    let projector = Arc::new(Projector::new(vec![model], Some(cache), clock.clone()));
    let records = Arc::new(stores.records());
    let first = Applier::<Counter>::new(write.clone(), records.clone(), clock.clone(), policy.clone());
    let named = Applier::<Counter<1, true>>::new(write.clone(), records.clone(), clock.clone(), policy);
    let kinds: Vec<Arc<dyn KindIngest>> = vec![
        Arc::new(OneKind::new(first, projector.clone(), clock.clone())),
        Arc::new(OneKind::new(named, projector, clock.clone())),
    ];
    let ingest = Ingest {
        kinds,
        states: write,
        order,
        records,
        deferral: deferral.unwrap_or_else(|| Arc::new(MemoryQueue::new(clock.clone()))),
        clock: clock.clone(),
        receive_count_max: 20,
    };
    World { clock, stores, ingest }
}

impl World {
    fn id(&self) -> AggregateId {
        AggregateId::generate(self.clock.now())
    }

    fn envelope(&self, aggregate: AggregateId, command: CounterCommand) -> Envelope<CounterCommand> {
        accepted(&self.clock, aggregate, command)
    }

    async fn report(&self, messages: &[Message]) -> BatchReport {
        self.ingest.batch(messages, Instant::now() + Duration::from_secs(9)).await
    }

    async fn batch(&self, messages: &[Message]) -> Vec<String> {
        self.report(messages).await.failed
    }

    fn status(&self, envelope: &Envelope<CounterCommand>) -> Option<CommandStatus> {
        let key = RecordKey { tenant: envelope.tenant.clone(), command: envelope.stamp.command };
        self.stores.all_records().get(&key).map(|record| record.status.clone())
    }
}

fn open(label: &str) -> CounterCommand {
    CounterCommand::Open { label: label.to_owned() }
}

const ADD: CounterCommand = CounterCommand::Add(1);

fn message(id: &str, body: String) -> Message {
    let receipt_handle = format!("handle of {id}");
    Message { id: id.to_owned(), receipt_handle, body, receive_count: 1, order_group: Some("g".to_owned()) }
}

fn message_of(id: &str, envelope: &Envelope<CounterCommand>) -> Message {
    message(id, serde_json::to_string(envelope).unwrap())
}

#[tokio::test]
async fn a_batch_is_applied_and_projected_and_nothing_comes_again() {
    let world = world(Order::Loose);
    let (a, b) = (world.id(), world.id());
    let envelopes = [(a, open("a")), (b, open("b")), (a, ADD)];
    let envelopes = envelopes.map(|(id, command)| world.envelope(id, command));
    let messages: Vec<_> = envelopes.iter().map(|envelope| message_of("m", envelope)).collect();
    assert!(world.batch(&messages).await.is_empty());
    let versions: Vec<_> = world.stores.all_views().values().map(|view| view.version).collect();
    assert_eq!(versions.iter().sum::<u64>(), 3);
    assert_eq!(world.status(&envelopes[2]), Some(CommandStatus::Applied { version: 2 }));
}

#[tokio::test]
async fn one_command_in_two_messages_is_applied_once_and_both_are_done() {
    let world = world(Order::Loose);
    let envelope = world.envelope(world.id(), open("a"));
    assert!(world.batch(&[message_of("m1", &envelope), message_of("m2", &envelope)]).await.is_empty());
    assert!(world.batch(&[message_of("m3", &envelope)]).await.is_empty());
    assert_eq!(world.stores.all_views().values().map(|view| view.version).collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn unreadable_messages_come_again_and_do_not_stop_the_others() {
    let world = world(Order::Loose);
    let envelope = world.envelope(world.id(), open("a"));
    let newer = Envelope { schema: 99, ..world.envelope(world.id(), open("b")) };
    let newer_command = Envelope { command_schema: 99, ..world.envelope(world.id(), open("c")) };
    let messages = [
        message("poison", "{".to_owned()),
        message_of("good", &envelope),
        message_of("newer", &newer),
        message_of("newer command", &newer_command),
        message("nested", "[".repeat(100_000)),
    ];
    assert_eq!(world.batch(&messages).await, ["poison", "newer", "newer command", "nested"]);
    assert_eq!(world.status(&envelope), Some(CommandStatus::Applied { version: 1 }));
}

#[tokio::test]
async fn in_strict_order_an_unreadable_message_holds_back_those_behind_it() {
    let world = world(Order::Strict);
    let envelope = world.envelope(world.id(), open("a"));
    let other = Message {
        order_group: Some("other".to_owned()),
        ..message_of("elsewhere", &world.envelope(world.id(), open("b")))
    };
    let messages = [message("poison", "{".to_owned()), message_of("behind", &envelope), other];
    assert_eq!(world.batch(&messages).await, ["poison", "behind"]);
    assert_eq!(world.status(&envelope), None);
}

/// Returns the same command for the named kind.
fn of_named_kind(envelope: Envelope<CounterCommand>) -> Envelope<CounterCommand> {
    let kind = Counter::<1, true>::KIND.name();
    Envelope { schema: schema_of(kind, None, &[]), kind: kind.map(str::to_owned), ..envelope }
}

#[tokio::test]
async fn a_batch_may_hold_commands_of_several_kinds_and_one_id_is_an_aggregate_of_each() {
    let world = world(Order::Loose);
    let id = world.id();
    let first = [world.envelope(id, open("a")), world.envelope(id, ADD)];
    let named = [world.envelope(id, open("a")), world.envelope(id, ADD)].map(of_named_kind);
    let messages: Vec<_> = named.iter().chain(&first).map(|envelope| message_of("m", envelope)).collect();
    assert!(world.batch(&messages).await.is_empty());
    let views = world.stores.all_views();
    let of_kind = |kind| &views[&AggregateKey { kind, tenant: "t".parse().unwrap(), id }];
    assert_eq!((of_kind(KIND).version, of_kind(Counter::<1, true>::KIND).version), (2, 2));
    assert_eq!(world.status(&named[1]), Some(CommandStatus::Applied { version: 2 }));
    let names: Vec<_> = world.stores.all_records().values().map(|record| record.kind.clone()).collect();
    assert_eq!(names.iter().filter(|name| name.as_deref() == Some("N")).count(), 2);
    assert_eq!(names.iter().filter(|name| name.is_none()).count(), 2);
}

#[tokio::test]
async fn a_message_of_an_unknown_kind_comes_again_and_in_strict_order_holds_back_every_kind() {
    for (order, due) in [(Order::Loose, &["unknown"][..]), (Order::Strict, &["unknown", "first", "named"])] {
        let world = world(order);
        let unknown = Envelope { kind: Some("Z".to_owned()), ..of_named_kind(world.envelope(world.id(), open("a"))) };
        let first = world.envelope(world.id(), open("b"));
        let named = of_named_kind(world.envelope(world.id(), open("c")));
        let messages = [message_of("unknown", &unknown), message_of("first", &first), message_of("named", &named)];
        assert_eq!(world.batch(&messages).await, due, "{order:?}");
        assert_eq!(world.status(&unknown), None);
    }
}

#[tokio::test]
async fn at_the_last_delivery_a_command_is_recorded_as_failed_and_may_still_succeed_later() {
    let world = world(Order::Loose);
    let id = world.id();
    let opened = world.envelope(id, open("a"));
    let early = world.envelope(id, ADD);
    let last = Message { receive_count: 20, ..message_of("m", &early) };
    assert_eq!(world.batch(&[last]).await, ["m"]);
    assert!(matches!(world.status(&early), Some(CommandStatus::Failed { .. })));
    let newer = Envelope { schema: 99, ..world.envelope(id, ADD) };
    let unread = Message { receive_count: 20, ..message_of("newer", &newer) };
    assert_eq!(world.batch(&[unread]).await, ["newer"]);
    assert!(matches!(world.status(&newer), Some(CommandStatus::Failed { .. })));
    assert!(world.batch(&[message_of("c", &opened), message_of("redriven", &early)]).await.is_empty());
    assert_eq!(world.status(&early), Some(CommandStatus::Applied { version: 2 }));
}

#[tokio::test]
async fn work_that_cannot_be_done_in_time_is_left_for_another_delivery() {
    let world = world(Order::Loose);
    let envelope = world.envelope(world.id(), open("a"));
    let soon = Instant::now() + Duration::from_secs(1);
    assert_eq!(world.ingest.batch(&[message_of("m", &envelope)], soon).await.failed, ["m"]);
    assert_eq!(world.status(&envelope), None);
}

/// Returns a fault plan in which one operation never ends.
fn hangs(hanging: Operation) -> Arc<dyn FaultPlan> {
    struct Hangs(Operation);

    #[async_trait]
    impl FaultPlan for Hangs {
        async fn decide(&self, operation: Operation) -> Fault {
            if operation == self.0 {
                std::future::pending::<()>().await;
            }
            Fault::None
        }
    }
    Arc::new(Hangs(hanging))
}

/// An invocation that runs out of time returns no response. Then SQS delivers all messages again, even the finished ones.
#[tokio::test(start_paused = true)]
async fn the_response_is_sent_before_the_deadline_whatever_hangs() {
    for operation in [Operation::Load, Operation::Commit, Operation::PutView] {
        let stores = MemoryStores::default();
        let write = Arc::new(Faulty::new(Arc::new(stores.write()), hangs(operation)));
        let views = Arc::new(Faulty::new(Arc::new(stores.views()), hangs(operation)));
        let world = world_over(Order::Loose, stores, write, views, None);
        let envelope = world.envelope(world.id(), open("a"));
        let deadline = Instant::now() + Duration::from_secs(9);
        assert_eq!(world.ingest.batch(&[message_of("m", &envelope)], deadline).await.failed, ["m"]);
        let left = deadline.saturating_duration_since(Instant::now());
        assert!((Duration::from_millis(250)..Duration::from_secs(2)).contains(&left), "{operation:?}: {left:?} left");
    }
}

#[tokio::test(start_paused = true)]
async fn work_is_begun_only_if_there_is_time_for_it() {
    for (left, failed) in [(1_900, 1), (2_100, 0)] {
        let world = world(Order::Loose);
        let envelope = world.envelope(world.id(), open("a"));
        let deadline = Instant::now() + Duration::from_millis(left);
        assert_eq!(world.ingest.batch(&[message_of("m", &envelope)], deadline).await.failed.len(), failed, "{left} ms");
    }
}

/// Records for how long messages were deferred.
#[derive(Debug, Default)]
struct Deferrals(Mutex<Vec<(String, Duration)>>);

#[async_trait]
impl MessageDeferral for Deferrals {
    async fn defer(&self, receipt_handle: &str, delay: Duration) -> Result<(), PortError> {
        self.0.lock().unwrap().push((receipt_handle.to_owned(), delay));
        Ok(())
    }
}

#[tokio::test]
async fn an_early_message_is_deferred_longer_each_time_up_to_twenty_seconds() {
    let (stores, deferrals) = (MemoryStores::default(), Arc::new(Deferrals::default()));
    let (write, views) = (Arc::new(stores.write()), Arc::new(stores.views()));
    let world = world_over(Order::Loose, stores, write, views, Some(deferrals.clone()));
    let early = world.envelope(world.id(), ADD);
    let longest = [(1, 1), (2, 2), (3, 4), (4, 8), (5, 16), (6, 20), (7, 20), (19, 20)];
    for (receive_count, seconds) in longest {
        let mut put_off = Vec::new();
        for _ in 0..20 {
            let message = Message { receive_count, ..message_of("m", &early) };
            assert_eq!(world.batch(&[message]).await, ["m"]);
            let (receipt_handle, delay) = deferrals.0.lock().unwrap().pop().unwrap();
            assert_eq!(receipt_handle, "handle of m");
            put_off.push(delay);
        }
        let longest = Duration::from_secs(seconds);
        assert!(put_off.iter().all(|delay| (longest / 2..=longest).contains(delay)), "{receive_count}: {put_off:?}");
        assert!(put_off.iter().any(|delay| *delay != put_off[0]), "equal delays keep messages together");
    }
}

#[tokio::test]
async fn a_failed_message_waits_for_the_queues_own_timeout() {
    let (stores, deferrals) = (MemoryStores::default(), Arc::new(Deferrals::default()));
    let (write, views) = (Arc::new(stores.write()), Arc::new(stores.views()));
    let world = world_over(Order::Loose, stores, write, views, Some(deferrals.clone()));
    assert_eq!(world.batch(&[message("poison", "{".to_owned())]).await, ["poison"]);
    assert!(deferrals.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_batch_report_counts_each_command_once() {
    let world = world(Order::Loose);
    let id = world.id();
    let opened = world.envelope(id, open("a"));
    let again = world.envelope(id, open("a"));
    world.clock.pass(Duration::from_micros(1_500_000));
    let early = Message { receive_count: 20, ..message_of("early", &world.envelope(world.id(), ADD)) };
    let messages = [message_of("m1", &opened), message_of("m2", &opened), message_of("m3", &again), early];
    let of_kind = async |messages: &[Message]| world.report(messages).await.tallies.remove(&Some(KIND)).unwrap();
    let tally = of_kind(&messages).await;
    assert_eq!((tally.applied, tally.refused, tally.failed), (1, 1, 1));
    assert_eq!(tally.projection_lags.iter().map(Duration::as_millis).collect::<Vec<_>>(), [1_500]);
    assert_eq!(of_kind(&[message_of("m4", &opened)]).await, Tally::default());
}

#[tokio::test]
async fn a_delivery_that_failed_is_counted_and_one_that_came_too_early_is_not() {
    let stores = MemoryStores::default();
    let troubled = Arc::new(Troubled { puts: AtomicU64::new(0), views: stores.views() });
    let world = world_with(Order::Loose, stores, troubled);
    let (opened, early) = (world.envelope(world.id(), open("a")), world.envelope(world.id(), ADD));
    let unprojected = message_of("unprojected", &opened);
    let messages = [message("unreadable", "{".to_owned()), message_of("early", &early), unprojected];
    let report = world.report(&messages).await;
    let failed = Tally { deliveries_failed: 1, ..Tally::default() };
    let of_kind = Tally { applied: 1, ..failed.clone() };
    assert_eq!(report.tallies, BTreeMap::from([(None, failed), (Some(KIND), of_kind)]));
    assert_eq!(report.failed.len(), 3);
}

/// A read store that fails, then panics, then works.
#[derive(Debug)]
struct Troubled {
    puts: AtomicU64,
    views: adapters::memory::MemoryViewStore,
}

#[async_trait]
impl ViewWriter for Troubled {
    async fn put(&self, key: &AggregateKey, view: &Snapshot) -> Result<Projected, PortError> {
        match self.puts.fetch_add(1, Ordering::SeqCst) {
            0 => Err(PortError::Unavailable { port: "read store", cause: "down".into() }),
            1 => panic!("the read store's client has a bug"),
            _ => self.views.put(key, view).await,
        }
    }
}

#[tokio::test]
async fn a_redelivery_projects_a_command_that_was_applied_but_not_projected() {
    let stores = MemoryStores::default();
    let troubled = Arc::new(Troubled { puts: AtomicU64::new(0), views: stores.views() });
    let world = world_with(Order::Loose, stores, troubled);
    let messages = [message_of("m", &world.envelope(world.id(), open("a")))];
    assert_eq!(world.batch(&messages).await, ["m"]);
    assert_eq!(world.batch(&messages).await, ["m"]);
    assert!(world.stores.all_views().is_empty());
    let report = world.report(&messages).await;
    assert!(report.failed.is_empty());
    assert_eq!(report.tallies[&Some(KIND)].projection_lags.len(), 1, "the view can be read from now on");
    assert_eq!(world.stores.all_views().values().map(|view| view.version).collect::<Vec<_>>(), [1]);
}
