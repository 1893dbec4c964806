//! The clients of a run: they send the steps of the plan, and check each answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kernel::clock::Timestamp;
use kernel::envelope::{Excluded, ExpectedVersion};
use kernel::ids::{AggregateId, AggregateKey, CommandId, Kind, Tenant};
use kernel::ingest::{Ingest, Message};
use kernel::lookup::CommandState;
use kernel::ports::RecordReader;
use kernel::query::{ListRequest, ListScope, PageAnswer, QueryError, ReadAnswer, ReadRequest};
use kernel::record::{CommandRecord, CommandStatus, RecordKey};
use kernel::submit::{Preference, Request, SubmitAnswer, SubmitError, WriteResult};
use kernel::token::{Token, TokenError};
use service::stages::Source;
use tokio::time::{Instant, sleep};

use crate::asked::Asked;
use crate::check::listed;
use crate::functions::{self, INGEST_TIMEOUT, Pool, REQUEST_TIMEOUT, Reader, Writer};
use crate::history::{Invariant, Operation, is_final};
use crate::plan::{Change, Precondition, Session, Step, Write};
use crate::queue::Received;
use crate::resources;
use crate::world::World;

/// The maximum number of attempts of a command with an idempotency key.
const TRIES_MAX: u32 = 4;
/// The time for which a waiting client waits.
const WAIT: Duration = Duration::from_secs(3);
/// The maximum staleness of a read without a token: memory cache, shared cache, and 15 s for replication and slow operations.
const STALE_MAX: Duration = Duration::from_secs(2 + 360 + 15);
/// The same limit if no fault prevents the update of the shared cache.
const STALE_MAX_WHEN_TOLD: Duration = Duration::from_secs(2 + 15);

/// The functions of a run.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) world: Arc<World>,
    pub(crate) readers: Pool<Reader>,
    pub(crate) writers: Pool<Writer>,
    pub(crate) ingesters: Pool<Ingest>,
    /// The item for each pair of a tenant's number and an item's number.
    items: Mutex<BTreeMap<(u8, u8), AggregateId>>,
}

impl Service {
    pub(crate) fn new(world: &Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            world: world.clone(),
            readers: Pool::new(world, REQUEST_TIMEOUT, functions::reader),
            writers: Pool::new(world, REQUEST_TIMEOUT, functions::writer),
            ingesters: Pool::new(world, INGEST_TIMEOUT, functions::ingest),
            items: Mutex::default(),
        })
    }

    fn item(&self, tenant: u8, item: u8) -> Option<AggregateId> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).get(&(tenant, item)).copied()
    }

    /// Polls the queue, as the event source mapping does.
    pub(crate) async fn poll(self: Arc<Self>) {
        loop {
            let batch = self.world.queue.receive().await;
            let messages: Vec<_> = batch.iter().map(message).collect();
            let deadline = Instant::now() + INGEST_TIMEOUT;
            let ingest = async |ingest: &Ingest| ingest.batch(&messages, deadline).await.failed;
            let Some(failed) = self.ingesters.invoke(None, ingest).await else { continue };
            for received in &batch {
                if !failed.contains(&received.id) {
                    self.world.queue.delete(&received.receipt_handle);
                }
            }
        }
    }
}

fn message(received: &Received) -> Message {
    Message {
        id: received.id.clone(),
        receipt_handle: received.receipt_handle.clone(),
        body: received.message.body.clone(),
        receive_count: received.receive_count,
        order_group: Some(received.message.order_group.clone()),
    }
}

/// A client.
pub(crate) struct Client {
    service: Arc<Service>,
    number: usize,
    tenant_number: u8,
    tenant: Tenant,
    seen: BTreeMap<AggregateKey, Seen>,
    /// The latest command, as clients see its id.
    latest: Option<String>,
    /// The item of the latest command.
    latest_item: Option<AggregateKey>,
    operations: usize,
}

/// A session's knowledge of one item.
#[derive(Debug, Default)]
struct Seen {
    token: Option<String>,
    /// The version that the session saw last.
    version: u64,
    /// The minimum version for a read with the token, apart from the version of `command`.
    floor: u64,
    /// The command that the token names, until its outcome is known.
    command: Option<CommandId>,
    /// The latest ordered command that the token covers, until its outcome is known.
    ordered: Option<CommandId>,
    /// Whether the session knows that the item was created.
    created: bool,
}

