//! What clients do, and what they check of each answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kernel::domain::Domain;
use kernel::envelope::{Excluded, Expected};
use kernel::ids::{AggregateId, AggregateKey, CommandId, Tenant};
use kernel::ingest::{Ingest, Message};
use kernel::ports::RecordReader;
use kernel::query::{Answer, QueryError, ReadRequest};
use kernel::record::{CommandRecord, CommandStatus, RecordKey};
use kernel::submit::{Known, Outcome, Preference, Receipt, Request, SubmitError, Submitter};
use kernel::token::{Token, TokenError};
use service::stages::Source;
use tokio::time::{Instant, sleep};
use users::field::{Email, Name, Status};
use users::{Details, Patch, User, UserCommand};

use crate::functions::{self, INGEST_TIMEOUT, Pool, REQUEST_TIMEOUT, Reader};
use crate::history::{Invariant, Operation, is_final, user_key};
use crate::plan::{Change, Precondition, Session, Step, Write};
use crate::queue::Received;
use crate::world::World;

/// How often a keyed command is tried.
const TRIES_MAX: u32 = 4;
/// How long a client that waits does so.
const WAIT: Duration = Duration::from_secs(3);
/// How stale a read without a token may be: memory, shared cache, replication, and what is slow in between.
const STALE_MAX: Duration = Duration::from_secs(2 + 360 + 15);
/// The same where no failure keeps the shared cache from being told.
const STALE_MAX_WHEN_TOLD: Duration = Duration::from_secs(2 + 15);

/// All functions of a run.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) world: Arc<World>,
    pub(crate) readers: Pool<Reader>,
    pub(crate) writers: Pool<Submitter<User>>,
    pub(crate) ingesters: Pool<Ingest>,
    /// Who is meant by a user's number, by tenant.
    users: Mutex<BTreeMap<(u8, u8), AggregateId>>,
}

impl Service {
    pub(crate) fn new(world: &Arc<World>) -> Arc<Self> {
        Arc::new(Self {
            world: world.clone(),
            readers: Pool::new(world, REQUEST_TIMEOUT, functions::reader),
            writers: Pool::new(world, REQUEST_TIMEOUT, functions::writer),
            ingesters: Pool::new(world, INGEST_TIMEOUT, functions::ingest),
            users: Mutex::default(),
        })
    }

    fn user(&self, tenant: u8, user: u8) -> Option<AggregateId> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner).get(&(tenant, user)).copied()
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
    seen: BTreeMap<AggregateId, Seen>,
    latest: Option<String>,
    operations: usize,
}

