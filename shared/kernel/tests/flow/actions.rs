//! Actions of a state machine are judged in the order of their session, even if they arrive in another order.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kernel::apply::{Applier, ApplyReport, CommandResult};
use kernel::clock::Clock as _;
use kernel::domain::{Context, Decision, DecodeError, Domain};
use kernel::envelope::Envelope;
use kernel::ids::{AggregateId, AggregateKey, Kind, Tenant};
use kernel::policy::{Order, Policy};
use kernel::ports::{IndexEntry, RecordWriter as _, Snapshot, UniqueKey};
use kernel::problem::Problem;
use kernel::projection::Projection;
use kernel::record::CommandStatus;
use kernel::submit::{Preference, QueueRoute, Request, Route, SubmitAnswer, Submitter};
use serde::{Deserialize, Serialize};

use crate::world::{World, tenant};

/// A lamp. Actions light, dim or break it. A broken lamp stays dark.
#[derive(Debug)]
struct Lamp;

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum LampCommand {
    Make,
    Paint,
    Light,
    Dim,
    Break,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum State {
    Dark,
    Lit,
    Broken,
}

impl Domain for Lamp {
    const KIND: Kind = Kind::new("L");
    const SCHEMA: u16 = 1;

    type Command = LampCommand;
    type Event = State;
    type State = State;

    fn creates(command: &LampCommand) -> bool {
        *command == LampCommand::Make
    }

    fn is_ordered(command: &LampCommand) -> bool {
        matches!(command, LampCommand::Light | LampCommand::Dim | LampCommand::Break)
    }

    fn decide(state: Option<&State>, command: &LampCommand, _: &Context) -> Decision<State> {
        match (state, command) {
            (_, LampCommand::Make) | (Some(State::Lit), LampCommand::Dim) => Decision::Accept(State::Dark),
            (Some(state), LampCommand::Paint) => Decision::Accept(*state),
            (Some(State::Dark), LampCommand::Light) => Decision::Accept(State::Lit),
            (Some(State::Dark | State::Lit), LampCommand::Break) => Decision::Accept(State::Broken),
            _ => Decision::Reject(Problem::new("wrong-state", 409, "Wrong state", "it is in another one")),
        }
    }

    fn evolve(_: Option<State>, event: State) -> Option<State> {
        Some(event)
    }

    fn unique_keys(_: &Tenant, _: &State) -> Vec<UniqueKey> {
        Vec::new()
    }

    fn unique_key_held(_: &UniqueKey) -> Problem {
        Problem::already_exists()
    }

    fn project(_: Projection, _: AggregateId, _: u64, state: &State) -> Bytes {
        Self::encode(state)
    }

    fn index(_: Projection, _: &AggregateKey, _: &State) -> Vec<IndexEntry> {
        Vec::new()
    }

    fn encode(state: &State) -> Bytes {
        serde_json::to_vec(state).unwrap().into()
    }

    fn decode(_: u16, body: &[u8]) -> Result<State, DecodeError> {
        Ok(serde_json::from_slice(body)?)
    }
}

const REORDER_WINDOW: Duration = Duration::from_secs(60);

/// A client with a session, whose commands are queued.
struct Session {
    world: World,
    submitter: Submitter<Lamp>,
    lamp: Option<AggregateId>,
    token: Option<String>,
}

impl Session {
    /// Starts a session with a lamp.
    async fn start() -> Self {
        let world = World::new();
        let route = QueueRoute {
            queue: world.queue.clone(),
            records: Arc::new(world.stores.records()),
            views: Arc::new(world.stores.views()),
            projection: Projection::FIRST,
        };
        let submitter = Submitter::new(Route::Queue(route), world.clock.clone(), Arc::default(), world.keys.clone());
        let mut session = Self { world, submitter, lamp: None, token: None };
        let made = session.sends(LampCommand::Make).await;
        assert_eq!(session.applies(&[made]).await, ["applied"]);
        session
    }

    /// Queues a command, with the session's token, and returns its message.
    async fn sends(&mut self, command: LampCommand) -> Envelope<LampCommand> {
        let request = Request {
            tenant: tenant(),
            subject: "s".parse().unwrap(),
            method: "POST",
            path: "/lamps".to_owned(),
            idempotency_key: None,
            aggregate: self.lamp,
            expected: kernel::envelope::ExpectedVersion::Any,
            excluded: None,
            token: self.token.clone(),
            traceparent: None,
            command,
        };
        let SubmitAnswer { aggregate, token, .. } =
            self.submitter.submit(request, Preference::default()).await.unwrap();
        (self.lamp, self.token) = (Some(aggregate), Some(token));
        let received = self.world.queue.receive(1, Duration::from_hours(1)).remove(0);
        Envelope::parse::<Lamp>(&received.message.body).unwrap()
    }

    async fn batch(&self, commands: &[Envelope<LampCommand>]) -> ApplyReport<Lamp> {
        self.batch_on(commands, self.load(commands).await).await
    }

    async fn load(&self, commands: &[Envelope<LampCommand>]) -> Option<Snapshot> {
        self.applier().load(&[commands[0].key::<Lamp>()]).await.unwrap().remove(0)
    }

    async fn batch_on(&self, commands: &[Envelope<LampCommand>], stored: Option<Snapshot>) -> ApplyReport<Lamp> {
        self.applier().apply(&commands[0].key::<Lamp>(), commands, stored).await
    }

    fn applier(&self) -> Applier<Lamp> {
        let policy = Policy {
            reorder_window: REORDER_WINDOW,
            awaits_versions: true,
            order: Order::Loose,
            projection: Projection::FIRST,
            view_in_transaction: false,
        };
        let (store, records) = (Arc::new(self.world.stores.write()), Arc::new(self.world.stores.records()));
        Applier::new(store, records, self.world.clock.clone(), policy)
    }

    /// Applies a batch, and returns the result of each command.
    async fn applies(&self, commands: &[Envelope<LampCommand>]) -> Vec<&'static str> {
        let name = |result: &CommandResult| match result {
            CommandResult::Final { record, .. } => match record.status {
                CommandStatus::Applied { .. } => "applied",
                CommandStatus::Rejected { .. } => "rejected",
                _ => "something else",
            },
            CommandResult::Deferred => "deferred",
            CommandResult::Unfinished => "unfinished",
        };
        self.batch(commands).await.results.iter().map(name).collect()
    }
}