/// A command that a client sends once or several times.
struct Sent {
    request: Request<Asked>,
    kind: Kind,
    operation: usize,
    /// The minimum version that the answer's token must demand.
    floor: u64,
    /// The time of acceptance in the token that the command carries.
    after: Option<Timestamp>,
    is_ordered: bool,
    /// Whether the token belongs to an item of another resource. Then the service must refuse it.
    is_astray: bool,
}

/// Returns the precondition headers of a write, for the version that the session saw last.
fn preconditions(precondition: Precondition, version: u64) -> (ExpectedVersion, Option<Excluded>) {
    match precondition {
        Precondition::Seen if version > 0 => (ExpectedVersion::Version(version), None),
        Precondition::Ahead => (ExpectedVersion::Version(version + 1), None),
        Precondition::Exists => (ExpectedVersion::Exists, None),
        Precondition::NotAny => (ExpectedVersion::Any, Some(Excluded::Any)),
        Precondition::NotSeen if version > 0 => (ExpectedVersion::Any, Some(Excluded::Versions(vec![version]))),
        Precondition::Seen | Precondition::NotSeen | Precondition::None => (ExpectedVersion::Any, None),
    }
}

impl Client {
    pub(crate) fn new(service: Arc<Service>, number: usize, session: &Session) -> Option<Self> {
        let tenant = service.world.tenants.get(usize::from(session.tenant))?.clone();
        Some(Self {
            service,
            number,
            tenant_number: session.tenant,
            tenant,
            seen: BTreeMap::new(),
            latest: None,
            latest_item: None,
            operations: 0,
        })
    }

    pub(crate) async fn run(mut self, session: Session) {
        for step in session.steps {
            match step {
                Step::Write(write) => self.write(&write).await,
                Step::Read { item, token, lenient } => self.read(item, token, lenient).await,
                Step::ReadForeign { item } => self.read_foreign(item).await,
                Step::ReadAsOther { item, other, token } => self.read_as_other(item, other, token).await,
                Step::List { item } => self.list(item).await,
                Step::Status => self.status().await,
                Step::Pass(ms) => sleep(Duration::from_millis(ms)).await,
            }
        }
    }

    fn world(&self) -> &World {
        &self.service.world
    }

    fn violated(&self, invariant: Invariant, detail: String) {
        self.world().history.violated(invariant, detail);
    }

    fn key(&self, kind: Kind, id: AggregateId) -> AggregateKey {
        AggregateKey { kind, tenant: self.tenant.clone(), id }
    }

    /// Returns the item with this number, if the client knows it.
    fn known(&self, item: u8) -> Option<AggregateKey> {
        let id = self.service.item(self.tenant_number, item)?;
        Some(self.key(resources::of_item(item).kind(), id))
    }

    fn token(&self, of: &AggregateKey) -> Option<String> {
        self.seen.get(of).and_then(|seen| seen.token.clone())
    }

    fn prepare(&mut self, write: &Write) -> Sent {
        self.operations += 1;
        let creates = matches!(write.change, Change::Create(_));
        let other = if creates { 0 } else { write.as_other };
        let (own, resource) = (resources::of_item(write.item), resources::of_item(write.item.wrapping_add(other)));
        let (kind, description) = (resource.kind(), resource.description());
        let number = self.number as u64 * 1_000 + self.operations as u64;
        let asked = Asked::of(&description, &write.change, number);
        // If the item is unknown, the client makes up an id.
        let made_up = || AggregateId::generate(self.world().now());
        let aggregate = (!creates).then(|| self.service.item(self.tenant_number, write.item).unwrap_or_else(made_up));
        // A create follows the session's latest command.
        let session = aggregate.map(|id| self.key(own.kind(), id)).or_else(|| self.latest_item.clone());
        let session = session.and_then(|key| self.seen.get(&key)).filter(|_| write.token);
        let token = session.and_then(|seen| seen.token.clone());
        let is_ordered = resource.is_ordered(&asked);
        let pending = session.filter(|_| is_ordered).map(|seen| [seen.command, seen.ordered]);
        let seen = aggregate.and_then(|id| self.seen.get(&self.key(kind, id)));
        let (expected, excluded) = preconditions(write.precondition, seen.map_or(0, |seen| seen.version));
        let operation = Operation {
            kind,
            asked: asked.clone(),
            expected,
            excluded: excluded.clone(),
            created: seen.is_some_and(|seen| seen.created),
            in_session: token.is_some(),
            after: pending.into_iter().flatten().flatten().collect(),
        };
        Sent {
            kind,
            operation: self.world().history.begins(operation),
            floor: seen.map_or(0, |seen| seen.floor),
            after: token.as_ref().and_then(|token| self.open(None, token).ok()?.accepted_at),
            is_ordered,
            is_astray: token.is_some() && own.kind() != kind,
            request: Request {
                tenant: self.tenant.clone(),
                subject: "client".parse().unwrap_or_else(|_| unreachable!("a plain word is a subject")),
                method: asked.operation.method(),
                path: description.path_of(asked.operation, aggregate),
                idempotency_key: write.keyed.then(|| format!("{}-{}", self.number, self.operations)),
                aggregate,
                expected,
                excluded,
                token,
                traceparent: None,
                command: asked,
            },
        }
    }

