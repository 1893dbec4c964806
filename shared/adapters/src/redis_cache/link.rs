//! One connection that all operations share. It is made at the first use, and again after it broke.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError};
use tokio::sync::OwnedMutexGuard;

use super::iam::TokenIssuer;

/// The time limit for a connection, unless the caller can wait longer. The operations of functions do not wait that long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The time that a connection is used. ElastiCache ends a connection that an IAM token has opened after 12 hours.
const CONNECTION_TTL: Duration = Duration::from_hours(11);

#[derive(Debug)]
pub(super) struct Link {
    access: Access,
    current: Arc<Mutex<Option<Kept>>>,
    /// The lock of the task that connects, so that only one connection is made at a time.
    connecting: Arc<tokio::sync::Mutex<()>>,
}

/// A connection. Its pointer distinguishes it from earlier and later connections.
pub(super) type Connection = Arc<MultiplexedConnection>;

#[derive(Debug)]
struct Kept {
    connection: Connection,
    /// The age counts by the wall clock, which also runs while an environment is frozen.
    made_at: SystemTime,
}

/// Returns the connection, if there is one that is not too old.
fn usable(current: &Mutex<Option<Kept>>) -> Option<Connection> {
    let is_fresh = |kept: &&Kept| kept.made_at.elapsed().is_ok_and(|age| age < CONNECTION_TTL);
    lock(current).as_ref().filter(is_fresh).map(|kept| Arc::clone(&kept.connection))
}

fn lock(current: &Mutex<Option<Kept>>) -> MutexGuard<'_, Option<Kept>> {
    current.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    pub(super) fn new(client: Client, tokens: Option<TokenIssuer>) -> Self {
        let access = Access { client, tokens, timeout: CONNECT_TIMEOUT };
        Self { access, current: Arc::default(), connecting: Arc::default() }
    }

    /// Gives a connection as much time as an operation has.
    pub(super) fn with_patience(mut self, patience: Duration) -> Self {
        self.access.timeout = patience.max(CONNECT_TIMEOUT);
        self
    }

    /// Returns the connection, and makes it if necessary. If the caller stops waiting, the connection is still made in the
    /// background.
    pub(super) async fn connection(&self) -> Result<Connection, RedisError> {
        if let Some(connection) = usable(&self.current) {
            return Ok(connection);
        }
        let Ok(turn) = Arc::clone(&self.connecting).try_lock_owned() else {
            drop(self.connecting.lock().await);
            let failed = || RedisError::from((ErrorKind::Io, "cannot connect"));
            return usable(&self.current).ok_or_else(failed);
        };
        let connecting = tokio::spawn(connect(self.access.clone(), Arc::clone(&self.current), turn));
        let lost = |error| RedisError::from(std::io::Error::other(error));
        connecting.await.map_err(lost)?
    }

    /// Stops the use of this connection. The next operation gets another one.
    pub(super) fn forget(&self, broken: &Connection) {
        lock(&self.current).take_if(|kept| Arc::ptr_eq(&kept.connection, broken));
    }
}

async fn connect(
    access: Access,
    current: Arc<Mutex<Option<Kept>>>,
    _turn: OwnedMutexGuard<()>,
) -> Result<Connection, RedisError> {
    if let Some(connection) = usable(&current) {
        return Ok(connection);
    }
    let connection = Arc::new(access.open().await?);
    *lock(&current) = Some(Kept { connection: Arc::clone(&connection), made_at: SystemTime::now() });
    Ok(connection)
}

/// The settings of a connection.
#[derive(Debug, Clone)]
struct Access {
    client: Client,
    /// The issuer of passwords if the cache uses IAM. Each connection needs a new password.
    tokens: Option<TokenIssuer>,
    /// The time limit for a connection.
    timeout: Duration,
}

impl Access {
    async fn open(&self) -> Result<MultiplexedConnection, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            // Operations have their own, shorter time limit.
            .set_response_timeout(None);
        let client = match &self.tokens {
            Some(tokens) => self.with_token(tokens).await?,
            None => self.client.clone(),
        };
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    async fn with_token(&self, tokens: &TokenIssuer) -> Result<Client, RedisError> {
        let no_token = |error: Box<_>| (ErrorKind::AuthenticationFailed, "no token from IAM", format!("{error}"));
        let token = tokens.token().await.map_err(no_token)?;
        let info = self.client.get_connection_info().clone();
        let user = info.redis_settings().clone().set_password(token);
        Client::open(info.set_redis_settings(user))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    /// Answers every command with `OK`.
    async fn agree(listener: TcpListener) {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut bytes = [0; 4096];
                while let Ok(length @ 1..) = client.read(&mut bytes).await {
                    let commands = bytes.iter().take(length).filter(|byte| **byte == b'*').count();
                    client.write_all("+OK\r\n".repeat(commands).as_bytes()).await.unwrap();
                }
            });
        }
    }

    #[tokio::test]
    async fn a_connection_is_used_for_eleven_hours() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = Client::open(format!("redis://{}", listener.local_addr().unwrap())).unwrap();
        tokio::spawn(agree(listener));
        let link = Link::new(client, None);
        let first = link.connection().await.unwrap();
        let age = |age: Duration| {
            lock(&link.current).as_mut().unwrap().made_at = SystemTime::now() - age;
        };
        age(CONNECTION_TTL.mul_f64(0.99));
        assert!(Arc::ptr_eq(&first, &link.connection().await.unwrap()));
        age(CONNECTION_TTL);
        let second = link.connection().await.unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        assert!(Arc::ptr_eq(&second, &link.connection().await.unwrap()));
        // The clock was set back, so the age of the connection is unknown.
        lock(&link.current).as_mut().unwrap().made_at = SystemTime::now() + Duration::from_secs(60);
        assert!(!Arc::ptr_eq(&second, &link.connection().await.unwrap()));
    }
}
