use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use adapters::faults::{Fault, Faulty};
use adapters::memory::{MemoryStores, UnboundedMemoryCache};
use async_trait::async_trait;
use kernel::clock::Clock as _;
use kernel::cursor::CursorError;
use kernel::ids::{AggregateId, AggregateKey, CommandId};
use kernel::ports::{
    CachedView, Consistency, Lease, ListQuery, Lookup, Page, PortError, RecordWriter, SharedCache, Slot, Snapshot,
    ViewReader, ViewWriter,
};
use kernel::project::{Projector, ReadModel};
use kernel::projection::Projection;
use kernel::query::{
    CacheResult, ListRequest, ListScope, Lists, Queries, QueryError, ReadAnswer, ReadRequest, Tier, TierReport,
};
use kernel::record::CommandStatus;
use kernel::token::{Token, TokenError};
use tokio::time::Instant;

use crate::counter::CounterCommand::{Add, Close};
use crate::counter::KIND;
use crate::world::{World, key, open, tenant};

/// A store that counts its reads.
#[derive(Debug)]
struct Counted {
    views: Arc<dyn ViewReader>,
    reads: AtomicU32,
    strong: AtomicU32,
}

#[async_trait]
impl ViewReader for Counted {
    async fn get(&self, key: &AggregateKey, consistency: Consistency) -> Result<Option<Snapshot>, PortError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.strong.fetch_add(u32::from(consistency == Consistency::Strong), Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.views.get(key, consistency).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, PortError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        self.views.list(query).await
    }
}

/// One execution environment with its own memory, in a shared world.
pub(crate) struct Environment {
    queries: Queries,
    pub(crate) lists: Lists,
    store: Arc<Counted>,
}

pub(crate) fn environment(world: &World) -> Environment {
    environment_with(world, Some(world.cache.clone()))
}

fn environment_with(world: &World, shared: Option<Arc<dyn SharedCache>>) -> Environment {
    let (reads, strong) = (AtomicU32::new(0), AtomicU32::new(0));
    let store = Arc::new(Counted { views: Arc::new(world.stores.views()), reads, strong });
    let (memory, clock, keys) = (Arc::new(UnboundedMemoryCache::default()), &world.clock, &world.keys);
    let queries = Queries::new(
        Projection::FIRST,
        store.clone(),
        Arc::new(world.stores.records()),
        Some(memory.clone()),
        shared,
        clock.clone(),
        keys.clone(),
    );
    let lists = Lists::new(Projection::FIRST, store.clone(), Some(memory), clock.clone(), keys.clone());
    Environment { queries, lists, store }
}

impl Environment {
    async fn try_get(&self, id: AggregateId, token: Option<&str>, lenient: bool) -> Result<ReadAnswer, QueryError> {
        let deadline = Instant::now() + Duration::from_secs(9);
        self.queries.get(&ReadRequest { key: key(id), token, named: 0, lenient, deadline }).await
    }

    /// A read that names a version in `If-Match`.
    async fn get_named(&self, id: AggregateId, named: u64) -> ReadAnswer {
        let deadline = Instant::now() + Duration::from_secs(9);
        let request = ReadRequest { key: key(id), token: None, named, lenient: false, deadline };
        self.queries.get(&request).await.unwrap()
    }

    async fn get(&self, id: AggregateId) -> ReadAnswer {
        self.try_get(id, None, false).await.unwrap()
    }

    fn reads(&self) -> u32 {
        self.store.reads.load(Ordering::SeqCst)
    }
}

fn cache_results(answer: &ReadAnswer) -> Vec<(Tier, CacheResult)> {
    let without_ttl = |result| if matches!(result, CacheResult::Hit(_)) { CacheResult::Hit(None) } else { result };
    answer.tiers.iter().map(|TierReport { tier, result }| (*tier, without_ttl(*result))).collect()
}

/// Applies and projects a command. Without `cache_step` the writer stops before it updates the cache.
pub(crate) async fn write(world: &World, id: AggregateId, command: crate::counter::CounterCommand, cache_step: bool) {
    let applied = world.apply(&[world.command(id, command)]).await;
    let cache = cache_step.then(|| world.cache.clone() as _);
    let model = ReadModel { projection: Projection::FIRST, views: Some(Arc::new(world.stores.views())) };
    let projector = Projector::new(vec![model], cache, world.clock.clone());
    projector.project(&key(id), &applied.current).await.unwrap();
}

