//! What happens in one run, drawn from a seed. A plan is data, so that it can be cut down and kept.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use service::resources::RESOURCES;
use service::stages::{StageConfig, StageError};

/// Tenants of a run.
pub const TENANTS: u8 = 2;

/// All that distinguishes one run from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Decides what is not written here: latencies, where faults strike, in what order messages come.
    pub seed: u64,
    /// What is built, and how bad the world is.
    pub setup: Setup,
    /// What each client does, one step after the other.
    pub sessions: Vec<Session>,
    /// What befalls the whole system.
    pub disasters: Vec<Disaster>,
    /// Faults, by their number in the run, that are left out.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub muted: BTreeSet<u64>,
}

/// What is built, and how bad the world is.
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// What the service is made of at first.
    pub stage: Stage,
    /// Whether the queue keeps each aggregate's order.
    pub fifo: bool,
    /// Whether there is a shared cache, in the stages with one.
    pub shared_cache: bool,
    /// Whether environments remember what they read, in the stages in which they do.
    pub memory: bool,
    /// Whether an environment serves several requests at a time.
    pub concurrent: bool,
    /// How far an environment's clock may be off, in milliseconds; it may be set right or wrong at any time.
    pub skew_ms: u64,
    /// The longest usual latency of an operation, in milliseconds.
    pub latency_ms: u64,
    /// How far an eventually consistent read may be behind, in milliseconds.
    pub lag_ms: u64,
    /// After so many deliveries a message is given up.
    pub receive_count_max: u32,
    /// How often things go wrong.
    pub faults: Faults,
}

/// A row of the table of stages; by its name, in a plan that is kept.
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

/// How often things go wrong, in thousandths.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults {
    /// An operation is not carried out, and fails.
    pub lost_requests: u32,
    /// An operation is carried out, and fails.
    pub lost_responses: u32,
    /// An operation is carried out twice, as by a client that tried again.
    pub repeats: u32,
    /// A transaction of several commands is too large.
    #[serde(default)]
    pub oversize: u32,
    /// A transaction meets another one.
    pub contention: u32,
    /// An operation takes seconds.
    pub slowness: u32,
    /// An operation of the shared cache fails, before or after its effect.
    pub cache_failures: u32,
    /// The shared cache evicts what it holds.
    pub evictions: u32,
    /// An invocation's process ends at some await.
    pub crashes: u32,
    /// A message is handed out though somebody has it, or comes again though it was deleted.
    pub duplicates: u32,
}

/// What one client does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Whose client it is.
    pub tenant: u8,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// One thing that a client does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Sends a command.
    Write(Write),
    /// Reads an item.
    Read {
        /// Which.
        item: u8,
        /// Whether it sends its consistency token along.
        token: bool,
        /// Whether it takes a stale answer rather than none.
        lenient: bool,
    },
    /// Asks for another tenant's item.
    ReadForeign {
        /// Which.
        item: u8,
    },
    /// Asks for an item as if it were of another resource.
    ReadAsOther {
        /// Which.
        item: u8,
        /// So many places further in the list of resources.
        other: u8,
        /// Whether it sends the item's consistency token along.
        token: bool,
    },
    /// Reads the list of an item's resource, and tries its cursor in the lists of others.
    List {
        /// Which.
        item: u8,
    },
    /// Asks what became of its latest command.
    Status,
    /// Does nothing for so many milliseconds.
    Pass(u64),
}

/// A command, as a client sends it.
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own that a client has")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// For which item. Its number decides of which resource it is.
    pub item: u8,
    /// Sends it to the resource that is so many places further in the list, which has no such item. A create ignores this.
    #[serde(default)]
    pub as_other: u8,
    /// What it asks.
    pub change: Change,
    /// What it builds on.
    pub precondition: Precondition,
    /// Whether it carries an idempotency key, and is tried again where the answer is an error.
    pub keyed: bool,
    /// Whether a keyed one is sent once more although it was acknowledged.
    pub repeated: bool,
    /// After so many milliseconds.
    #[serde(default)]
    pub repeated_after_ms: u64,
    /// Whether it carries the session's token.
    pub token: bool,
    /// Whether the client waits for the outcome.
    pub waits: bool,
    /// Whether an acknowledgement is enough for it.
    #[serde(default)]
    pub respond_async: bool,
}

/// What a command asks. A resource that lacks what is named gets an update of something else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// A new item, with one of a few values in its unique fields.
    Create(u8),
    /// All fields anew, likewise.
    Replace(u8),
    /// Another value of one of the fields that are not unique.
    Update(u8),
    /// One of a few values of a unique field.
    UpdateUnique(u8),
    /// The end.
    Delete,
    /// One of the actions.
    Act(u8),
}

