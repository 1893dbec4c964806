//! Puts the parts together. Only this file, with the configuration, looks at a stage's row.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::ServedDomain;
use crate::config::{
    DirectPlaces, IngestConfig, KeySource, LookupConfig, QueuePlaces, ReadConfig, RedisPlace, WriteConfig, WriteRoute,
};
use crate::stages::{Cache, Source};
use adapters::clients::{self, SdkConfig};
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
use kernel::ids::CommandId;
use kernel::ports::{
    MemoryCache, MessageDeferral, RecordReader, RecordWriter, SharedCache, SharedCacheUpdater, ViewReader,
};
use kernel::project::{ProjectingReader, Projector, ReadModel};
use kernel::query::Queries;
use kernel::record::RecordKey;
use kernel::seal::{KeyRing, KeyRingError};
use kernel::submit::{CommandLookup, DirectRoute, QueueRoute, Route, Submitter};

/// How much of an environment's memory the cache may take, in bytes.
const MEMORY_CACHE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The longest pause before a deferred message comes again.
pub const DEFERRAL_MAX: Duration = Duration::from_secs(20);

/// The read side.
#[derive(Debug)]
pub struct ReadSide {
    /// Answers queries.
    pub queries: Arc<Queries>,
    /// Tells what became of commands.
    pub commands: Arc<CommandLookup>,
    /// What a first request will talk to.
    first: Arc<dyn RecordReader>,
    redis: Option<Arc<RedisCache>>,
}

impl ReadSide {
    /// Makes the first connections while the environment starts, when the processor is fast and nobody waits.
    pub async fn warm_up(&self) {
        let redis = async {
            if let Some(redis) = &self.redis {
                redis.warm_up().await;
            }
        };
        tokio::join!(warm_up(self.first.as_ref()), redis);
    }
}

impl WriteSide {
    /// Makes the first connection while the environment starts, when the processor is fast and nobody waits.
    pub async fn warm_up(&self) {
        warm_up(self.first.as_ref()).await;
    }
}

/// Asks for a record that does not exist. Whether it succeeds does not matter: the first request will find out.
async fn warm_up(records: &dyn RecordReader) {
    if let Ok(tenant) = "warm-up".parse() {
        let command = CommandId::generate(SystemClock.now());
        let _ = records.get(&RecordKey { tenant, command }).await;
    }
}

/// The write side.
#[derive(Debug)]
pub struct WriteSide {
    /// Takes commands in.
    pub submitter: Arc<Submitter<ServedDomain>>,
    /// What a first request will talk to.
    first: Arc<dyn RecordReader>,
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
    let stored = DynamoViewStore::new(dynamodb, &config.views_table, ServedDomain::INDEXES);
    let views: Arc<dyn ViewReader> = match config.row.reads_from {
        Source::ReadStore => Arc::new(stored),
        Source::WriteStore => Arc::new(ProjectingReader::<ServedDomain>::new(Arc::new(stored), config.projection)),
    };
    let memory =
        config.row.has(Cache::Memory).then(|| Arc::new(MokaCache::new(MEMORY_CACHE_BYTES_MAX)) as Arc<dyn MemoryCache>);
    let redis = redis(config.redis.as_ref(), &aws)?;
    let shared = redis.clone().map(|redis| redis as Arc<dyn SharedCache>);
    let (clock, keys) = (clock(), keys(config.keys, &aws).await?);
    Ok(ReadSide {
        queries: Arc::new(Queries::new(
            config.projection,
            views,
            records.clone(),
            memory,
            shared,
            clock.clone(),
            keys.clone(),
        )),
        commands: Arc::new(CommandLookup::new(records.clone(), clock, keys)),
        first: records,
        redis,
    })
}

/// Wires what tells what became of commands, alone.
pub async fn command_lookup(config: LookupConfig) -> Result<Arc<CommandLookup>, WiringError> {
    let aws = clients::aws().await;
    let records = Arc::new(DynamoRecords::new(clients::dynamodb(&aws), &config.commands_table));
    let keys = keys(config.keys, &aws).await?;
    warm_up(records.as_ref()).await;
    Ok(Arc::new(CommandLookup::new(records, clock(), keys)))
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
    };
    let direct = |places, horizon| direct_route(&aws, &config.commands_table, places, horizon);
    let route = match config.route {
        WriteRoute::Queue(places) => Route::Queue(queue(places)),
        // Nothing can be behind, because nothing is queued.
        WriteRoute::Direct { places, queued_before } => Route::Direct {
            direct: direct(places, Duration::ZERO)?,
            queued_before: queued_before.then(|| records.clone() as Arc<dyn RecordWriter>),
        },
        WriteRoute::Either { direct: places, queue: queue_places, visibility_timeout, honours_async } => {
            Route::Either {
                direct: direct(places, horizon(visibility_timeout))?,
                queue: queue(queue_places),
                honours_async,
            }
        }
    };
    let submitter = Arc::new(Submitter::new(route, clock(), keys(config.keys, &aws).await?));
    Ok(WriteSide { submitter, first: records })
}

/// What is needed to apply commands where they come in.
fn direct_route(
    aws: &SdkConfig,
    commands_table: &str,
    places: DirectPlaces,
    horizon: Duration,
) -> Result<DirectRoute<ServedDomain>, WiringError> {
    let DirectPlaces { write_table, read_table, projection, redis } = places;
    let view_in_transaction = read_table.is_some();
    // Without a read store no transaction names one.
    let read = read_table.map(|table| table.name).unwrap_or_default();
    let names = TableNames { write: write_table, commands: commands_table.to_owned(), read };
    let store = Arc::new(DynamoWriteStore::new(&clients::dynamodb(aws), &names, ServedDomain::INDEXES));
    let policy = Policy { horizon, order: Order::Loose, projection, view_in_transaction };
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
