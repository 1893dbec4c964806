//! The plan of a run, drawn from a seed. A plan is data, so that it can be shrunk and stored.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use kernel::ingest::RECEIVES_MIN;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use service::resources::RESOURCES;
use service::stages::{StageConfig, StageError};

/// The number of tenants in a run.
pub const TENANTS: u8 = 2;

/// All inputs of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The seed of all decisions that are not in the plan: latencies, the injected faults, the order of messages.
    pub seed: u64,
    /// The configuration of the service, and the rates of faults.
    pub setup: Setup,
    /// The steps of each client.
    pub sessions: Vec<Session>,
    /// The faults that hit the whole system.
    pub disasters: Vec<Disaster>,
    /// The numbers of the faults that the run leaves out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub muted: BTreeSet<u64>,
}

/// The configuration of the service, and the rates of faults.
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// The stage at the start.
    pub stage: Stage,
    /// Whether the queue is FIFO and keeps the order of each item.
    pub fifo: bool,
    /// Whether there is a shared cache, in the stages that use one.
    pub shared_cache: bool,
    /// Whether environments have a memory cache, in the stages that use one.
    pub memory: bool,
    /// Whether an environment serves several requests at a time.
    pub concurrent: bool,
    /// The maximum error of an environment's clock, in milliseconds. The clock may change its error at any time.
    pub skew_ms: u64,
    /// The maximum latency of an operation that is not slow, in milliseconds.
    pub latency_ms: u64,
    /// The maximum lag of an eventually consistent read, in milliseconds.
    pub lag_ms: u64,
    /// The number of deliveries after which a message becomes a dead letter.
    pub receive_count_max: u32,
    /// How long environments of the previous deployment still get requests after a deployment, in milliseconds.
    #[serde(default)]
    pub shift_ms: u64,
    /// The rates of faults.
    pub faults: Faults,
}

/// A stage configuration. A stored plan has its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Stage(pub Arc<StageConfig>);

impl TryFrom<String> for Stage {
    type Error = StageError;

    fn try_from(name: String) -> Result<Self, StageError> {
        StageConfig::of(&name).map(|row| Self(Arc::new(row)))
    }
}

impl From<Stage> for String {
    fn from(stage: Stage) -> Self {
        stage.0.stage.clone()
    }
}

impl Stage {
    #[expect(clippy::expect_used, reason = "the names are in this file, and so are seeds that use each")]
    fn named(name: &str) -> Self {
        name.to_owned().try_into().expect("the name of a row")
    }
}

/// The rates of faults, in thousandths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// An operation is not carried out, and fails.
    pub lost_requests: u32,
    /// An operation is carried out, and fails.
    pub lost_responses: u32,
    /// An operation is carried out twice, as by a client that retries.
    pub repeats: u32,
    /// A transaction of several commands is too large.
    #[serde(default)]
    pub oversize: u32,
    /// A transaction conflicts with another one.
    pub contention: u32,
    /// An operation takes seconds.
    pub slowness: u32,
    /// An operation of the shared cache fails, before or after its effect.
    pub cache_failures: u32,
    /// The shared cache evicts an entry.
    pub evictions: u32,
    /// The process of an invocation ends at one of its awaits.
    pub crashes: u32,
    /// A message is delivered while it is hidden, or again after its delete.
    pub duplicates: u32,
}

/// The steps of one client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The number of the client's tenant.
    pub tenant: u8,
    /// The steps, in order.
    pub steps: Vec<Step>,
}

/// One step of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Sends a command.
    Write(Write),
    /// Reads an item.
    Read {
        /// The item's number.
        item: u8,
        /// Whether the read sends the session's consistency token.
        token: bool,
        /// Whether the client prefers a stale answer to an error.
        lenient: bool,
    },
    /// Reads an item of another tenant.
    ReadForeign {
        /// The item's number.
        item: u8,
    },
    /// Reads an item under another resource.
    ReadAsOther {
        /// The item's number.
        item: u8,
        /// The distance to the other resource in the list of resources.
        other: u8,
        /// Whether the read sends the item's consistency token.
        token: bool,
    },
    /// Reads the list of the item's resource, and tries its cursor in the lists of other resources.
    List {
        /// The item's number.
        item: u8,
    },
    /// Reads the status of the client's latest command.
    Status,
    /// Waits for this number of milliseconds.
    Pass(u64),
}