/// What a command builds on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Precondition {
    /// Anything.
    None,
    /// The version that the session saw last.
    Seen,
    /// The version after that.
    Ahead,
    /// That the item exists.
    Exists,
    /// That the item does not exist: no write but a create can.
    NotAny,
    /// Any version but the one that the session saw last.
    NotSeen,
}

/// What befalls the whole system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disaster {
    /// When, in milliseconds from the start.
    pub at_ms: u64,
    /// What.
    pub what: FaultKind,
}

/// What befalls the whole system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultKind {
    /// The shared cache forgets everything.
    CacheFlushed,
    /// The shared cache does not answer for so many milliseconds.
    CacheDown(u64),
    /// The stores do not answer for so many milliseconds.
    StoresDown(u64),
    /// The queue takes nothing for so many milliseconds.
    QueueDown(u64),
    /// All environments end.
    EnvironmentsEnd,
    /// An operator sends the dead letters back.
    Redrive,
    /// Somebody sends what nobody can read, to the order group of whoever sent last.
    Poison,
    /// An operator puts another read store in the place of the one that there is, where all is queued. In a run this or a
    /// walk happens, once.
    Cutover {
        /// Whether what runs with the deployment before is waited for, as it must be.
        waits: bool,
        /// Whether readers are made to see the first one again.
        back: bool,
    },
    /// An operator takes the service from stage to stage.
    Walk {
        /// Each next to the one before.
        way: Vec<Stage>,
        /// What the operator does not do, and must.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        forgotten: Option<Duty>,
    },
}

/// What an operator must do between two stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Duty {
    /// After each deployment: wait until nothing of an earlier one runs.
    AwaitEnvironments,
    /// Before readers see the read store: put into it what was stored while nobody wrote it.
    FillReadStore,
    /// Before readers ask the shared cache: drop what it holds from a time when writers did not keep it up to date.
    DropCached,
    /// Before writers stop sending to the queue, and before it goes: wait until it is empty.
    EmptyQueue,
    /// At the same times: send its dead letters back, and wait until none is left.
    RedriveDeadLetters,
}

impl Disaster {
    /// Whether an operator takes the service to another stage.
    #[must_use]
    pub fn is_walk(&self) -> bool {
        matches!(self.what, FaultKind::Walk { .. })
    }
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut draw = Draw(SmallRng::seed_from_u64(seed));
        let theme = draw.theme();
        let setup = draw.setup(theme);
        let items = draw.items(theme);
        let sessions = draw.between(2, 4);
        let sessions = (0..sessions).map(|place| draw.session(theme, u8::from(place == 3), &items)).collect();
        let disasters = draw.disasters(theme, &setup.stage);
        Self { seed, setup, sessions, disasters, muted: BTreeSet::new() }
    }

    /// The plan as it is kept in a file: JSON, a line for each step.
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

    /// The plan that was kept in a file.
    pub fn read(path: &Path) -> io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }
}

/// What a run is about. Where little fails, what goes wrong is a race.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Theme {
    /// Anything may happen.
    Everything,
    /// All clients read and write one item.
    HotItem,
    /// All clients want the same few unique values.
    FewValues,
    /// Somebody takes the service from stage to stage, or replaces the read store.
    Operator,
}

/// The stages that a walk leads over. What comes before them is packaged differently only.
const PATH: [&str; 5] = ["read-write", "memory-cache", "redis-cache", "read-store", "cqrs"];

/// Numbers that pick a field or an action of a resource. If it has 2, 3, 4 or 6 of them, each is as likely.
const WHICH: u8 = 12;

/// How many resources there are.
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

    /// How far in the list of resources another one is; 0 if there is no other.
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
            // Writers meet more often than batches do.
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
            receive_count_max: if self.chance(20) { 4 } else { 20 },
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

    /// Each kind of fault is left out of half the runs, so that none hides another.
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

    /// The items that clients meet on. Any resource may be the first.
    fn items(&mut self, theme: Theme) -> Vec<u8> {
        let resources = resources();
        let first = self.small(resources);
        match theme {
            Theme::Everything => (first..=first + self.small(3)).collect(),
            Theme::HotItem => vec![first],
            // Values are unique within a resource.
            Theme::FewValues => vec![first, first + resources],
            Theme::Operator => vec![first, first + 1],
        }
    }

    fn session(&mut self, theme: Theme, tenant: u8, items: &[u8]) -> Session {
        let steps = if theme == Theme::Operator { self.between(12, 36) } else { self.between(4, 14) };
        let step = |draw: &mut Self| {
            let item = draw.one_of(items);
            match theme {
                // The traffic lasts for as long as it takes to come to another stage.
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

    /// From a stage to one next to it, and perhaps back or further, again and again.
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
