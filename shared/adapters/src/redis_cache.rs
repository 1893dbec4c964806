//! The shared cache in Redis (7.0 or newer) or Valkey.
//!
//! An entry is `V<20-digit version>|<flag>|<fetched_ms>|<body>`. While a reader fills it, it is a placeholder `L<nonce>`.
//! Scripts compare versions as strings of fixed width, because numbers in Lua are doubles: 2^53 equals 2^53 + 1. Each script
//! uses one key, so that a cluster can run it.

mod breaker;
mod iam;
mod link;
mod value;

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use aws_config::SdkConfig;
use kernel::error_chain::ErrorChain;
use kernel::ports::{CachedView, LEASE_TTL, Lease, Lookup, PortError, SharedCache, SharedCacheUpdater};
use redis::aio::MultiplexedConnection;
use redis::{Client, ConnectionAddr, FromRedisValue, RedisError, Script, ScriptInvocation};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout_at};
use tracing::{debug, warn};

use self::breaker::Breaker;
use self::iam::TokenIssuer;
use self::link::Link;

const PORT: &str = "shared cache";

/// The time limit of an operation. A cache that is slower than the store is no help.
const OPERATION_TIMEOUT: Duration = Duration::from_millis(50);

/// Fills the entry IF the caller still holds the lease: the stored placeholder is that of the lease.
static FILL: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('GET', KEYS[1]) == ARGV[1] then
             redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
             return 1
         end
         return 0",
    )
});

/// Replaces an older version or a text that is not an entry, deletes a placeholder, and does not create a missing entry.
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

/// Deletes a value that is not an entry, IF it is unchanged. An empty argument stands for a value that is not a string.
static DISCARD: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('TYPE', KEYS[1]).ok ~= 'string' or redis.call('GET', KEYS[1]) == ARGV[1] then
             return redis.call('DEL', KEYS[1])
         end
         return 0",
    )
});

/// A [`SharedCache`] in Redis that delays callers only briefly: an operation takes at most 50 ms. After repeated failures,
/// operations fail at once for up to a second, without a call to Redis.
#[derive(Debug)]
pub struct RedisCache {
    link: Link,
    breaker: Breaker,
    operation_timeout: Duration,
}

/// The reason why a cache cannot be set up. The message does not contain the URL, because the URL may contain a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SetupError {
    /// The URL is not one of Redis.
    #[error("not a Redis URL, such as redis://127.0.0.1:6379")]
    NotRedis,
    /// The URL does not fit IAM, which makes the password.
    #[error("for IAM the URL must have TLS, a user and no password, such as rediss://user@host:6379")]
    NotForIam,
    /// No cache and no user of ElastiCache can have this name.
    #[error("for IAM the names of the cache and of its user must have only letters, digits and hyphens")]
    NoName,
}

/// The reason why an operation failed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the circuit is open")]
    CircuitOpen,
    #[error("no answer in time")]
    Timeout,
    #[error(transparent)]
    Redis(#[from] RedisError),
}

impl From<Failure> for PortError {
    fn from(failure: Failure) -> Self {
        Self::Unavailable { port: PORT, cause: failure.into() }
    }
}

impl From<Elapsed> for Failure {
    fn from(_: Elapsed) -> Self {
        Self::Timeout
    }
}

impl Failure {
    /// Returns whether Redis works, but holds a value under this key that is not a string.
    fn is_wrong_type(&self) -> bool {
        let Self::Redis(error) = self else { return false };
        let output = error.clone().into_server_errors().unwrap_or_default();
        output.iter().any(|(_, error)| error.code() == "WRONGTYPE")
    }
}

impl RedisCache {
    /// Makes a cache for `url`, for example `redis://127.0.0.1:6379`, or `rediss://` for TLS. TLS trusts the authorities of the
    /// system, or those in the file that `SSL_CERT_FILE` names.
    ///
    /// The cache connects at its first use, so this call succeeds even if Redis is down.
    pub fn new(url: &str) -> Result<Self, SetupError> {
        let client = Client::open(url).map_err(|_| SetupError::NotRedis)?;
        Ok(Self::over(Link::new(client, None)))
    }

    /// Like [`Self::new`], for the cache of ElastiCache Serverless with this name. IAM authenticates the user in the URL.
    pub fn with_iam(url: &str, cache: &str, aws: &SdkConfig) -> Result<Self, SetupError> {
        let client = Client::open(url).map_err(|_| SetupError::NotRedis)?;
        let info = client.get_connection_info();
        let (is_tls, who) = (matches!(info.addr(), ConnectionAddr::TcpTls { .. }), info.redis_settings());
        let (true, Some(user), None) = (is_tls, who.username(), who.password()) else {
            return Err(SetupError::NotForIam);
        };
        let tokens = TokenIssuer::new(aws, cache, user).ok_or(SetupError::NoName)?;
        Ok(Self::over(Link::new(client, Some(tokens))))
    }

    fn over(link: Link) -> Self {
        Self { link, breaker: Breaker::default(), operation_timeout: OPERATION_TIMEOUT }
    }

    /// Connects while no request waits. A failure has no consequence: the first operation connects again.
    pub async fn warm_up(&self) {
        if let Err(error) = self.link.connection().await {
            debug!(error = %ErrorChain(&error), "no connection yet");
        }
    }

    /// Gives each operation, including its connection, more time. Callers that can wait use it: operators, and suites on a busy
    /// machine.
    #[must_use]
    pub fn with_operation_timeout(self, operation_timeout: Duration) -> Self {
        Self { operation_timeout, link: self.link.with_patience(operation_timeout), ..self }
    }

