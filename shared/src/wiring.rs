//! Puts the parts together. Only this file, with the configuration, looks at a stage's row.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::ServedDomain;
use crate::config::{
    DirectPlaces, IngestConfig, KeySource, ListConfig, LookupConfig, QueuePlaces, ReadConfig, RedisPlace, WriteConfig,
    WriteRoute,
};
use crate::stages::{Cache, Row, Source};
use crate::warm_up::FirstCall;
use adapters::clients::{self, DynamoDb, SdkConfig};
use adapters::dynamo::{DynamoRecords, DynamoViewStore, DynamoWriteStore};
use adapters::moka_cache::MokaCache;
use adapters::read_table::ReadTable;
use adapters::redis_cache::{RedisCache, SetupError};
use adapters::secrets::{self, SecretError};
use adapters::sqs::SqsQueue;
use adapters::tables::TableNames;
use kernel::apply::{Applier, Order, Policy};
use kernel::causes::Chain;
use kernel::clock::{Clock, SystemClock};
use kernel::domain::Domain;
use kernel::ports::{MemoryCache, MessageDeferral, RecordWriter, SharedCache, SharedCacheUpdater, ViewReader};
use kernel::project::{ProjectingReader, Projection, Projector, ReadModel};
use kernel::query::{Lists, Queries};
use kernel::seal::{KeyRing, KeyRingError};
use kernel::submit::{CommandLookup, DirectRoute, QueueRoute, Route, Submitter};

/// How much of an environment's memory the cache may take, in bytes.
const MEMORY_CACHE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The longest pause before a deferred message comes again.
pub const DEFERRAL_MAX: Duration = Duration::from_secs(20);

/// The read side.
#[derive(Debug)]
pub struct ReadSide {
    /// Answers queries of one view.
    pub queries: Arc<Queries>,
    /// Answers queries of lists.
    pub lists: Arc<Lists>,
    /// Tells what became of commands.
    pub commands: Arc<CommandLookup>,
    first: FirstCall,
    redis: Option<Arc<RedisCache>>,
}

impl ReadSide {
    /// Makes the first connections.
    pub async fn warm_up(&self) {
        let redis = async {
            if let Some(redis) = &self.redis {
                redis.warm_up().await;
            }
        };
        tokio::join!(self.first.make(), redis);
    }
}

/// The write side.
#[derive(Debug)]
pub struct WriteSide {
    /// Takes commands in.
    pub submitter: Arc<Submitter<ServedDomain>>,
    first: FirstCall,
}

impl WriteSide {
    /// Makes the first connection.
    pub async fn warm_up(&self) {
        self.first.make().await;
    }
}

/// The ingest side.
#[derive(Debug)]
pub struct IngestSide<D: Domain> {
    /// Applies commands.
    pub applier: Applier<D>,
    /// Makes the results readable.
    pub projector: Projector,
    /// Where failures are recorded.
    pub records: Arc<dyn RecordWriter>,
    /// Postpones messages that came too early.
    pub deferral: Arc<dyn MessageDeferral>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
}

/// Wires the read side.
pub async fn read_side(config: ReadConfig) -> Result<ReadSide, WiringError> {
    let aws = clients::aws().await;
    let dynamodb = clients::dynamodb(&aws);
    let records = Arc::new(DynamoRecords::new(dynamodb.clone(), &config.commands_table));
    let views = views(dynamodb, &config.row, &config.views_table, config.projection);
    let memory = memory(&config.row);
    let redis = redis(config.redis.as_ref(), &aws)?;
    let shared = redis.clone().map(|redis| redis as Arc<dyn SharedCache>);
    let (clock, keys) = (clock(), keys(config.keys, &aws).await?);
    Ok(ReadSide {
        queries: Arc::new(Queries::new(
            config.projection,
            views.clone(),
            records.clone(),
            memory.clone(),
            shared,
            clock.clone(),
            keys.clone(),
        )),
        lists: Arc::new(Lists::new(config.projection, views.clone(), memory, clock.clone(), keys.clone())),
        commands: Arc::new(CommandLookup::new(records, clock, keys)),
        first: FirstCall::View(views),
        redis,
    })
}

