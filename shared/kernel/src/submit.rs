//! Accepts commands: gives each its identity and its stamp, then queues it or applies it at once.

use std::marker::PhantomData;
use std::sync::Arc;

use tokio::time::Instant;

use crate::aggregate::Aggregate;
use crate::apply::{Applier, ApplyError, CommandResult};
use crate::backoff::Backoff;
use crate::clock::{Clock, StampClock, Timestamp};
use crate::domain::Domain;
use crate::envelope::{Envelope, Excluded, ExpectedVersion, schema_of};
use crate::ids::{AggregateId, AggregateKey, CommandId, Stamp, Subject, Tenant};
use crate::ports::{
    CachedView, CommandQueue, Consistency, OutgoingMessage, PortError, RecordWriter, SendError, ViewReader,
};
use crate::project::Projector;
use crate::projection::Projection;
use crate::query::CONSISTENCY_WAIT_MAX;
use crate::record::{CommandRecord, CommandStatus, Fingerprint};
use crate::seal::KeyRing;
use crate::token::{Token, TokenError};

/// A validated command, as a client sent it.
#[derive(Debug)]
pub struct Request<C> {
    /// The tenant that owns the aggregate.
    pub tenant: Tenant,
    /// The sender.
    pub subject: Subject,
    /// The HTTP method.
    pub method: &'static str,
    /// The concrete path.
    pub path: String,
    /// The client's idempotency key (draft-ietf-httpapi-idempotency-key-header).
    pub idempotency_key: Option<String>,
    /// The aggregate; `None` if the command creates one.
    pub aggregate: Option<AggregateId>,
    /// The version that the command builds on.
    pub expected: ExpectedVersion,
    /// The versions that the command must not find.
    pub excluded: Option<Excluded>,
    /// The client's consistency token. The command's stamp is later than the commands that the session has sent before.
    pub token: Option<String>,
    /// The trace of the request: a W3C `traceparent`.
    pub traceparent: Option<String>,
    /// The command.
    pub command: C,
}

/// The answer to a command.
#[derive(Debug)]
pub struct SubmitAnswer {
    /// The public form of the command's id.
    pub command: String,
    /// The aggregate that the command is for.
    pub aggregate: AggregateId,
    /// The token for the client's next request. It names the command, or the version in its result.
    pub token: String,
    /// Whether an earlier request under the same idempotency key has a record.
    pub replayed: bool,
    /// The result, if it is known.
    pub result: Option<WriteResult>,
}

/// The result of a command, with the current representation of its aggregate.
#[derive(Debug)]
pub struct WriteResult {
    /// Applied, rejected or superseded.
    pub status: CommandStatus,
    /// The projection of the current representation.
    pub projection: Projection,
    /// The current representation; `None` if the aggregate does not exist now.
    pub current: Option<CachedView>,
}

