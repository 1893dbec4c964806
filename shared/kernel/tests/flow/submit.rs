use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use adapters::memory::{MemoryRecords, MemoryStores, MemoryViewStore};
use async_trait::async_trait;
use kernel::apply::Applier;
use kernel::clock::Clock as _;
use kernel::envelope::{Envelope, ExpectedVersion};
use kernel::ids::{AggregateId, AggregateKey};
use kernel::lookup::{CommandLookup, CommandState};
use kernel::policy::{Order, Policy};
use kernel::ports::{
    Consistency, ListQuery, Page, PortError, RecordReader, RecordWriter, Snapshot, ViewReader, ViewWriter as _,
};
use kernel::project::{ProjectingReader, Projector, ReadModel};
use kernel::projection::Projection;
use kernel::record::{COMMAND_AGE_MAX, CommandRecord, CommandStatus, RecordKey};
use kernel::submit::{DirectRoute, Preference, QueueRoute, Request, Route, SubmitAnswer, SubmitError, Submitter};
use kernel::token::Token;
use tokio::time::Instant;

use crate::counter::CounterCommand::{Add, Close};
use crate::counter::{Counter, CounterCommand, KIND};
use crate::world::{World, apply_with, key, open, tenant};

fn queued(world: &World) -> Submitter<Counter> {
    Submitter::new(Route::Queue(queue_route(world)), world.clock.clone(), Arc::default(), world.keys.clone())
}

fn direct(world: &World) -> Submitter<Counter> {
    let direct = direct_route(world, Duration::ZERO);
    Submitter::new(
        Route::Direct { direct, queued_before: None },
        world.clock.clone(),
        Arc::default(),
        world.keys.clone(),
    )
}

/// Applies commands at once, in a service that has queued commands before. A command may be a retry of a queued one.
fn direct_again(world: &World) -> Submitter<Counter> {
    let records = Arc::new(world.stores.records());
    let policy = Policy {
        reorder_window: REORDER_WINDOW,
        awaits_versions: false,
        order: Order::Loose,
        projection: Projection::FIRST,
        view_in_transaction: false,
    };
    let applier = Applier::new(Arc::new(world.stores.write()), records.clone(), world.clock.clone(), policy);
    let direct = DirectRoute { applier, ..direct_route(world, Duration::ZERO) };
    Submitter::new(
        Route::Direct { direct, queued_before: Some(records) },
        world.clock.clone(),
        Arc::default(),
        world.keys.clone(),
    )
}

/// Applies commands at once, with a queue beside it.
fn either(world: &World, honours_async: bool) -> Submitter<Counter> {
    let (direct, queue) = (direct_route(world, REORDER_WINDOW), queue_route(world));
    Submitter::new(
        Route::Either { direct, queue, honours_async },
        world.clock.clone(),
        Arc::default(),
        world.keys.clone(),
    )
}

fn queue_route(world: &World) -> QueueRoute {
    QueueRoute {
        queue: world.queue.clone(),
        records: Arc::new(world.stores.records()),
        views: Arc::new(world.stores.views()),
        projection: Projection::FIRST,
    }
}

fn direct_route(world: &World, reorder_window: Duration) -> DirectRoute<Counter> {
    DirectRoute {
        applier: world.applier(reorder_window, Order::Loose),
        projector: Projector::new(Vec::new(), None, world.clock.clone()),
    }
}

fn waiting(until: Instant) -> Preference {
    Preference { wait_until: Some(until), ..Preference::default() }
}

const ASYNC: Preference = Preference { respond_async: true, wait_until: None };
const REORDER_WINDOW: Duration = Duration::from_secs(60);

fn request(key: Option<&str>, aggregate: Option<AggregateId>, command: CounterCommand) -> Request<CounterCommand> {
    Request {
        tenant: tenant(),
        subject: "s".parse().unwrap(),
        method: "POST",
        path: aggregate.map_or("/counters".to_owned(), |id| format!("/counters/{id}")),
        idempotency_key: key.map(str::to_owned),
        aggregate,
        expected: ExpectedVersion::Any,
        excluded: None,
        token: None,
        traceparent: None,
        command,
    }
}

