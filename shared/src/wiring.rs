//! Creates the ports of AWS and Redis, and assembles the service over them.

use std::fmt;
use std::sync::Arc;

use adapters::clients::{self, DynamoDb, SdkConfig};
use adapters::dynamo::{DynamoRecords, DynamoViewStore, DynamoWriteStore};
use adapters::moka_cache::MokaCache;
use adapters::read_table::ReadTable;
use adapters::redis_cache::{RedisCache, SetupError};
use adapters::secrets::{self, SecretError};
use adapters::sqs::SqsQueue;
use adapters::tables::TableNames;
use kernel::clock::{StampClock, SystemClock};
use kernel::domain::Domain;
use kernel::error_chain::ErrorChain;
use kernel::ingest::Ingest;
use kernel::lookup::CommandLookup;
use kernel::policy::Order;
use kernel::ports::{MemoryCache, RecordReader, RecordWriter, SharedCache, SharedCacheUpdater, ViewWriter};
use kernel::projection::Projection;
use kernel::query::{Lists, Queries};
use kernel::seal::{KeyRing, KeyRingError};
use kernel::submit::Submitter;
use service::assembly::{
    Assembly, DirectPorts, IngestPorts, ListPorts, QueuePorts, ReadPorts, WriteRoute, reorder_window,
};
use service::stages::{Cache, StageConfig};

use crate::config::{
    DirectBackends, IngestConfig, KeySource, ListConfig, LookupConfig, QueueBackends, ReadConfig, RedisBackend,
    WriteConfig,
};
use crate::warm_up::FirstCall;

/// The maximum size of the memory cache in an environment, in bytes.
const MEMORY_CACHE_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The read side.
#[derive(Debug)]
pub struct ReadSide {
    /// The lookup of command statuses.
    pub commands: Arc<CommandLookup>,
    /// The part that answers queries of lists.
    pub lists: ListSide,
    records: Arc<dyn RecordReader>,
    redis: Option<Arc<RedisCache>>,
}

impl ReadSide {
    /// Returns the part that answers queries of `D`.
    #[must_use]
    pub fn queries<D: Domain>(&self) -> Arc<Queries> {
        let ListSide { assembly, ports, keys } = &self.lists;
        let cache = self.redis.clone().map(|redis| redis as Arc<dyn SharedCache>);
        let ports = ReadPorts { lists: ports.clone(), records: self.records.clone(), cache };
        Arc::new(assembly.queries::<D>(ports, keys.clone()))
    }

    /// Opens the first connections.
    pub async fn warm_up(&self) {
        let redis = async {
            if let Some(redis) = &self.redis {
                redis.warm_up().await;
            }
        };
        let first = FirstCall::View(self.lists.ports.views.clone());
        tokio::join!(first.make(), redis);
    }
}

/// The part of the read side that answers queries of lists.
#[derive(Debug)]
pub struct ListSide {
    assembly: Assembly,
    ports: ListPorts,
    keys: Arc<KeyRing>,
}

impl ListSide {
    /// Returns the part that answers queries of lists of `D`.
    #[must_use]
    pub fn lists<D: Domain>(&self) -> Arc<Lists> {
        Arc::new(self.assembly.lists::<D>(self.ports.clone(), self.keys.clone()))
    }
}

/// The write side.
#[derive(Debug)]
pub struct WriteSide {
    assembly: Assembly,
    route: WriteRoute<QueuePorts, DirectPorts>,
    records: Arc<dyn RecordWriter>,
    stamps: Arc<StampClock>,
    keys: Arc<KeyRing>,
}

impl WriteSide {
    /// Returns the part that accepts commands of `D`.
    #[must_use]
    pub fn submitter<D: Domain>(&self) -> Arc<Submitter<D>> {
        let Self { assembly, route, records, stamps, keys } = self;
        Arc::new(assembly.submitter(route.clone(), records, stamps.clone(), keys.clone()))
    }