/// A command, as a client sends it.
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own that a client has")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// The item's number. It also selects the resource.
    pub item: u8,
    /// The distance in the list of resources to the resource that gets the command. It has no such item. A create ignores this.
    #[serde(default)]
    pub as_other: u8,
    /// The change.
    pub change: Change,
    /// The precondition.
    pub precondition: Precondition,
    /// Whether the command carries an idempotency key. The client retries such a command after an error.
    pub keyed: bool,
    /// Whether a command with a key is sent again although it was acknowledged.
    pub repeated: bool,
    /// The time before it is sent again, in milliseconds.
    #[serde(default)]
    pub repeated_after_ms: u64,
    /// Whether the command carries the session's token.
    pub token: bool,
    /// Whether the client waits for the outcome.
    pub waits: bool,
    /// Whether the client sends `Prefer: respond-async`.
    #[serde(default)]
    pub respond_async: bool,
}

/// The change that a command makes. If the resource has no such field or action, the command updates another field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Creates an item, with one of a few values in its unique fields.
    Create(u8),
    /// Replaces all fields, with one of a few values in the unique fields.
    Replace(u8),
    /// Updates a field that is not unique.
    Update(u8),
    /// Updates a unique field to one of a few values.
    UpdateUnique(u8),
    /// Deletes the item.
    Delete,
    /// Requests one of the actions.
    Act(u8),
}

/// The precondition of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Precondition {
    /// No precondition.
    None,
    /// `If-Match` with the version that the session saw last.
    Seen,
    /// `If-Match` with the version after that.
    Ahead,
    /// The item must exist.
    Exists,
    /// The item must not exist. Only a create can meet this.
    NotAny,
    /// `If-None-Match` with the version that the session saw last.
    NotSeen,
}

/// A fault that hits the whole system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disaster {
    /// Its time, in milliseconds from the start.
    pub at_ms: u64,
    /// The kind of fault.
    pub what: FaultKind,
}

/// The faults that hit the whole system, and the work of operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultKind {
    /// The shared cache loses all entries.
    CacheFlushed,
    /// The shared cache does not answer for this number of milliseconds.
    CacheDown(u64),
    /// The stores do not answer for this number of milliseconds.
    StoresDown(u64),
    /// The queue accepts no message for this number of milliseconds.
    QueueDown(u64),
    /// All environments end.
    EnvironmentsEnd,
    /// An operator redrives the dead letters.
    Redrive,
    /// An unreadable message arrives, in the order group of the latest message.
    Poison,
    /// An operator replaces the read store, if the stage queues all writes. A run has at most one cutover or walk.
    Cutover {
        /// Whether the operator waits for environments of the earlier deployment, as required.
        waits: bool,
        /// Whether the operator then rolls back to the first read store.
        back: bool,
    },
    /// An operator deploys one stage after the other.
    Walk {
        /// The stages to deploy. Each is next to the one before it.
        way: Vec<Stage>,
        /// The duty that the operator forgets.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        forgotten: Option<Duty>,
    },
}

/// The duties of an operator between two stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Duty {
    /// After each deployment: wait until no environment of an earlier one runs.
    AwaitEnvironments,
    /// Before readers use the read store: copy the states that were written before the writers updated it.
    FillReadStore,
    /// Before readers use the shared cache: delete entries from a time when writers did not update it.
    DropCached,
    /// Before writers stop queueing, and before the queue is deleted: wait until it is empty.
    EmptyQueue,
    /// At the same times: redrive the dead letters, until none is left.
    RedriveDeadLetters,
}

impl Disaster {
    /// Returns whether the disaster is an operator's walk to other stages.
    #[must_use]
    pub fn is_walk(&self) -> bool {
        matches!(self.what, FaultKind::Walk { .. })
    }
}

