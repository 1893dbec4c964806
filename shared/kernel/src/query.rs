//! Answers queries from memory, then from the shared cache, then from the store. An answer is as new as the client's token
//! requires.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep};
use tracing::debug;

use crate::backoff::Backoff;
use crate::clock::{Clock, Timestamp};
use crate::cursor::{self, CursorError};
use crate::error_chain::ErrorChain;
use crate::ids::{AggregateKey, Kind, Tenant};
use crate::ports::{
    CachedView, Consistency, Lease, ListQuery, Lookup, MemoryCache, MemoryEntry, PortError, RecordReader, SharedCache,
    Slot, ViewReader,
};
use crate::project::cache_ttl;
use crate::projection::Projection;
use crate::random::jitter;
use crate::record::{CommandStatus, RecordKey};
use crate::seal::KeyRing;
use crate::single_flight::SingleFlight;
use crate::token::{Token, TokenError};

/// How long memory serves an entry without another read. It bounds the staleness of an environment's memory.
const MEMORY_TTL: Duration = Duration::from_secs(2);
/// The longest pause before the next lookup of an entry that another environment is filling.
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(20);
/// How long memory serves a page of a list.
const PAGE_TTL: Duration = Duration::from_secs(5);
/// The longest wait of a read for the version or the command that its token names.
pub const CONSISTENCY_WAIT_MAX: Duration = Duration::from_secs(5);

/// A read of one view.
#[derive(Debug)]
pub struct ReadRequest<'a> {
    /// The aggregate to read.
    pub key: AggregateKey,
    /// The client's consistency token.
    pub token: Option<&'a str>,
    /// The version that the client names in `If-Match`, or 0. If a cache holds an older version, the answer comes from a strongly
    /// consistent read of the store. No read waits for this version.
    pub named: u64,
    /// Whether the client accepts an answer older than its token requires.
    pub lenient: bool,
    /// Time by which the caller must have answered.
    pub deadline: Instant,
}

/// The answer to a read.
#[derive(Debug)]
pub struct ReadAnswer {
    /// The view. Its version is 0 if the aggregate never existed, and its body is `None` if it does not exist now.
    pub view: CachedView,
    /// Its projection.
    pub projection: Projection,
    /// The token for the client's next request.
    pub token: String,
    /// The age of the answer, if a cache gave it.
    pub age: Option<Duration>,
    /// The result of each cache, in the order in which they were asked.
    pub tiers: Vec<TierReport>,
    /// Whether the answer may be older than the token requires.
    pub stale: bool,
}

/// The result of one cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierReport {
    /// The cache.
    pub tier: Tier,
    /// Its result.
    pub result: CacheResult,
}

/// A cache in front of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// The memory of this environment.
    Memory,
    /// The cache that environments share.
    Redis,
}

impl Tier {
    /// Returns the cache's name in responses and in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis => "redis",
        }
    }
}

/// The result of a lookup in a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheResult {
    /// It had the entry, and keeps it for this time, if known.
    Hit(Option<Duration>),
    /// It had no entry, or an expired one.
    Miss,
    /// Its entry is older than the client's token or `If-Match` requires.
    TooOld,
    /// It did not answer.
    Unavailable,
}

/// A request for one page of a list.
#[derive(Debug)]
pub struct ListRequest<'a> {
    /// The list.
    pub scope: ListScope,
    /// The tenant.
    pub tenant: &'a Tenant,
    /// The client's cursor; `None` for the first page.
    pub cursor: Option<&'a str>,
    /// The largest number of entries, 1 to 100.
    pub limit: usize,
}

/// One list: a partition of an index, or the part of it under a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListScope {
    /// The kind of aggregate.
    pub kind: Kind,
    /// The kind's name for the list. Cursors and pages are bound to it, not to the index, so a list may move to another index.
    pub list: &'static str,
    /// The index that holds the list.
    pub slot: Slot,
    /// The partition, with the filter's value in it.
    pub partition: String,
    /// The start of the wanted sort keys; empty for all.
    pub sort_prefix: String,
}