    /// Returns the views under the keys, without a lease; `None` for a missing view, and for a value that is not a view.
    pub async fn peek(&self, keys: &[String]) -> Result<Vec<Option<CachedView>>, PortError> {
        let operation = |mut connection| async move {
            let mut commands = redis::pipe();
            for key in keys {
                commands.get(key);
            }
            commands.query_async::<Vec<Option<Vec<u8>>>>(&mut connection).await
        };
        let found = self.run(operation).await?;
        Ok(found.into_iter().map(|entry| entry.as_deref().and_then(value::decode)).collect())
    }

    /// Deletes an entry. The next reader fills it again.
    pub async fn remove(&self, key: &str) -> Result<(), PortError> {
        let operation =
            |mut connection| async move { redis::cmd("DEL").arg(key).query_async::<()>(&mut connection).await };
        Ok(self.run(operation).await?)
    }

    /// Runs an operation within its time limit, or fails at once while the circuit is open.
    async fn run<T, F>(&self, operation: impl Fn(MultiplexedConnection) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let permit = self.breaker.admit().ok_or(Failure::CircuitOpen)?;
        let result = self.attempt(operation).await;
        match &result {
            Err(failure) if !failure.is_wrong_type() => {
                // The circuit limits this log: operations that it refuses are not logged.
                warn!(error = %ErrorChain(failure), "the shared cache fails");
                permit.failed();
            }
            _ => permit.succeeded(),
        }
        result
    }

    /// Runs an operation, and repeats it once on a new connection if the old one turns out to be broken. The environment may
    /// have been frozen since the previous operation.
    async fn attempt<T, F>(&self, operation: impl Fn(MultiplexedConnection) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let deadline = Instant::now() + self.operation_timeout;
        let mut may_be_stale = true;
        loop {
            let connection = timeout_at(deadline, self.link.connection()).await??;
            let result = timeout_at(deadline, operation(MultiplexedConnection::clone(&connection))).await;
            let failure = match result.map_err(Failure::from).and_then(|done| done.map_err(Failure::from)) {
                Ok(done) => return Ok(done),
                Err(failure) if failure.is_wrong_type() => return Err(failure),
                Err(failure) => failure,
            };
            // After any failure, a new connection may reach a better server: this one may have become a replica, for example.
            self.link.forget(&connection);
            let is_dropped = matches!(&failure, Failure::Redis(error) if error.is_connection_dropped());
            if !(is_dropped && may_be_stale) {
                return Err(failure);
            }
            may_be_stale = false;
        }
    }

    /// Returns the stored value with its time to live in milliseconds. Stores the placeholder of the lease if the key is empty.
    async fn get_or_put(&self, key: &str) -> Result<(Lease, Option<Vec<u8>>, i64), Failure> {
        let operation = |mut connection| async move {
            // Each attempt gets a new lease. Redis may still execute a request that seemed lost. If a writer has revoked its
            // lease meanwhile, that request would bring the lease back.
            let lease = Lease(format!("{:032x}", rand::random::<u128>()));
            let placeholder = value::placeholder(&lease);
            let mut commands = redis::pipe();
            commands.cmd("SET").arg(key).arg(placeholder).arg("NX").arg("GET").arg("PX").arg(millis(LEASE_TTL));
            commands.cmd("PTTL").arg(key);
            let (found, ttl) = commands.query_async(&mut connection).await?;
            Ok((lease, found, ttl))
        };
        self.run(operation).await
    }

    async fn invoke<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, Failure> {
        self.run(|mut connection| async move { script.invoke_async(&mut connection).await }).await
    }

    /// Deletes a value that is not a cache entry. The next reader gets the lease.
    async fn discard(&self, key: &str, found: &[u8]) -> Result<Lookup, PortError> {
        warn!(key, "deleting a value that is not a cache entry");
        let _: bool = self.invoke(DISCARD.key(key).arg(found)).await?;
        Ok(Lookup::Busy)
    }
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[async_trait]
impl SharedCache for RedisCache {
    async fn get_or_lease(&self, key: &str) -> Result<Lookup, PortError> {
        let (found, ttl) = match self.get_or_put(key).await {
            Ok((_, Some(found), ttl)) => (found, ttl),
            Ok((lease, None, _)) => return Ok(Lookup::Leased(lease)),
            Err(failure) if failure.is_wrong_type() => return self.discard(key, b"").await,
            Err(failure) => return Err(failure.into()),
        };
        if value::is_placeholder(&found) {
            return Ok(Lookup::Busy);
        }
        match value::decode(&found) {
            Some(view) => Ok(Lookup::Hit { view, ttl: u64::try_from(ttl).ok().map(Duration::from_millis) }),
            None => self.discard(key, &found).await,
        }
    }

    async fn fill(&self, key: &str, lease: &Lease, view: &CachedView, ttl: Duration) -> Result<bool, PortError> {
        let mut script = FILL.key(key);
        script.arg(value::placeholder(lease)).arg(value::encode(view)).arg(millis(ttl));
        Ok(self.invoke(&script).await?)
    }
}

#[async_trait]
impl SharedCacheUpdater for RedisCache {
    async fn update(&self, key: &str, view: &CachedView, ttl: Duration) -> Result<(), PortError> {
        let mut script = UPDATE.key(key);
        script.arg(value::encode(view)).arg(millis(ttl));
        let _: bool = self.invoke(&script).await?;
        Ok(())
    }
}