impl Plan {
    /// Returns the plan of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut draw = Draw(SmallRng::seed_from_u64(seed));
        let theme = draw.theme();
        let setup = draw.setup(theme);
        let items = draw.items(theme);
        let sessions = draw.between(2, 4);
        let sessions = (0..sessions).map(|place| draw.session(theme, u8::from(place == 3), &items)).collect();
        let disasters = draw.disasters(theme, &setup.stage);
        let shift_ms = if draw.chance(50) { draw.between(100, 5_000) } else { 0 };
        let setup = Setup { shift_ms, ..setup };
        Self { seed, setup, sessions, disasters, muted: BTreeSet::new() }
    }

    /// Returns the plan as JSON for a file, with one line for each step.
    #[must_use]
    pub fn to_text(&self) -> String {
        let json = |value: serde_json::Result<String>| value.unwrap_or_default();
        let session = |session: &Session| {
            let steps: Vec<_> = session.steps.iter().map(|step| json(serde_json::to_string(step))).collect();
            format!("{{\"tenant\":{},\"steps\":[\n  {}]}}", session.tenant, steps.join(",\n  "))
        };
        let sessions: Vec<_> = self.sessions.iter().map(session).collect();
        format!(
            "{{\"seed\":{},\n\"setup\":{},\n\"sessions\":[{}],\n\"disasters\":{},\n\"muted\":{}}}",
            self.seed,
            json(serde_json::to_string(&self.setup)),
            sessions.join(",\n"),
            json(serde_json::to_string(&self.disasters)),
            json(serde_json::to_string(&self.muted)),
        )
    }

    /// Reads a plan from a file.
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }
}

/// The focus of a run. With few faults, a run tests races.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Theme {
    /// Any fault and any step.
    Everything,
    /// All clients read and write one item.
    HotItem,
    /// All clients use the same few unique values.
    FewValues,
    /// An operator walks from stage to stage, or replaces the read store.
    Operator,
}

/// The stages of a walk. Earlier stages differ only in packaging.
const PATH: [&str; 5] = ["read-write", "memory-cache", "redis-cache", "read-store", "cqrs"];

/// The range of the numbers that select a field or an action. With 2, 3, 4 or 6 choices, each has the same probability.
const WHICH: u8 = 12;

/// Returns the number of resources.
fn resources() -> u8 {
    u8::try_from(RESOURCES.len()).unwrap_or(u8::MAX)
}

struct Draw(SmallRng);

impl Draw {
    fn between(&mut self, least: u64, most: u64) -> u64 {
        self.0.random_range(least..=most)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.between(1, 100) <= percent
    }

    fn small(&mut self, most: u8) -> u8 {
        self.0.random_range(0..most)
    }

    fn one_of(&mut self, items: &[u8]) -> u8 {
        let place = self.0.random_range(0..items.len());
        items.get(place).copied().unwrap_or_default()
    }

    /// Returns the distance to another resource in the list; 0 if there is no other.
    fn other(&mut self) -> u8 {
        match resources() {
            1 => 0,
            resources => 1 + self.small(resources - 1),
        }
    }

    fn theme(&mut self) -> Theme {
        match self.between(1, 12) {
            1..=5 => Theme::Everything,
            6..=8 => Theme::HotItem,
            9..=10 => Theme::FewValues,
            _ => Theme::Operator,
        }
    }