    async fn write(&mut self, write: &Write) {
        let sent = self.prepare(write);
        let tries = if write.keyed { TRIES_MAX } else { 1 };
        let mut first: Option<SubmitAnswer> = None;
        for attempt in 0..tries {
            match self.submit(&sent, write).await {
                Some(Ok(_)) if sent.is_astray => {
                    return self
                        .violated(Invariant::KindsApart, format!("{:?} was taken with its token", sent.request));
                }
                Some(Ok(receipt)) => {
                    self.acknowledged(write, &sent, &receipt, first.as_ref());
                    let again = write.repeated && first.is_none();
                    first = first.or(Some(receipt));
                    if !again {
                        return;
                    }
                    sleep(Duration::from_millis(write.repeated_after_ms)).await;
                }
                Some(Err(SubmitError::Token(TokenError::Expired))) => return,
                Some(Err(SubmitError::Token(TokenError::OtherAggregate))) if sent.is_astray => return,
                Some(Err(error @ (SubmitError::Token(_) | SubmitError::KeyReused | SubmitError::TooLarge))) => {
                    return self.violated(Invariant::SameRetry, format!("{:?} was refused: {error}", sent.request));
                }
                Some(Err(SubmitError::Port(_) | SubmitError::Apply(_) | SubmitError::PredecessorPending)) | None => {
                    sleep(Duration::from_millis(200 << attempt)).await;
                }
            }
        }
    }

    async fn submit(&self, sent: &Sent, write: &Write) -> Option<Result<SubmitAnswer, SubmitError>> {
        let preference =
            Preference { respond_async: write.respond_async, wait_until: write.waits.then(|| Instant::now() + WAIT) };
        let submit = async |writer: &Writer| writer.of(sent.kind).take_in(&sent.request, preference).await;
        self.service.writers.invoke(Some(sent.operation), submit).await
    }

    fn acknowledged(&mut self, write: &Write, sent: &Sent, receipt: &SubmitAnswer, first: Option<&SubmitAnswer>) {
        let key = self.key(sent.kind, receipt.aggregate);
        if let Some(first) = first {
            self.check_repetition(sent, first, receipt);
        }
        let Some(command) = self.world().keys.verify_command(&self.tenant, &receipt.command) else {
            return self.violated(Invariant::EndsOnce, "the command's identity is not genuine".to_owned());
        };
        if let Some(taken) = self.world().history.lock().commands.get_mut(&command) {
            taken.acknowledged = true;
        } else {
            self.violated(Invariant::EndsOnce, format!("{command} was acknowledged, but never taken in"));
        }
        let Some(token) = self.open_given(&key, &receipt.token) else { return };
        self.latest = Some(receipt.command.clone());
        if sent.request.aggregate.is_none() {
            let mut items = self.service.items.lock().unwrap_or_else(PoisonError::into_inner);
            items.insert((self.tenant_number, write.item), receipt.aggregate);
        }
        if sent.request.token.is_some() && token.floor < sent.floor {
            self.violated(Invariant::SessionOrder, format!("the token of {command} forgets what its session had seen"));
        }
        // A retry keeps the stamp of the first request.
        if first.is_none() && !receipt.replayed && sent.after.is_some() && token.accepted_at <= sent.after {
            self.violated(Invariant::SessionOrder, format!("{command} was stamped before what its session had sent"));
        }
        self.remember(&key, sent, receipt, command);
        if let Some(result) = &receipt.result {
            self.check_result(&key, command, result);
        }
    }

