//! The whole stack: what is started, in which order, and how it ends.

use std::fs::File;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use adapters::clients;
use adapters::tables::{self, TableError, TableNames};
use kernel::domain::Domain;
use shared::stages::{Cache, Row, StageError};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::deployment::{Deployment, DeploymentError, Deployments};
use crate::environments::{Function, Limits, Pool};
use crate::gateway::{self, Gateway};
use crate::jwt::{Authorizer, KeySetError};
use crate::keys;
use crate::options::StackOptions;
use crate::poller::{self, Poller};
use crate::queue::{self, QueueError, Queues};
use crate::redis::{Redis, RedisError};
use crate::routes::RouteTable;
use crate::status::Status;
use crate::stores::{Store, StoreError};
use crate::supervise::{Spawner, shutdown_signal};

const WRITE_TABLE: &str = "watershed-write";
const COMMANDS_TABLE: &str = "watershed-commands";
/// What functions are invoked by the queue rather than by HTTP.
const INGEST: &str = "ingest-fn";
/// How long an invocation by HTTP may take.
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a batch may take.
const INGEST_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a request waits for an environment while all are busy.
const BUSY_WAIT: Duration = Duration::from_secs(2);
/// Memory of a function, in MB: what it is told, and the cost model's assumption.
const MEMORY_MB: u32 = 256;
/// How long what is under way may take to finish at the end.
const DRAIN: Duration = Duration::from_secs(5);
/// Threads that serve; the functions have processes of their own.
const WORKERS: usize = 2;

