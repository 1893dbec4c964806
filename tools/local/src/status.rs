//! The status page: the document at `/_local/status`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::deployment::Deployments;
use crate::environments::{Counters, EnvironmentStatus, Pool};
use crate::queue::QueueStatus;
use crate::redis::RedisStatus;
use crate::stores::TableStatus;

/// The source of the document.
#[derive(Debug)]
pub struct Status {
    /// The functions, with their deployment.
    pub deployments: Arc<Deployments>,
}

#[derive(Serialize)]
struct Document<'a> {
    stage: &'a str,
    runner_pid: u32,
    environments: Vec<EnvironmentStatus>,
    functions: BTreeMap<&'a str, &'a Counters>,
    redis: Option<RedisStatus>,
    queue: Option<QueueStatus>,
    tables: Option<BTreeMap<String, TableStatus>>,
    draining: usize,
    variables: BTreeMap<String, String>,
}

impl Status {
    /// Returns the document as JSON.
    pub async fn document(&self) -> String {
        let (deployments, used) = (&self.deployments, self.deployments.used().await);
        let redis = async { Some(used.redis.as_ref()?.status().await) };
        let queue = async { Some(used.queues.as_ref()?.status().await) };
        let tables = async { Some(used.store.as_ref()?.tables().await) };
        let (redis, queue, tables) = futures::future::join3(redis, queue, tables).await;
        let (config, pools, retired) = (deployments.stage_config(), deployments.pools(), deployments.retired());
        let document = Document {
            stage: &config.stage,
            runner_pid: std::process::id(),
            environments: pools.iter().chain(&retired).flat_map(Pool::environments).collect(),
            functions: pools.iter().map(|pool| (pool.name(), pool.counters())).collect(),
            redis,
            queue,
            tables,
            draining: deployments.draining(),
            variables: of_backends(deployments.variables()),
        };
        serde_json::to_string(&document).unwrap_or_default()
    }
}

/// Returns the variables with addresses and names of backends, for the operators' tools. They hold no secrets, unless the
/// URL of Redis has a password.
fn of_backends(variables: Vec<(String, String)>) -> BTreeMap<String, String> {
    let is_of_backend = |name: &str| {
        ["STAGE", "REDIS_URL"].contains(&name)
            || ["_TABLE", "QUEUE_URL"].iter().any(|end| name.ends_with(end))
            || name.starts_with("AWS_ENDPOINT_URL_")
    };
    variables.into_iter().filter(|(name, _)| is_of_backend(name)).collect()
}