    /// Remembers the answer's token and the commands that it covers. Skips them if the command came without the session's token.
    fn remember(&mut self, key: &AggregateKey, sent: &Sent, receipt: &SubmitAnswer, command: CommandId) {
        let in_session = sent.request.token.is_some();
        let seen = self.seen.entry(key.clone()).or_default();
        seen.created |= sent.request.aggregate.is_none();
        if in_session || seen.token.is_none() {
            let pending = receipt.result.is_none().then_some(command);
            seen.command = pending;
            if sent.is_ordered {
                seen.ordered = pending;
            }
            seen.token = Some(receipt.token.clone());
            // If the request had no token, the new token does not include the versions that the session saw. A retry sends the
            // same token as the first request, so it does not include the first answer.
            let reported = receipt.result.as_ref().and_then(|result| result.status.version());
            seen.floor = if in_session { sent.floor } else { 0 }.max(reported.unwrap_or_default());
        }
        self.latest_item = Some(key.clone());
    }

    /// Checks that a retry gets the same command, the same item and the same stamp. It does not check that the answer is marked as
    /// a replay. If two environments happen to give both requests the same stamp, the second cannot see the difference.
    fn check_repetition(&self, sent: &Sent, first: &SubmitAnswer, receipt: &SubmitAnswer) {
        let identity = |receipt: &SubmitAnswer| (receipt.command.clone(), receipt.aggregate);
        let stamp = |receipt: &SubmitAnswer| {
            self.open_given(&self.key(sent.kind, receipt.aggregate), &receipt.token).and_then(|token| token.accepted_at)
        };
        if identity(first) != identity(receipt) || stamp(first) != stamp(receipt) {
            let detail = format!("{:?} was answered {first:?}, then {receipt:?}", sent.request.idempotency_key);
            self.violated(Invariant::SameRetry, detail);
        }
    }

    fn check_result(&self, key: &AggregateKey, command: CommandId, result: &WriteResult) {
        let version = result.current.as_ref().map_or(0, |view| view.version);
        let reported = result.status.version().unwrap_or_default();
        if !is_final(&result.status) {
            self.violated(Invariant::EndsOnce, format!("{command} was reported to have ended as {:?}", result.status));
        }
        if result.current.is_some() && version < reported {
            self.violated(Invariant::SessionOrder, format!("{command} made {reported}, but {version} was shown"));
        }
        if let Some(view) = &result.current {
            self.check_written(key, view.version, view.body.as_ref());
        }
    }

    fn check_written(&self, key: &AggregateKey, version: u64, body: Option<&bytes::Bytes>) {
        let mut events = self.world().history.lock();
        events.reads += 1;
        let written = events.versions.get(key).and_then(|versions| versions.get(&version));
        let fits = match written {
            Some(written) => written.view.as_ref() == body,
            None => version == 0 && body.is_none(),
        };
        if !fits {
            let body = body.map(|body| String::from_utf8_lossy(body).into_owned());
            events.violated(Invariant::OnlyWhatWasWritten, format!("{key} was read at version {version}: {body:?}"));
        }
    }

    fn open(&self, of: Option<&AggregateKey>, text: &str) -> Result<Token, TokenError> {
        Token::open(&self.world().keys, &self.tenant, of.map(|key| (key.kind, key.id)), self.world().now(), text)
    }

    /// Opens a token that the service returned for an item.
    fn open_given(&self, key: &AggregateKey, text: &str) -> Option<Token> {
        let token = self.open(Some(key), text);
        if token.is_err() {
            self.violated(Invariant::SessionOrder, format!("a token for {key} was given out that is none"));
        }
        token.ok()
    }

    async fn get(
        &self,
        key: &AggregateKey,
        token: Option<&str>,
        lenient: bool,
    ) -> Option<Result<ReadAnswer, QueryError>> {
        let deadline = Instant::now() + REQUEST_TIMEOUT.mul_f64(0.8);
        let request = ReadRequest { key: key.clone(), token, named: 0, lenient, deadline };
        let get = async |reader: &Reader| reader.of(key.kind).queries.get(&request).await;
        self.service.readers.invoke(None, get).await
    }

