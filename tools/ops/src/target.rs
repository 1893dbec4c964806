//! The locations of a service's parts.

use std::time::Duration;

use adapters::clients;
use adapters::dynamo::{DynamoRecords, DynamoViewStore, DynamoWriteStore};
use adapters::read_table::ReadTable;
use adapters::redis_cache::{RedisCache, SetupError};
use adapters::tables::{self, TableNames};
use aws_config::SdkConfig;
use kernel::projection::Projection;
use serde::Deserialize;
use service::stages::StageConfig;

use crate::cache::Cache;
use crate::cli::TargetOptions;
use crate::counts::CommandQueue;
use crate::output::{Failure, explain};
use crate::stores::Stores;

/// The longest wait for the status of a local stack.
const STACK_TIMEOUT: Duration = Duration::from_secs(5);
/// The timeout of the shared cache. An operator can wait longer than a reader.
const CACHE_TIMEOUT: Duration = Duration::from_secs(5);

/// The locations of the parts, as far as they are known.
#[derive(Debug)]
pub(crate) struct Target {
    /// The URL of the local stack, if there is one.
    pub(crate) stack: Option<String>,
    dynamodb: SdkConfig,
    sqs: SdkConfig,
    backends: Backends,
}

/// The variables of the functions.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
struct Backends {
    stage: Option<String>,
    aws_endpoint_url_dynamodb: Option<String>,
    aws_endpoint_url_sqs: Option<String>,
    write_table: Option<String>,
    commands_table: Option<String>,
    read_table: Option<String>,
    other_read_table: Option<String>,
    queue_url: Option<String>,
    dead_letter_queue_url: Option<String>,
    redis_url: Option<String>,
    redis_iam_cache: Option<String>,
}

#[derive(Deserialize)]
struct StatusDocument {
    variables: Backends,
}

impl Target {
    /// Reads the options. A local stack may supply those that are missing.
    pub(crate) async fn find(options: &TargetOptions) -> Result<Self, Failure> {
        let from_stack = match &options.stack {
            Some(url) => ask_stack(url).await?,
            None => Backends::default(),
        };
        let config = async |endpoint: Option<&String>| match endpoint {
            Some(url) => clients::patient(&clients::local(url)),
            None => clients::patient(&clients::aws().await),
        };
        let or = |option: &Option<String>, from_stack: Option<String>| option.clone().or(from_stack);
        Ok(Self {
            stack: options.stack.clone(),
            dynamodb: config(from_stack.aws_endpoint_url_dynamodb.as_ref()).await,
            sqs: config(from_stack.aws_endpoint_url_sqs.as_ref()).await,
            backends: Backends {
                // A stack knows its stage better than the user.
                stage: from_stack.stage.or_else(|| options.stage.clone()),
                write_table: or(&options.write_table, from_stack.write_table),
                commands_table: or(&options.commands_table, from_stack.commands_table),
                read_table: or(&options.read_table, from_stack.read_table),
                other_read_table: or(&options.other_read_table, from_stack.other_read_table),
                queue_url: or(&options.queue_url, from_stack.queue_url),
                dead_letter_queue_url: or(&options.dead_letter_queue_url, from_stack.dead_letter_queue_url),
                redis_url: or(&options.redis_url, from_stack.redis_url),
                redis_iam_cache: or(&options.redis_iam_cache, from_stack.redis_iam_cache),
                ..Backends::default()
            },
        })
    }

    /// Returns the write store.
    pub(crate) fn states(&self) -> Result<DynamoWriteStore, Failure> {
        // The tool writes no transaction through it, so the other tables do not matter.
        let names = TableNames { write: self.write_table()?, commands: String::new(), read: String::new() };
        Ok(DynamoWriteStore::new(&clients::dynamodb(&self.dynamodb), &names))
    }

    fn write_table(&self) -> Result<String, Failure> {
        self.backends.write_table.clone().ok_or(Failure::Unknown("the write store", "--write-table or WRITE_TABLE"))
    }

    /// Returns the table of the read store that readers see.
    pub(crate) fn read_table(&self) -> Result<ReadTable, Failure> {
        let name = self.backends.read_table.as_ref();
        read_table("READ_TABLE", name.ok_or(Failure::Unknown("the read store", "--read-table or READ_TABLE"))?)
    }

    /// Returns the same table, or `None` if the functions of the deployed stage do not write it: its content is then outdated.
    pub(crate) fn written_read_table(&self) -> Result<Option<ReadTable>, Failure> {
        let is_written = self.stage_config()?.is_none_or(|stage| stage.writes_read_store);
        is_written.then(|| self.read_table()).transpose()
    }

    /// Returns the name of the same table, if it is known.
    pub(crate) fn known_read_table(&self) -> Option<&str> {
        self.backends.read_table.as_deref()
    }