fn messages(world: &World) -> Vec<Envelope<CounterCommand>> {
    let received = world.queue.receive(10, Duration::from_secs(20));
    received.iter().map(|received| Envelope::parse::<Counter>(&received.message.body).unwrap()).collect()
}

async fn ingest(world: &World) {
    for envelope in messages(world) {
        let applied = apply_with(&world.applier(Duration::ZERO, Order::Loose), std::slice::from_ref(&envelope)).await;
        let model = ReadModel { projection: Projection::FIRST, views: Some(Arc::new(world.stores.views())) };
        let projector = Projector::new(vec![model], None, world.clock.clone());
        projector.project(&envelope.key::<Counter>(), &applied.current).await.unwrap();
    }
}

#[tokio::test]
async fn a_command_without_a_key_is_one_message_and_no_write() {
    let world = World::new();
    let answer = queued(&world).submit(request(None, None, open("a")), Preference::default()).await.unwrap();
    assert!(answer.result.is_none() && !answer.replayed);
    assert!(world.stores.all_records().is_empty());
    assert_eq!(messages(&world)[0].aggregate, answer.aggregate);
}

#[tokio::test]
async fn messages_are_in_order_for_one_aggregate_of_one_tenant() {
    let world = World::new();
    let submitter = queued(&world);
    let (a, b) = (world.new_id(), world.new_id());
    let foreign = Request { tenant: "u".parse().unwrap(), ..request(None, Some(a), Close) };
    for request in
        [request(None, Some(a), Close), request(None, Some(a), Close), request(None, Some(b), Close), foreign]
    {
        submitter.submit(request, Preference::default()).await.unwrap();
    }
    let received = world.queue.receive(10, Duration::from_secs(20));
    let groups: Vec<_> = received.iter().map(|received| &received.message.order_group).collect();
    assert_eq!(groups[0], groups[1]);
    assert!(groups[0] != groups[2] && groups[0] != groups[3]);
    assert!(!groups[0].contains(&a.to_string()), "it is logged more freely than the body");
}

#[tokio::test]
async fn the_token_of_a_write_demands_what_the_session_has_seen_of_the_same_aggregate_only() {
    let world = World::new();
    let submitter = queued(&world);
    let id = world.new_id();
    let session = Token::of_version(None, id, 9).seal(&world.keys, &tenant(), world.clock.now());
    for (about, floor) in [(Some(id), 9), (None, 0)] {
        let command = if about.is_some() { Close } else { open("a") };
        let with_token = Request { token: Some(session.clone()), ..request(None, about, command) };
        let answer = submitter.submit(with_token, Preference::default()).await.unwrap();
        let opened =
            Token::open(&world.keys, &tenant(), Some((KIND, answer.aggregate)), world.clock.now(), &answer.token);
        assert_eq!(opened.unwrap().floor, floor);
    }
}

#[tokio::test]
async fn a_retry_under_the_same_key_sends_the_first_requests_message_again() {
    let world = World::new();
    let submitter = queued(&world);
    let first = submitter.submit(request(Some("k"), None, open("a")), Preference::default()).await.unwrap();
    world.clock.pass(Duration::from_secs(5));
    let retry = submitter.submit(request(Some("k"), None, open("a")), Preference::default()).await.unwrap();
    assert_eq!((first.command, first.aggregate), (retry.command, retry.aggregate));
    assert!(!first.replayed && retry.replayed);
    let messages = messages(&world);
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[0], messages[1]);
}

impl PartialEq for CounterCommand {
    fn eq(&self, other: &Self) -> bool {
        format!("{self:?}") == format!("{other:?}")
    }
}

#[tokio::test]
async fn another_request_under_the_same_key_is_refused_on_both_routes() {
    for submitter in [queued(&World::new()), direct(&World::new())] {
        submitter.submit(request(Some("k"), None, open("a")), Preference::default()).await.unwrap();
        let other = submitter.submit(request(Some("k"), None, open("b")), Preference::default()).await;
        assert!(matches!(other, Err(SubmitError::KeyReused)), "{other:?}");
    }
}