#[tokio::test]
async fn an_action_waits_for_the_one_before_it_also_if_it_could_be_done() {
    let mut session = Session::start().await;
    let (light, broken) = (session.sends(LampCommand::Light).await, session.sends(LampCommand::Break).await);
    assert_eq!(session.applies(std::slice::from_ref(&broken)).await, ["deferred"]);
    assert_eq!(session.applies(&[light]).await, ["applied"]);
    assert_eq!(session.applies(&[broken]).await, ["applied"]);
}

/// A rejection changes no state, so no condition of its transaction fails if the state has changed.
#[tokio::test]
async fn an_action_is_judged_on_top_of_the_one_before_it_also_if_that_was_applied_after_the_state_was_read() {
    let mut session = Session::start().await;
    let (light, dim) = (session.sends(LampCommand::Light).await, session.sends(LampCommand::Dim).await);
    let dark = session.load(std::slice::from_ref(&dim)).await;
    assert_eq!(session.applies(&[light]).await, ["applied"]);
    let applied = session.batch_on(&[dim], dark).await;
    assert_eq!((applied.current.version, applied.current.state), (3, Some(State::Dark)));
}

#[tokio::test]
async fn actions_of_one_batch_are_judged_in_the_order_of_their_session() {
    let mut session = Session::start().await;
    let commands = [session.sends(LampCommand::Light).await, session.sends(LampCommand::Break).await];
    let [light, broken] = commands;
    let applied = session.batch(&[broken, light]).await;
    assert_eq!((applied.current.version, applied.current.state), (3, Some(State::Broken)));
}

#[tokio::test]
async fn an_action_waits_for_a_refusal_as_well_and_then_is_judged_at_once() {
    let mut session = Session::start().await;
    let first = session.sends(LampCommand::Break).await;
    let (refused, last) = (session.sends(LampCommand::Light).await, session.sends(LampCommand::Break).await);
    assert_eq!(session.applies(&[last.clone(), first]).await, ["deferred", "applied"]);
    assert_eq!(session.applies(&[last, refused]).await, ["rejected", "rejected"]);
}

#[tokio::test]
async fn an_action_follows_the_action_before_it_whatever_was_sent_in_between() {
    let mut session = Session::start().await;
    let (light, paint) = (session.sends(LampCommand::Light).await, session.sends(LampCommand::Paint).await);
    assert_eq!(paint.after, []);
    let broken = session.sends(LampCommand::Break).await;
    assert_eq!(broken.after, [paint.stamp.command, light.stamp.command]);
    assert_eq!(session.applies(&[broken.clone(), paint]).await, ["deferred", "applied"]);
    assert_eq!(session.applies(&[light]).await, ["applied"]);
    assert_eq!(session.applies(&[broken]).await, ["applied"]);
}

#[tokio::test]
async fn nothing_is_waited_for_beyond_the_reorder_window() {
    let mut session = Session::start().await;
    let (_lost, broken) = (session.sends(LampCommand::Light).await, session.sends(LampCommand::Break).await);
    session.world.clock.pass(Duration::from_secs(59));
    assert_eq!(session.applies(std::slice::from_ref(&broken)).await, ["deferred"]);
    session.world.clock.pass(Duration::from_secs(2));
    assert_eq!(session.applies(&[broken]).await, ["applied"]);
}

#[tokio::test]
async fn an_action_waits_for_a_failed_one_because_that_may_be_sent_again() {
    let mut session = Session::start().await;
    let (light, broken) = (session.sends(LampCommand::Light).await, session.sends(LampCommand::Break).await);
    let failed = light.record(CommandStatus::Failed { reason: "poison".to_owned() }, Some(session.world.clock.now()));
    session.world.stores.records().put_failed(&failed).await.unwrap();
    assert_eq!(session.applies(std::slice::from_ref(&broken)).await, ["deferred"]);
    assert_eq!(session.applies(&[broken, light]).await, ["applied", "applied"]);
}

#[tokio::test]
async fn without_a_token_actions_are_judged_as_they_come() {
    let mut session = Session::start().await;
    session.token = None;
    let light = session.sends(LampCommand::Light).await;
    session.token = None;
    let broken = session.sends(LampCommand::Break).await;
    assert_eq!((light.after.len(), broken.after.len()), (0, 0));
    assert_eq!(session.applies(&[broken]).await, ["applied"]);
    assert_eq!(session.applies(&[light]).await, ["rejected"]);
}
