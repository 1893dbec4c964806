//! Redis: a supervised redis-server of this program, or an external one.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use redis::InfoDict;
use serde::Serialize;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::supervise::{LastLines, Spawner, keep_output};

/// The name of the program.
const PROGRAM: &str = "redis-server";
/// The lowest major version. The cache protocol needs `SET … NX GET`, which came with it.
const MAJOR_VERSION_MIN: u32 = 7;
/// The maximum memory of the cache. Redis then evicts the least recently used entries.
const MEMORY_MAX: &str = "256mb";
/// The time in which a new redis-server must answer.
const START_TIMEOUT: Duration = Duration::from_secs(5);
/// The interval of the checks during the start.
const START_POLL: Duration = Duration::from_millis(10);
/// The pause before a restart.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// The time in which Redis must report its status.
const INFO_TIMEOUT: Duration = Duration::from_millis(200);

/// The reason for which Redis is unavailable.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RedisError {
    /// The program is not installed.
    #[error("redis-server is not installed (Debian, Ubuntu: apt-get install redis-server)")]
    NotInstalled,
    /// The program does not start.
    #[error("cannot start redis-server: {0}")]
    NotStarting(#[from] io::Error),
    /// The server does not answer in time.
    #[error("redis-server did not answer within {} s", START_TIMEOUT.as_secs())]
    NotAnswering,
    /// The version is too old.
    #[error("redis-server {0} is too old: install {MAJOR_VERSION_MIN}.0 or newer")]
    TooOld(String),
}

/// The Redis of the functions.
#[derive(Debug)]
pub(crate) struct Redis {
    /// The URL of the server.
    pub(crate) url: String,
    supervised: Option<Supervised>,
}

#[derive(Debug)]
struct Supervised {
    running: Arc<Running>,
    stop: CancellationToken,
    watching: TaskTracker,
}

#[derive(Debug, Default)]
struct Running {
    /// The id of the process; 0 while none runs.
    pid: AtomicU32,
    restarts: AtomicU64,
}

/// The status of Redis, for the status page.
#[derive(Debug, Serialize)]
pub(crate) struct RedisStatus {
    url: String,
    pid: Option<u32>,
    restarts: u64,
    hits: Option<u64>,
    misses: Option<u64>,
    keys_evicted: Option<u64>,
    memory_bytes: Option<u64>,
}

impl Redis {
    /// Returns an external Redis.
    #[must_use]
    pub(crate) fn external(url: &str) -> Self {
        Self { url: url.to_owned(), supervised: None }
    }

    /// Starts a redis-server, restarts it whenever it ends, and waits until it answers.
    pub(crate) async fn start(spawner: &Spawner) -> Result<Self, RedisError> {
        let program = find_program().ok_or(RedisError::NotInstalled)?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let url = format!("redis://127.0.0.1:{port}");
        let server = Server { program, port, spawner: spawner.clone() };
        let (mut child, last_lines) = server.spawn().await?;
        let version = tokio::select! {
            version = until_answering(&url) => version?,
            ended = child.wait() => {
                let reason = format!("it ended ({}): {}", ended?, last_lines.joined());
                return Err(io::Error::other(reason).into());
            }
        };
        let major = version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_none_or(|major| major < MAJOR_VERSION_MIN) {
            return Err(RedisError::TooOld(version));
        }
        let (running, stop) = (Arc::new(Running::default()), CancellationToken::new());
        running.pid.store(child.id().unwrap_or_default(), Ordering::Relaxed);
        let watching = TaskTracker::new();
        watching.spawn(server.watch((child, last_lines), Arc::clone(&running), stop.clone()));
        watching.close();
        Ok(Self { url, supervised: Some(Supervised { running, stop, watching }) })
    }

    /// Returns the status of Redis. Values are missing if it does not answer.
    pub(crate) async fn status(&self) -> RedisStatus {
        let info = timeout(INFO_TIMEOUT, info(&self.url)).await.ok().and_then(Result::ok);
        let number = |name: &str| info.as_ref().and_then(|info| info.get::<u64>(name));
        let running = self.supervised.as_ref().map(|supervised| &supervised.running);
        RedisStatus {
            url: self.url.clone(),
            pid: running.map(|running| running.pid.load(Ordering::Relaxed)).filter(|pid| *pid != 0),
            restarts: running.map_or(0, |running| running.restarts.load(Ordering::Relaxed)),
            hits: number("keyspace_hits"),
            misses: number("keyspace_misses"),
            keys_evicted: number("evicted_keys"),
            memory_bytes: number("used_memory"),
        }
    }

    /// Stops the redis-server of this program.
    pub(crate) async fn stop(&self) {
        if let Some(supervised) = &self.supervised {
            supervised.stop.cancel();
            supervised.watching.wait().await;
        }
    }
}

struct Server {
    program: PathBuf,
    port: u16,
    spawner: Spawner,
}

impl Server {
    /// Starts the process. Returns it with its last lines of output.
    async fn spawn(&self) -> io::Result<(Child, LastLines)> {
        let port = self.port.to_string();
        #[rustfmt::skip]
        let arguments = [
            "--port", &port, "--bind", "127.0.0.1", "--daemonize", "no", "--loglevel", "warning",
            // A cache keeps nothing on disk.
            "--save", "", "--appendonly", "no", "--maxmemory", MEMORY_MAX, "--maxmemory-policy", "allkeys-lru",
        ];
        let arguments: Vec<_> = arguments.iter().map(Into::into).collect();
        // The loader needs these variables to find libraries.
        let environment: Vec<_> = ["PATH", "LD_LIBRARY_PATH"]
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
            .collect();
        let mut child = self.spawner.spawn_leashed(&self.program, &arguments, &environment).await?;
        let last_lines = LastLines::default();
        keep_output(&mut child, &last_lines);
        Ok((child, last_lines))
    }

    /// Restarts the process at the same port, whenever it ends.
    async fn watch(self, mut process: (Child, LastLines), running: Arc<Running>, stop: CancellationToken) {
        loop {
            let (child, last_lines) = &mut process;
            let Some(ended) = stop.run_until_cancelled(child.wait()).await else {
                let _ = child.kill().await;
                return;
            };
            running.pid.store(0, Ordering::Relaxed);
            let status = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
            eprintln!("redis | ended ({status}), and is restarted. Its last output:\n{}", last_lines.joined());
            process = loop {
                if stop.run_until_cancelled(sleep(RESTART_PAUSE)).await.is_none() {
                    return;
                }
                match self.spawn().await {
                    Ok(process) => break process,
                    Err(error) => eprintln!("redis | cannot be started: {error}"),
                }
            };
            running.pid.store(process.0.id().unwrap_or_default(), Ordering::Relaxed);
            running.restarts.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn find_program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(PROGRAM)).find(|file| file.is_file())
}

/// Returns the version, as soon as the server answers.
async fn until_answering(url: &str) -> Result<String, RedisError> {
    let deadline = Instant::now() + START_TIMEOUT;
    while Instant::now() < deadline {
        if let Ok(Ok(info)) = timeout(INFO_TIMEOUT, info(url)).await {
            return Ok(info.get("redis_version").unwrap_or_default());
        }
        sleep(START_POLL).await;
    }
    Err(RedisError::NotAnswering)
}

async fn info(url: &str) -> redis::RedisResult<InfoDict> {
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    redis::cmd("INFO").query_async(&mut connection).await
}