/// Wires what answers queries of lists, alone, and makes its first connection.
pub async fn lists(config: ListConfig) -> Result<Arc<Lists>, WiringError> {
    let aws = clients::aws().await;
    let views = views(clients::dynamodb(&aws), &config.row, &config.views_table, config.projection);
    let keys = keys(config.keys, &aws).await?;
    FirstCall::Page(views.clone()).make().await;
    Ok(Arc::new(Lists::new(config.projection, views, memory(&config.row), clock(), keys)))
}

/// Wires what tells what became of commands, alone, and makes its first connection.
pub async fn command_lookup(config: LookupConfig) -> Result<Arc<CommandLookup>, WiringError> {
    let aws = clients::aws().await;
    let records = Arc::new(DynamoRecords::new(clients::dynamodb(&aws), &config.commands_table));
    let keys = keys(config.keys, &aws).await?;
    FirstCall::Record(records.clone()).make().await;
    Ok(Arc::new(CommandLookup::new(records, clock(), keys)))
}

/// The store that answers queries.
fn views(dynamodb: DynamoDb, row: &Row, table: &str, projection: Projection) -> Arc<dyn ViewReader> {
    let stored = Arc::new(DynamoViewStore::new(dynamodb, table, ServedDomain::INDEXES));
    match row.reads_from {
        Source::ReadStore => stored,
        Source::WriteStore => Arc::new(ProjectingReader::<ServedDomain>::new(stored, projection)),
    }
}

fn memory(row: &Row) -> Option<Arc<dyn MemoryCache>> {
    row.has(Cache::Memory).then(|| Arc::new(MokaCache::new(MEMORY_CACHE_BYTES_MAX)) as Arc<dyn MemoryCache>)
}

/// Wires the write side.
pub async fn write_side(config: WriteConfig) -> Result<WriteSide, WiringError> {
    let aws = clients::aws().await;
    let dynamodb = clients::dynamodb(&aws);
    let records = Arc::new(DynamoRecords::new(dynamodb.clone(), &config.commands_table));
    let queue = |places: QueuePlaces| QueueRoute {
        queue: Arc::new(SqsQueue::new(clients::sqs(&aws), places.queue_url)),
        records: records.clone(),
        views: Arc::new(DynamoViewStore::new(dynamodb.clone(), places.read_table.name, ServedDomain::INDEXES)),
        projection: places.read_table.projection,
    };
    let store = |places: &DirectPlaces| Arc::new(write_store(&dynamodb, &config.commands_table, places));
    let (route, first) = match config.route {
        WriteRoute::Queue(places) => (Route::Queue(queue(places)), FirstCall::Record(records)),
        // Nothing can be behind, because nothing is queued.
        WriteRoute::Direct { places, queued_before } => {
            let store = store(&places);
            let direct = direct_route(&aws, store.clone(), places, Duration::ZERO)?;
            let queued_before = queued_before.then_some(records as Arc<dyn RecordWriter>);
            (Route::Direct { direct, queued_before }, FirstCall::State(store))
        }
        WriteRoute::Either { direct: places, queue: queue_places, visibility_timeout, honours_async } => {
            let store = store(&places);
            let direct = direct_route(&aws, store.clone(), places, horizon(visibility_timeout))?;
            (Route::Either { direct, queue: queue(queue_places), honours_async }, FirstCall::State(store))
        }
    };
    let submitter = Arc::new(Submitter::new(route, clock(), keys(config.keys, &aws).await?));
    Ok(WriteSide { submitter, first })
}

fn write_store(dynamodb: &DynamoDb, commands_table: &str, places: &DirectPlaces) -> DynamoWriteStore {
    // Without a read store no transaction names one.
    let read = places.read_table.as_ref().map(|table| table.name.clone()).unwrap_or_default();
    let names = TableNames { write: places.write_table.clone(), commands: commands_table.to_owned(), read };
    DynamoWriteStore::new(dynamodb, &names, ServedDomain::INDEXES)
}

/// What is needed to apply commands where they come in.
fn direct_route(
    aws: &SdkConfig,
    store: Arc<DynamoWriteStore>,
    places: DirectPlaces,
    horizon: Duration,
) -> Result<DirectRoute<ServedDomain>, WiringError> {
    let DirectPlaces { read_table, projection, redis, .. } = places;
    let policy = Policy { horizon, order: Order::Loose, projection, view_in_transaction: read_table.is_some() };
    let models = vec![ReadModel { projection, views: None }];
    Ok(DirectRoute {
        applier: Applier::new(store, clock(), policy),
        projector: Projector::new(models, updater(redis.as_ref(), aws)?, clock()),
    })
}