/// The error of a submission.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The client's token is invalid. Report it to the client.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// An earlier request had the same idempotency key and another content. The client must use another key.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The command's predecessor may still be in the queue, and this deployment cannot queue the command behind it. The command was
    /// not accepted. The client should send it again.
    #[error("the predecessor of the command may still be in the queue")]
    PredecessorPending,
    /// The command is larger than the queue accepts. The client must send less.
    #[error("the command is too large")]
    TooLarge,
    /// It is unknown whether the command was accepted. The client should retry with the same idempotency key.
    #[error(transparent)]
    Port(#[from] PortError),
    /// It is unknown whether the command was accepted. The client should retry with the same idempotency key.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// The client's preferences for the answer (RFC 7240).
#[derive(Debug, Clone, Copy, Default)]
pub struct Preference {
    /// Whether an acknowledgement is enough.
    pub respond_async: bool,
    /// If the answer would be an acknowledgement, the time until which the client waits for the result.
    pub wait_until: Option<Instant>,
}

/// The destination of commands.
#[derive(Debug)]
pub enum Route<D: Domain> {
    /// Into the queue. The answer is an acknowledgement.
    Queue(QueueRoute),
    /// Into the write store. The answer is the result.
    Direct {
        /// The write store.
        direct: DirectRoute<D>,
        /// The records of commands that other deployments may have queued, because a client may retry one, or send a command that
        /// follows one. `None` if none was queued.
        queued_before: Option<Arc<dyn RecordWriter>>,
    },
    /// Into the write store, with a queue beside it. A command whose predecessor may still be queued is queued too.
    Either {
        /// The write store. Deferred commands go to the queue.
        direct: DirectRoute<D>,
        /// The queue.
        queue: QueueRoute,
        /// Whether a client can choose the queue.
        honours_async: bool,
    },
}

/// The ports that queue commands.
#[derive(Debug)]
pub struct QueueRoute {
    /// The queue.
    pub queue: Arc<dyn CommandQueue>,
    /// Stores pending records, and reads the results.
    pub records: Arc<dyn RecordWriter>,
    /// Reads the current representation, for a client that waits.
    pub views: Arc<dyn ViewReader>,
    /// The projection of the views.
    pub projection: Projection,
}

/// The parts that apply commands.
#[derive(Debug)]
pub struct DirectRoute<D: Domain> {
    /// Applies the commands.
    pub applier: Applier<D>,
    /// Projects the result.
    pub projector: Projector,
}

/// Accepts commands of the domain `D`.
#[derive(Debug)]
pub struct Submitter<D: Domain> {
    route: Route<D>,
    clock: Arc<dyn Clock>,
    stamps: Arc<StampClock>,
    keys: Arc<KeyRing>,
    domain: PhantomData<D>,
}

/// An envelope, with the other data that the answer needs.
struct Prepared<C> {
    envelope: Envelope<C>,
    /// The client's token.
    session: Option<Token>,
}

impl<D: Domain> Submitter<D> {
    /// Returns a submitter along `route`. All submitters of one environment share one `stamps`, because accept times must never go
    /// back within an environment.
    pub fn new(route: Route<D>, clock: Arc<dyn Clock>, stamps: Arc<StampClock>, keys: Arc<KeyRing>) -> Self {
        Self { route, clock, stamps, keys, domain: PhantomData }
    }

    /// Accepts a command. If it is queued, waits for its result as long as the client wants.
    ///
    /// Once this returns `Ok`, the command is not lost. After an error it is unknown whether the command was accepted. A retry
    /// under the same idempotency key is safe.
    pub async fn submit(
        &self,
        request: Request<D::Command>,
        preference: Preference,
    ) -> Result<SubmitAnswer, SubmitError> {
        let Prepared { mut envelope, session } = self.prepare(request)?;
        let (result, replayed) = match &self.route {
            Route::Queue(queue) => self.enqueue(queue, &mut envelope, preference).await?,
            Route::Direct { direct, queued_before } => {
                let earlier = match queued_before {
                    Some(records) if !mutant!(RetryAfterQueueForgets) => {
                        register(records.as_ref(), &mut envelope).await?
                    }
                    _ => None,
                };
                let (result, replayed) = direct.execute_behind(&mut envelope).await?;
                (Some(result), replayed || earlier.is_some())
            }
            Route::Either { queue, honours_async: true, .. } if preference.respond_async => {
                self.enqueue(queue, &mut envelope, preference).await?
            }
            Route::Either { direct, queue, .. } => {
                // An earlier request under the same key may have been queued, and its answer has named an aggregate.
                let earlier = match mutant!(RetryBesideQueueForgets) {
                    false => register(queue.records.as_ref(), &mut envelope).await?,
                    true => None,
                };
                match direct.execute(&mut envelope).await? {
                    Some((result, replayed)) => (Some(result), replayed || earlier.is_some()),
                    None if mutant!(EarlyIsNotQueued) => (None, earlier.is_some()),
                    None => self.enqueue_registered(queue, &envelope, earlier, preference).await?,
                }
            }
        };
        Ok(self.answer(&envelope, session, result, replayed))
    }

    /// Queues the command. Also returns whether an earlier request under the same idempotency key has a record.
    async fn enqueue(
        &self,
        queue: &QueueRoute,
        envelope: &mut Envelope<D::Command>,
        preference: Preference,
    ) -> Result<(Option<WriteResult>, bool), SubmitError> {
        let earlier = register(queue.records.as_ref(), envelope).await?;
        self.enqueue_registered(queue, envelope, earlier, preference).await
    }

    /// Queues the command unless it already has another status than pending. A retry of a pending command sends its message again,
    /// with the identity and the stamp of the first request. That request may have failed between the record and the queue.
    async fn enqueue_registered(
        &self,
        queue: &QueueRoute,
        envelope: &Envelope<D::Command>,
        earlier: Option<CommandStatus>,
        preference: Preference,
    ) -> Result<(Option<WriteResult>, bool), SubmitError> {
        let is_due = earlier.as_ref().is_none_or(|status| *status == CommandStatus::Pending);
        if is_due && !(earlier.is_some() && mutant!(PendingIsTakenForSent)) {
            queue.send(envelope).await?;
        }
        let result = match preference.wait_until {
            Some(until) => self.wait_for_result(queue, envelope, until).await?,
            None => None,
        };
        Ok((result, earlier.is_some()))
    }

    fn prepare(&self, request: Request<D::Command>) -> Result<Prepared<D::Command>, SubmitError> {
        let now = self.clock.now();
        let aggregate = request.aggregate.map(|id| (D::KIND, id));
        let open = |text: &String| Token::open(&self.keys, &request.tenant, aggregate, now, text);
        let session = request.token.as_ref().map(open).transpose()?;
        let seen_at = session.as_ref().and_then(|token| token.accepted_at).filter(|_| !mutant!(SessionStampIgnored));
        let at = self.stamps.next(now, seen_at);
        let command = match &request.idempotency_key {
            Some(key) => CommandId::derive(&request.tenant, &request.subject, request.method, &request.path, key),
            None => CommandId::generate(at),
        };
        let fingerprint = request.idempotency_key.is_some().then(|| fingerprint::<D>(&request));
        let after = match D::is_ordered(&request.command) && !mutant!(ActionsOvertake) {
            true => session.as_ref().map(Token::pending).unwrap_or_default(),
            false => Vec::new(),
        };
        let envelope = Envelope {
            schema: schema_of(D::KIND.name(), request.excluded.as_ref(), &after),
            tenant: request.tenant,
            subject: request.subject,
            kind: D::KIND.name().filter(|_| !mutant!(MessageWithoutKind)).map(str::to_owned),
            aggregate: request.aggregate.unwrap_or_else(|| AggregateId::generate(at)),
            stamp: Stamp { at, command },
            expected: request.expected,
            excluded: request.excluded,
            after,
            fingerprint,
            traceparent: request.traceparent,
            command_schema: D::COMMAND_SCHEMA,
            command: request.command,
        };
        Ok(Prepared { envelope, session })
    }

    /// Waits for the command's result, and until its version is readable.
    async fn wait_for_result(
        &self,
        queue: &QueueRoute,
        envelope: &Envelope<D::Command>,
        until: Instant,
    ) -> Result<Option<WriteResult>, SubmitError> {
        let mut pause = Backoff::new();
        loop {
            let record = queue.records.get(&envelope.record_key()).await?;
            if let Some(status) = record.map(|record| record.status).filter(CommandStatus::is_final) {
                let read_at = self.clock.now();
                let view = queue.views.get(&envelope.key::<D>(), Consistency::Strong).await?;
                let (version, body) = view.map(|view| (view.version, view.body)).unwrap_or_default();
                // The result is returned only together with a view that is as new.
                if status.version().is_some_and(|needed| needed <= version) {
                    let current = body.map(|body| CachedView { version, body: Some(body), fetched_at: read_at });
                    return Ok(Some(WriteResult { status, projection: queue.projection, current }));
                }
            }
            if !pause.wait(until).await {
                return Ok(None);
            }
        }
    }

    fn answer(
        &self,
        envelope: &Envelope<D::Command>,
        session: Option<Token>,
        result: Option<WriteResult>,
        replayed: bool,
    ) -> SubmitAnswer {
        let aggregate = envelope.aggregate;
        // The floor of another aggregate does not apply to a new one.
        let session = session.filter(|token| token.aggregate == aggregate && !mutant!(SessionFloorDropped));
        let seen = session.as_ref().map_or(0, |token| token.floor);
        let version = result.as_ref().and_then(|result| result.status.version());
        let pending = result.is_none().then_some(envelope.stamp.command);
        let ordered = match D::is_ordered(&envelope.command) {
            true => pending,
            false => session.and_then(|token| token.ordered).filter(|_| !mutant!(ActionForgotten)),
        };
        let token = Token {
            kind: envelope.kind.clone(),
            aggregate,
            floor: seen.max(version.unwrap_or_default()),
            command: pending,
            ordered,
            accepted_at: Some(envelope.stamp.at),
        };
        SubmitAnswer {
            command: self.keys.sign_command(&envelope.tenant, envelope.stamp.command),
            aggregate,
            token: token.seal(&self.keys, &envelope.tenant, self.clock.now()),
            replayed,
            result,
        }
    }
}

fn fingerprint<D: Domain>(request: &Request<D::Command>) -> Fingerprint {
    // A command that cannot be serialised cannot be queued either. The path still separates requests.
    let command = serde_json::to_vec(&request.command).unwrap_or_default();
    let expected = serde_json::to_vec(&request.expected).unwrap_or_default();
    let excluded = request.excluded.as_ref().map(|excluded| serde_json::to_vec(excluded).unwrap_or_default());
    // A request without `If-None-Match` keeps the fingerprint that older code gave it.
    let parts = [request.path.as_bytes(), &expected, &command].into_iter().chain(excluded.as_deref());
    Fingerprint::of(&parts.collect::<Vec<_>>())
}

/// Puts a pending record if the command has an idempotency key. If a record exists already, makes the command that of the earlier
/// request, and returns its status.
async fn register<C>(
    records: &dyn RecordWriter,
    envelope: &mut Envelope<C>,
) -> Result<Option<CommandStatus>, SubmitError> {
    if envelope.fingerprint.is_none() {
        return Ok(None);
    }
    let first = records.put_pending(&envelope.record(CommandStatus::Pending, None)).await?;
    let Some(first) = first else { return Ok(None) };
    adopt_original(envelope, &first)?;
    Ok(Some(first.status))
}

impl QueueRoute {
    async fn send<C: serde::Serialize>(&self, envelope: &Envelope<C>) -> Result<(), SubmitError> {
        let message = OutgoingMessage {
            body: serde_json::to_string(envelope).map_err(|_| SubmitError::TooLarge)?,
            tenant: envelope.tenant.clone(),
            order_group: order_group(&envelope.tenant, envelope.aggregate),
            deduplication: envelope.stamp.command.to_string(),
        };
        self.queue.send(&message).await.map_err(|error| match error {
            SendError::TooLarge => SubmitError::TooLarge,
            SendError::Port(error) => error.into(),
        })
    }
}

/// Returns the aggregate's order group in the queue. It is a hash, because message attributes are logged more freely than bodies.
fn order_group(tenant: &Tenant, aggregate: AggregateId) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, format!("{tenant}#{aggregate}").as_bytes());
    crate::seal::encode(digest.as_ref())
}