/// Why the stack does not start.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// Another program is at the port.
    #[error("port {0} is in use: choose another with --port")]
    PortInUse(u16),
    /// Another run uses the directory.
    #[error("{} is in use by another run: choose another with --data-dir, or use --ephemeral", .0.display())]
    DataDirInUse(PathBuf),
    /// The directory cannot be used.
    #[error("cannot use {}: {cause}", .path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What is the matter with it.
        cause: io::Error,
    },
    /// There is no such stage.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The stage has no function that answers over HTTP.
    #[error("stage {0} serves nothing over HTTP")]
    ServesNothing(String),
    /// A packaged function is not there.
    #[error("no function {name} in {}: neither {name} nor {name}/bootstrap", .dir.display())]
    NotPackaged {
        /// The function.
        name: String,
        /// Where it was looked for.
        dir: PathBuf,
    },
    /// The keys that verify tokens are of no use.
    #[error("cannot use {}: {cause}", .path.display())]
    KeySet {
        /// The file.
        path: PathBuf,
        /// What is the matter with it.
        cause: KeySetError,
    },
    /// What was deployed last cannot be deployed again.
    #[error("cannot use {}: {cause}", .path.display())]
    Deployment {
        /// The directory that it is kept in.
        path: PathBuf,
        /// What is the matter with it.
        cause: DeploymentError,
    },
    /// No embedded tables.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No embedded queues.
    #[error("{}", chain(.0))]
    QueueServer(#[from] queue::ServerError),
    /// The tables cannot be prepared.
    #[error("{}", chain(.0))]
    Tables(#[from] TableError),
    /// The queues cannot be prepared.
    #[error("{}", chain(.0))]
    Queues(#[from] QueueError),
    /// The system refuses something that everything needs.
    #[error(transparent)]
    System(#[from] io::Error),
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// Serves until a signal, then drains.
pub fn run(options: &StackOptions) -> Result<(), StackError> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(WORKERS).enable_all().build()?;
    runtime.block_on(async {
        let mut first = std::pin::pin!(shutdown_signal()?);
        let runner = std::env::current_exe()?;
        let stack = tokio::select! {
            started = Stack::start(options, &runner) => started?,
            () = first.as_mut() => return Ok(()),
        };
        stack.announce(&mut io::stdout().lock())?;
        first.await;
        eprintln!("stopping");
        // A second signal does not wait; no child outlives this process in any case.
        let second = shutdown_signal()?;
        tokio::select! {
            () = stack.stop() => {}
            () = second => {}
        }
        Ok(())
    })
}

/// Everything that runs.
#[derive(Debug)]
pub struct Stack {
    url: String,
    lines: Vec<String>,
    pools: Vec<Pool>,
    redis: Option<Arc<Redis>>,
    sqs: Option<queue::Server>,
    store: Option<Arc<Store>>,
    stop: CancellationToken,
    serving: TaskTracker,
    _data_dir: Option<File>,
}

/// What the functions are wired to.
struct Backends {
    store: Option<Arc<Store>>,
    dynamodb_url: String,
    sqs: Option<queue::Server>,
    sqs_url: Option<String>,
    queues: Option<Queues>,
    redis: Option<Arc<Redis>>,
}

impl Stack {
    /// Starts everything; `runner` is this very program.
    pub async fn start(options: &StackOptions, runner: &Path) -> Result<Self, StackError> {
        let row = Row::of(&options.stage)?;
        let authorizer = authorizer(options)?;
        let listener = bind(options.port).await?;
        let port = listener.local_addr()?.port();
        let (data_dir, signing_keys) = data_dir(options)?;
        let deployment = deployment(options)?;
        let spawner = Spawner::start(runner)?;
        let mut lines = Vec::new();
        let backends = Box::pin(Backends::start(options, &row, &deployment, &spawner, &mut lines)).await?;
        let pools = pools(options, &row.functions, &spawner)?;
        let variables = variables(options, &backends, &signing_keys);
        let deployments = Deployments::new(pools.clone(), variables, deployment, persistent_dir(options));
        let deployments = Arc::new(deployments);
        let find = |name: &str| pools.iter().find(|pool| pool.name() == name).cloned();
        let nothing = || StackError::ServesNothing(options.stage.clone());
        let (stop, serving) = (CancellationToken::new(), TaskTracker::new());
        if let (Some(queues), Some(pool)) = (&backends.queues, find(INGEST)) {
            let (client, queue) = (queues.client().clone(), queues.main.clone());
            let poller = Poller { client, queue, queue_type: options.queue, pool };
            serving.spawn(poller::run(poller, options.max_environments.into(), stop.clone()));
        }
        let status = Status {
            stage: row.stage,
            deployments,
            redis: backends.redis.clone(),
            queues: backends.queues,
            store: backends.store.clone(),
        };
        let routes = RouteTable::new(|name| find(name).filter(|pool| pool.name() != INGEST)).ok_or_else(nothing)?;
        let gateway = Arc::new(Gateway { routes, authorizer, status, port });
        serving.spawn(gateway::serve(listener, gateway, stop.clone()));
        serving.close();
        let (redis, sqs, store) = (backends.redis, backends.sqs, backends.store);
        let url = format!("http://127.0.0.1:{port}");
        lines.insert(0, functions_line(options, &pools));
        Ok(Self { url, lines, pools, redis, sqs, store, stop, serving, _data_dir: data_dir })
    }

    /// Where it serves.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Tells what runs where, and that it serves.
    pub fn announce(&self, output: &mut impl Write) -> io::Result<()> {
        for line in &self.lines {
            writeln!(output, "{line}")?;
        }
        writeln!(output, "status     {}/_local/status", self.url)?;
        writeln!(output, "ready {}", self.url)?;
        output.flush()
    }

    /// Takes no more requests and messages, finishes those under way, and ends all processes.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = tokio::time::timeout(DRAIN, self.serving.wait()).await;
        futures::future::join_all(self.pools.iter().map(Pool::close)).await;
        if let Some(redis) = &self.redis {
            redis.stop().await;
        }
        if let Some(sqs) = &self.sqs {
            sqs.stop().await;
        }
        if let Some(store) = &self.store {
            store.stop().await;
        }
    }
}

impl Backends {
    async fn start(
        options: &StackOptions,
        row: &Row,
        deployment: &Deployment,
        spawner: &Spawner,
        lines: &mut Vec<String>,
    ) -> Result<Self, StackError> {
        let store = async {
            let store = match &options.dynamodb_url {
                Some(_) => None,
                None => Some(Arc::new(Store::start(persistent_dir(options))?)),
            };
            let url =
                options.dynamodb_url.clone().or(store.as_ref().map(|store| store.url.clone())).unwrap_or_default();
            let client = clients::dynamodb(&sdk_config(&url, options.dynamodb_url.is_some()).await);
            tables::create_all(&client, &table_names(deployment), users::User::INDEXES).await?;
            Ok::<_, StackError>((store, url))
        };
        let queues = async {
            if !row.queue_deployed {
                return Ok((None, None));
            }
            let server = match &options.sqs_url {
                Some(_) => None,
                None => Some(queue::Server::start(persistent_dir(options)).await?),
            };
            let url = options.sqs_url.clone().or(server.as_ref().map(|server| server.url.clone())).unwrap_or_default();
            let client = clients::sqs(&sdk_config(&url, server.is_none()).await);
            let queues = Queues::prepare(client, options.queue).await?;
            Ok((server, Some((url, queues))))
        };
        let redis = async { Ok(redis(options, row, spawner).await) };
        let ((store, dynamodb_url), (sqs, queues), redis) = tokio::try_join!(store, queues, redis)?;
        lines.push(match &store {
            Some(_) => format!("dynamodb   {dynamodb_url}, {}", kept(options)),
            None => format!("dynamodb   {dynamodb_url}"),
        });
        lines.extend(queues.as_ref().map(|(url, queues)| match &sqs {
            Some(_) => format!("sqs        {url}, {}, queue {}", kept(options), queues.main.url),
            None => format!("sqs        {url}, queue {}", queues.main.url),
        }));
        lines.extend(redis.as_ref().err().map(|reason| format!("redis      none: {reason}")));
        lines.extend(redis.as_ref().ok().map(|redis| format!("redis      {}", redis.url)));
        let (sqs_url, queues) = queues.unzip();
        Ok(Self { store, dynamodb_url, sqs, sqs_url, queues, redis: redis.ok().map(Arc::new) })
    }
}

/// An error is the reason, in words, why there is none.
async fn redis(options: &StackOptions, row: &Row, spawner: &Spawner) -> Result<Redis, String> {
    if !row.has(Cache::Redis) {
        return Err(format!("stage {} has no shared cache", row.stage));
    }
    if options.no_redis {
        return Err("memory caches alone, as asked with --no-redis".to_owned());
    }
    if let Some(url) = &options.redis_url {
        return Ok(Redis::elsewhere(url));
    }
    Redis::start(spawner).await.map_err(|error: RedisError| format!("{error}; memory caches alone"))
}

fn kept(options: &StackOptions) -> String {
    persistent_dir(options).map_or("in memory".to_owned(), |dir| format!("kept in {}", dir.display()))
}

fn persistent_dir(options: &StackOptions) -> Option<&Path> {
    (!options.ephemeral).then_some(options.data_dir.as_path())
}

fn table_names(deployment: &Deployment) -> TableNames {
    TableNames {
        write: WRITE_TABLE.to_owned(),
        commands: COMMANDS_TABLE.to_owned(),
        read: deployment.read_table.clone(),
    }
}

/// What was deployed last or, to begin with, the first projection.
fn deployment(options: &StackOptions) -> Result<Deployment, StackError> {
    let kept = persistent_dir(options)
        .map(|dir| Deployment::load(dir).map_err(|cause| StackError::Deployment { path: dir.to_owned(), cause }));
    let first = Deployment { read_table: "watershed-read-v1".to_owned(), other_read_table: None };
    Ok(kept.transpose()?.flatten().unwrap_or(first))
}

/// For a service elsewhere, the credentials of whoever runs this, if there are any.
async fn sdk_config(url: &str, elsewhere: bool) -> aws_config::SdkConfig {
    if elsewhere && std::env::var_os("AWS_ACCESS_KEY_ID").is_some() {
        clients::aws().await.to_builder().endpoint_url(url).build()
    } else {
        clients::local(url)
    }
}

fn authorizer(options: &StackOptions) -> Result<Authorizer, StackError> {
    match &options.jwks {
        None => Ok(Authorizer::fixed(&options.issuer, &options.audience)),
        Some(path) => Authorizer::verifying(path, &options.issuer, &options.audience)
            .map_err(|cause| StackError::KeySet { path: path.clone(), cause }),
    }
}

async fn bind(port: u16) -> Result<TcpListener, StackError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => StackError::PortInUse(port),
        _ => StackError::System(error),
    })
}