fn token(world: &World, token: &Token) -> String {
    token.seal(&world.keys, &tenant(), world.clock.now())
}

#[tokio::test]
async fn a_hot_view_comes_from_memory_and_in_a_new_environment_from_redis() {
    let world = World::new();
    let id = world.new_id();
    write(&world, id, open("a"), true).await;
    let warm = environment(&world);
    let first = warm.get(id).await;
    assert_eq!(cache_results(&first), [(Tier::Memory, CacheResult::Miss), (Tier::Redis, CacheResult::Miss)]);
    assert_eq!((first.view.body.clone().unwrap(), first.age), ("a=0@1".into(), None));
    world.clock.pass(Duration::from_secs(1));
    let second = warm.get(id).await;
    assert_eq!(
        (cache_results(&second), second.age),
        (vec![(Tier::Memory, CacheResult::Hit(None))], Some(Duration::from_secs(1)))
    );
    let cold = environment(&world);
    let third = cold.get(id).await;
    assert_eq!(cache_results(&third), [(Tier::Memory, CacheResult::Miss), (Tier::Redis, CacheResult::Hit(None))]);
    assert_eq!((warm.reads(), cold.reads()), (1, 0));
}

#[tokio::test]
async fn memory_is_used_for_two_seconds_and_never_if_the_clock_goes_back() {
    let world = World::new();
    let id = world.new_id();
    let here = environment(&world);
    let read_at = world.clock.now();
    assert_eq!(here.get(id).await.view.version, 0);
    write(&world, id, open("a"), true).await;
    assert_eq!(here.get(id).await.view.version, 0);
    let age = world.clock.now().since(read_at).unwrap();
    world.clock.pass(Duration::from_secs(2).saturating_sub(age));
    assert_eq!(here.get(id).await.view.version, 1);
    write(&world, id, Add(1), true).await;
    world.clock.go_back(Duration::from_secs(1));
    let answer = here.get(id).await;
    assert_eq!((answer.view.version, cache_results(&answer)[0]), (2, (Tier::Memory, CacheResult::Miss)));
}

#[tokio::test]
async fn a_page_in_memory_is_used_for_five_seconds_and_never_if_the_clock_goes_back() {
    let world = World::new();
    let (here, tenant) = (environment(&world), tenant());
    let items = async || {
        let (scope, cursor, limit) = list(None, 9);
        let page = here.lists.page(&ListRequest { scope, tenant: &tenant, cursor: cursor.as_deref(), limit }).await;
        String::from_utf8(page.unwrap().body.to_vec()).unwrap().matches("@1").count()
    };
    assert_eq!(items().await, 0);
    write(&world, world.new_id(), open("a"), true).await;
    world.clock.pass(Duration::from_millis(4_990));
    assert_eq!(items().await, 0);
    world.clock.pass(Duration::from_millis(10));
    assert_eq!(items().await, 1);
    write(&world, world.new_id(), open("b"), true).await;
    world.clock.go_back(Duration::from_secs(1));
    assert_eq!(items().await, 2);
}

#[tokio::test]
async fn requests_at_the_same_time_share_one_read() {
    let world = World::new();
    let id = world.new_id();
    write(&world, id, open("a"), true).await;
    // Without a shared cache no lease limits the reads, so only the shared fetch does.
    for here in [environment(&world), environment_with(&world, None)] {
        let answers = futures::future::join_all((0..50).map(|_| here.get(id))).await;
        assert!(answers.iter().all(|answer| answer.view.version == 1));
        assert_eq!(here.reads(), 1);
    }
}