    async fn read(&mut self, item: u8, with_token: bool, lenient: bool) {
        let Some(key) = self.known(item) else { return };
        let token = self.token(&key).filter(|_| with_token);
        let began = Instant::now();
        let answer = match self.get(&key, token.as_deref(), lenient).await {
            Some(Ok(answer)) => answer,
            Some(Err(QueryError::Token(TokenError::Expired))) => return drop(self.seen.remove(&key)),
            Some(Err(QueryError::Token(error))) => {
                return self.violated(Invariant::SessionOrder, format!("a token was refused: {error}"));
            }
            Some(Err(_)) | None => return,
        };
        self.check_written(&key, answer.view.version, answer.view.body.as_ref());
        match token {
            Some(_) => self.check_floor(&key, &answer, began, lenient).await,
            None => self.check_staleness(&key, answer.view.version, began),
        }
        let seen = self.seen.entry(key).or_default();
        seen.version = answer.view.version;
        if token.is_some() && !answer.stale {
            seen.floor = seen.floor.max(answer.view.version);
            // The answer reveals the outcome of the command in the old token.
            seen.ordered = seen.ordered.filter(|ordered| seen.command != Some(*ordered));
            seen.command = None;
            seen.token = Some(answer.token);
        } else if token.is_none() && seen.token.is_none() {
            seen.floor = answer.view.version;
            seen.token = Some(answer.token);
        }
    }

    /// Checks that a read with a token is as new as the token demands, or is marked as stale.
    async fn check_floor(&self, key: &AggregateKey, answer: &ReadAnswer, began: Instant, lenient: bool) {
        let Some(seen) = self.seen.get(key) else { return };
        let mut floor = seen.floor;
        let mut known = true;
        if let Some(command) = seen.command {
            let status = self.record(command).await.map(|record| record.status);
            known = status.as_ref().is_some_and(|status| *status != CommandStatus::Pending);
            // A command that still counted as failed when the read began demands nothing.
            let had_failed = self.world().history.lock().revived.get(&command).is_some_and(|at| *at >= began);
            let version = status.filter(|_| !had_failed).and_then(|status| status.version());
            floor = floor.max(version.unwrap_or_default());
        }
        let is_old = answer.view.version < floor || !known;
        if is_old && !(lenient && answer.stale) {
            let detail = format!(
                "{key}: {} was read where {floor} was due (the outcome was known: {known})",
                answer.view.version
            );
            self.violated(Invariant::SessionOrder, detail);
        }
    }

    /// Checks that a read without a token is not staler than the caches and replication allow.
    fn check_staleness(&self, key: &AggregateKey, version: u64, began: Instant) {
        let world = self.world();
        // If the read store's answer is slow or lost, only the redelivery updates the cache.
        let faults = &world.setup.faults;
        let at_once = world.cache_is_told() && faults.slowness == 0 && faults.lost_responses == 0;
        let bound = if at_once { STALE_MAX_WHEN_TOLD } else { STALE_MAX };
        let events = world.history.lock();
        let deployment = world.deployments.latest();
        let replaced_at = if deployment.row.reads_from == Source::ReadStore {
            // With two read stores, the read may have used the one that was updated later, or not yet. If a projection into one of
            // them fails, its message may wait among the dead letters.
            let replaced_in = |projection| {
                let log = events.views.get(&(projection, key.clone())).map(Vec::as_slice).unwrap_or_default();
                log.iter().find(|(_, view)| view.version > version).map(|(at, _)| *at)
            };
            let replaced_in_each: Option<Vec<_>> = deployment.written().map(replaced_in).collect();
            replaced_in_each.and_then(|times| times.into_iter().max())
        } else {
            let newer = events.versions.get(key).and_then(|versions| versions.range(version + 1..).next());
            newer.map(|(_, version)| version.stored_at)
        };
        drop(events);
        if let Some(stale) = replaced_at.and_then(|at| began.checked_duration_since(at)).filter(|stale| *stale > bound)
        {
            let detail = format!("{key}: {version} was read {} s after it was replaced", stale.as_secs());
            self.violated(Invariant::BoundedStaleness, detail);
        }
    }

    async fn read_foreign(&self, item: u8) {
        let Some(id) = self.service.item(1 - self.tenant_number.min(1), item) else { return };
        let key = self.key(resources::of_item(item).kind(), id);
        let Some(Ok(answer)) = self.get(&key, None, false).await else { return };
        if answer.view.version != 0 || answer.view.body.is_some() {
            self.violated(Invariant::TenantsApart, format!("{} read another tenant's {id}", self.tenant));
        }
    }