/// The locked data directory, if there is one, and the signing keys.
fn data_dir(options: &StackOptions) -> Result<(Option<File>, String), StackError> {
    let Some(dir) = persistent_dir(options) else { return Ok((None, keys::generate())) };
    let failed = |cause| StackError::DataDir { path: dir.to_owned(), cause };
    std::fs::create_dir_all(dir).map_err(failed)?;
    let lock = File::create(dir.join("lock")).map_err(failed)?;
    lock.try_lock().map_err(|error| match error {
        std::fs::TryLockError::WouldBlock => StackError::DataDirInUse(dir.to_owned()),
        std::fs::TryLockError::Error(error) => failed(error),
    })?;
    Ok((Some(lock), keys::load_or_create(dir).map_err(failed)?))
}

/// What every function finds in its environment, besides what Lambda puts there and what can be deployed anew.
fn variables(options: &StackOptions, backends: &Backends, signing_keys: &str) -> Vec<(String, String)> {
    let inherited = |name: &str| std::env::var(name).ok();
    let elsewhere = options.dynamodb_url.is_some() || options.sqs_url.is_some();
    let credential = |name: &str| inherited(name).filter(|_| elsewhere);
    let own_credentials = credential("AWS_ACCESS_KEY_ID").is_some();
    let or_local = |name: &str, local: &str| credential(name).unwrap_or_else(|| local.to_owned());
    let queue_url = backends.queues.as_ref().map(|queues| queues.main.url.clone());
    let dead_letter_queue_url = backends.queues.as_ref().map(|queues| queues.dead_letters.url.clone());
    [
        ("AWS_REGION", Some(or_local("AWS_REGION", "us-east-1"))),
        ("AWS_ACCESS_KEY_ID", Some(or_local("AWS_ACCESS_KEY_ID", "local"))),
        ("AWS_SECRET_ACCESS_KEY", Some(or_local("AWS_SECRET_ACCESS_KEY", "local"))),
        ("AWS_SESSION_TOKEN", credential("AWS_SESSION_TOKEN").filter(|_| own_credentials)),
        ("AWS_ENDPOINT_URL_DYNAMODB", Some(backends.dynamodb_url.clone())),
        ("AWS_ENDPOINT_URL_SQS", backends.sqs_url.clone()),
        ("REDIS_URL", backends.redis.as_ref().map(|redis| redis.url.clone())),
        ("STAGE", Some(options.stage.clone())),
        ("WRITE_TABLE", Some(WRITE_TABLE.to_owned())),
        ("COMMANDS_TABLE", Some(COMMANDS_TABLE.to_owned())),
        ("QUEUE_URL", queue_url),
        ("DEAD_LETTER_QUEUE_URL", dead_letter_queue_url),
        ("VISIBILITY_TIMEOUT_SECONDS", Some(queue::VISIBILITY_TIMEOUT.as_secs().to_string())),
        ("MAX_RECEIVE_COUNT", Some(queue::RECEIVES_MAX.to_string())),
        ("SIGNING_KEYS", Some(signing_keys.to_owned())),
        ("RUST_LOG", inherited("RUST_LOG")),
        ("PATH", inherited("PATH")),
        ("HOME", inherited("HOME")),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name.to_owned(), value?)))
    .collect()
}

