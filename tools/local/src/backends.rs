//! The backends of the functions: tables in every stage; the queue and Redis from the first stage that needs them.

use std::sync::Arc;

use adapters::clients;
use adapters::tables::{self, TableError, TableNames};
use kernel::error_chain::ErrorChain;
use service::stages::{Cache, StageConfig};

use crate::options::StackOptions;
use crate::queue::{self, QueueError, Queues};
use crate::redis::Redis;
use crate::stores::{Store, StoreError};
use crate::supervise::Spawner;

/// The error of a backend that is unavailable or cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The embedded tables do not start.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The embedded queues do not start.
    #[error("{}", ErrorChain(.0))]
    QueueServer(#[from] queue::ServerError),
    /// The tables cannot be prepared.
    #[error("{}", ErrorChain(.0))]
    Tables(#[from] TableError),
    /// The queues cannot be prepared.
    #[error("{}", ErrorChain(.0))]
    Queues(#[from] QueueError),
}

/// Tables, queues and cache. Each one that was started runs until the stack stops.
#[derive(Debug)]
pub(crate) struct Backends {
    options: StackOptions,
    spawner: Spawner,
    signing_keys: String,
    /// The tables, if they are embedded.
    pub(crate) store: Option<Arc<Store>>,
    dynamodb_url: String,
    queue: Option<QueueBackend>,
    /// The error says why there is no Redis.
    redis: Result<Arc<Redis>, String>,
}

#[derive(Debug)]
struct QueueBackend {
    server: Option<queue::Server>,
    url: String,
    queues: Queues,
}

impl Backends {
    /// Starts the tables, and creates the missing ones among `names`.
    pub(crate) async fn start(
        options: &StackOptions,
        spawner: &Spawner,
        signing_keys: String,
        names: &TableNames,
    ) -> Result<Self, BackendError> {
        let store = match &options.dynamodb_url {
            Some(_) => None,
            None => Some(Arc::new(Store::start(options.persistent_dir())?)),
        };
        let embedded_url = store.as_ref().map(|store| store.url.clone());
        let dynamodb_url = options.dynamodb_url.clone().or(embedded_url).unwrap_or_default();
        let client = clients::dynamodb(&sdk_config(&dynamodb_url, store.is_none()).await);
        tables::create_all(&client, names).await?;
        let (options, spawner) = (options.clone(), spawner.clone());
        let redis = Err("no stage has needed it yet".to_owned());
        Ok(Self { options, spawner, signing_keys, store, dynamodb_url, queue: None, redis })
    }

    /// Starts the missing backends of a stage. Without Redis the service runs with memory caches only.
    pub(crate) async fn provide(&mut self, config: &StageConfig) -> Result<(), BackendError> {
        if config.queue_deployed && self.queue.is_none() {
            self.queue = Some(QueueBackend::start(&self.options).await?);
        }
        if needs_redis(config) && self.redis.is_err() {
            self.redis = redis(&self.options, &self.spawner).await.map(Arc::new);
        }
        Ok(())
    }

    /// Returns Redis, if the stage uses it.
    pub(crate) fn redis(&self, config: &StageConfig) -> Option<Arc<Redis>> {
        self.redis.as_ref().ok().filter(|_| needs_redis(config)).cloned()
    }

    /// Returns the queues, if the stage has them.
    pub(crate) fn queues(&self, config: &StageConfig) -> Option<Queues> {
        self.queue.as_ref().filter(|_| config.queue_deployed).map(|queue| queue.queues.clone())
    }

    /// Returns the addresses of the backends, one a line.
    pub(crate) fn lines(&self, config: &StageConfig) -> Vec<String> {
        let dir = self.options.persistent_dir();
        let storage = dir.map_or("in memory".to_owned(), |dir| format!("stored in {}", dir.display()));
        let mut lines = vec![match &self.store {
            Some(_) => format!("dynamodb   {}, {storage}", self.dynamodb_url),
            None => format!("dynamodb   {}", self.dynamodb_url),
        }];
        let queue = self.queue.as_ref().filter(|_| config.queue_deployed);
        lines.extend(queue.map(|QueueBackend { server, url, queues }| match server {
            Some(_) => format!("sqs        {url}, {storage}, queue {}", queues.main.url),
            None => format!("sqs        {url}, queue {}", queues.main.url),
        }));
        lines.push(match &self.redis {
            _ if !needs_redis(config) => format!("redis      none: stage {config} has no shared cache"),
            Ok(redis) => format!("redis      {}", redis.url),
            Err(reason) => format!("redis      none: {reason}"),
        });
        lines
    }

    /// Returns the variables of every function of a stage, without those that Lambda and the deployment set.
    pub(crate) fn variables(&self, config: &StageConfig) -> Vec<(String, String)> {
        let inherited = |name: &str| std::env::var(name).ok();
        let is_external = self.options.dynamodb_url.is_some() || self.options.sqs_url.is_some();
        let credential = |name: &str| inherited(name).filter(|_| is_external);
        let own_credentials = credential("AWS_ACCESS_KEY_ID").is_some();
        let or_local = |name: &str, local: &str| credential(name).unwrap_or_else(|| local.to_owned());
        let queue = self.queue.as_ref().filter(|_| config.queue_deployed);
        let redis = self.redis(config);
        [
            ("AWS_REGION", Some(or_local("AWS_REGION", "us-east-1"))),
            ("AWS_ACCESS_KEY_ID", Some(or_local("AWS_ACCESS_KEY_ID", "local"))),
            ("AWS_SECRET_ACCESS_KEY", Some(or_local("AWS_SECRET_ACCESS_KEY", "local"))),
            ("AWS_SESSION_TOKEN", credential("AWS_SESSION_TOKEN").filter(|_| own_credentials)),
            ("AWS_ENDPOINT_URL_DYNAMODB", Some(self.dynamodb_url.clone())),
            ("AWS_ENDPOINT_URL_SQS", queue.map(|queue| queue.url.clone())),
            ("REDIS_URL", redis.map(|redis| redis.url.clone())),
            ("QUEUE_URL", queue.map(|queue| queue.queues.main.url.clone())),
            ("DEAD_LETTER_QUEUE_URL", queue.map(|queue| queue.queues.dead_letters.url.clone())),
            ("VISIBILITY_TIMEOUT_SECONDS", queue.map(|_| queue::VISIBILITY_TIMEOUT.as_secs().to_string())),
            ("MAX_RECEIVE_COUNT", queue.map(|_| queue::RECEIVES_MAX.to_string())),
            ("SIGNING_KEYS", Some(self.signing_keys.clone())),
            ("METRICS", self.options.metrics.then(|| "emf".to_owned())),
            ("RUST_LOG", inherited("RUST_LOG")),
            ("PATH", inherited("PATH")),
            ("HOME", inherited("HOME")),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
    }

    /// Stops the backends that were started.
    pub(crate) async fn stop(&self) {
        if let Ok(redis) = &self.redis {
            redis.stop().await;
        }
        if let Some(server) = self.queue.as_ref().and_then(|queue| queue.server.as_ref()) {
            server.stop().await;
        }
        if let Some(store) = &self.store {
            store.stop().await;
        }
    }
}

impl QueueBackend {
    async fn start(options: &StackOptions) -> Result<Self, BackendError> {
        let server = match &options.sqs_url {
            Some(_) => None,
            None => Some(queue::Server::start(options.persistent_dir()).await?),
        };
        let embedded_url = server.as_ref().map(|server| server.url.clone());
        let url = options.sqs_url.clone().or(embedded_url).unwrap_or_default();
        let client = clients::sqs(&sdk_config(&url, server.is_none()).await);
        let queues = Queues::prepare(client, options.queue).await?;
        Ok(Self { server, url, queues })
    }
}

/// Returns whether readers or writers of a stage use Redis.
fn needs_redis(config: &StageConfig) -> bool {
    config.writes_redis || config.has(Cache::Redis)
}

async fn redis(options: &StackOptions, spawner: &Spawner) -> Result<Redis, String> {
    if options.no_redis {
        return Err("memory caches only, because of --no-redis".to_owned());
    }
    match &options.redis_url {
        Some(url) => Ok(Redis::external(url)),
        None => Redis::start(spawner).await.map_err(|error| format!("{error}; memory caches only")),
    }
}

/// Returns the settings of the SDK. An external backend gets the credentials of the user who runs this program, if there
/// are any.
async fn sdk_config(url: &str, is_external: bool) -> aws_config::SdkConfig {
    if is_external && std::env::var_os("AWS_ACCESS_KEY_ID").is_some() {
        clients::aws().await.to_builder().endpoint_url(url).build()
    } else {
        clients::local(url)
    }
}
