//! What is going on: the document at `/_local/status`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::deployment::Deployments;
use crate::environments::{Counters, EnvironmentStatus, Pool};
use crate::queue::{QueueStatus, Queues};
use crate::redis::{Redis, RedisStatus};
use crate::stores::{Store, TableStatus};

/// Where everything that the document tells is found.
#[derive(Debug)]
pub struct Status {
    /// The stage.
    pub stage: String,
    /// The functions, and what they are deployed with.
    pub deployments: Arc<Deployments>,
    /// Redis, if any.
    pub redis: Option<Arc<Redis>>,
    /// The queues, if any.
    pub queues: Option<Queues>,
    /// The tables, if they are ours.
    pub store: Option<Arc<Store>>,
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
    /// The document, as JSON.
    pub async fn document(&self) -> String {
        let redis = async { Some(self.redis.as_ref()?.status().await) };
        let queue = async { Some(self.queues.as_ref()?.status().await) };
        let tables = async { Some(self.store.as_ref()?.tables().await) };
        let (redis, queue, tables) = futures::future::join3(redis, queue, tables).await;
        let document = Document {
            stage: &self.stage,
            runner_pid: std::process::id(),
            environments: self.deployments.pools().iter().flat_map(Pool::environments).collect(),
            functions: self.deployments.pools().iter().map(|pool| (pool.name(), pool.counters())).collect(),
            redis,
            queue,
            tables,
            draining: self.deployments.draining(),
            variables: places(self.deployments.variables()),
        };
        serde_json::to_string(&document).unwrap_or_default()
    }
}

/// The variables that say where things are, for the operators' tools. Secrets are not among them.
fn places(variables: Vec<(String, String)>) -> BTreeMap<String, String> {
    let is_place = |name: &str| {
        ["STAGE", "REDIS_URL"].contains(&name)
            || ["_TABLE", "QUEUE_URL"].iter().any(|end| name.ends_with(end))
            || name.starts_with("AWS_ENDPOINT_URL_")
    };
    variables.into_iter().filter(|(name, _)| is_place(name)).collect()
}
