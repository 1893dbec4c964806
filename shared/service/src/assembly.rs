//! Assembles the read, write and ingest sides from a stage configuration and from ports.

use std::sync::Arc;
use std::time::Duration;

use kernel::apply::Applier;
use kernel::clock::{Clock, StampClock};
use kernel::domain::Domain;
use kernel::ingest::{DEFERRAL_MAX, Ingest, KindIngest, OneKind};
use kernel::policy::{Order, Policy};
use kernel::ports::{
    CommandQueue, MemoryCache, MessageDeferral, RecordReader, RecordWriter, SharedCache, SharedCacheUpdater,
    ViewReader, WriteStore,
};
use kernel::project::{ProjectingReader, Projector, ReadModel};
use kernel::projection::Projection;
use kernel::query::{Lists, Queries};
use kernel::seal::KeyRing;
use kernel::submit::{DirectRoute, QueueRoute, Route, Submitter};
use resource::{Resource, Visitor};

use crate::resources::{self, RESOURCES};
use crate::stages::{Cache, Source, StageConfig, WriteAnswer};

/// Assembles the parts of one environment.
#[derive(Debug, Clone)]
pub struct Assembly {
    /// The deployed stage.
    pub stage: Arc<StageConfig>,
    /// The projection that readers see.
    pub projection: Projection,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
}

/// The ports of lists.
#[derive(Debug, Clone)]
pub struct ListPorts {
    /// The store that the stage reads from.
    pub views: Arc<dyn ViewReader>,
    /// The memory of the environment. Ignored if the stage has no such cache.
    pub memory: Option<Arc<dyn MemoryCache>>,
}

/// The ports of queries.
#[derive(Debug, Clone)]
pub struct ReadPorts {
    /// The ports of lists.
    pub lists: ListPorts,
    /// Reads the outcomes of commands.
    pub records: Arc<dyn RecordReader>,
    /// The cache that environments share. Ignored if the stage has no such cache.
    pub cache: Option<Arc<dyn SharedCache>>,
}

/// The destination of commands at a stage, with the means to queue them (`Q`) and to apply them (`D`). The means are nothing yet,
/// resource names from the configuration, or ports.
#[derive(Debug, Clone)]
pub enum WriteRoute<Q, D> {
    /// Into the queue.
    Queue(Q),
    /// Into the write store.
    Direct {
        /// The means to apply them.
        direct: D,
        /// Whether other deployments may have queued commands. A client may retry one of them, or send a command that follows one.
        queued_before: bool,
    },
    /// Into the write store, with the queue beside it.
    Either {
        /// The means to apply them.
        direct: D,
        /// The means to queue them.
        queue: Q,
        /// Whether a client can choose the queue.
        honours_async: bool,
    },
}

/// The ports that queue commands.
#[derive(Debug, Clone)]
pub struct QueuePorts {
    /// The queue.
    pub queue: Arc<dyn CommandQueue>,
    /// The read store, for a client that waits.
    pub views: Arc<dyn ViewReader>,
}

/// The ports that apply commands at once.
#[derive(Debug, Clone)]
pub struct DirectPorts {
    /// The write store.
    pub store: Arc<dyn WriteStore>,
    /// The cache that environments share. Ignored if the stage does not write it.
    pub cache: Option<Arc<dyn SharedCacheUpdater>>,
    /// How long after its acceptance a command may wait for its predecessor, from [`reorder_window`]. Ignored without a queue,
    /// because then no predecessor can be missing.
    pub reorder_window: Duration,
}

/// The ports of the ingest side.
#[derive(Debug, Clone)]
pub struct IngestPorts {
    /// The write store.
    pub store: Arc<dyn WriteStore>,
    /// The read stores: one, or two during a change from one projection to another.
    pub models: Vec<(Projection, Arc<dyn kernel::ports::ViewWriter>)>,
    /// The cache that environments share. Ignored if the stage does not write it.
    pub cache: Option<Arc<dyn SharedCacheUpdater>>,
    /// Records failed commands.
    pub records: Arc<dyn RecordWriter>,
    /// Defers early messages.
    pub deferral: Arc<dyn MessageDeferral>,
    /// Whether the queue keeps the order of sending.
    pub order: Order,
    /// How long after its acceptance a command may wait for its predecessor, from [`reorder_window`].
    pub reorder_window: Duration,
    /// The queue moves a message to the dead-letter queue after this number of deliveries.
    pub receive_count_max: u32,
}

/// Returns the reorder window of a queue with this visibility timeout: how long a command may wait for its predecessor.
#[must_use]
pub const fn reorder_window(visibility_timeout: Duration) -> Duration {
    visibility_timeout.saturating_mul(2).saturating_add(DEFERRAL_MAX)
}

impl WriteRoute<(), ()> {
    /// Returns the destination of commands at this stage.
    #[must_use]
    pub fn of(stage: &StageConfig) -> Self {
        match stage.writes_answer {
            WriteAnswer::Accepted => Self::Queue(()),
            WriteAnswer::Result => Self::Direct { direct: (), queued_before: stage.queue_deployed },
            answer @ (WriteAnswer::ResultUnlessEarly | WriteAnswer::ResultUnlessAsync) => {
                Self::Either { direct: (), queue: (), honours_async: answer == WriteAnswer::ResultUnlessAsync }
            }
        }
    }
}