    /// Opens the first connection.
    pub async fn warm_up(&self) {
        let first = match &self.route {
            WriteRoute::Queue(_) => FirstCall::Record(self.records.clone()),
            WriteRoute::Direct { direct, .. } | WriteRoute::Either { direct, .. } => {
                FirstCall::State(direct.store.clone())
            }
        };
        first.make().await;
    }
}

/// Wires the read side.
pub async fn read_side(config: ReadConfig) -> Result<ReadSide, WiringError> {
    let aws = clients::aws().await;
    let dynamodb = clients::dynamodb(&aws);
    let records = Arc::new(DynamoRecords::new(dynamodb.clone(), &config.commands_table));
    let ports = list_ports(dynamodb, &config.views_table, &config.stage);
    let redis = redis(config.redis.as_ref(), &aws)?;
    let keys = keys(config.keys, &aws).await?;
    let assembly = assembly(config.stage, config.projection);
    let commands = Arc::new(CommandLookup::new(records.clone(), assembly.clock.clone(), keys.clone()));
    Ok(ReadSide { commands, lists: ListSide { assembly, ports, keys }, records, redis })
}

/// Wires the part that answers queries of lists, alone, and opens its first connection.
pub async fn list_side(config: ListConfig) -> Result<ListSide, WiringError> {
    let aws = clients::aws().await;
    let ports = list_ports(clients::dynamodb(&aws), &config.views_table, &config.stage);
    let keys = keys(config.keys, &aws).await?;
    FirstCall::Page(ports.views.clone()).make().await;
    Ok(ListSide { assembly: assembly(config.stage, config.projection), ports, keys })
}

/// Wires the lookup of command statuses, alone, and opens its first connection.
pub async fn command_lookup(config: LookupConfig) -> Result<Arc<CommandLookup>, WiringError> {
    let aws = clients::aws().await;
    let records = Arc::new(DynamoRecords::new(clients::dynamodb(&aws), &config.commands_table));
    let keys = keys(config.keys, &aws).await?;
    FirstCall::Record(records.clone()).make().await;
    Ok(Arc::new(CommandLookup::new(records, Arc::new(SystemClock), keys)))
}

fn assembly(stage: StageConfig, projection: Projection) -> Assembly {
    Assembly { stage: Arc::new(stage), projection, clock: Arc::new(SystemClock) }
}

/// Returns the store that answers queries, and the memory cache in front of it if the stage has one.
fn list_ports(dynamodb: DynamoDb, table: &str, stage: &StageConfig) -> ListPorts {
    let memory = || Arc::new(MokaCache::new(MEMORY_CACHE_BYTES_MAX)) as Arc<dyn MemoryCache>;
    ListPorts { views: Arc::new(DynamoViewStore::new(dynamodb, table)), memory: stage.has(Cache::Memory).then(memory) }
}

/// Wires the write side.
pub async fn write_side(config: WriteConfig) -> Result<WriteSide, WiringError> {
    let aws = clients::aws().await;
    let dynamodb = clients::dynamodb(&aws);
    let records = Arc::new(DynamoRecords::new(dynamodb.clone(), &config.commands_table));
    let queue = |backends: QueueBackends| -> Result<QueuePorts, WiringError> {
        Ok(QueuePorts {
            queue: Arc::new(SqsQueue::new(clients::sqs(&aws), backends.queue_url)),
            views: Arc::new(DynamoViewStore::new(dynamodb.clone(), backends.read_table.name)),
        })
    };
    let direct = |backends: DirectBackends| direct_ports(&aws, &dynamodb, &config.commands_table, backends);
    let route = config.route.try_map(queue, direct)?;
    let keys = keys(config.keys, &aws).await?;
    let assembly = assembly(config.stage, config.projection);
    Ok(WriteSide { assembly, route, records, stamps: Arc::default(), keys })
}

fn direct_ports(
    aws: &SdkConfig,
    dynamodb: &DynamoDb,
    commands_table: &str,
    backends: DirectBackends,
) -> Result<DirectPorts, WiringError> {
    // Without a read store, no transaction writes to this table.
    let read = backends.read_table.map(|table| table.name).unwrap_or_default();
    let names = TableNames { write: backends.write_table, commands: commands_table.to_owned(), read };
    Ok(DirectPorts {
        store: Arc::new(DynamoWriteStore::new(dynamodb, &names)),
        cache: updater(backends.redis.as_ref(), aws)?,
        reorder_window: backends.reorder_window,
    })
}