    /// Returns the second table of views that is written, if there is one.
    pub(crate) fn other_read_table(&self) -> Result<Option<ReadTable>, Failure> {
        self.backends.other_read_table.as_ref().map(|name| read_table("OTHER_READ_TABLE", name)).transpose()
    }

    /// Returns a read store.
    pub(crate) fn views(&self, table: &ReadTable) -> DynamoViewStore {
        DynamoViewStore::new(clients::dynamodb(&self.dynamodb), &table.name)
    }

    /// Returns the name of the deployed stage, if it is known.
    pub(crate) fn stage(&self) -> Option<&str> {
        self.backends.stage.as_deref()
    }

    /// Returns the configuration of the deployed stage, if it is known.
    pub(crate) fn stage_config(&self) -> Result<Option<StageConfig>, Failure> {
        Ok(self.stage().map(StageConfig::of).transpose()?)
    }

    /// Returns the stores to compare for a read store. Without one, only the states and the shared cache are compared.
    pub(crate) fn stores(&self, table: Option<&ReadTable>) -> Result<Stores, Failure> {
        let projection = match (table, &self.backends.read_table) {
            (Some(table), _) => table.projection,
            (None, Some(_)) => self.read_table()?.projection,
            (None, None) => Projection::FIRST,
        };
        let views = table.map(|table| self.views(table).snapshots());
        let (cache, queue) = (self.cache()?, self.command_queue()?);
        Ok(Stores { states: self.states()?.snapshots(), views, cache, projection, queue })
    }

    /// Creates the table of a read store if it is missing, and waits until it is usable.
    pub(crate) async fn create(&self, table: &ReadTable) -> Result<(), Failure> {
        let created = tables::create(&clients::dynamodb(&self.dynamodb), &table.name).await;
        created.map_err(|error| Failure::Refused { part: "read store", cause: explain(&error) })
    }

    /// Returns the records of commands.
    pub(crate) fn records(&self) -> Result<DynamoRecords, Failure> {
        let table = self.backends.commands_table.as_ref();
        let table = table.ok_or(Failure::Unknown("the table of records", "--commands-table or COMMANDS_TABLE"))?;
        Ok(DynamoRecords::new(clients::dynamodb(&self.dynamodb), table))
    }

    /// Returns the shared cache, if there is one.
    fn cache(&self) -> Result<Option<Cache>, Failure> {
        let Some(url) = &self.backends.redis_url else { return Ok(None) };
        let cache = match &self.backends.redis_iam_cache {
            Some(name) => RedisCache::with_iam(url, name, &self.dynamodb),
            None => RedisCache::new(url),
        };
        let refused = |error: SetupError| Failure::Refused { part: "shared cache", cause: error.to_string() };
        Ok(Some(Cache::new(cache.map_err(refused)?.with_operation_timeout(CACHE_TIMEOUT))))
    }

    /// Returns a client of SQS.
    pub(crate) fn sqs(&self) -> aws_sdk_sqs::Client {
        clients::sqs(&self.sqs)
    }

    /// Returns the queue of commands, if its URL is known and the deployed stage has it.
    fn command_queue(&self) -> Result<Option<CommandQueue>, Failure> {
        let is_deployed = self.stage_config()?.is_none_or(|stage| stage.queue_deployed);
        let url = self.backends.queue_url.as_deref().filter(|_| is_deployed);
        Ok(url.map(|url| CommandQueue::new(self.sqs(), url)))
    }

    /// Returns the URL of the queue of commands.
    pub(crate) fn queue_url(&self) -> Result<&str, Failure> {
        self.backends.queue_url.as_deref().ok_or(Failure::Unknown("the queue", "--queue-url or QUEUE_URL"))
    }

    /// Returns the URL of its dead-letter queue.
    pub(crate) fn dead_letter_queue_url(&self) -> Result<&str, Failure> {
        let unknown = Failure::Unknown("the dead-letter queue", "--dead-letter-queue-url or DEAD_LETTER_QUEUE_URL");
        self.backends.dead_letter_queue_url.as_deref().ok_or(unknown)
    }
}

fn read_table(part: &'static str, name: &str) -> Result<ReadTable, Failure> {
    name.parse().map_err(|error| Failure::Refused { part, cause: format!("{name} {error}") })
}

/// Gets the locations from a local stack.
async fn ask_stack(url: &str) -> Result<Backends, Failure> {
    let failed = |cause: &dyn std::error::Error| Failure::NoStack { url: url.to_owned(), cause: explain(cause) };
    let client = reqwest::Client::builder().timeout(STACK_TIMEOUT).build().map_err(|error| failed(&error))?;
    let response = client.get(format!("{}/_local/status", url.trim_end_matches('/'))).send().await;
    let response = response.and_then(reqwest::Response::error_for_status).map_err(|error| failed(&error))?;
    let document: StatusDocument = response.json().await.map_err(|error| failed(&error))?;
    Ok(document.variables)
}