    fn setup(&mut self, theme: Theme) -> Setup {
        let place = self.between(1, 20);
        let stage = match theme {
            Theme::Operator => match place {
                1..=10 => "cqrs",
                11..=14 => "read-store",
                15..=17 => "redis-cache",
                18..=19 => "memory-cache",
                _ => "read-write",
            },
            // Concurrent writers conflict more often than batches.
            Theme::FewValues => match place {
                1..=5 => "cqrs",
                6..=9 => "cqrs-expand",
                _ => "read-store",
            },
            Theme::Everything | Theme::HotItem => match place {
                1..=11 => "cqrs",
                12..=13 => "cqrs-expand",
                14 => "cqrs-drain",
                15..=16 => "redis-cache",
                _ => "read-store",
            },
        };
        Setup {
            stage: Stage::named(stage),
            fifo: self.chance(40),
            shared_cache: self.chance(80) || theme == Theme::HotItem,
            memory: self.chance(75),
            concurrent: self.chance(30),
            skew_ms: if self.chance(50) { self.between(0, 5_000) } else { 0 },
            latency_ms: self.between(0, if theme == Theme::Operator { 60 } else { 20 }),
            lag_ms: if self.chance(60) { self.between(0, 1_500) } else { 0 },
            receive_count_max: if self.chance(20) { 4 } else { RECEIVES_MIN },
            shift_ms: 0,
            faults: match theme {
                Theme::Everything => self.faults(),
                Theme::Operator if self.chance(50) => self.faults(),
                Theme::Operator => Faults { slowness: self.rate(100), ..Faults::default() },
                Theme::HotItem | Theme::FewValues => {
                    let (slowness, duplicates, evictions) = (self.rate(200), self.rate(200), self.rate(200));
                    Faults { slowness, evictions, duplicates, ..Faults::default() }
                }
            },
        }
    }

    /// Draws the rates. Each kind of fault is absent from half the runs, so that none hides another.
    fn faults(&mut self) -> Faults {
        Faults {
            lost_requests: self.rate(80),
            lost_responses: self.rate(80),
            repeats: self.rate(80),
            oversize: self.rate(200),
            contention: self.rate(200),
            slowness: self.rate(30),
            cache_failures: self.rate(150),
            evictions: self.rate(100),
            crashes: self.rate(150),
            duplicates: self.rate(200),
        }
    }

    fn rate(&mut self, most: u64) -> u32 {
        let rate = if self.chance(50) { self.between(1, most) } else { 0 };
        u32::try_from(rate).unwrap_or_default()
    }

    /// Returns the items that the clients share. The first may be of any resource.
    fn items(&mut self, theme: Theme) -> Vec<u8> {
        let resources = resources();
        let first = self.small(resources);
        match theme {
            Theme::Everything => (first..=first + self.small(3)).collect(),
            Theme::HotItem => vec![first],
            // Values are unique within one resource, so both items are of the same one.
            Theme::FewValues => vec![first, first + resources],
            Theme::Operator => vec![first, first + 1],
        }
    }

    fn session(&mut self, theme: Theme, tenant: u8, items: &[u8]) -> Session {
        let steps = if theme == Theme::Operator { self.between(12, 36) } else { self.between(4, 14) };
        let step = |draw: &mut Self| {
            let item = draw.one_of(items);
            match theme {
                // The pauses make the traffic last until the operator reaches another stage.
                Theme::Operator if draw.chance(50) => Step::Pass(draw.between(1, 1_500)),
                Theme::Everything | Theme::Operator => draw.step(item),
                Theme::HotItem => draw.hot_step(item),
                Theme::FewValues => draw.unique_step(item),
            }
        };
        let mut steps: Vec<_> = (0..steps).map(|_| step(self)).collect();
        if self.chance(70) {
            let change = Change::Create(self.small(4));
            let first = items.first().copied().unwrap_or_default();
            steps.insert(0, Step::Write(self.write(first, change)));
        }
        Session { tenant, steps }
    }

    fn hot_step(&mut self, item: u8) -> Step {
        match self.between(1, 10) {
            1..=3 => {
                let which = self.small(WHICH);
                let change = if self.chance(25) { Change::Act(which) } else { Change::Update(which) };
                Step::Write(self.write(item, change))
            }
            4..=8 => Step::Read { item, token: self.chance(20), lenient: false },
            _ => Step::Pass(self.between(1, 4_000)),
        }
    }

    fn unique_step(&mut self, item: u8) -> Step {
        let change = match self.between(1, 10) {
            1..=2 => Change::Create(self.small(2)),
            3..=7 => Change::UpdateUnique(self.small(2)),
            8 => Change::Update(self.small(WHICH)),
            _ => Change::Delete,
        };
        if self.chance(20) { Step::Pass(self.between(1, 200)) } else { Step::Write(self.write(item, change)) }
    }

