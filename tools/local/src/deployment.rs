//! The deployment of the functions. A new deployment can replace it at any time, as an update of a stack on AWS: new
//! environments start with it. The others finish their invocations, and end.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adapters::read_table::{ReadTable, ReadTableError};
use adapters::tables::TableNames;
use serde::{Deserialize, Serialize};
use service::functions::{self, INGEST};
use service::stages::{StageConfig, StageError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backends::{BackendError, Backends};
use crate::environments::{Function, Limits, Pool};
use crate::options::StackOptions;
use crate::poller::{self, Poller};
use crate::queue::Queues;
use crate::redis::Redis;
use crate::routes::RouteTable;
use crate::stores::Store;
use crate::supervise::Spawner;

/// The name of the file in the data directory.
const FILE_NAME: &str = "deployment.json";
/// The stage of the first deployment, unless the options name one.
const STAGE_DEFAULT: &str = "cqrs";
const READ_TABLE_DEFAULT: &str = "watershed-read-v1";
const WRITE_TABLE_DEFAULT: &str = "watershed-write";
const COMMANDS_TABLE_DEFAULT: &str = "watershed-commands";
/// The maximum duration of an invocation by HTTP.
const HTTP_TIMEOUT: Duration = Duration::from_secs(10);
/// The maximum duration of a batch.
const INGEST_TIMEOUT: Duration = Duration::from_secs(3);
/// The time that a request waits for an environment while all are busy.
const BUSY_WAIT: Duration = Duration::from_secs(2);
/// The memory of a function, in MB: the value that the function sees, and that of the cost model.
const MEMORY_MB: u32 = 256;

/// The settings of a deployment. Their names are those of the functions' variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE", deny_unknown_fields)]
pub struct Deployment {
    /// The stage.
    pub stage: String,
    /// The read store that readers use.
    pub read_table: String,
    /// A second read store that writers keep up to date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_read_table: Option<String>,
    /// The table of states and unique keys. A document without it keeps the present table, so a move to another stage or
    /// read store also works after a restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_table: Option<String>,
    /// The table of records. A document without it keeps the present table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commands_table: Option<String>,
}

/// The error of a deployment.
#[derive(Debug, thiserror::Error)]
pub enum DeploymentError {
    /// The document is malformed.
    #[error(
        "a deployment is an object with STAGE, READ_TABLE and optionally OTHER_READ_TABLE, WRITE_TABLE and COMMANDS_TABLE: {0}"
    )]
    Malformed(#[from] serde_json::Error),
    /// The stage does not exist.
    #[error(transparent)]
    Stage(#[from] StageError),
    /// The stage has no function that answers over HTTP.
    #[error("stage {0} has no function that serves HTTP")]
    ServesNothing(String),
    /// The data directory belongs to another stage.
    #[error(
        "the data directory has stage {stored}, not {requested}: start without --stage and change the stage with `watershed \
         migrate`, or start with an empty --data-dir or --ephemeral"
    )]
    OtherStage {
        /// The stage of the data directory.
        stored: String,
        /// The requested stage.
        requested: String,
    },
    /// A packaged function is missing.
    #[error("no function {name} in {}: neither {name} nor {name}/bootstrap exists", .dir.display())]
    NotPackaged {
        /// The function.
        name: String,
        /// The directory that was searched.
        dir: PathBuf,
    },
    /// A backend is unavailable.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The name of a table does not end with its projection.
    #[error("{0} {1}")]
    Name(&'static str, ReadTableError),
    /// Both read stores are the same table.
    #[error("OTHER_READ_TABLE and READ_TABLE must be different tables")]
    SameTable,
    /// The deployment cannot be stored.
    #[error("cannot store the deployment: {0}")]
    NotStored(#[from] io::Error),
}

impl Deployment {
    fn parse(json: &[u8]) -> Result<(Self, StageConfig), DeploymentError> {
        let deployment: Self = serde_json::from_slice(json)?;
        let config = StageConfig::of(&deployment.stage)?;
        let check = |name, table: &str| table.parse::<ReadTable>().map_err(|error| DeploymentError::Name(name, error));
        check("READ_TABLE", &deployment.read_table)?;
        if let Some(other) = &deployment.other_read_table {
            check("OTHER_READ_TABLE", other)?;
        }
        match deployment.other_read_table.as_ref() == Some(&deployment.read_table) {
            true => Err(DeploymentError::SameTable),
            false => Ok((deployment, config)),
        }
    }

    /// Fills in the tables of the deployment before, unless this one names its own.
    fn after(self, before: &Self) -> Self {
        Self {
            write_table: self.write_table.or_else(|| before.write_table.clone()),
            commands_table: self.commands_table.or_else(|| before.commands_table.clone()),
            ..self
        }
    }

    /// Returns the names of the tables that must exist.
    pub(crate) fn tables(&self) -> TableNames {
        let or = |name: &Option<String>, default: &str| name.clone().unwrap_or_else(|| default.to_owned());
        TableNames {
            write: or(&self.write_table, WRITE_TABLE_DEFAULT),
            commands: or(&self.commands_table, COMMANDS_TABLE_DEFAULT),
            read: self.read_table.clone(),
        }
    }

    /// Returns the last deployment in the data directory. Without one, returns the deployment that the options describe.
    pub(crate) fn first(options: &StackOptions) -> Result<(Self, StageConfig), DeploymentError> {
        let Some((stored, config)) = options.persistent_dir().map(Self::load).transpose()?.flatten() else {
            let stage = options.stage.clone().unwrap_or_else(|| STAGE_DEFAULT.to_owned());
            let config = StageConfig::of(&stage)?;
            let read_table = READ_TABLE_DEFAULT.to_owned();
            let first = Self { stage, read_table, other_read_table: None, write_table: None, commands_table: None };
            return Ok((first, config));
        };
        match &options.stage {
            Some(requested) if StageConfig::of(requested)? != config => {
                Err(DeploymentError::OtherStage { stored: stored.stage, requested: requested.clone() })
            }
            Some(_) | None => Ok((stored, config)),
        }
    }

    /// Returns the last deployment in a data directory, if there is one.
    fn load(data_dir: &Path) -> Result<Option<(Self, StageConfig)>, DeploymentError> {
        match std::fs::read(data_dir.join(FILE_NAME)) {
            Ok(json) => Self::parse(&json).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Stores the deployment. It renames a complete file, so that a crash leaves either the old one or the new one.
    fn store(&self, data_dir: &Path) -> Result<(), DeploymentError> {
        let partial = data_dir.join(format!("{FILE_NAME}.new"));
        let mut file = File::create(&partial)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        Ok(std::fs::rename(&partial, data_dir.join(FILE_NAME))?)
    }

    fn variables(&self) -> impl Iterator<Item = (String, String)> {
        let other = self.other_read_table.clone().map(|table| ("OTHER_READ_TABLE", table));
        let TableNames { write, commands, read } = self.tables();
        let named =
            [("STAGE", self.stage.clone()), ("READ_TABLE", read), ("WRITE_TABLE", write), ("COMMANDS_TABLE", commands)];
        let all = named.into_iter().chain(other);
        all.map(|(name, value)| (name.to_owned(), value))
    }
}

/// The functions, with their deployment.
#[derive(Debug)]
pub struct Deployments {
    options: StackOptions,
    spawner: Spawner,
    /// Locked during a deployment.
    backends: tokio::sync::Mutex<Backends>,
    live: Mutex<Live>,
    polling: TaskTracker,
}

/// The present deployment.
#[derive(Debug)]
struct Live {
    deployment: Deployment,
    config: StageConfig,
    variables: Vec<(String, String)>,
    pools: Vec<Pool>,
    /// Functions that are no longer deployed. Some of their environments may still be at work.
    retired: Vec<Pool>,
    routes: Arc<RouteTable<Pool>>,
    /// Stops the queue's poller.
    poller: Option<CancellationToken>,
}

/// The backends that the functions of the present deployment use.
#[derive(Debug)]
pub(crate) struct Used {
    pub(crate) store: Option<Arc<Store>>,
    pub(crate) queues: Option<Queues>,
    pub(crate) redis: Option<Arc<Redis>>,
}

impl Deployments {
    /// Makes the first deployment.
    pub(crate) async fn start(
        options: &StackOptions,
        spawner: Spawner,
        mut backends: Backends,
        (deployment, config): (Deployment, StageConfig),
    ) -> Result<Self, DeploymentError> {
        backends.provide(&config).await?;
        let (pools, routes) = functions(options, &spawner, &config, &[])?;
        if let Some(dir) = options.persistent_dir() {
            deployment.store(dir)?;
        }
        let (variables, retired) = (Vec::new(), Vec::new());
        let live = Live { deployment, config, variables, pools, retired, routes, poller: None };
        let (options, polling) = (options.clone(), TaskTracker::new());
        let deployments =
            Self { options, spawner, backends: tokio::sync::Mutex::new(backends), live: Mutex::new(live), polling };
        deployments.apply(&*deployments.backends.lock().await, &mut deployments.lock());
        Ok(deployments)
    }

    /// Deploys a document, unless it is deployed already. Environments of the earlier deployment may still be at work
    /// afterwards: [`Deployments::draining`] counts them.
    pub async fn deploy(&self, json: &[u8]) -> Result<(), DeploymentError> {
        let (deployment, config) = Deployment::parse(json)?;
        let mut backends = self.backends.lock().await;
        let deployment = deployment.after(&self.lock().deployment);
        if self.lock().deployment == deployment {
            return Ok(());
        }
        self.close_drained().await;
        let present = self.pools();
        backends.provide(&config).await?;
        let (pools, routes) = functions(&self.options, &self.spawner, &config, &present)?;
        if let Some(dir) = self.options.persistent_dir() {
            deployment.store(dir)?;
        }
        let mut live = self.lock();
        let removed = present.into_iter().filter(|pool| !pools.iter().any(|other| other.name() == pool.name()));
        live.retired.extend(removed);
        (live.deployment, live.config, live.pools, live.routes) = (deployment, config, pools, routes);
        self.apply(&backends, &mut live);
        Ok(())
    }

    /// Closes the pools of removed functions that have finished their work.
    async fn close_drained(&self) {
        let drained: Vec<_> = self.lock().retired.extract_if(.., |pool| pool.draining() == 0).collect();
        futures::future::join_all(drained.iter().map(Pool::close)).await;
    }

    /// Has new environments start with the present deployment, and ends the others. Starts or stops the poller.
    fn apply(&self, backends: &Backends, live: &mut Live) {
        live.variables = backends.variables(&live.config).into_iter().chain(live.deployment.variables()).collect();
        for pool in &live.pools {
            pool.deploy(live.variables.clone());
        }
        for pool in &live.retired {
            pool.retire();
        }
        let ingest = live.pools.iter().find(|pool| pool.name() == INGEST);
        match backends.queues(&live.config).zip(ingest) {
            Some((queues, pool)) if live.poller.is_none() => {
                let (client, queue) = (queues.client().clone(), queues.main.clone());
                let poller = Poller { client, queue, queue_type: self.options.queue, pool: pool.clone() };
                let stop = CancellationToken::new();
                self.polling.spawn(poller::run(poller, self.options.max_environments.into(), stop.clone()));
                live.poller = Some(stop);
            }
            Some(_) => {}
            None => drop(live.poller.take().inspect(CancellationToken::cancel)),
        }
    }

    /// Returns the routes of the present deployment.
    #[must_use]
    pub fn routes(&self) -> Arc<RouteTable<Pool>> {
        self.lock().routes.clone()
    }

    /// Returns the deployed stage.
    #[must_use]
    pub fn stage_config(&self) -> StageConfig {
        self.lock().config.clone()
    }

    /// Returns the deployed functions.
    #[must_use]
    pub fn pools(&self) -> Vec<Pool> {
        self.lock().pools.clone()
    }

    /// Returns the functions that are no longer deployed.
    #[must_use]
    pub fn retired(&self) -> Vec<Pool> {
        self.lock().retired.clone()
    }

    /// Returns the number of environments of earlier deployments that are still at work.
    #[must_use]
    pub fn draining(&self) -> usize {
        let live = self.lock();
        live.pools.iter().chain(&live.retired).map(Pool::draining).sum()
    }

    /// Returns all variables that the deployment gives to functions, secrets included.
    #[must_use]
    pub fn variables(&self) -> Vec<(String, String)> {
        self.lock().variables.clone()
    }

    /// Returns the backends that the functions use.
    pub(crate) async fn used(&self) -> Used {
        let (backends, config) = (self.backends.lock().await, self.stage_config());
        Used { store: backends.store.clone(), queues: backends.queues(&config), redis: backends.redis(&config) }
    }

    /// Returns the functions and the addresses of the backends, one a line.
    pub(crate) async fn lines(&self) -> Vec<String> {
        let (backends, config) = (self.backends.lock().await, self.stage_config());
        let (functions, max) = (
            config.functions().map(|function| function.name.as_str()).collect::<Vec<_>>().join(", "),
            self.options.max_environments,
        );
        let mut lines = vec![format!("functions  {functions}, stage {config}, up to {max} processes each")];
        lines.extend(backends.lines(&config));
        lines
    }

    /// Stops the poller, and waits for the batches under way.
    pub(crate) async fn stop_polling(&self) {
        if let Some(stop) = self.lock().poller.take() {
            stop.cancel();
        }
        self.polling.close();
        self.polling.wait().await;
    }

    /// Ends all processes.
    pub(crate) async fn stop(&self) {
        let pools = [self.pools(), self.retired()].concat();
        futures::future::join_all(pools.iter().map(Pool::close)).await;
        self.backends.lock().await.stop().await;
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Functions = (Vec<Pool>, Arc<RouteTable<Pool>>);

/// Returns the functions of a stage, with its routes. It reuses the functions that are present already.
fn functions(
    options: &StackOptions,
    spawner: &Spawner,
    config: &StageConfig,
    present: &[Pool],
) -> Result<Functions, DeploymentError> {
    let limits = Limits {
        environments_max: options.max_environments.into(),
        idle: Duration::from_secs(options.idle_seconds.into()),
        wait: BUSY_WAIT,
    };
    let pool = |deployed: &'static functions::Function| {
        let package = options.functions_dir.as_ref().map(|dir| package(dir, deployed.binary)).transpose()?;
        if let Some(pool) = present.iter().find(|pool| pool.name() == deployed.name) {
            return Ok(pool.clone());
        }
        let timeout = if deployed.name == INGEST { INGEST_TIMEOUT } else { HTTP_TIMEOUT };
        let function = Function { deployed, timeout, memory_mb: MEMORY_MB, package };
        Ok(Pool::new(function, limits, spawner.clone()))
    };
    let pools: Vec<Pool> = config.functions().map(pool).collect::<Result<_, DeploymentError>>()?;
    let find = |name: &str| pools.iter().find(|pool| pool.name() == name && name != INGEST).cloned();
    let routes = RouteTable::new(find).ok_or_else(|| DeploymentError::ServesNothing(config.stage.clone()))?;
    Ok((pools, Arc::new(routes)))
}

/// Returns the path of a packaged function: a file, or the output of `cargo lambda build`.
fn package(dir: &Path, name: &str) -> Result<PathBuf, DeploymentError> {
    let candidates = [dir.join(name).join("bootstrap"), dir.join(name)];
    let found = candidates.into_iter().find(|path| path.is_file());
    let missing = || DeploymentError::NotPackaged { name: name.to_owned(), dir: dir.to_owned() };
    let found = found.ok_or_else(missing)?;
    Ok(std::path::absolute(found)?)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn options(arguments: &[&str]) -> StackOptions {
        crate::options::Options::try_parse_from([&["watershed-local"], arguments].concat()).unwrap().stack
    }

    #[test]
    fn a_deployment_outlives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().to_str().unwrap();
        let first = Deployment::first(&options(&["--data-dir", at])).unwrap().0;
        assert_eq!((first.stage.as_str(), first.other_read_table.as_ref()), ("cqrs", None));
        let (stage, read_table) = ("cqrs-expand".to_owned(), "r-v2".to_owned());
        let named = |name: &str| Some(name.to_owned());
        let (other_read_table, write_table, commands_table) = (named("r-v1"), named("w-r1"), named("c-r1"));
        let deployment = Deployment { stage, read_table, other_read_table, write_table, commands_table };
        deployment.store(dir.path()).unwrap();
        for arguments in [&["--data-dir", at][..], &["--data-dir", at, "--stage", "cqrs-expand"]] {
            assert_eq!(Deployment::first(&options(arguments)).unwrap().0, deployment);
        }
        let error = Deployment::first(&options(&["--data-dir", at, "--stage", "read-store"])).unwrap_err().to_string();
        assert!(error.contains("stage cqrs-expand") && error.contains("migrate"), "{error}");
    }

    #[test]
    fn restored_tables_stay_until_a_deployment_names_others() {
        let parse = |json: &str| Deployment::parse(json.as_bytes()).unwrap().0;
        let (first, _) = Deployment::first(&options(&["--ephemeral"])).unwrap();
        assert_eq!(
            (first.tables().write.as_str(), first.tables().commands.as_str()),
            ("watershed-write", "watershed-commands")
        );
        let restored = parse(r#"{"STAGE":"cqrs","READ_TABLE":"r-v2","WRITE_TABLE":"w-r1","COMMANDS_TABLE":"c-r1"}"#);
        let restored = restored.after(&first);
        let flipped = parse(r#"{"STAGE":"cqrs","READ_TABLE":"r-v3"}"#).after(&restored);
        let TableNames { write, commands, read } = flipped.tables();
        assert_eq!([write.as_str(), commands.as_str(), read.as_str()], ["w-r1", "c-r1", "r-v3"]);
        let again = parse(r#"{"STAGE":"cqrs","READ_TABLE":"r-v3","WRITE_TABLE":"w-r2"}"#).after(&flipped);
        assert_eq!((again.tables().write.as_str(), again.tables().commands.as_str()), ("w-r2", "c-r1"));
    }

    #[test]
    fn an_invalid_deployment_is_refused() {
        for invalid in [
            "",
            "{}",
            r#"{"READ_TABLE":"r-v1"}"#,
            r#"{"STAGE":"cqrs","READ_TABLE":"r"}"#,
            r#"{"STAGE":"csqr","READ_TABLE":"r-v1"}"#,
            r#"{"STAGE":"cqrs","READ_TABLE":"r-v1","QUEUE_URL":"q"}"#,
            r#"{"STAGE":"cqrs","READ_TABLE":"r-v1","WRITE_TABLE":1}"#,
            r#"{"STAGE":"cqrs","READ_TABLE":"r-v1","OTHER_READ_TABLE":"x"}"#,
            r#"{"STAGE":"cqrs","READ_TABLE":"r-v1","OTHER_READ_TABLE":"r-v1"}"#,
        ] {
            Deployment::parse(invalid.as_bytes()).unwrap_err();
        }
    }
}