fn pools(options: &StackOptions, functions: &[String], spawner: &Spawner) -> Result<Vec<Pool>, StackError> {
    let limits = Limits {
        environments_max: options.max_environments.into(),
        idle: Duration::from_secs(options.idle_seconds.into()),
        wait: BUSY_WAIT,
    };
    let pool = |name: &String| {
        let function = Function {
            name: name.clone(),
            timeout: if name == INGEST { INGEST_TIMEOUT } else { HTTP_TIMEOUT },
            memory_mb: MEMORY_MB,
            package: options.functions_dir.as_ref().map(|dir| package(dir, name)).transpose()?,
        };
        Ok(Pool::new(function, limits, spawner.clone()))
    };
    functions.iter().map(pool).collect()
}

/// Where a packaged function is: a file, or what `cargo lambda build` leaves.
fn package(dir: &Path, name: &str) -> Result<PathBuf, StackError> {
    let candidates = [dir.join(name).join("bootstrap"), dir.join(name)];
    let found = candidates.into_iter().find(|path| path.is_file());
    let missing = || StackError::NotPackaged { name: name.to_owned(), dir: dir.to_owned() };
    let found = found.ok_or_else(missing)?;
    Ok(std::path::absolute(found)?)
}

fn functions_line(options: &StackOptions, pools: &[Pool]) -> String {
    let names: Vec<_> = pools.iter().map(Pool::name).collect();
    format!(
        "functions  {}, stage {}, up to {} processes each",
        names.join(", "),
        options.stage,
        options.max_environments
    )
}