/// What a session knows of one user.
#[derive(Debug, Default)]
struct Seen {
    token: Option<String>,
    /// The version seen last.
    version: u64,
    /// The least that a read with the token must return, besides what the token's command made.
    floor: u64,
    command: Option<CommandId>,
    /// Whether the user is known to have been created.
    created: bool,
    /// When the session's latest command with a token was accepted.
    accepted_at: Option<kernel::clock::Timestamp>,
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
            operations: 0,
        })
    }

    pub(crate) async fn run(mut self, session: Session) {
        for step in session.steps {
            match step {
                Step::Write(write) => self.write(&write).await,
                Step::Read { user, token, lenient } => self.read(user, token, lenient).await,
                Step::ReadForeign { user } => self.read_foreign(user).await,
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

    fn command(&self, change: &Change) -> UserCommand {
        // Every name is told apart from all others, so that a read shows whose it is.
        let name =
            || Name::try_from(format!("{} client {} operation {}", self.tenant, self.number, self.operations)).ok();
        let email = |number: &u8| Email::try_from(format!("e{number}@{}.example", self.tenant)).ok();
        let details = |number: &u8| Some(Details { name: name()?, email: email(number)?, status: Status::Active });
        let command = match change {
            Change::Create(number) => details(number).map(UserCommand::Create),
            Change::Replace(number) => details(number).map(UserCommand::Replace),
            Change::Rename => Some(UserCommand::Update(Patch { name: name(), ..Patch::default() })),
            Change::Readdress(number) => Some(UserCommand::Update(Patch { email: email(number), ..Patch::default() })),
            Change::Suspend(suspend) => {
                let status = if *suspend { Status::Suspended } else { Status::Active };
                Some(UserCommand::Update(Patch { status: Some(status), ..Patch::default() }))
            }
            Change::Delete => Some(UserCommand::Delete),
        };
        command.unwrap_or(UserCommand::Delete)
    }

    fn request(&mut self, write: &Write) -> (Request<UserCommand>, usize) {
        self.operations += 1;
        let command = self.command(&write.change);
        // An unknown user is one that a client made up.
        let made_up = || AggregateId::generate(self.world().now());
        let aggregate = (!User::creates(&command))
            .then(|| self.service.user(self.tenant_number, write.user).unwrap_or_else(made_up));
        let seen = aggregate.and_then(|id| self.seen.get(&id));
        let version = seen.map_or(0, |seen| seen.version);
        let expected = match write.precondition {
            Precondition::Seen if version > 0 => Expected::Version(version),
            Precondition::Ahead => Expected::Version(version + 1),
            Precondition::Exists => Expected::Exists,
            Precondition::Seen | Precondition::NotAny | Precondition::NotSeen | Precondition::None => Expected::Unsaid,
        };
        let excluded = match write.precondition {
            Precondition::NotAny => Some(Excluded::Any),
            Precondition::NotSeen if version > 0 => Some(Excluded::Versions(vec![version])),
            _ => None,
        };
        let created = seen.is_some_and(|seen| seen.created);
        let token = seen.and_then(|seen| seen.token.clone()).filter(|_| write.token);
        let operation = Operation {
            command: command.clone(),
            expected,
            excluded: excluded.clone(),
            created,
            in_session: token.is_some(),
        };
        let request = Request {
            tenant: self.tenant.clone(),
            subject: "client".parse().unwrap_or_else(|_| unreachable!("a plain word is a subject")),
            method: "PUT",
            path: aggregate.map_or("/users".to_owned(), |id| format!("/users/{id}")),
            idempotency_key: write.keyed.then(|| format!("{}-{}", self.number, self.operations)),
            aggregate,
            expected,
            excluded,
            token,
            traceparent: None,
            command,
        };
        (request, self.world().history.begins(operation))
    }

    async fn write(&mut self, write: &Write) {
        let (request, operation) = self.request(write);
        let tries = if write.keyed { TRIES_MAX } else { 1 };
        let mut first: Option<Receipt> = None;
        let floor = request.aggregate.and_then(|id| self.seen.get(&id)).map_or(0, |seen| seen.floor);
        for attempt in 0..tries {
            match self.submit(&request, operation, write).await {
                Some(Ok(receipt)) => {
                    self.acknowledged(write, &request, &receipt, first.as_ref(), floor);
                    let again = write.repeated && first.is_none();
                    first = first.or(Some(receipt));
                    if !again {
                        return;
                    }
                    sleep(Duration::from_millis(write.repeated_after_ms)).await;
                }
                Some(Err(SubmitError::Token(TokenError::Expired))) => return,
                Some(Err(error @ (SubmitError::Token(_) | SubmitError::KeyReused | SubmitError::TooLarge))) => {
                    return self.violated(Invariant::SameRetry, format!("{request:?} was refused: {error}"));
                }
                Some(Err(SubmitError::Port(_) | SubmitError::Apply(_))) | None => {
                    sleep(Duration::from_millis(200 << attempt)).await;
                }
            }
        }
    }

    async fn submit(
        &self,
        request: &Request<UserCommand>,
        operation: usize,
        write: &Write,
    ) -> Option<Result<Receipt, SubmitError>> {
        let preference =
            Preference { respond_async: write.respond_async, wait_until: write.waits.then(|| Instant::now() + WAIT) };
        let again = Request {
            tenant: request.tenant.clone(),
            subject: request.subject.clone(),
            path: request.path.clone(),
            idempotency_key: request.idempotency_key.clone(),
            excluded: request.excluded.clone(),
            token: request.token.clone(),
            traceparent: request.traceparent.clone(),
            command: request.command.clone(),
            ..*request
        };
        let submit = async |submitter: &Submitter<User>| submitter.submit(again, preference).await;
        self.service.writers.invoke(Some(operation), submit).await
    }

    fn acknowledged(
        &mut self,
        write: &Write,
        request: &Request<UserCommand>,
        receipt: &Receipt,
        first: Option<&Receipt>,
        floor: u64,
    ) {
        if let Some(first) = first {
            self.check_repetition(request, first, receipt);
        }
        let Some(command) = self.world().keys.verify_command(&self.tenant, &receipt.command) else {
            return self.violated(Invariant::EndsOnce, "the command's identity is not genuine".to_owned());
        };
        if let Some(taken) = self.world().history.lock().commands.get_mut(&command) {
            taken.acknowledged = true;
        } else {
            self.violated(Invariant::EndsOnce, format!("{command} was acknowledged, but never taken in"));
        }
        let Some(token) = self.open(receipt.aggregate, &receipt.token) else { return };
        self.latest = Some(receipt.command.clone());
        if request.aggregate.is_none() {
            let mut users = self.service.users.lock().unwrap_or_else(PoisonError::into_inner);
            users.insert((self.tenant_number, write.user), receipt.aggregate);
        }
        let key = user_key(&self.tenant, receipt.aggregate);
        let seen = self.seen.entry(receipt.aggregate).or_default();
        seen.created |= request.aggregate.is_none();
        let goes_back = match request.token {
            // A repetition is stamped as the first one was.
            Some(_) if first.is_none() && !receipt.replayed => {
                token.accepted_at <= seen.accepted_at && seen.accepted_at.is_some()
            }
            _ => false,
        };
        let forgets = request.token.is_some() && token.floor < floor;
        if request.token.is_some() || seen.token.is_none() {
            seen.accepted_at = seen.accepted_at.max(token.accepted_at);
            seen.command = token.command;
            seen.token = Some(receipt.token.clone());
            // Without the token along, what the session had seen is not in the new one. A repetition sends the same token
            // along as the first one, from before its answer.
            seen.floor = if request.token.is_some() { floor } else { 0 };
            let told = receipt.outcome.as_ref().and_then(|outcome| outcome.status.version());
            seen.floor = seen.floor.max(told.unwrap_or_default());
        }
        if forgets {
            self.violated(Invariant::SessionOrder, format!("the token of {command} forgets what its session had seen"));
        }
        if goes_back {
            self.violated(Invariant::SessionOrder, format!("{command} was stamped before what its session had sent"));
        }
        if let Some(outcome) = &receipt.outcome {
            self.check_outcome(&key, command, outcome);
        }
    }

    /// The same command, for the same user, with the same stamp. That it is marked as a repetition is not checked here:
    /// where two environments happen to stamp both alike, the second cannot tell itself from the first.
    fn check_repetition(&self, request: &Request<UserCommand>, first: &Receipt, receipt: &Receipt) {
        let told = |receipt: &Receipt| (receipt.command.clone(), receipt.aggregate);
        let stamp =
            |receipt: &Receipt| self.open(receipt.aggregate, &receipt.token).and_then(|token| token.accepted_at);
        if told(first) != told(receipt) || stamp(first) != stamp(receipt) {
            let detail = format!("{:?} was answered {first:?}, then {receipt:?}", request.idempotency_key);
            self.violated(Invariant::SameRetry, detail);
        }
    }

    fn check_outcome(&self, key: &AggregateKey, command: CommandId, outcome: &Outcome) {
        let version = outcome.current.as_ref().map_or(0, |view| view.version);
        let told = outcome.status.version().unwrap_or_default();
        if !is_final(&outcome.status) {
            self.violated(Invariant::EndsOnce, format!("{command} was told to have ended as {:?}", outcome.status));
        }
        if outcome.current.is_some() && version < told {
            self.violated(Invariant::SessionOrder, format!("{command} made {told}, but {version} was shown"));
        }
        if let Some(view) = &outcome.current {
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

    fn open(&self, aggregate: AggregateId, text: &str) -> Option<Token> {
        let token =
            Token::open(&self.world().keys, &self.tenant, Some((User::KIND, aggregate)), self.world().now(), text);
        if token.is_err() {
            self.violated(Invariant::SessionOrder, format!("a token for {aggregate} was given out that is none"));
        }
        token.ok()
    }

    async fn get(&self, key: &AggregateKey, token: Option<&str>, lenient: bool) -> Option<Result<Answer, QueryError>> {
        let deadline = Instant::now() + REQUEST_TIMEOUT.mul_f64(0.8);
        let request = ReadRequest { key: key.clone(), token, named: 0, lenient, deadline };
        self.service.readers.invoke(None, async |reader: &Reader| reader.queries.get(&request).await).await
    }

    async fn read(&mut self, user: u8, with_token: bool, lenient: bool) {
        let Some(id) = self.service.user(self.tenant_number, user) else { return };
        let key = user_key(&self.tenant, id);
        let token = self.seen.get(&id).and_then(|seen| seen.token.clone()).filter(|_| with_token);
        let began = Instant::now();
        let answer = match self.get(&key, token.as_deref(), lenient).await {
            Some(Ok(answer)) => answer,
            Some(Err(QueryError::Token(TokenError::Expired))) => return drop(self.seen.remove(&id)),
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
        let seen = self.seen.entry(id).or_default();
        seen.version = answer.view.version;
        if token.is_some() && !answer.stale {
            seen.floor = seen.floor.max(answer.view.version);
            seen.command = None;
            seen.token = Some(answer.token);
        } else if token.is_none() && seen.token.is_none() {
            seen.floor = answer.view.version;
            seen.token = Some(answer.token);
        }
    }

    /// A read with a token is as new as the token demands, or says that it is not.
    async fn check_floor(&self, key: &AggregateKey, answer: &Answer, began: Instant, lenient: bool) {
        let Some(seen) = self.seen.get(&key.id) else { return };
        let mut floor = seen.floor;
        let mut known = true;
        if let Some(command) = seen.command {
            let status = self.record(command).await.map(|record| record.status);
            known = status.as_ref().is_some_and(|status| *status != CommandStatus::Pending);
            // Nothing is due of what had failed when the read looked.
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

    /// A read without a token is behind by what the tiers may keep.
    fn check_staleness(&self, key: &AggregateKey, version: u64, began: Instant) {
        let world = self.world();
        // A slow or lost answer of the read store lets the cache be told by the redelivery only.
        let faults = &world.setup.faults;
        let at_once = world.cache_is_told() && faults.slowness == 0 && faults.lost_responses == 0;
        let bound = if at_once { STALE_MAX_WHEN_TOLD } else { STALE_MAX };
        let events = world.history.lock();
        let deployment = world.deployments.latest();
        let replaced_at = if deployment.row.reads_from == Source::ReadStore {
            // Of two read stores it may have been the one that was written later, or not yet: what could not be projected
            // into one of them waits among the dead letters.
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

    async fn read_foreign(&self, user: u8) {
        let Some(id) = self.service.user(1 - self.tenant_number.min(1), user) else { return };
        let Some(Ok(answer)) = self.get(&user_key(&self.tenant, id), None, false).await else { return };
        if answer.view.version != 0 || answer.view.body.is_some() {
            self.violated(Invariant::TenantsApart, format!("{} read another tenant's {id}", self.tenant));
        }
    }

    async fn status(&self) {
        let Some(command) = &self.latest else { return };
        let look = async |reader: &Reader| reader.commands.get(&self.tenant, command).await;
        match self.service.readers.invoke(None, look).await {
            Some(Ok(None)) => self.violated(Invariant::EndsOnce, format!("{command} is unknown")),
            Some(Ok(Some(Known::Record(record)))) if is_final(&record.status) => {
                // The record that was shown is the one that is kept.
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