    /// Reads an item under another resource. Checks that no item is found, and that the item's token is refused.
    async fn read_as_other(&self, item: u8, other: u8, with_token: bool) {
        let other = item.wrapping_add(other);
        let (Some(own), kind) = (self.known(item), resources::of_item(other).kind()) else { return };
        if own.kind == kind {
            return;
        }
        let token = self.token(&own).filter(|_| with_token);
        let key = self.key(kind, own.id);
        match self.get(&key, token.as_deref(), false).await {
            Some(Ok(_)) if token.is_some() => {
                self.violated(Invariant::KindsApart, format!("{key} was read with a token of {own}"));
            }
            Some(Ok(answer)) if answer.view.version != 0 || answer.view.body.is_some() => {
                self.violated(Invariant::KindsApart, format!("{key} was read as {}", answer.view.version));
            }
            _ => {}
        }
        if let (Some(known), Some(_)) = (self.known(other), &token)
            && let Some(Ok(_)) = self.get(&known, token.as_deref(), false).await
        {
            self.violated(Invariant::KindsApart, format!("{known} was read with a token of {own}"));
        }
    }

    /// Reads the first page of a resource's list, and the same list of each other resource. Checks that a page holds only items of
    /// its kind, and that a cursor is refused for another kind.
    async fn list(&self, item: u8) {
        let own = resources::of_item(item);
        let Some(scope) = own.list_of_all() else { return };
        let look = async |reader: &Reader| {
            let page = self.page(reader, &scope, None).await.ok()?;
            let (mut pages, mut crossed) = (Vec::new(), None);
            for kind in resources::all().iter().map(|resource| resource.kind()).filter(|kind| *kind != own.kind()) {
                let scope = ListScope { kind, ..scope.clone() };
                pages.extend(self.page(reader, &scope, None).await.ok().map(|page| (kind, page)));
                if page.next_cursor.is_some() && self.page(reader, &scope, page.next_cursor.as_deref()).await.is_ok() {
                    crossed = Some(kind);
                }
            }
            pages.push((own.kind(), page));
            Some((pages, crossed))
        };
        let Some((pages, crossed)) = self.service.readers.invoke(None, look).await.flatten() else { return };
        for (kind, page) in pages {
            self.check_page(kind, &page);
        }
        if let Some(kind) = crossed {
            self.violated(Invariant::KindsApart, format!("a cursor of {} was taken for a list of {kind}", own.kind()));
        }
    }

    async fn page(&self, reader: &Reader, scope: &ListScope, cursor: Option<&str>) -> Result<PageAnswer, QueryError> {
        let request = ListRequest { scope: scope.clone(), tenant: &self.tenant, cursor, limit: 1 };
        reader.of(scope.kind).lists.page(&request).await
    }

    fn check_page(&self, kind: Kind, page: &PageAnswer) {
        let mut events = self.world().history.lock();
        for id in listed(&page.body) {
            let key = id.parse().ok().map(|id| self.key(kind, id));
            if !key.is_some_and(|key| events.versions.contains_key(&key)) {
                let detail = format!("{id} is listed as {kind} for {}", self.tenant);
                events.violated(Invariant::KindsApart, detail);
            }
        }
    }

    async fn status(&self) {
        let Some(command) = &self.latest else { return };
        let look = async |reader: &Reader| reader.commands.get(&self.tenant, command).await;
        match self.service.readers.invoke(None, look).await {
            Some(Ok(None)) => self.violated(Invariant::EndsOnce, format!("{command} is unknown")),
            Some(Ok(Some(CommandState::Recorded(record)))) if is_final(&record.status) => {
                // The stored record must be the record that the client saw.
                if self.record(record.key.command).await.as_ref() != Some(&record) {
                    self.violated(Invariant::EndsOnce, format!("{command} was shown as {:?}", record.status));
                }
            }
            Some(Ok(Some(_)) | Err(_)) | None => {}
        }
    }

    async fn record(&self, command: CommandId) -> Option<CommandRecord> {
        let key = RecordKey { tenant: self.tenant.clone(), command };
        self.world().stores.records().get(&key).await.ok().flatten()
    }
}