impl<Q, D> WriteRoute<Q, D> {
    /// Returns the same route, with each of its means converted.
    pub fn try_map<Q2, D2, E>(
        self,
        to_queue: impl FnOnce(Q) -> Result<Q2, E>,
        to_direct: impl FnOnce(D) -> Result<D2, E>,
    ) -> Result<WriteRoute<Q2, D2>, E> {
        Ok(match self {
            Self::Queue(queue) => WriteRoute::Queue(to_queue(queue)?),
            Self::Direct { direct, queued_before } => WriteRoute::Direct { direct: to_direct(direct)?, queued_before },
            Self::Either { direct, queue, honours_async } => {
                WriteRoute::Either { direct: to_direct(direct)?, queue: to_queue(queue)?, honours_async }
            }
        })
    }
}

impl Assembly {
    /// Returns the part that answers queries of lists of `D`.
    #[must_use]
    pub fn lists<D: Domain>(&self, ports: ListPorts, keys: Arc<KeyRing>) -> Lists {
        let ListPorts { views, memory } = self.of_row::<D>(ports);
        Lists::new(self.projection, views, memory, self.clock.clone(), keys)
    }

    /// Returns the part that answers queries of single items of `D`.
    #[must_use]
    pub fn queries<D: Domain>(&self, ports: ReadPorts, keys: Arc<KeyRing>) -> Queries {
        let ReadPorts { lists, records, cache } = ports;
        let ListPorts { views, memory } = self.of_row::<D>(lists);
        let cache = cache.filter(|_| self.stage.has(Cache::Redis));
        Queries::new(self.projection, views, records, memory, cache, self.clock.clone(), keys)
    }

    fn of_row<D: Domain>(&self, ports: ListPorts) -> ListPorts {
        let ListPorts { views, memory } = ports;
        let views: Arc<dyn ViewReader> = match self.stage.reads_from {
            Source::ReadStore => views,
            Source::WriteStore => Arc::new(ProjectingReader::<D>::new(views, self.projection)),
        };
        ListPorts { views, memory: memory.filter(|_| self.stage.has(Cache::Memory)) }
    }

    /// Returns the part that accepts commands of `D`.
    #[must_use]
    pub fn submitter<D: Domain>(
        &self,
        route: WriteRoute<QueuePorts, DirectPorts>,
        records: &Arc<dyn RecordWriter>,
        stamps: Arc<StampClock>,
        keys: Arc<KeyRing>,
    ) -> Submitter<D> {
        let queue = |ports: QueuePorts| QueueRoute {
            queue: ports.queue,
            records: records.clone(),
            views: ports.views,
            projection: self.projection,
        };
        let route = match route {
            WriteRoute::Queue(ports) => Route::Queue(queue(ports)),
            WriteRoute::Direct { direct, queued_before } => {
                // Without a queue no predecessor can be missing.
                let reorder_window = if queued_before { direct.reorder_window } else { Duration::ZERO };
                Route::Direct {
                    direct: self.direct(DirectPorts { reorder_window, ..direct }, false, records.clone()),
                    queued_before: queued_before.then(|| records.clone()),
                }
            }
            WriteRoute::Either { direct, queue: ports, honours_async } => {
                Route::Either { direct: self.direct(direct, true, records.clone()), queue: queue(ports), honours_async }
            }
        };
        Submitter::new(route, self.clock.clone(), stamps, keys)
    }

    fn direct<D: Domain>(
        &self,
        ports: DirectPorts,
        awaits_versions: bool,
        records: Arc<dyn RecordReader>,
    ) -> DirectRoute<D> {
        let DirectPorts { store, cache, reorder_window } = ports;
        let policy = Policy {
            reorder_window,
            awaits_versions,
            order: Order::Loose,
            projection: self.projection,
            view_in_transaction: self.stage.writes_read_store,
        };
        let models = vec![ReadModel { projection: self.projection, views: None }];
        DirectRoute {
            applier: Applier::new(store, records, self.clock.clone(), policy),
            projector: Projector::new(models, self.written(cache), self.clock.clone()),
        }
    }

    /// Returns the part that ingests batches with commands of all resources.
    #[must_use]
    pub fn ingest(&self, ports: IngestPorts) -> Ingest {
        let IngestPorts { store, models, cache, records, deferral, order, reorder_window, receive_count_max } = ports;
        let models = models.into_iter().map(|(projection, views)| ReadModel { projection, views: Some(views) });
        let projector = Arc::new(Projector::new(models.collect(), self.written(cache), self.clock.clone()));
        let policy = Policy {
            reorder_window,
            awaits_versions: true,
            order,
            projection: self.projection,
            view_in_transaction: false,
        };
        let (states, clock) = (store.clone(), self.clock.clone());
        let kind = OfKind { store, records: records.clone(), policy, projector, clock: clock.clone() };
        let kinds = RESOURCES.iter().filter_map(|resource| resources::visit(resource, kind.clone()));
        Ingest { kinds: kinds.collect(), states, order, records, deferral, clock, receive_count_max }
    }

    fn written(&self, cache: Option<Arc<dyn SharedCacheUpdater>>) -> Option<Arc<dyn SharedCacheUpdater>> {
        cache.filter(|_| self.stage.writes_redis)
    }
}

/// Makes the ingest of one resource.
#[derive(Clone)]
struct OfKind {
    store: Arc<dyn WriteStore>,
    records: Arc<dyn RecordReader>,
    policy: Policy,
    projector: Arc<Projector>,
    clock: Arc<dyn Clock>,
}

impl Visitor for OfKind {
    type Output = Arc<dyn KindIngest>;

    fn visit<R: Resource>(self) -> Self::Output {
        let applier = Applier::<R>::new(self.store, self.records, self.clock.clone(), self.policy);
        Arc::new(OneKind::new(applier, self.projector, self.clock))
    }
}