/// Wires the ingest side.
pub async fn ingest_side(config: IngestConfig) -> Result<Ingest, WiringError> {
    let aws = clients::aws().await;
    let dynamodb = clients::dynamodb(&aws);
    let names = TableNames {
        write: config.write_table,
        commands: config.commands_table,
        // Transactions of the ingest side write no views.
        read: String::new(),
    };
    let queue = SqsQueue::new(clients::sqs(&aws), config.queue_url);
    let order = if queue.is_fifo() { Order::Strict } else { Order::Loose };
    let projection = config.read_table.projection;
    let model = |table: ReadTable| {
        let views = DynamoViewStore::new(dynamodb.clone(), table.name);
        (table.projection, Arc::new(views) as Arc<dyn ViewWriter>)
    };
    let ports = IngestPorts {
        store: Arc::new(DynamoWriteStore::new(&dynamodb, &names)),
        models: std::iter::once(config.read_table).chain(config.other_read_table).map(model).collect(),
        cache: updater(config.redis.as_ref(), &aws)?,
        records: Arc::new(DynamoRecords::new(dynamodb.clone(), &names.commands)),
        deferral: Arc::new(queue),
        order,
        reorder_window: reorder_window(config.visibility_timeout),
        receive_count_max: config.receive_count_max,
    };
    Ok(assembly(config.stage, projection).ingest(ports))
}

/// The error of a part whose construction fails.
#[derive(thiserror::Error)]
pub enum WiringError {
    /// The configuration of the shared cache is invalid.
    #[error("REDIS_URL or REDIS_IAM_CACHE is wrong")]
    Redis(#[from] SetupError),
    /// The secret cannot be read.
    #[error("the secret that SIGNING_KEYS_SECRET names cannot be read")]
    Secret(#[from] SecretError),
    /// The secret does not hold signing keys.
    #[error("the secret that SIGNING_KEYS_SECRET names {0}")]
    Keys(KeyRingError),
}

/// A failing `main` prints the `Debug` form, so it shows the error with all its causes.
impl fmt::Debug for WiringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", ErrorChain(self))
    }
}

/// Returns the signing keys. It reads a secret once: an environment keeps the keys that it started with.
async fn keys(source: KeySource, aws: &SdkConfig) -> Result<Arc<KeyRing>, WiringError> {
    let keys = match source {
        KeySource::Text(keys) => keys,
        KeySource::Secret(id) => secrets::read(aws, &id).await?.parse().map_err(WiringError::Keys)?,
    };
    Ok(Arc::new(keys))
}

fn redis(backend: Option<&RedisBackend>, aws: &SdkConfig) -> Result<Option<Arc<RedisCache>>, WiringError> {
    let Some(RedisBackend { url, iam_cache }) = backend else { return Ok(None) };
    let cache = match iam_cache {
        Some(name) => RedisCache::with_iam(&url.0, name, aws)?,
        None => RedisCache::new(&url.0)?,
    };
    Ok(Some(Arc::new(cache)))
}

fn updater(
    backend: Option<&RedisBackend>,
    aws: &SdkConfig,
) -> Result<Option<Arc<dyn SharedCacheUpdater>>, WiringError> {
    Ok(redis(backend, aws)?.map(|redis| redis as Arc<dyn SharedCacheUpdater>))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn unreadable_signing_keys_are_reported_with_the_cause() {
        let nobody = clients::local("http://127.0.0.1:1");
        let error = keys(KeySource::Secret("watershed/keys".to_owned()), &nobody).await.unwrap_err();
        let output = format!("{error:?}");
        let expected =
            "the secret that SIGNING_KEYS_SECRET names cannot be read: AWS Secrets Manager did not return it: ";
        assert!(output.starts_with(expected) && output.len() > expected.len(), "{output}");
    }
}