    fn step(&mut self, item: u8) -> Step {
        match self.between(1, 100) {
            1..=45 => {
                let change = self.change();
                let as_other = if self.chance(4) { self.other() } else { 0 };
                Step::Write(Write { as_other, ..self.write(item, change) })
            }
            46..=78 => Step::Read { item, token: self.chance(60), lenient: self.chance(10) },
            79..=80 => Step::ReadForeign { item },
            81..=83 => Step::ReadAsOther { item, other: self.other(), token: self.chance(50) },
            84..=86 => Step::List { item },
            87..=90 => Step::Status,
            91..=97 => Step::Pass(self.between(1, 3_000)),
            _ => Step::Pass(self.between(3_000, 3_600_000)),
        }
    }

    fn change(&mut self) -> Change {
        match self.between(1, 20) {
            1..=3 => Change::Create(self.small(4)),
            4..=5 => Change::Replace(self.small(4)),
            6..=11 => Change::Update(self.small(WHICH)),
            12..=14 => Change::UpdateUnique(self.small(4)),
            15..=18 => Change::Act(self.small(WHICH)),
            _ => Change::Delete,
        }
    }

    fn write(&mut self, item: u8, change: Change) -> Write {
        let precondition = match self.between(1, 12) {
            1..=2 => Precondition::Seen,
            3 => Precondition::Ahead,
            4 => Precondition::Exists,
            5 => Precondition::NotAny,
            6 => Precondition::NotSeen,
            _ => Precondition::None,
        };
        Write {
            item,
            as_other: 0,
            precondition: if matches!(change, Change::Create(_)) { Precondition::None } else { precondition },
            change,
            keyed: self.chance(50),
            repeated: self.chance(30),
            repeated_after_ms: if self.chance(20) { self.between(1, 20_000) } else { 0 },
            token: self.chance(70),
            waits: self.chance(20),
            respond_async: self.chance(40),
        }
    }

    fn disasters(&mut self, theme: Theme, stage: &Stage) -> Vec<Disaster> {
        let many = match theme {
            Theme::Everything if self.chance(40) => self.between(1, 3),
            Theme::Operator if self.chance(30) => self.between(1, 2),
            _ => 0,
        };
        let mut disasters: Vec<_> = (0..many).map(|_| self.disaster()).collect();
        if theme == Theme::Operator {
            let what = match self.chance(20) {
                true => FaultKind::Cutover { waits: true, back: self.chance(30) },
                false => FaultKind::Walk { way: self.way(stage), forgotten: None },
            };
            disasters.push(Disaster { at_ms: self.between(0, 10_000), what });
        }
        disasters.sort_by_key(|disaster| disaster.at_ms);
        disasters
    }

    /// Returns a walk of 1 to 4 stages. Each is next to the one before it, up or down the path.
    fn way(&mut self, stage: &Stage) -> Vec<Stage> {
        let mut place = PATH.iter().position(|name| *name == stage.0.stage).unwrap_or_default();
        let steps = self.between(1, 4);
        let mut step = |_| {
            let is_up = place == 0 || (place + 1 < PATH.len() && self.chance(50));
            place = if is_up { place + 1 } else { place - 1 };
            PATH.get(place).map(|name| Stage::named(name))
        };
        (0..steps).filter_map(&mut step).collect()
    }

    fn disaster(&mut self) -> Disaster {
        let what = match self.between(1, 9) {
            1 => FaultKind::CacheFlushed,
            2 => FaultKind::CacheDown(self.between(10, 5_000)),
            3 => FaultKind::StoresDown(self.between(10, 3_000)),
            4 => FaultKind::QueueDown(self.between(10, 3_000)),
            5 => FaultKind::EnvironmentsEnd,
            6 => FaultKind::Redrive,
            7 => FaultKind::Poison,
            _ => FaultKind::Cutover { waits: true, back: self.chance(30) },
        };
        Disaster { at_ms: self.between(0, 20_000), what }
    }
}