#[tokio::test]
async fn the_store_is_read_strongly_consistent_for_fills_and_tokens_alone() {
    let world = World::new();
    let id = world.new_id();
    write(&world, id, open("a"), false).await;
    let demand = token(&world, &Token::of_version(None, id, 1));
    let strong = |here: &Environment| (here.reads(), here.store.strong.load(Ordering::SeqCst));
    for (shared, tokenless, with_token) in [(false, (1, 0), (1, 1)), (true, (1, 1), (0, 0))] {
        let shared = || shared.then(|| world.cache.clone() as Arc<dyn SharedCache>);
        let here = environment_with(&world, shared());
        here.get(id).await;
        assert_eq!(strong(&here), tokenless);
        // If there is a shared cache, it has the entry now.
        let here = environment_with(&world, shared());
        here.try_get(id, Some(&demand), false).await.unwrap();
        assert_eq!(strong(&here), with_token);
    }
    // While another environment holds the lease, a read does not fill.
    let other = world.new_id();
    let cache_key = Projection::FIRST.cache_key(&key(other));
    let Lookup::Leased(_lease) = world.cache.get_or_lease(&cache_key).await.unwrap() else { panic!("no lease") };
    let here = environment(&world);
    here.get(other).await;
    assert_eq!(strong(&here), (1, 0));
}

#[tokio::test]
async fn a_read_that_names_a_version_skips_older_caches_and_does_not_wait() {
    let world = World::new();
    let id = world.new_id();
    write(&world, id, open("a"), true).await;
    let here = environment(&world);
    here.get(id).await;
    let strong = || (here.reads(), here.store.strong.load(Ordering::SeqCst));
    let read = strong();
    // A cache answers if it has the named version or a newer one.
    assert_eq!(cache_results(&here.get_named(id, 1).await), [(Tier::Memory, CacheResult::Hit(None))]);
    assert_eq!(strong(), read);
    // The caches miss the update to version 2.
    write(&world, id, Add(1), false).await;
    let named = here.get_named(id, 2).await;
    assert_eq!(named.view.version, 2);
    assert_eq!(cache_results(&named), [(Tier::Memory, CacheResult::TooOld), (Tier::Redis, CacheResult::TooOld)]);
    assert_eq!(strong(), (read.0 + 1, read.1 + 1));
    // Version 9 does not exist. The read asks the store once and does not wait.
    let ahead = here.get_named(id, 9).await;
    assert_eq!((ahead.view.version, ahead.stale), (2, false));
    assert_eq!(strong(), (read.0 + 2, read.1 + 2));
}

