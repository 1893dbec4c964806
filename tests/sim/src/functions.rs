//! The functions and their environments. Each environment has its own memory and clock. Its process may crash at any await.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use adapters::faults::{FaultPlan, Faulty};
use adapters::memory::{MemorySharedCache, UnboundedMemoryCache};
use kernel::ids::Kind;
use kernel::ingest::Ingest;
use kernel::lookup::CommandLookup;
use kernel::policy::Order;
use kernel::ports::{MemoryCache, SharedCache, SharedCacheUpdater, ViewReader, ViewWriter};
use kernel::projection::Projection;
use service::assembly::{
    Assembly, DirectPorts, IngestPorts, ListPorts, QueuePorts, ReadPorts, WriteRoute, reorder_window,
};
use service::stages::Source;
use tokio::time::timeout;

use crate::deployment::Deployment;
use crate::history::{Actor, acting_for};
use crate::queue::VISIBILITY_TIMEOUT;
use crate::recorded::{RecordedRecords, RecordedViews, RecordedWrites};
use crate::resources::{self, AnyResource, AnySubmitter, ReadSide, WriteParts};
use crate::world::{Network, World};

/// The timeout of ingest-fn. The queue hides messages for longer.
pub(crate) const INGEST_TIMEOUT: Duration = Duration::from_secs(3);
/// The timeout of the other functions.
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a command waits for its predecessor.
pub(crate) const REORDER_WINDOW: Duration = reorder_window(VISIBILITY_TIMEOUT);
/// The maximum number of polls of an invocation before its crash.
const POLLS_MAX: u64 = 40;

/// An environment of read-fn.
#[derive(Debug)]
pub(crate) struct Reader {
    of_resources: BTreeMap<Kind, ReadSide>,
    pub(crate) commands: CommandLookup,
}

impl Reader {
    /// Returns the queries of a resource.
    #[expect(clippy::expect_used, reason = "there is one for each")]
    pub(crate) fn of(&self, kind: Kind) -> &ReadSide {
        self.of_resources.get(&kind).expect("each resource is read")
    }
}

/// An environment of write-fn.
#[derive(Debug)]
pub(crate) struct Writer(BTreeMap<Kind, Box<dyn AnySubmitter>>);

impl Writer {
    /// Returns the submitter of a resource.
    #[expect(clippy::expect_used, reason = "there is one for each")]
    pub(crate) fn of(&self, kind: Kind) -> &dyn AnySubmitter {
        self.0.get(&kind).expect("each resource is written").as_ref()
    }
}

/// The environments of one function.
#[derive(Debug)]
pub(crate) struct Pool<F> {
    world: Arc<World>,
    timeout: Duration,
    build: fn(&Arc<World>, &Deployment) -> F,
    idle: Mutex<Vec<Environment<F>>>,
    started: AtomicU64,
}

#[derive(Debug)]
struct Environment<F> {
    function: Arc<F>,
    number: u64,
    generation: u64,
    deployment: Deployment,
}

impl<F> Clone for Environment<F> {
    fn clone(&self) -> Self {
        Self { function: self.function.clone(), deployment: self.deployment.clone(), ..*self }
    }
}