#[tokio::test]
async fn a_retry_after_the_result_is_known_sends_nothing() {
    let world = World::new();
    let submitter = queued(&world);
    submitter.submit(request(Some("k"), None, open("a")), Preference::default()).await.unwrap();
    ingest(&world).await;
    assert!(submitter.submit(request(Some("k"), None, open("a")), Preference::default()).await.unwrap().replayed);
    assert_eq!(world.queue.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_gets_the_result_unless_its_time_is_up() {
    let world = World::new();
    let submitter = queued(&world);
    let until = Instant::now() + Duration::from_secs(1);
    let late = submitter.submit(request(None, None, open("late")), waiting(until)).await.unwrap();
    assert!(late.result.is_none());
    let until = Instant::now() + Duration::from_secs(1);
    let ingesting = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        ingest(&world).await;
    };
    let (answer, ()) = tokio::join!(submitter.submit(request(None, None, open("a")), waiting(until)), ingesting);
    let result = answer.unwrap().result.unwrap();
    assert_eq!(result.status, CommandStatus::Applied { version: 1 });
    assert_eq!(result.current.unwrap().body.unwrap(), "a=0@1");
}

/// A read store whose writes are invisible to eventually consistent reads.
#[derive(Debug)]
struct Lagging(MemoryViewStore);

#[async_trait]
impl ViewReader for Lagging {
    async fn get(&self, key: &AggregateKey, consistency: Consistency) -> Result<Option<Snapshot>, PortError> {
        match consistency {
            Consistency::Strong => self.0.get(key, consistency).await,
            Consistency::Eventual => Ok(None),
        }
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, PortError> {
        self.0.list(query).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_gets_a_strongly_consistent_read_of_the_result() {
    let world = World::new();
    let route = QueueRoute { views: Arc::new(Lagging(world.stores.views())), ..queue_route(&world) };
    let submitter =
        Submitter::<Counter>::new(Route::Queue(route), world.clock.clone(), Arc::default(), world.keys.clone());
    let ingesting = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        ingest(&world).await;
    };
    let until = Instant::now() + Duration::from_secs(1);
    let (answer, ()) = tokio::join!(submitter.submit(request(None, None, open("a")), waiting(until)), ingesting);
    assert_eq!(answer.unwrap().result.unwrap().current.unwrap().body.unwrap(), "a=0@1");
}

#[tokio::test]
async fn states_that_are_shown_at_once_are_read_strongly_consistent() {
    let world = World::new();
    let id = world.new_id();
    let applied = world.apply(&[world.command(id, open("a"))]).await;
    let states = MemoryStores::default().views();
    states.put(&key(id), &applied.current.encode(&key(id), Projection::FIRST)).await.unwrap();
    let shown = ProjectingReader::<Counter>::new(Arc::new(Lagging(states)), Projection::FIRST);
    for consistency in [Consistency::Eventual, Consistency::Strong] {
        let view = shown.get(&key(id), consistency).await.unwrap();
        assert_eq!(view.map(|view| view.version), Some(1), "{consistency:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_waits_is_answered_in_time_with_few_reads_of_the_record() {
    let world = World::new();
    let looks = Arc::new(CountingRecords { records: world.stores.records(), times: AtomicU32::new(0) });
    let route = QueueRoute { records: looks.clone(), ..queue_route(&world) };
    let submitter =
        Submitter::<Counter>::new(Route::Queue(route), world.clock.clone(), Arc::default(), world.keys.clone());
    let (began, wait) = (Instant::now(), Duration::from_secs(10));
    let answer = submitter.submit(request(None, None, open("a")), waiting(began + wait)).await.unwrap();
    assert!(answer.result.is_none());
    assert!((wait..wait + Duration::from_millis(10)).contains(&began.elapsed()), "{:?}", began.elapsed());
    // The pauses are 10 ms, each 1.5 times the one before, up to 200 ms. DynamoDB bills each look as a read.
    let looks = looks.times.load(Ordering::SeqCst);
    assert!((50..70).contains(&looks), "{looks} looks");
}

/// Records that count their reads.
#[derive(Debug)]
struct CountingRecords {
    records: MemoryRecords,
    times: AtomicU32,
}

#[async_trait]
impl RecordReader for CountingRecords {
    async fn get(&self, key: &RecordKey) -> Result<Option<CommandRecord>, PortError> {
        self.times.fetch_add(1, Ordering::SeqCst);
        self.records.get(key).await
    }
}

#[async_trait]
impl RecordWriter for CountingRecords {
    async fn put_pending(&self, record: &CommandRecord) -> Result<Option<CommandRecord>, PortError> {
        self.records.put_pending(record).await
    }

    async fn put_failed(&self, record: &CommandRecord) -> Result<Option<CommandRecord>, PortError> {
        self.records.put_failed(record).await
    }
}

#[tokio::test]
async fn the_direct_route_answers_with_the_result_and_replays_it() {
    let world = World::new();
    let submitter = direct(&world);
    let seen = |answer: SubmitAnswer| {
        let result = answer.result.unwrap();
        let body = result.current.map(|view| String::from_utf8(view.body.unwrap().to_vec()).unwrap());
        (answer.aggregate, result.status.version(), body, answer.replayed)
    };
    let created = seen(submitter.submit(request(Some("k"), None, open("a")), Preference::default()).await.unwrap());
    let id = created.0;
    assert_eq!(created, (id, Some(1), Some("a=0@1".to_owned()), false));
    let added = seen(submitter.submit(request(Some("k"), Some(id), Add(2)), Preference::default()).await.unwrap());
    assert_eq!(added, (id, Some(2), Some("a=2@2".to_owned()), false));
    let replayed = seen(submitter.submit(request(Some("k"), None, open("a")), Preference::default()).await.unwrap());
    assert_eq!(replayed, (id, Some(1), Some("a=2@2".to_owned()), true));
    let closed = seen(submitter.submit(request(None, Some(id), Close), Preference::default()).await.unwrap());
    assert_eq!(closed, (id, Some(3), None, false));
}

#[tokio::test]
async fn on_the_direct_route_nothing_waits() {
    let world = World::new();
    let answer =
        direct(&world).submit(request(None, Some(world.new_id()), Add(1)), Preference::default()).await.unwrap();
    assert!(matches!(answer.result.unwrap().status, CommandStatus::Rejected { version: 0, .. }));
}

#[tokio::test]
async fn a_session_keeps_its_floor_and_its_order_from_write_to_write() {
    let world = World::new();
    let id = world.new_id();
    let seen = Token {
        floor: 7,
        accepted_at: Some(world.clock.now().plus(Duration::from_secs(9))),
        ..Token::of_version(None, id, 7)
    };
    let mut request = request(None, Some(id), Add(1));
    request.token = Some(seen.seal(&world.keys, &tenant(), world.clock.now()));
    let answer = queued(&world).submit(request, Preference::default()).await.unwrap();
    let token = Token::open(&world.keys, &tenant(), Some((KIND, id)), world.clock.now(), &answer.token).unwrap();
    let stamp = messages(&world)[0].stamp;
    assert!(Some(stamp.at) > seen.accepted_at);
    assert_eq!(
        token,
        Token {
            kind: None,
            aggregate: id,
            floor: 7,
            command: Some(stamp.command),
            ordered: None,
            accepted_at: Some(stamp.at)
        }
    );
}

#[tokio::test]
async fn a_command_is_pending_until_it_has_a_record_and_unknown_if_not_genuine_or_too_old() {
    let world = World::new();
    let lookup = CommandLookup::new(Arc::new(world.stores.records()), world.clock.clone(), world.keys.clone());
    let answer = queued(&world).submit(request(None, None, open("a")), Preference::default()).await.unwrap();
    assert!(matches!(lookup.get(&tenant(), &answer.command).await.unwrap(), Some(CommandState::Pending(_))));
    let handed_out = lookup.token(&tenant(), &Token::of_version(None, answer.aggregate, 3));
    let opened = Token::open(&world.keys, &tenant(), Some((KIND, answer.aggregate)), world.clock.now(), &handed_out);
    assert_eq!(opened.unwrap().floor, 3);
    let stranger = "stranger".parse().unwrap();
    assert!(lookup.get(&stranger, &answer.command).await.unwrap().is_none());
    world.clock.pass(COMMAND_AGE_MAX);
    assert!(lookup.get(&tenant(), &answer.command).await.unwrap().is_none());
    ingest(&world).await;
    assert!(matches!(lookup.get(&tenant(), &answer.command).await.unwrap(), Some(CommandState::Recorded(_))));
}

#[tokio::test]
async fn beside_a_queue_a_client_chooses_the_answer() {
    let world = World::new();
    let submitter = either(&world, true);
    let now = submitter.submit(request(None, None, open("a")), Preference::default()).await.unwrap();
    assert!(now.result.is_some() && messages(&world).is_empty());
    let later = submitter.submit(request(None, None, open("b")), ASYNC).await.unwrap();
    assert!(later.result.is_none());
    assert_eq!(messages(&world).len(), 1);
    let unheard = either(&world, false).submit(request(None, None, open("c")), ASYNC).await.unwrap();
    assert!(unheard.result.is_some() && messages(&world).is_empty());
}

#[tokio::test]
async fn beside_a_queue_a_command_that_builds_on_a_queued_one_is_queued_behind_it() {
    let world = World::new();
    let submitter = either(&world, false);
    let queued = queued(&world).submit(request(None, None, open("a")), Preference::default()).await.unwrap();
    let early = request(None, Some(queued.aggregate), Add(1));
    let early = submitter.submit(early, Preference::default()).await.unwrap();
    assert!(early.result.is_none());
    let id = early.aggregate;
    ingest(&world).await;
    let ahead = Request { expected: ExpectedVersion::Version(7), ..request(None, Some(id), Add(1)) };
    assert!(submitter.submit(ahead, Preference::default()).await.unwrap().result.is_none());
    let now = submitter.submit(request(None, Some(id), Add(1)), Preference::default()).await.unwrap();
    assert_eq!(now.result.unwrap().status, CommandStatus::Applied { version: 3 });
    let old = world.new_id();
    world.clock.pass(REORDER_WINDOW * 2);
    let unknown = submitter.submit(request(None, Some(old), Add(1)), Preference::default()).await.unwrap();
    assert!(matches!(unknown.result.unwrap().status, CommandStatus::Rejected { .. }));
}

#[tokio::test(start_paused = true)]
async fn after_the_queue_a_write_waits_for_its_items_create_or_is_not_accepted() {
    let world = World::new();
    let first = queued(&world).submit(request(None, None, open("a")), Preference::default()).await.unwrap();
    let next = || request(None, Some(first.aggregate), Add(1));
    let (submitter, began) = (direct_again(&world), Instant::now());
    let early = submitter.submit(next(), Preference::default()).await;
    assert!(matches!(early, Err(SubmitError::PredecessorPending)), "{early:?}");
    assert!((5.0..5.1).contains(&began.elapsed().as_secs_f64()), "{:?}", began.elapsed());
    assert!(world.stores.all_records().is_empty() && world.stores.all_states().is_empty());
    let (behind, ()) = tokio::join!(submitter.submit(next(), Preference::default()), ingest(&world));
    assert_eq!(behind.unwrap().result.unwrap().status, CommandStatus::Applied { version: 2 });
    let ahead = Request { expected: ExpectedVersion::Version(7), ..next() };
    let refused = submitter.submit(ahead, Preference::default()).await.unwrap().result.unwrap().status;
    assert!(matches!(refused, CommandStatus::Rejected { version: 2, .. }), "nothing shows that such a version comes");
}

#[tokio::test]
async fn a_retry_at_once_of_what_was_queued_is_the_same_command_for_the_same_aggregate() {
    for submitter in [|world: &World| either(world, true), direct_again] {
        let world = World::new();
        let first = queued(&world).submit(request(Some("k"), None, open("a")), Preference::default()).await.unwrap();
        world.clock.pass(Duration::from_secs(5));
        let retry = submitter(&world).submit(request(Some("k"), None, open("a")), Preference::default()).await.unwrap();
        assert_eq!((&first.command, first.aggregate, true), (&retry.command, retry.aggregate, retry.replayed));
        assert_eq!(retry.result.unwrap().status, CommandStatus::Applied { version: 1 });
        let record = world.stores.all_records().into_values().next().unwrap();
        assert_eq!(world.clock.now().since(record.accepted_at), Some(Duration::from_secs(5)));
        ingest(&world).await;
        assert_eq!(world.stores.all_states().len(), 1);
        let again = queued(&world).submit(request(Some("k"), None, open("a")), Preference::default()).await.unwrap();
        assert_eq!((first.command, first.aggregate, true), (again.command, again.aggregate, again.replayed));
        assert!(messages(&world).is_empty(), "it has its result");
    }
}