/// How long what a command builds on may be behind it.
fn horizon(visibility_timeout: Duration) -> Duration {
    visibility_timeout * 2 + DEFERRAL_MAX
}

/// Wires the ingest side.
pub async fn ingest_side(config: &IngestConfig) -> Result<IngestSide<ServedDomain>, WiringError> {
    let aws = clients::aws().await;
    let dynamodb = clients::dynamodb(&aws);
    let names = TableNames {
        write: config.write_table.clone(),
        commands: config.commands_table.clone(),
        // No transaction of this side puts a view.
        read: String::new(),
    };
    let queue = SqsQueue::new(clients::sqs(&aws), config.queue_url.clone());
    let policy = Policy {
        horizon: horizon(config.visibility_timeout),
        order: if queue.is_fifo() { Order::Strict } else { Order::Loose },
        projection: config.read_table.projection,
        view_in_transaction: false,
    };
    let model = |table: &ReadTable| ReadModel {
        projection: table.projection,
        views: Some(Arc::new(DynamoViewStore::new(dynamodb.clone(), &table.name, ServedDomain::INDEXES))),
    };
    let models = std::iter::once(&config.read_table).chain(&config.other_read_table).map(model).collect();
    Ok(IngestSide {
        applier: Applier::new(
            Arc::new(DynamoWriteStore::new(&dynamodb, &names, ServedDomain::INDEXES)),
            clock(),
            policy,
        ),
        projector: Projector::new(models, updater(config.redis.as_ref(), &aws)?, clock()),
        records: Arc::new(DynamoRecords::new(dynamodb, &names.commands)),
        deferral: Arc::new(queue),
        clock: clock(),
    })
}

/// A part cannot be built from its configuration.
#[derive(thiserror::Error)]
pub enum WiringError {
    /// There can be no shared cache.
    #[error("REDIS_URL or REDIS_IAM_CACHE is not as it should be")]
    Redis(#[from] SetupError),
    /// The secret cannot be had.
    #[error("the secret that SIGNING_KEYS_SECRET names cannot be read")]
    Secret(#[from] SecretError),
    /// The secret is something else.
    #[error("the secret that SIGNING_KEYS_SECRET names {0}")]
    Keys(KeyRingError),
}

/// A `main` that fails prints this form: what is wrong, and why.
impl fmt::Debug for WiringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Chain(self))
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

/// The signing keys. Those in a secret are read once: an environment keeps what it has started with.
async fn keys(source: KeySource, aws: &SdkConfig) -> Result<Arc<KeyRing>, WiringError> {
    let keys = match source {
        KeySource::Text(keys) => keys,
        KeySource::Secret(id) => secrets::read(aws, &id).await?.parse().map_err(WiringError::Keys)?,
    };
    Ok(Arc::new(keys))
}

fn redis(place: Option<&RedisPlace>, aws: &SdkConfig) -> Result<Option<Arc<RedisCache>>, WiringError> {
    let Some(RedisPlace { url, iam_cache }) = place else { return Ok(None) };
    let cache = match iam_cache {
        Some(name) => RedisCache::with_iam(&url.0, name, aws)?,
        None => RedisCache::new(&url.0)?,
    };
    Ok(Some(Arc::new(cache)))
}

fn updater(place: Option<&RedisPlace>, aws: &SdkConfig) -> Result<Option<Arc<dyn SharedCacheUpdater>>, WiringError> {
    Ok(redis(place, aws)?.map(|redis| redis as Arc<dyn SharedCacheUpdater>))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keys_that_cannot_be_read_say_which_and_why() {
        let nobody = clients::local("http://127.0.0.1:1");
        let error = keys(KeySource::Secret("watershed/keys".to_owned()), &nobody).await.unwrap_err();
        let said = format!("{error:?}");
        let expected =
            "the secret that SIGNING_KEYS_SECRET names cannot be read: AWS Secrets Manager does not give it: ";
        assert!(said.starts_with(expected) && said.len() > expected.len(), "{said}");
    }
}