impl<F> Pool<F> {
    pub(crate) fn new(world: &Arc<World>, timeout: Duration, build: fn(&Arc<World>, &Deployment) -> F) -> Self {
        Self { world: world.clone(), timeout, build, idle: Mutex::default(), started: AtomicU64::new(0) }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Environment<F>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs an invocation for an operation. Returns `None` if its process crashed or timed out before it answered.
    pub(crate) async fn invoke<T>(&self, operation: Option<usize>, work: impl AsyncFnOnce(&F) -> T) -> Option<T> {
        let environment = self.acquire();
        let _running = self.world.deployments.runs(&environment.deployment);
        let answer = environment.deployment.row.writes_answer;
        let actor = operation.map(|operation| Actor { operation, environment: environment.number, answer });
        let answer = timeout(self.timeout, self.mortal(environment.generation, actor, work(&environment.function)));
        let answer = answer.await.ok().flatten();
        let mut idle = self.idle();
        match answer {
            Some(_) if !self.world.setup.concurrent => idle.push(environment.clone()),
            Some(_) => {}
            None => idle.retain(|other| !Arc::ptr_eq(&other.function, &environment.function)),
        }
        answer
    }

    /// Returns an idle environment; with concurrency, any environment.
    fn acquire(&self) -> Environment<F> {
        let World { chance, deployments, setup, .. } = self.world.as_ref();
        let (generation, deployment) = (self.world.generation(), deployments.for_request(chance));
        let served: Vec<_> = deployments.served().collect();
        let mut idle = self.idle();
        idle.retain(|environment| {
            environment.generation == generation && served.contains(&environment.deployment.number)
        });
        let is_fit = |environment: &Environment<F>| environment.deployment.number == deployment.number;
        let fit: Vec<_> = (0..).zip(idle.iter()).filter(|(_, idle)| is_fit(idle)).map(|(index, _)| index).collect();
        // Sometimes a new environment starts although one is idle.
        let drawn = usize::try_from(chance.between(0..=(fit.len() as u64).max(3))).unwrap_or_default();
        if let Some(index) = fit.get(drawn).copied() {
            let environment = idle.swap_remove(index);
            if setup.concurrent {
                idle.push(environment.clone());
            }
            return environment;
        }
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        let function = Arc::new((self.build)(&self.world, &deployment));
        let environment = Environment { function, number, generation, deployment };
        if setup.concurrent {
            idle.push(environment.clone());
        }
        environment
    }

    /// Returns the result of the work; `None` if the process crashes at one of its awaits.
    async fn mortal<T>(&self, generation: u64, actor: Option<Actor>, work: impl Future<Output = T>) -> Option<T> {
        let World { chance, setup, .. } = self.world.as_ref();
        let name = std::any::type_name::<F>().rsplit("::").next().unwrap_or_default();
        let crashes = chance.strikes(setup.faults.crashes, || format!("{name} crashed"));
        let mut polls_left = if crashes { chance.between(1..=POLLS_MAX) } else { u64::MAX };
        let mut work = pin!(work);
        poll_fn(|context| {
            polls_left = polls_left.saturating_sub(1);
            if polls_left == 0 || self.world.generation() != generation {
                return Poll::Ready(None);
            }
            acting_for(actor, || work.as_mut().poll(context)).map(Some)
        })
        .await
    }
}

pub(crate) fn behind_network<P: ?Sized>(world: &Arc<World>, port: Arc<P>) -> Arc<Faulty<P>> {
    let network: Arc<dyn FaultPlan> = Arc::new(Network(world.clone()));
    Arc::new(Faulty::new(port, network))
}

fn assembly(world: &Arc<World>, deployment: &Deployment) -> Assembly {
    Assembly { stage: deployment.row.clone(), projection: deployment.read, clock: world.a_clock() }
}

fn read_store(world: &Arc<World>, projection: Projection) -> Arc<Faulty<RecordedViews>> {
    behind_network(world, Arc::new(RecordedViews::new(world, projection)))
}

fn write_store(world: &Arc<World>) -> Arc<Faulty<RecordedWrites>> {
    behind_network(world, Arc::new(RecordedWrites::new(world)))
}

fn records(world: &Arc<World>) -> Arc<Faulty<RecordedRecords>> {
    behind_network(world, Arc::new(RecordedRecords::new(world)))
}

fn shared_cache(world: &Arc<World>) -> Option<Arc<Faulty<MemorySharedCache>>> {
    world.setup.shared_cache.then(|| behind_network(world, world.cache.clone()))
}

pub(crate) fn reader(world: &Arc<World>, deployment: &Deployment) -> Reader {
    let assembly = assembly(world, deployment);
    let records = records(world);
    let views: Arc<dyn ViewReader> = match deployment.row.reads_from {
        Source::ReadStore => read_store(world, deployment.read),
        Source::WriteStore => write_store(world),
    };
    let memory = || Arc::new(UnboundedMemoryCache::default()) as Arc<dyn MemoryCache>;
    let lists = ListPorts { views, memory: world.setup.memory.then(memory) };
    let cache = shared_cache(world).map(|cache| cache as Arc<dyn SharedCache>);
    let ports = ReadPorts { lists, records: records.clone(), cache };
    let side = |resource: &&dyn AnyResource| {
        (resource.kind(), resource.read_side(&assembly, ports.clone(), world.keys.clone()))
    };
    Reader {
        of_resources: resources::all().iter().map(side).collect(),
        commands: CommandLookup::new(records, assembly.clock.clone(), world.keys.clone()),
    }
}

pub(crate) fn writer(world: &Arc<World>, deployment: &Deployment) -> Writer {
    let queue = |()| {
        let queue = behind_network(world, world.queue.clone());
        Ok::<_, Infallible>(QueuePorts { queue, views: read_store(world, deployment.read) })
    };
    let direct =
        |()| Ok(DirectPorts { store: write_store(world), cache: updater(world), reorder_window: REORDER_WINDOW });
    let Ok(route) = WriteRoute::of(&deployment.row).try_map(queue, direct);
    let parts = WriteParts { route, records: records(world), stamps: Arc::default(), keys: world.keys.clone() };
    let assembly = assembly(world, deployment);
    let submitter = |resource: &&dyn AnyResource| (resource.kind(), resource.submitter(&assembly, parts.clone()));
    Writer(resources::all().iter().map(submitter).collect())
}

fn updater(world: &Arc<World>) -> Option<Arc<dyn SharedCacheUpdater>> {
    shared_cache(world).map(|cache| cache as Arc<dyn SharedCacheUpdater>)
}

pub(crate) fn ingest(world: &Arc<World>, deployment: &Deployment) -> Ingest {
    let model = |projection| (projection, read_store(world, projection) as Arc<dyn ViewWriter>);
    let ports = IngestPorts {
        store: write_store(world),
        models: deployment.written().map(model).collect(),
        cache: updater(world),
        records: records(world),
        deferral: behind_network(world, world.queue.clone()),
        order: if world.setup.fifo { Order::Strict } else { Order::Loose },
        reorder_window: REORDER_WINDOW,
        receive_count_max: world.setup.receive_count_max,
    };
    assembly(world, deployment).ingest(ports)
}