impl ListScope {
    /// Returns the name that binds cursors and pages in memory to this list. No part contains a line break, and a name with a kind
    /// has one part more than a name without. So no two lists have the same name.
    fn name(&self, projection: Projection) -> String {
        let Self { kind, list, slot: _, partition, sort_prefix } = self;
        let kind = kind.name().filter(|_| !mutant!(ListNameWithoutKind));
        let kind = kind.map(|kind| format!("{kind}\n")).unwrap_or_default();
        format!("{kind}{projection}\n{list}\n{partition}\n{sort_prefix}")
    }
}

/// A page of a list, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageAnswer {
    /// `{"items":[…],"next_cursor":…}`.
    pub body: Bytes,
    /// The cursor in the body; `None` on the last page.
    pub next_cursor: Option<String>,
    /// The age of the answer, if memory gave it.
    pub age: Option<Duration>,
    /// The result of memory, in the stages with a memory cache.
    pub tiers: Vec<TierReport>,
}

/// The reason why a query has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum QueryError {
    /// The client's token is invalid. Report it to the client.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The client's cursor is invalid. Report it to the client.
    #[error(transparent)]
    Cursor(#[from] CursorError),
    /// The version or command that the token names has not arrived in time. The client should try again.
    #[error("the write that the token stands for is not readable yet")]
    NotYetConsistent,
    /// The store failed, and no cache had the answer. The client should try again.
    #[error(transparent)]
    Port(#[from] Arc<PortError>),
}

/// Answers queries of single views.
#[derive(Debug)]
pub struct Queries {
    projection: Projection,
    views: Arc<dyn ViewReader>,
    records: Arc<dyn RecordReader>,
    memory: Option<Arc<dyn MemoryCache>>,
    shared: Option<Arc<dyn SharedCache>>,
    clock: Arc<dyn Clock>,
    keys: Arc<KeyRing>,
    single_flight: SingleFlight<Result<Fetched, Arc<PortError>>>,
}

/// Answers queries of lists.
#[derive(Debug)]
pub struct Lists {
    projection: Projection,
    views: Arc<dyn ViewReader>,
    memory: Option<Arc<dyn MemoryCache>>,
    clock: Arc<dyn Clock>,
    keys: Arc<KeyRing>,
}

/// A view from the shared cache or the store.
#[derive(Debug, Clone)]
struct Fetched {
    view: CachedView,
    /// Time before the read that fetched it.
    read_at: Timestamp,
    cached: bool,
    tiers: Vec<TierReport>,
}

impl Queries {
    /// Returns queries over `views`, which are of this projection, through the given caches.
    pub fn new(
        projection: Projection,
        views: Arc<dyn ViewReader>,
        records: Arc<dyn RecordReader>,
        memory: Option<Arc<dyn MemoryCache>>,
        shared: Option<Arc<dyn SharedCache>>,
        clock: Arc<dyn Clock>,
        keys: Arc<KeyRing>,
    ) -> Self {
        Self { projection, views, records, memory, shared, clock, keys, single_flight: SingleFlight::default() }
    }

    /// Returns one view, at least as new as the token requires.
    pub async fn get(&self, request: &ReadRequest<'_>) -> Result<ReadAnswer, QueryError> {
        let wait_until = request.deadline.min(Instant::now() + CONSISTENCY_WAIT_MAX);
        let AggregateKey { kind, tenant, id } = &request.key;
        let open = |text| Token::open(&self.keys, tenant, Some((*kind, *id)), self.clock.now(), text);
        let anything = || Token::of_version(kind.name().map(str::to_owned), *id, 0);
        let token = request.token.map(open).transpose()?.unwrap_or_else(anything);
        let known = self.floor(tenant, &token, wait_until, request.lenient).await?;
        if known.is_none() && !request.lenient {
            return Err(QueryError::NotYetConsistent);
        }
        let floor = known.unwrap_or(token.floor);
        let found = self.read_at_least(request, floor, wait_until).await?;
        let behind = found.view.version < floor;
        if behind && !request.lenient && !mutant!(StaleAnswerToToken) {
            return Err(QueryError::NotYetConsistent);
        }
        let now = self.clock.now();
        // The answer's token keeps the version that the session has seen, so the session never goes back. It also keeps a command
        // that is not judged yet.
        let command = token.command.filter(|_| known.is_none());
        let ordered = token.ordered.filter(|ordered| known.is_none() || token.command != Some(*ordered));
        let seen = Token { floor: found.view.version.max(floor), command, ordered, ..token };
        Ok(ReadAnswer {
            token: seen.seal(&self.keys, tenant, now),
            age: found.cached.then(|| now.since(found.view.fetched_at).unwrap_or_default()),
            stale: behind || known.is_none(),
            view: found.view,
            projection: self.projection,
            tiers: found.tiers,
        })
    }

    /// Returns the version that the token requires. Waits while its command is pending, unless the read is lenient. `None` if the
    /// command is still pending then.
    async fn floor(
        &self,
        tenant: &Tenant,
        token: &Token,
        wait_until: Instant,
        lenient: bool,
    ) -> Result<Option<u64>, QueryError> {
        let Some(command) = token.command.filter(|_| !mutant!(CommandTokenIgnored)) else {
            return Ok(Some(token.floor));
        };
        let key = RecordKey { tenant: tenant.clone(), command };
        let mut pause = Backoff::new();
        loop {
            let record = self.records.get(&key).await.map_err(Arc::new)?;
            match record.map(|record| record.status) {
                Some(CommandStatus::Failed { .. }) => return Ok(Some(token.floor)),
                Some(status) if status.is_final() => {
                    return Ok(Some(token.floor.max(status.version().unwrap_or_default())));
                }
                Some(_) | None if lenient || !pause.wait(wait_until).await => return Ok(None),
                Some(_) | None => {}
            }
        }
    }

    /// Reads the view through the caches. If it is older than the floor, reads the store again until it is not, or until the wait
    /// is over.
    async fn read_at_least(
        &self,
        request: &ReadRequest<'_>,
        floor: u64,
        wait_until: Instant,
    ) -> Result<Fetched, QueryError> {
        let ReadRequest { key, named, lenient, .. } = request;
        let mut found = self.read(key, floor.max(*named)).await?;
        let mut pause = Backoff::new();
        while found.view.version < floor && !lenient && pause.wait(wait_until).await {
            let (view, read_at) = self.ask_store(key, Consistency::Strong).await?;
            found = Fetched { view, read_at, ..found };
            self.remember(&self.projection.cache_key(key), &found);
        }
        Ok(found)
    }

    async fn read(&self, key: &AggregateKey, floor: u64) -> Result<Fetched, Arc<PortError>> {
        let cached = self.projection.cache_key(key);
        let mut tiers = Vec::with_capacity(2);
        if let Some(memory) = &self.memory {
            let (found, result) = ask_memory(memory.as_ref(), self.clock.as_ref(), &cached, floor, MEMORY_TTL);
            tiers.push(TierReport { tier: Tier::Memory, result });
            if let Some(entry) = found {
                return Ok(Fetched { view: entry.view, read_at: entry.read_at, cached: true, tiers });
            }
        }
        // A shared fetch may have begun before this request. So only requests without a floor share one.
        let mut found = match floor {
            0 => self.single_flight.run(&cached, || self.below_memory(key, &cached, 0)).await?,
            _ => self.below_memory(key, &cached, floor).await?,
        };
        self.remember(&cached, &found);
        tiers.append(&mut found.tiers);
        Ok(Fetched { tiers, ..found })
    }

    fn remember(&self, key: &str, found: &Fetched) {
        if let Some(memory) = &self.memory {
            memory.put(key, MemoryEntry { view: found.view.clone(), read_at: found.read_at });
        }
    }

    /// Reads the shared cache, then the store.
    async fn below_memory(&self, key: &AggregateKey, cached: &str, floor: u64) -> Result<Fetched, Arc<PortError>> {
        let unasked = if floor == 0 { Consistency::Eventual } else { Consistency::Strong };
        let Some(shared) = &self.shared else {
            let (view, read_at) = self.ask_store(key, unasked).await?;
            return Ok(Fetched { view, read_at, cached: false, tiers: Vec::new() });
        };
        let read_at = self.clock.now();
        let (result, lease) = match look_up(shared.as_ref(), cached).await {
            Ok(Lookup::Hit { view, ttl }) if view.version >= floor => {
                let tiers = vec![TierReport { tier: Tier::Redis, result: CacheResult::Hit(ttl) }];
                return Ok(Fetched { view, read_at, cached: true, tiers });
            }
            Ok(Lookup::Hit { .. }) => (CacheResult::TooOld, None),
            Ok(Lookup::Leased(lease)) => (CacheResult::Miss, Some(lease)),
            Ok(Lookup::Busy) => (CacheResult::Miss, None),
            Err(error) => {
                debug!(error = %ErrorChain(&error), "the shared cache did not answer");
                (CacheResult::Unavailable, None)
            }
        };
        let fills = lease.is_some() && !mutant!(FillsFromEventualRead);
        let consistency = if fills { Consistency::Strong } else { unasked };
        let (view, read_at) = self.ask_store(key, consistency).await?;
        if let Some(lease) = lease {
            fill(shared.as_ref(), cached, &lease, &view).await;
        }
        Ok(Fetched { view, read_at, cached: false, tiers: vec![TierReport { tier: Tier::Redis, result }] })
    }

    async fn ask_store(
        &self,
        key: &AggregateKey,
        consistency: Consistency,
    ) -> Result<(CachedView, Timestamp), Arc<PortError>> {
        let read_at = self.clock.now();
        let stored = self.views.get(key, consistency).await.map_err(Arc::new)?;
        let (version, body) = stored.map(|view| (view.version, view.body)).unwrap_or_default();
        Ok((CachedView { version, body, fetched_at: read_at }, read_at))
    }
}

impl Lists {
    /// Returns lists over `views`, which are of this projection, through memory if there is one.
    pub fn new(
        projection: Projection,
        views: Arc<dyn ViewReader>,
        memory: Option<Arc<dyn MemoryCache>>,
        clock: Arc<dyn Clock>,
        keys: Arc<KeyRing>,
    ) -> Self {
        Self { projection, views, memory, clock, keys }
    }

    /// Returns one page of a list. It is stale by at most 5 seconds, plus the delay of the index.
    pub async fn page(&self, request: &ListRequest<'_>) -> Result<PageAnswer, QueryError> {
        let ListRequest { scope, tenant, cursor, limit } = request;
        let bound_to = scope.name(self.projection);
        let open = |text| cursor::open(&self.keys, tenant, &bound_to, self.clock.now(), text);
        let after = cursor.map(open).transpose()?;
        let sort = after.as_ref().map(|at| at.sort.as_str()).unwrap_or_default();
        let cached = format!("L{limit}\n{tenant}\n{bound_to}\n{sort}");
        let mut tiers = Vec::new();
        if let Some(memory) = &self.memory {
            let (found, result) = ask_memory(memory.as_ref(), self.clock.as_ref(), &cached, 0, PAGE_TTL);
            tiers.push(TierReport { tier: Tier::Memory, result });
            if let Some((body, next_cursor)) = found.as_ref().and_then(|entry| unframe(entry.view.body.as_ref()?)) {
                let age = found.and_then(|entry| self.clock.now().since(entry.view.fetched_at));
                return Ok(PageAnswer { body, next_cursor, age, tiers });
            }
        }
        let read_at = self.clock.now();
        let query = ListQuery {
            kind: scope.kind,
            tenant: (*tenant).clone(),
            slot: scope.slot,
            partition: scope.partition.clone(),
            sort_prefix: scope.sort_prefix.clone(),
            after,
            limit: *limit,
        };
        let page = self.views.list(&query).await.map_err(Arc::new)?;
        let last = page.entries.last().filter(|_| page.more);
        let next_cursor = last.map(|(at, _)| cursor::seal(&self.keys, tenant, &bound_to, read_at, at));
        let body = page_body(page.entries.iter().filter_map(|(_, view)| view.body.as_ref()), next_cursor.as_deref());
        if let Some(memory) = &self.memory {
            let view = CachedView { version: 0, body: Some(frame(&body, next_cursor.as_deref())), fetched_at: read_at };
            memory.put(&cached, MemoryEntry { view, read_at });
        }
        Ok(PageAnswer { body, next_cursor, age: None, tiers })
    }
}

/// Returns the entry in memory, if it is neither expired nor older than the floor.
fn ask_memory(
    memory: &dyn MemoryCache,
    clock: &dyn Clock,
    key: &str,
    floor: u64,
    ttl: Duration,
) -> (Option<MemoryEntry>, CacheResult) {
    let Some(entry) = memory.get(key) else { return (None, CacheResult::Miss) };
    // A negative age counts as expired. It occurs if the clock went back.
    match clock.now().since(entry.read_at).filter(|age| *age < ttl) {
        None => (None, CacheResult::Miss),
        Some(_) if entry.view.version < floor => (None, CacheResult::TooOld),
        Some(age) => (Some(entry), CacheResult::Hit(Some(ttl.saturating_sub(age)))),
    }
}

/// Looks the entry up in the shared cache. If another environment is filling it, tries twice more after short pauses.
async fn look_up(shared: &dyn SharedCache, key: &str) -> Result<Lookup, PortError> {
    for _ in 0..2 {
        match shared.get_or_lease(key).await? {
            Lookup::Busy => sleep(jitter(LOOK_PAUSE_MAX, 0.5..1.0)).await,
            found => return Ok(found),
        }
    }
    shared.get_or_lease(key).await
}

/// Fills the entry. If the fill fails, the next reader fills it.
async fn fill(shared: &dyn SharedCache, key: &str, lease: &Lease, view: &CachedView) {
    match shared.fill(key, lease, view, cache_ttl(view)).await {
        Ok(landed) => debug!(key, landed, "filled the shared cache"),
        Err(error) => debug!(key, error = %ErrorChain(&error), "the shared cache was not filled"),
    }
}

/// Returns `{"items":[…],"next_cursor":…}`. The views are JSON already.
fn page_body<'a>(views: impl Iterator<Item = &'a Bytes>, next_cursor: Option<&str>) -> Bytes {
    let mut body = b"{\"items\":[".to_vec();
    for (index, view) in views.enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(view);
    }
    body.extend_from_slice(b"],\"next_cursor\":");
    match next_cursor {
        // A cursor consists of letters, digits, `.`, `-` and `_`, so it needs no escape.
        Some(cursor) => body.extend_from_slice(format!("\"{cursor}\"}}").as_bytes()),
        None => body.extend_from_slice(b"null}"),
    }
    body.into()
}

/// Returns a page as memory keeps it: the cursor, a line break, the body.
fn frame(body: &Bytes, next_cursor: Option<&str>) -> Bytes {
    [next_cursor.unwrap_or_default().as_bytes(), b"\n", body].concat().into()
}

fn unframe(framed: &Bytes) -> Option<(Bytes, Option<String>)> {
    let line = framed.iter().position(|byte| *byte == b'\n')?;
    let cursor = std::str::from_utf8(framed.get(..line)?).ok()?;
    Some((framed.slice(line + 1..), (!cursor.is_empty()).then(|| cursor.to_owned())))
}
