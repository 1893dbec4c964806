//! The measurements. Every stage gets the same requests, round after round, so a disturbance of the machine affects all stages.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use resource::Operation;
use serde_json::Value;
use service::stages::{StageConfig, StageKind};

use crate::BenchError;
use crate::load::{Client, Item, PlanResult};
use crate::meter::{Count, Tally};
use crate::monitor::Monitor;
use crate::plan::{self, Plan, Planned, Request, RequestKind, Scale, Shape, Start, at_rate};
use crate::processes;
use crate::sample;
use crate::service::{Programs, Service, Stores};
use crate::stats::{Latency, per};

/// The stages that differ only in the packaging of the same code.
pub(crate) const PACKAGINGS: [&str; 3] = ["single-responsibility", "lambda-lith", "read-write"];
/// The idle time after which an environment ends, in seconds. It stands for the minutes of Lambda.
pub(crate) const IDLE_SECONDS: u32 = 1;
/// An idle time that no environment reaches, in seconds.
const NEVER_IDLE_SECONDS: u32 = 600;
/// The rate of writes and of cold reads, per second.
const RATE: u32 = 50;
/// The rate of hot reads, per second.
const HOT_RATE: u32 = 100;
/// How often each kind of request is sent before a measurement, so that environments are warm.
const WARM_UPS: usize = 5;
/// The items of each resource that a tour visits before it reads the functions' memory.
pub(crate) const TOUR: usize = 40;

/// All measurements.
#[derive(Debug)]
pub(crate) struct Results {
    pub(crate) packages: BTreeMap<String, Package>,
    pub(crate) shapes: Vec<Measured<(&'static str, Shape), ShapeRound>>,
    pub(crate) stages: Vec<Measured<String, StageRound>>,
    pub(crate) tours: Vec<(String, BTreeMap<String, Footprint>)>,
}

/// A measured subject, with the results of its rounds.
#[derive(Debug)]
pub(crate) struct Measured<Subject, Round> {
    pub(crate) subject: Subject,
    pub(crate) rounds: Vec<Round>,
}

/// The size of a program, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Package {
    pub(crate) binary: u64,
    pub(crate) deflated: u64,
}

/// A round of a traffic shape at a stage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShapeRound {
    pub(crate) result: PlanResult,
    pub(crate) cold_starts: usize,
}

/// A round of a stage.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StageRound {
    pub(crate) hot: Phase,
    pub(crate) cold: Phase,
    /// Commands on different items, one for each.
    pub(crate) single: Phase,
    /// Commands on one item, all at once.
    pub(crate) burst: Phase,
    pub(crate) invocations_per_command: f64,
    pub(crate) queue_requests_per_command: f64,
}

/// A phase of a round. Store requests and units are per request of the phase.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Phase {
    pub(crate) latency: Latency,
    pub(crate) requests: usize,
    pub(crate) failures: usize,
    pub(crate) store_requests: f64,
    pub(crate) read_units: f64,
    pub(crate) write_units: f64,
}

/// The operations that a function was seen to request, and its peak memory.
#[derive(Debug, Default, Clone)]
pub(crate) struct Footprint {
    pub(crate) dynamodb: BTreeSet<String>,
    pub(crate) sqs: BTreeSet<String>,
    pub(crate) redis: BTreeSet<String>,
    pub(crate) peak_memory_kib: u32,
}

/// Measures everything, and prints the progress.
pub(crate) async fn all(programs: &Programs, scale: Scale, seed: u64) -> Result<Results, BenchError> {
    let is_stage = |config: &StageConfig| config.kind == StageKind::Stage;
    let configs: Vec<StageConfig> = StageConfig::all()?.into_iter().filter(is_stage).collect();
    let packages = packages(programs, &configs, Compression::new(scale.compression))?;
    let mut tours = Vec::new();
    for config in &configs {
        eprintln!("permissions and memory at {config}");
        tours.push((config.stage.clone(), tour(programs, &config.stage).await?));
    }
    let every_shape = Shape::ALL.iter().flat_map(|shape| PACKAGINGS.map(|stage| (stage, *shape)));
    let mut shapes: Vec<_> = every_shape.map(|subject| Measured { subject, rounds: Vec::new() }).collect();
    let mut stages: Vec<_> =
        configs.iter().map(|config| Measured { subject: config.stage.clone(), rounds: Vec::new() }).collect();
    for round in 1..=scale.rounds {
        for Measured { subject: (stage, shape), rounds } in &mut shapes {
            eprintln!("round {round} of {}: {} traffic at {stage}", scale.rounds, shape.name());
            rounds.push(shape_round(programs, stage, *shape, scale, seed + round).await?);
        }
        for Measured { subject: stage, rounds } in &mut stages {
            eprintln!("round {round} of {}: reads and writes at {stage}", scale.rounds);
            rounds.push(stage_round(programs, stage, scale).await?);
        }
    }
    Ok(Results { packages, shapes, stages, tours })
}