#[tokio::test]
async fn a_slow_fill_never_overwrites_what_a_writer_has_done_since() {
    let world = World::new();
    let id = world.new_id();
    write(&world, id, open("a"), true).await;
    let Lookup::Leased(lease) = world.cache.get_or_lease(&Projection::FIRST.cache_key(&key(id))).await.unwrap() else {
        panic!("no lease");
    };
    let old = kernel::ports::CachedView { version: 1, body: Some("a=0@1".into()), fetched_at: world.clock.now() };
    write(&world, id, Add(1), true).await;
    let landed = world.cache.fill(&Projection::FIRST.cache_key(&key(id)), &lease, &old, Duration::from_secs(9)).await;
    assert!(!landed.unwrap());
    assert_eq!(environment(&world).get(id).await.view.version, 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_reads_through_stale_caches_to_the_version_that_it_demands() {
    let world = World::new();
    let id = world.new_id();
    write(&world, id, open("a"), true).await;
    let here = environment(&world);
    here.get(id).await;
    write(&world, id, Add(1), false).await;
    assert_eq!(here.get(id).await.view.version, 1);
    let demand = token(&world, &Token::of_version(None, id, 2));
    let answer = here.try_get(id, Some(&demand), false).await.unwrap();
    assert_eq!(cache_results(&answer), [(Tier::Memory, CacheResult::TooOld), (Tier::Redis, CacheResult::TooOld)]);
    assert_eq!(answer.view.version, 2);
    let again = here.try_get(id, Some(&demand), false).await.unwrap();
    assert_eq!(cache_results(&again), [(Tier::Memory, CacheResult::Hit(None))]);
    // The read with the token has updated the memory, so a read without a token gets version 2 too.
    assert_eq!(here.get(id).await.view.version, 2);
}

#[tokio::test(start_paused = true)]
async fn a_read_behind_its_token_fails_or_is_flagged_as_stale_if_it_is_lenient() {
    let world = World::new();
    let id = world.new_id();
    write(&world, id, open("a"), true).await;
    let here = environment(&world);
    let demand = token(&world, &Token::of_version(None, id, 9));
    let strict = here.try_get(id, Some(&demand), false).await;
    assert!(matches!(strict, Err(QueryError::NotYetConsistent)));
    let lenient = here.try_get(id, Some(&demand), true).await.unwrap();
    assert!(lenient.stale && lenient.view.version == 1);
    assert!(!here.get(id).await.stale);
}

#[tokio::test(start_paused = true)]
async fn an_answer_keeps_what_the_session_has_seen_and_done_and_a_stale_one_lowers_nothing() {
    let world = World::new();
    let id = world.new_id();
    write(&world, id, open("a"), true).await;
    let here = environment(&world);
    let accepted_at = Some(world.clock.now());
    for (floor, lenient, stale) in [(0, false, false), (1, false, false), (9, true, true)] {
        let session = Token { accepted_at, ..Token::of_version(None, id, floor) };
        let answer = here.try_get(id, Some(&token(&world, &session)), lenient).await.unwrap();
        assert_eq!((answer.view.version, answer.stale), (1, stale));
        let next = Token::open(&world.keys, &tenant(), Some((KIND, id)), world.clock.now(), &answer.token).unwrap();
        assert_eq!((next.floor, next.accepted_at), (floor.max(1), accepted_at));
    }
    // The outcome of the token's command is not known.
    let command = Some(CommandId::generate(world.clock.now()));
    let session = token(&world, &Token { command, ..Token::of_version(None, id, 9) });
    let answer = here.try_get(id, Some(&session), true).await.unwrap();
    let next = Token::open(&world.keys, &tenant(), Some((KIND, id)), world.clock.now(), &answer.token).unwrap();
    assert_eq!((answer.stale, next.floor), (true, 9));
}

#[tokio::test(start_paused = true)]
async fn a_read_waits_until_its_answer_is_due_and_no_longer() {
    let world = World::new();
    let id = world.new_id();
    write(&world, id, open("a"), true).await;
    let here = environment(&world);
    let unseen = token(&world, &Token::of_version(None, id, 9));
    let command = Some(CommandId::generate(world.clock.now()));
    let pending = token(&world, &Token { command, ..Token::of_version(None, id, 0) });
    for token in [unseen, pending] {
        for (left, waits) in [(1_000, 1_000), (0, 0), (60_000, 5_000)] {
            let began = Instant::now();
            let deadline = began + Duration::from_millis(left);
            let request = ReadRequest { key: key(id), token: Some(&token), named: 0, lenient: false, deadline };
            let refused = here.queries.get(&request).await;
            assert!(matches!(refused, Err(QueryError::NotYetConsistent)), "{refused:?}");
            let waited = began.elapsed().as_millis();
            assert!((waits..waits + 10).contains(&waited), "{waited} ms of {waits}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_waits_for_the_command_that_it_names() {
    let world = World::new();
    let id = world.new_id();
    write(&world, id, open("a"), true).await;
    let here = environment(&world);
    let command = world.command(id, Add(1));
    let names = Token { command: Some(command.stamp.command), ..Token::of_version(None, id, 0) };
    let names = token(&world, &names);
    let applying = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let applied = world.apply(&[command]).await;
        world.stores.views().put(&key(id), &applied.current.view(&key(id), Projection::FIRST)).await.unwrap();
    };
    let (answer, ()) = tokio::join!(here.try_get(id, Some(&names), false), applying);
    let answer = answer.unwrap();
    assert_eq!(answer.view.version, 2);
    let seen = Token::open(&world.keys, &tenant(), Some((KIND, id)), world.clock.now(), &answer.token).unwrap();
    assert_eq!((seen.floor, seen.command), (2, None), "only the seen version is left");
    let pending = world.command(id, Add(1));
    world.stores.records().put_pending(&pending.record(CommandStatus::Pending, None)).await.unwrap();
    let waits = Token { command: Some(pending.stamp.command), ..Token::of_version(None, id, 0) };
    let waits = token(&world, &waits);
    assert!(matches!(here.try_get(id, Some(&waits), false).await, Err(QueryError::NotYetConsistent)));
    let never = Token { command: Some(CommandId::generate(world.clock.now())), ..Token::of_version(None, id, 0) };
    let never = token(&world, &never);
    assert!(matches!(here.try_get(id, Some(&never), false).await, Err(QueryError::NotYetConsistent)));
    assert!(here.try_get(id, Some(&never), true).await.unwrap().stale);
}

#[tokio::test(start_paused = true)]
async fn a_token_waits_for_the_version_that_it_demands() {
    let world = World::new();
    let id = world.new_id();
    write(&world, id, open("a"), true).await;
    let here = environment(&world);
    let demand = token(&world, &Token::of_version(None, id, 2));
    let projecting = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        world.clock.pass(Duration::from_secs(1));
        write(&world, id, Add(1), false).await;
    };
    let (answer, ()) = tokio::join!(here.try_get(id, Some(&demand), false), projecting);
    let answer = answer.unwrap();
    assert_eq!((answer.view.version, answer.stale), (2, false));
    // All reads are strongly consistent, because an eventual one could miss the projection on every attempt.
    assert_eq!((here.reads(), here.reads() > 2), (here.store.strong.load(Ordering::SeqCst), true));
    // The entry's age in memory counts from the last read, not from the first.
    world.clock.pass(Duration::from_millis(1_500));
    assert_eq!(here.get(id).await.view.version, 2);
    // The session's next token requires the version that the session has seen.
    let seen = Token::open(&world.keys, &tenant(), Some((KIND, id)), world.clock.now(), &answer.token).unwrap();
    assert_eq!((seen.floor, seen.command), (2, None));
}

#[tokio::test]
async fn a_token_of_another_item_is_refused() {
    let world = World::new();
    let (id, other) = (world.new_id(), world.new_id());
    let here = environment(&world);
    let others = token(&world, &Token::of_version(None, other, 1));
    for (text, why) in [(others.as_str(), TokenError::OtherAggregate), ("rubbish", TokenError::Forged)] {
        let refused = here.try_get(id, Some(text), false).await;
        assert!(matches!(refused, Err(QueryError::Token(token)) if token == why), "{refused:?}");
    }
}

#[tokio::test]
async fn a_deleted_aggregate_is_gone_from_every_tier() {
    let world = World::new();
    let id = world.new_id();
    write(&world, id, open("a"), true).await;
    environment(&world).get(id).await;
    write(&world, id, Close, true).await;
    let answer = environment(&world).get(id).await;
    assert_eq!((answer.view.version, answer.view.body.as_ref()), (2, None));
    assert_eq!(cache_results(&answer)[1], (Tier::Redis, CacheResult::Hit(None)));
}

/// A shared cache that is down.
#[derive(Debug)]
struct Down;

fn down() -> PortError {
    PortError::Unavailable { port: "shared cache", cause: "down".into() }
}

#[async_trait]
impl SharedCache for Down {
    async fn get_or_lease(&self, _: &str) -> Result<Lookup, PortError> {
        Err(down())
    }

    async fn fill(&self, _: &str, _: &Lease, _: &kernel::ports::CachedView, _: Duration) -> Result<bool, PortError> {
        Err(down())
    }
}

/// A shared cache that counts its lookups.
#[derive(Debug)]
struct CountingCache {
    cache: Arc<dyn SharedCache>,
    times: AtomicU32,
}

#[async_trait]
impl SharedCache for CountingCache {
    async fn get_or_lease(&self, key: &str) -> Result<Lookup, PortError> {
        self.times.fetch_add(1, Ordering::SeqCst);
        self.cache.get_or_lease(key).await
    }

    async fn fill(&self, key: &str, lease: &Lease, view: &CachedView, ttl: Duration) -> Result<bool, PortError> {
        self.cache.fill(key, lease, view, ttl).await
    }
}

/// The pauses are 10 to 20 ms each. The second lookup finds the fill, or the third, or none.
#[tokio::test(start_paused = true)]
async fn an_entry_that_another_environment_fills_is_looked_up_twice_more() {
    for (filled_after, times, reads) in [(5, 2, 0), (20, 3, 0), (60, 3, 1)] {
        let world = World::new();
        let id = world.new_id();
        write(&world, id, open("a"), true).await;
        let cache_key = Projection::FIRST.cache_key(&key(id));
        let Lookup::Leased(lease) = world.cache.get_or_lease(&cache_key).await.unwrap() else { panic!("no lease") };
        let cache = Arc::new(CountingCache { cache: world.cache.clone(), times: AtomicU32::new(0) });
        let here = environment_with(&world, Some(cache.clone()));
        let filling = async {
            tokio::time::sleep(Duration::from_millis(filled_after)).await;
            let view = CachedView { version: 1, body: Some("a=0@1".into()), fetched_at: world.clock.now() };
            assert!(world.cache.fill(&cache_key, &lease, &view, Duration::from_secs(9)).await.unwrap());
        };
        let (answer, ()) = tokio::join!(here.get(id), filling);
        assert_eq!((answer.view.version, here.reads()), (1, reads), "filled after {filled_after} ms");
        let lookups = cache.times.load(Ordering::SeqCst);
        // The first pause may last the full 20 ms. Then the second lookup finds the fill.
        assert!(lookups == times || (filled_after == 20 && lookups == 2), "{lookups} times, not {times}");
    }
}

#[tokio::test]
async fn a_shared_cache_that_is_down_is_skipped() {
    let world = World::new();
    let id = world.new_id();
    write(&world, id, open("a"), true).await;
    let answer = environment_with(&world, Some(Arc::new(Down))).get(id).await;
    assert_eq!((answer.view.version, cache_results(&answer)[1]), (1, (Tier::Redis, CacheResult::Unavailable)));
}

fn list(cursor: Option<&str>, limit: usize) -> (ListScope, Option<String>, usize) {
    let scope = ListScope {
        kind: KIND,
        list: "label",
        slot: Slot::I1,
        partition: "C#t".to_owned(),
        sort_prefix: String::new(),
    };
    (scope, cursor.map(str::to_owned), limit)
}

#[tokio::test]
async fn pages_cover_a_list_once_and_a_cursor_fits_its_own_list_only() {
    let world = World::new();
    for label in ["a", "b", "c", "d", "e"] {
        write(&world, world.new_id(), open(label), true).await;
    }
    let (here, tenant) = (environment(&world), tenant());
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let (scope, at, limit) = list(cursor.as_deref(), 2);
        let page = here.lists.page(&ListRequest { scope, tenant: &tenant, cursor: at.as_deref(), limit }).await;
        let page = page.unwrap();
        seen.push(String::from_utf8(page.body.to_vec()).unwrap());
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 3);
    assert!(seen[0].starts_with(r#"{"items":[a=0@1,b=0@1],"next_cursor":""#), "{}", seen[0]);
    assert_eq!(seen[2], r#"{"items":[e=0@1],"next_cursor":null}"#);

    let reads = here.reads();
    let (mut scope, _, limit) = list(None, 2);
    let first = here.lists.page(&ListRequest { scope: scope.clone(), tenant: &tenant, cursor: None, limit }).await;
    let first = first.unwrap();
    assert!(matches!(first.tiers[0].result, CacheResult::Hit(_)));
    assert_eq!((&first.body[..], here.reads()), (seen[0].as_bytes(), reads), "the page comes from memory, whole");
    let (same, at, limit) = list(first.next_cursor.as_deref(), 2);
    let second = here.lists.page(&ListRequest { scope: same, tenant: &tenant, cursor: at.as_deref(), limit }).await;
    assert_eq!(&second.unwrap().body[..], seen[1].as_bytes());
    scope.sort_prefix = "a".to_owned();
    let cursor = first.next_cursor.as_deref();
    let foreign = here.lists.page(&ListRequest { scope, tenant: &tenant, cursor, limit }).await;
    assert!(matches!(foreign, Err(QueryError::Cursor(CursorError::Forged))));
}

/// A store whose pages have at most one entry, regardless of the limit.
#[derive(Debug)]
struct ShortPages(Arc<dyn ViewReader>);

#[async_trait]
impl ViewReader for ShortPages {
    async fn get(&self, key: &AggregateKey, consistency: Consistency) -> Result<Option<Snapshot>, PortError> {
        self.0.get(key, consistency).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, PortError> {
        self.0.list(&ListQuery { limit: 1, ..query.clone() }).await
    }
}

#[tokio::test]
async fn a_page_that_is_shorter_than_its_limit_is_not_the_last_one_unless_the_store_says_so() {
    let world = World::new();
    for label in ["a", "b", "c"] {
        write(&world, world.new_id(), open(label), true).await;
    }
    let store = Arc::new(ShortPages(Arc::new(world.stores.views())));
    for memory in [None, Some(Arc::new(UnboundedMemoryCache::default()) as _)] {
        let lists = Lists::new(Projection::FIRST, store.clone(), memory, world.clock.clone(), world.keys.clone());
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let (scope, at, limit) = list(cursor.as_deref(), 100);
            let page =
                lists.page(&ListRequest { scope, tenant: &tenant(), cursor: at.as_deref(), limit }).await.unwrap();
            let body = String::from_utf8(page.body.to_vec()).unwrap();
            seen.push(body[r#"{"items":["#.len()..][..1].to_owned());
            assert_eq!(body.ends_with("null}"), page.next_cursor.is_none(), "{body}");
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, ["a", "b", "c"]);
    }
}

#[tokio::test]
async fn while_one_projection_replaces_another_each_has_its_own_views() {
    let (world, next) = (World::new(), MemoryStores::default());
    let id = world.new_id();
    let applied = world.apply(&[world.command(id, open("a"))]).await;
    let cached = [Projection::FIRST, Projection(2)].map(|projection| projection.cache_key(&key(id)));
    for cache_key in &cached {
        let Lookup::Leased(lease) = world.cache.get_or_lease(cache_key).await.unwrap() else { panic!("not mine") };
        let older = CachedView { version: 0, body: None, fetched_at: world.clock.now() };
        assert!(world.cache.fill(cache_key, &lease, &older, Duration::from_secs(9)).await.unwrap());
    }
    let first = ReadModel { projection: Projection::FIRST, views: Some(Arc::new(world.stores.views())) };
    let second = ReadModel { projection: Projection(2), views: Some(Arc::new(next.views())) };
    let projector = Projector::new(vec![first, second], Some(world.cache.clone()), world.clock.clone());
    projector.project(&key(id), &applied.current).await.unwrap();
    for (stores, cache_key, body) in [(&world.stores, &cached[0], "a=0@1"), (&next, &cached[1], "v2: a=0@1")] {
        let stored = stores.views().get(&key(id), Consistency::Strong).await.unwrap().unwrap();
        assert_eq!(stored.body.as_deref(), Some(body.as_bytes()));
        let Lookup::Hit { view, .. } = world.cache.get_or_lease(cache_key).await.unwrap() else { panic!("no hit") };
        assert_eq!((view.version, view.body), (1, stored.body));
    }
}

#[tokio::test]
async fn a_projection_that_one_of_two_read_stores_refused_is_no_projection() {
    let (world, next) = (World::new(), MemoryStores::default());
    let applied = world.apply(&[world.command(world.new_id(), open("a"))]).await;
    let fails = |_| Fault::Before;
    let failing = || Arc::new(Faulty::new(Arc::new(next.views()), Arc::new(fails))) as Arc<dyn ViewWriter>;
    let works = || Arc::new(world.stores.views()) as Arc<dyn ViewWriter>;
    for (first, second) in [(failing(), works()), (works(), failing())] {
        let model = |projection, views| ReadModel { projection, views: Some(views) };
        let models = vec![model(Projection::FIRST, first), model(Projection(2), second)];
        let projector = Projector::new(models, None, world.clock.clone());
        projector.project(&key(world.new_id()), &applied.current).await.unwrap_err();
    }
}

#[test]
fn the_projections_version_is_part_of_every_cache_key() {
    let id = World::new().new_id();
    assert_eq!(Projection::FIRST.cache_key(&key(id)), format!("v1#C#t#{id}"));
}