/// Gives the envelope the aggregate and the accept time of the first request under the same idempotency key.
fn adopt_original<C>(envelope: &mut Envelope<C>, first: &CommandRecord) -> Result<(), SubmitError> {
    if first.fingerprint != envelope.fingerprint {
        return Err(SubmitError::KeyReused);
    }
    if !mutant!(RetryGetsNewUser) {
        envelope.aggregate = first.aggregate;
    }
    if !mutant!(RetryGetsNewStamp) {
        envelope.stamp.at = first.accepted_at;
    }
    Ok(())
}

impl<D: Domain> DirectRoute<D> {
    /// Applies the command. Waits if its predecessor may still be in the queue.
    async fn execute_behind(&self, envelope: &mut Envelope<D::Command>) -> Result<(WriteResult, bool), SubmitError> {
        let until = Instant::now() + CONSISTENCY_WAIT_MAX;
        let mut pause = Backoff::new();
        loop {
            if let Some(executed) = self.execute(envelope).await? {
                return Ok(executed);
            }
            if !pause.wait(until).await {
                return Err(SubmitError::PredecessorPending);
            }
        }
    }

    /// Applies the command. Returns its result, and whether it is that of an earlier request. `None` if the predecessor may still
    /// be in the queue.
    async fn execute(&self, envelope: &mut Envelope<D::Command>) -> Result<Option<(WriteResult, bool)>, SubmitError> {
        let Self { applier, projector } = self;
        let key = envelope.key::<D>();
        let stored = load(applier, &key).await?;
        let mut applied = applier.apply(&key, std::slice::from_ref(envelope), stored).await;
        if let Some(error) = applied.stopped_by.take() {
            return Err(error.into());
        }
        if applied.needs_projection() && !mutant!(AppliedAtOnceSkipsCache) {
            projector.project(&key, &applied.current).await?;
        }
        let (record, replayed) = match applied.results.pop() {
            Some(CommandResult::Final { record, duplicate }) => (record, duplicate),
            Some(CommandResult::Deferred) => return Ok(None),
            Some(CommandResult::Unfinished) | None => return Err(ApplyError::Contended(key).into()),
        };
        if replayed {
            adopt_original(envelope, &record)?;
        }
        let (key, current) = match envelope.aggregate == key.id {
            true => (key, applied.current),
            false => reread(applier, envelope.key::<D>()).await?,
        };
        let projection = applier.projection();
        let current = representation(&key, &current, projection, envelope.stamp.at);
        Ok(Some((WriteResult { status: record.status, projection, current }, replayed)))
    }
}

async fn load<D: Domain>(
    applier: &Applier<D>,
    key: &AggregateKey,
) -> Result<Option<crate::ports::Snapshot>, PortError> {
    Ok(applier.load(std::slice::from_ref(key)).await?.into_iter().next().flatten())
}

/// Returns the key and the current state of the aggregate that an earlier create made.
async fn reread<D: Domain>(
    applier: &Applier<D>,
    key: AggregateKey,
) -> Result<(AggregateKey, Aggregate<D>), SubmitError> {
    let stored = load(applier, &key).await?;
    let undecodable = |cause| ApplyError::Undecodable { key: key.clone(), cause };
    let current = Aggregate::decode(stored.as_ref()).map_err(undecodable)?;
    Ok((key, current))
}

fn representation<D: Domain>(
    key: &AggregateKey,
    current: &Aggregate<D>,
    projection: Projection,
    read_at: Timestamp,
) -> Option<CachedView> {
    let view = current.view(key, projection);
    view.body.map(|body| CachedView { version: view.version, body: Some(body), fetched_at: read_at })
}