fn packages(
    programs: &Programs,
    configs: &[StageConfig],
    compression: Compression,
) -> Result<BTreeMap<String, Package>, BenchError> {
    // A program may have no function: if no resource has actions, no function runs act-fn.
    let binaries: BTreeSet<&str> =
        configs.iter().flat_map(StageConfig::functions).map(|function| function.binary).collect();
    let package = |binary: &str| {
        let candidates = [programs.functions_dir.join(binary).join("bootstrap"), programs.functions_dir.join(binary)];
        let path = candidates.into_iter().find(|path| path.is_file());
        let path = path.ok_or_else(|| BenchError::NotPackaged(binary.to_owned()))?;
        let program = fs::read(path)?;
        let mut deflated = DeflateEncoder::new(Vec::new(), compression);
        deflated.write_all(&program)?;
        let deflated = deflated.finish()?;
        Ok((binary.to_owned(), Package { binary: bytes(&program), deflated: bytes(&deflated) }))
    };
    binaries.into_iter().map(package).collect()
}

fn bytes(data: &[u8]) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
}

/// Measures one traffic shape at one stage, on empty tables.
async fn shape_round(
    programs: &Programs,
    stage: &str,
    shape: Shape,
    scale: Scale,
    seed: u64,
) -> Result<ShapeRound, BenchError> {
    let Plan { items, requests } = shape.plan(scale.shape, seed);
    let stores = Stores::start().await?;
    let service = Service::start(programs, stage, IDLE_SECONDS, &stores).await?;
    let items = prepare(&service, &items).await?;
    service.cool_down().await?;
    let before = service.counter("cold_starts").await?;
    let result = service.client.run(&requests, &items).await;
    let cold_starts = service.counter("cold_starts").await? - before;
    service.stop().await?;
    stores.stop().await;
    Ok(ShapeRound { result, cold_starts })
}

/// Measures one round of a stage, on empty tables.
async fn stage_round(programs: &Programs, stage: &str, scale: Scale) -> Result<StageRound, BenchError> {
    let stores = Stores::start().await?;
    let service = Service::start(programs, stage, NEVER_IDLE_SECONDS, &stores).await?;
    let changes = plan::changes(scale.requests + WARM_UPS * plan::every_change());
    let (starts, writes): (Vec<Start>, Vec<Request>) = changes.unzip();
    let reads: Vec<Request> = writes.iter().map(|write| Request { kind: RequestKind::Get, ..*write }).collect();
    let measured = |requests: &[Request]| at_rate(RATE, requests.iter().copied().take(scale.requests));
    let warming = |requests: &[Request]| at_rate(RATE, requests.iter().copied().skip(scale.requests));
    let items = prepare(&service, &starts).await?;
    service.client.run(&warming(&writes), &items).await;
    service.settle().await?;

    let invocations = service.counter("invocations").await?;
    let (single, tally) = phase(&service, &stores, &measured(&writes), &items).await?;
    let invocations = service.counter("invocations").await? - invocations;
    // The wait for an empty queue sends these requests; commands do not.
    let by_commands = tally.iter().filter(|((_, operation), _)| operation != "GetQueueAttributes");
    let queue_requests = Count::sum(by_commands.map(|(_, count)| count)).requests;
    let (burst, _) = phase(&service, &stores, &plan::bursts(scale.burst), &items).await?;
    service.stop().await?;

    // A restart empties the memory caches and Redis.
    let service = Service::start(programs, stage, NEVER_IDLE_SECONDS, &stores).await?;
    service.client.run(&warming(&reads), &items).await;
    let (cold, _) = phase(&service, &stores, &measured(&reads), &items).await?;
    let again = plan::first_of_each(RequestKind::Get).cycle().take(scale.requests);
    let (hot, _) = phase(&service, &stores, &at_rate(HOT_RATE, again), &items).await?;
    service.stop().await?;
    stores.stop().await;
    Ok(StageRound {
        hot,
        cold,
        single,
        burst,
        invocations_per_command: per_one(invocations, single.requests),
        queue_requests_per_command: per_one(queue_requests, single.requests),
    })
}

