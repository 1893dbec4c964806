//! One connection that all operations share, made when it is first needed, and made again once it broke.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisError};
use tokio::sync::OwnedMutexGuard;

/// How long a connection may take to be made. Operations do not wait that long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Link {
    client: Client,
    current: Arc<Mutex<Option<Connection>>>,
    /// Held by whoever makes a connection, so that one at a time is made.
    connecting: Arc<tokio::sync::Mutex<()>>,
}

/// A connection, told apart from those before and after it by its pointer.
pub(super) type Connection = Arc<MultiplexedConnection>;

fn lock(current: &Mutex<Option<Connection>>) -> MutexGuard<'_, Option<Connection>> {
    current.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Link {
    pub(super) fn new(client: Client) -> Self {
        Self { client, current: Arc::default(), connecting: Arc::default() }
    }

    /// The connection. Making one goes on behind the scenes when the caller stops waiting for it.
    pub(super) async fn connection(&self) -> Result<Connection, RedisError> {
        if let Some(connection) = lock(&self.current).clone() {
            return Ok(connection);
        }
        let Ok(turn) = Arc::clone(&self.connecting).try_lock_owned() else {
            drop(self.connecting.lock().await);
            let failed = || RedisError::from((ErrorKind::Io, "no connection could be made"));
            return lock(&self.current).clone().ok_or_else(failed);
        };
        let connecting = tokio::spawn(connect(self.client.clone(), Arc::clone(&self.current), turn));
        let lost = |error| RedisError::from(std::io::Error::other(error));
        connecting.await.map_err(lost)?
    }

    /// Never hands out this connection again.
    pub(super) fn forget(&self, broken: &Connection) {
        lock(&self.current).take_if(|connection| Arc::ptr_eq(connection, broken));
    }
}

async fn connect(
    client: Client,
    current: Arc<Mutex<Option<Connection>>>,
    _turn: OwnedMutexGuard<()>,
) -> Result<Connection, RedisError> {
    if let Some(connection) = lock(&current).clone() {
        return Ok(connection);
    }
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        // Operations bring their own, shorter time.
        .set_response_timeout(None);
    let connection = Arc::new(client.get_multiplexed_async_connection_with_config(&config).await?);
    *lock(&current) = Some(Arc::clone(&connection));
    Ok(connection)
}
