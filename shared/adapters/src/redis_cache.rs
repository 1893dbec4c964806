//! The cache that environments share, in Redis (7.0 or newer) or Valkey.
//!
//! An entry is `V<20-digit version>|<flag>|<fetched_ms>|<body>` or, while somebody fills it, a placeholder `L<nonce>`.
//! Versions are compared as fixed-width strings, because numbers in Lua are doubles and merge 2^53 with 2^53 + 1. Each
//! script touches one key, so that a cluster can run it.

mod breaker;
mod value;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use async_trait::async_trait;
use kernel::ports::{CachedView, Cause, LEASE_TTL, Lease, Lookup, PortError, SharedCache, SharedCacheUpdater};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Script};
use tokio::sync::Mutex;
use tokio::time::timeout;

use self::breaker::Breaker;

const PORT: &str = "shared cache";

/// How long an operation may take: a cache that is slower than the store is no help.
const OPERATION_TIMEOUT: Duration = Duration::from_millis(50);
/// How long a connection may take to be made. It is made behind the scenes, while operations pass the cache by.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Fills the entry IF the placeholder is still mine.
static FILL: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then
             redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
             return 1
         end
         return 0",
    )
});

/// Leaves a missing entry alone, drops a placeholder, replaces an older version.
static UPDATE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local found = redis.call('GET', KEYS[1])
         if not found then
             return 0
         end
         local kind = string.sub(found, 1, 1)
         if kind == 'L' then
             return redis.call('DEL', KEYS[1])
         end
         if kind == 'V' and string.sub(found, 2, 21) >= string.sub(ARGV[1], 2, 21) then
             return 0
         end
         redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
         return 1",
    )
});

/// A [`SharedCache`] in Redis that never stands in the way: an operation takes 50 ms at most, and when Redis is down it
/// is not even asked for a while.
#[derive(Debug)]
pub struct RedisCache {
    client: Client,
    /// Replaced when it breaks; a connection that was frozen with its environment breaks at the first use.
    connection: Arc<Mutex<Option<MultiplexedConnection>>>,
    breaker: Breaker,
}

/// The URL is not one of Redis. Does not print it, because it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a Redis URL")]
pub struct UrlError;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the circuit is open")]
    CircuitOpen,
    #[error("no answer within {} ms", OPERATION_TIMEOUT.as_millis())]
    Timeout,
    #[error(transparent)]
    Redis(#[from] RedisError),
}

impl From<Failure> for PortError {
    fn from(failure: Failure) -> Self {
        Self::Unavailable { port: PORT, cause: failure.into() }
    }
}

impl RedisCache {
    /// A cache at `url`. Connects when it is first used, so a Redis that is down is no error here.
    pub fn new(url: &str) -> Result<Self, UrlError> {
        let client = Client::open(url).map_err(|_| UrlError)?;
        Ok(Self { client, connection: Arc::default(), breaker: Breaker::default() })
    }

    /// Runs an operation within its time, unless Redis has been failing.
    async fn run<T, F: Future<Output = Result<T, RedisError>>>(
        &self,
        operation: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, Failure> {
        let permit = self.breaker.admit().ok_or(Failure::CircuitOpen)?;
        let work = async { operation(self.connect().await?).await };
        match timeout(OPERATION_TIMEOUT, work).await {
            Ok(Ok(result)) => {
                permit.succeeded();
                Ok(result)
            }
            Ok(Err(error)) => {
                self.disconnect();
                Err(error.into())
            }
            Err(_) => {
                self.disconnect();
                Err(Failure::Timeout)
            }
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, RedisError> {
        if let Ok(connection) = self.connection.try_lock()
            && let Some(connection) = connection.as_ref()
        {
            return Ok(connection.clone());
        }
        let (client, slot) = (self.client.clone(), Arc::clone(&self.connection));
        // On its own, so that it goes on when the operation that wanted it has run out of time.
        let connecting = tokio::spawn(async move {
            let mut slot = slot.lock().await;
            if let Some(connection) = slot.as_ref() {
                return Ok(connection.clone());
            }
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(CONNECT_TIMEOUT))
                .set_response_timeout(Some(CONNECT_TIMEOUT));
            let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
            *slot = Some(connection.clone());
            Ok(connection)
        });
        let lost = |error| RedisError::from(std::io::Error::other(error));
        connecting.await.map_err(lost)?
    }

    /// Forgets the connection, unless another one is being made.
    fn disconnect(&self) {
        if let Ok(mut connection) = self.connection.try_lock() {
            *connection = None;
        }
    }
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[async_trait]
impl SharedCache for RedisCache {
    async fn get_or_lease(&self, key: &str) -> Result<Lookup, PortError> {
        let lease = Lease(format!("{:032x}", rand::random::<u128>()));
        let placeholder = value::placeholder(&lease);
        let (found, ttl): (Option<Vec<u8>>, i64) = self
            .run(|mut connection| async move {
                let mut pipeline = redis::pipe();
                pipeline.cmd("SET").arg(key).arg(placeholder).arg("NX").arg("GET").arg("PX").arg(millis(LEASE_TTL));
                pipeline.cmd("PTTL").arg(key);
                pipeline.query_async(&mut connection).await
            })
            .await?;
        let Some(found) = found else { return Ok(Lookup::Leased(lease)) };
        if value::is_placeholder(&found) {
            return Ok(Lookup::Busy);
        }
        let unreadable = || PortError::Corrupt { port: PORT, key: key.to_owned(), cause: Cause::from("not an entry") };
        let view = value::decode(&found).ok_or_else(unreadable)?;
        Ok(Lookup::Hit { view, ttl: u64::try_from(ttl).ok().map(Duration::from_millis) })
    }

    async fn fill(&self, key: &str, lease: &Lease, view: &CachedView, ttl: Duration) -> Result<bool, PortError> {
        let mut script = FILL.key(key);
        script.arg(value::placeholder(lease)).arg(value::encode(view)).arg(millis(ttl));
        Ok(self.run(|mut connection| async move { script.invoke_async(&mut connection).await }).await?)
    }
}

#[async_trait]
impl SharedCacheUpdater for RedisCache {
    async fn update(&self, key: &str, view: &CachedView, ttl: Duration) -> Result<(), PortError> {
        let mut script = UPDATE.key(key);
        script.arg(value::encode(view)).arg(millis(ttl));
        let _: i64 = self.run(|mut connection| async move { script.invoke_async(&mut connection).await }).await?;
        Ok(())
    }
}