#[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
fn per_one(amount: usize, count: usize) -> f64 {
    per(amount as f64, count)
}

/// Runs a plan, and waits for all its effects. Also returns the requests to the queue.
async fn phase(
    service: &Service,
    stores: &Stores,
    plan: &[Planned],
    items: &Arc<[Item]>,
) -> Result<(Phase, Tally), BenchError> {
    service.settle().await?;
    stores.reset_counts();
    let PlanResult { latency, requests, failures } = service.client.run(plan, items).await;
    service.settle().await?;
    let (store, queue) = (Count::sum(stores.dynamodb.take().values()), stores.sqs.take());
    let phase = Phase {
        latency,
        requests,
        failures,
        store_requests: per_one(store.requests, requests),
        read_units: per(store.read_units, requests),
        write_units: per(store.write_units, requests),
    };
    Ok((phase, queue))
}

/// Creates items one after the other, and performs the actions that lead to their starts.
async fn prepare(service: &Service, starts: &[Start]) -> Result<Arc<[Item]>, BenchError> {
    let mut items = Vec::new();
    for start in starts {
        items.push(service.client.create(start.sample).await?);
    }
    let steps = starts.iter().map(|start| start.actions.len()).max().unwrap_or_default();
    for step in 0..steps {
        // In a queue, an action could overtake the one before it.
        service.settle().await?;
        for (item, start) in items.iter().zip(starts) {
            if let Some(action) = start.actions.get(step) {
                service.client.request(RequestKind::Write(Operation::Act(action)), *item).await?.accepted()?;
            }
        }
    }
    service.settle().await?;
    Ok(items.into())
}

/// Sends every kind of request to a stage, and returns the operations and the memory of each function.
async fn tour(programs: &Programs, stage: &str) -> Result<BTreeMap<String, Footprint>, BenchError> {
    let stores = Stores::start().await?;
    let service = Service::start(programs, stage, NEVER_IDLE_SECONDS, &stores).await?;
    let monitor = match service.status().await?.pointer("/variables/REDIS_URL").and_then(Value::as_str) {
        Some(url) => Some(Monitor::start(url).await?),
        None => None,
    };
    // The stack itself has created tables and queues, which must not count.
    stores.reset_counts();
    visit(&service).await?;
    let (dynamodb, sqs) = (stores.dynamodb.take(), stores.sqs.take());
    let redis = monitor.map(|monitor| monitor.commands()).unwrap_or_default();
    let mut footprints = BTreeMap::new();
    for (function, pids) in service.processes().await? {
        let ports: BTreeSet<u16> = pids.iter().flat_map(|pid| processes::ports(*pid)).collect();
        let operations =
            |tally: &Tally| tally.keys().filter(|(port, _)| ports.contains(port)).map(|(_, it)| it.clone()).collect();
        let footprint = Footprint {
            dynamodb: operations(&dynamodb),
            sqs: operations(&sqs),
            redis: redis.iter().filter(|(port, _)| ports.contains(port)).map(|(_, command)| command.clone()).collect(),
            peak_memory_kib: pids.iter().filter_map(|pid| processes::peak_memory_kib(*pid)).max().unwrap_or_default(),
        };
        footprints.insert(function, footprint);
    }
    service.stop().await?;
    stores.stop().await;
    Ok(footprints)
}

/// Sends every operation of the HTTP contract to many items of every resource. The actions take turns.
async fn visit(service: &Service) -> Result<(), BenchError> {
    let (starts, changes): (Vec<_>, Vec<_>) = plan::changes(TOUR * sample::all().len()).unzip();
    let items = prepare(service, &starts).await?;
    for (item, change) in items.iter().zip(changes) {
        visit_item(&service.client, *item, change.kind).await?;
    }
    service.settle().await
}

async fn visit_item(client: &Client, item: Item, change: RequestKind) -> Result<(), BenchError> {
    let [replace, update, delete] = [Operation::Replace, Operation::Update, Operation::Delete].map(RequestKind::Write);
    for kind in [RequestKind::Get, RequestKind::List, replace, change] {
        client.request(kind, item).await?.accepted()?;
    }
    for query in item.sample.lists(1) {
        client.get(&format!("{}?limit=5&{query}", item.sample.resource.path())).await?.accepted()?;
    }
    let written = client.request(update, item).await?.accepted()?;
    // A write that answers with its result has no command, so this asks for an unknown one.
    client.get(written.command().unwrap_or("/commands/none")).await?;
    client.request(delete, item).await?.accepted()?;
    Ok(())
}
