//! Configuration from environment variables. A function reads it once, at start, and reports all errors together.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use adapters::read_table::ReadTable;
use kernel::ingest::RECEIVES_MIN;
use kernel::projection::Projection;
use kernel::seal::KeyRing;
use resource::{Description, Operation};
use serde::Serialize;
use service::assembly::{WriteRoute, reorder_window};
use service::resources::RESOURCES;
use service::stages::{Cache, Source, StageConfig};

use crate::http::incoming::Identity;
use crate::http::path::BasePath;

/// A value that must not appear in logs: `Debug` does not print it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// All errors in the environment, one a line.
#[derive(thiserror::Error)]
#[error("the function cannot start, because environment variables are wrong:\n{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

/// A failing `main` prints the `Debug` form, so it is the same text as `Display`.
impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The source of the signing keys.
#[derive(Debug)]
pub enum KeySource {
    /// The keys themselves: `SIGNING_KEYS`.
    Text(KeyRing),
    /// The ARN or the name of a secret in AWS Secrets Manager: `SIGNING_KEYS_SECRET`.
    Secret(String),
}

/// The configuration of the read side.
#[derive(Debug)]
pub struct ReadConfig {
    /// The stage.
    pub stage: StageConfig,
    /// `READ_TABLE`, or `WRITE_TABLE` in the stages that read the write store.
    pub views_table: String,
    /// The projection that clients get: the one of `READ_TABLE`, or the first if there is no such table.
    pub projection: Projection,
    /// `COMMANDS_TABLE`: records of commands.
    pub commands_table: String,
    /// Redis, in the stages that read it.
    pub redis: Option<RedisBackend>,
    /// The keys that sign tokens, cursors and command ids.
    pub keys: KeySource,
}

/// The configuration for lists alone.
#[derive(Debug)]
pub struct ListConfig {
    /// The stage.
    pub stage: StageConfig,
    /// The table of views, as in [`ReadConfig`].
    pub views_table: String,
    /// The projection, as in [`ReadConfig`].
    pub projection: Projection,
    /// The keys that sign cursors.
    pub keys: KeySource,
}

/// The configuration for the lookup of command statuses.
#[derive(Debug)]
pub struct LookupConfig {
    /// `COMMANDS_TABLE`: records of commands.
    pub commands_table: String,
    /// The keys that verify command ids and sign tokens.
    pub keys: KeySource,
}

/// The configuration of the write side.
#[derive(Debug)]
pub struct WriteConfig {
    /// `COMMANDS_TABLE`: records of commands.
    pub commands_table: String,
    /// The stage.
    pub stage: StageConfig,
    /// The projection that clients get, as in [`ReadConfig`].
    pub projection: Projection,
    /// The route of commands: to the queue, to the write store, or either.
    pub route: WriteRoute<QueueBackends, DirectBackends>,
    /// The keys that sign tokens and command ids.
    pub keys: KeySource,
}

/// The parts that write-fn needs to queue commands.
#[derive(Debug)]
pub struct QueueBackends {
    /// `QUEUE_URL`.
    pub queue_url: String,
    /// `READ_TABLE`: for clients that wait for their command.
    pub read_table: ReadTable,
}

/// The parts that write-fn needs to apply commands.
#[derive(Debug)]
pub struct DirectBackends {
    /// `WRITE_TABLE`: states and unique keys.
    pub write_table: String,
    /// `READ_TABLE`, in the stages that write it.
    pub read_table: Option<ReadTable>,
    /// Redis, in the stages that keep it up to date.
    pub redis: Option<RedisBackend>,
    /// How long a command may wait for its predecessor, from the queue's `VISIBILITY_TIMEOUT_SECONDS`. Zero if there is no
    /// queue.
    pub reorder_window: Duration,
}

/// The shared cache. Without `REDIS_URL` the service runs without it.
#[derive(Debug)]
pub struct RedisBackend {
    /// `REDIS_URL`.
    pub url: Secret,
    /// `REDIS_IAM_CACHE`: the name of the cache in ElastiCache Serverless. If it is set, IAM makes the password.
    pub iam_cache: Option<String>,
}

/// The configuration of the ingest side.
#[derive(Debug)]
pub struct IngestConfig {
    /// The stage.
    pub stage: StageConfig,
    /// `WRITE_TABLE`: states and unique keys.
    pub write_table: String,
    /// `COMMANDS_TABLE`: records of commands.
    pub commands_table: String,
    /// `READ_TABLE`: views.
    pub read_table: ReadTable,
    /// `OTHER_READ_TABLE`: a second table of views, while one projection replaces another.
    pub other_read_table: Option<ReadTable>,
    /// `QUEUE_URL`.
    pub queue_url: String,
    /// Redis, in the stages that keep it up to date.
    pub redis: Option<RedisBackend>,
    /// `VISIBILITY_TIMEOUT_SECONDS`: the queue's visibility timeout.
    pub visibility_timeout: Duration,
    /// `MAX_RECEIVE_COUNT`: the deliveries until a message becomes a dead letter; at least 20, because deferrals count too.
    pub receive_count_max: u32,
}

/// The dimensions that all metrics have.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MetricsConfig {
    /// `AWS_LAMBDA_FUNCTION_NAME`, which Lambda sets.
    pub function: String,
    /// `STAGE`.
    pub stage: String,
}

/// A function that looks up an environment variable.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Returns a variable of the process's environment. An empty variable counts as absent.
#[must_use]
pub fn env_var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Reads `RESOURCE`: the one resource that this function serves.
pub fn resource(lookup: Lookup<'_>) -> Result<&'static Description, ConfigError> {
    let mut reader = Reader::new(lookup);
    let found = reader.text("RESOURCE").and_then(|wanted| {
        let found = RESOURCES.iter().find(|resource| resource.collection == wanted);
        if found.is_none() {
            let known: Vec<_> = RESOURCES.iter().map(|resource| resource.collection).collect();
            reader.complain(format!("RESOURCE is `{}`: choose one of {}", wanted.escape_debug(), known.join(", ")));
        }
        found
    });
    reader.finish(|| found)
}

/// Reads `RESOURCE` and `ACTION`: the one action that this function serves.
pub fn action(lookup: Lookup<'_>) -> Result<(&'static Description, Operation), ConfigError> {
    let resource = resource(lookup)?;
    let mut reader = Reader::new(lookup);
    let found = reader.text("ACTION").and_then(|wanted| {
        let found = resource.actions.iter().find(|action| **action == wanted);
        if found.is_none() {
            let known = resource.actions.join(", ");
            reader.complain(format!("ACTION is `{}`: choose one of {known}", wanted.escape_debug()));
        }
        found
    });
    reader.finish(|| Some((resource, Operation::Act(found?))))
}

impl ReadConfig {
    /// Reads the environment.
    pub fn read(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(lookup);
        let stage = reader.stage();
        let (views_table, projection) = reader.views(stage.as_ref());
        let commands_table = reader.text("COMMANDS_TABLE");
        let redis = reader.redis(stage.as_ref().is_some_and(|stage| stage.has(Cache::Redis)));
        let keys = reader.keys();
        reader.finish(|| {
            Some(Self {
                stage: stage?,
                views_table: views_table?,
                projection,
                commands_table: commands_table?,
                redis,
                keys: keys?,
            })
        })
    }
}

impl ListConfig {
    /// Reads the environment.
    pub fn read(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(lookup);
        let stage = reader.stage();
        let (views_table, projection) = reader.views(stage.as_ref());
        let keys = reader.keys();
        reader.finish(|| Some(Self { stage: stage?, views_table: views_table?, projection, keys: keys? }))
    }
}

impl LookupConfig {
    /// Reads the environment.
    pub fn read(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(lookup);
        let (commands_table, keys) = (reader.text("COMMANDS_TABLE"), reader.keys());
        reader.finish(|| Some(Self { commands_table: commands_table?, keys: keys? }))
    }
}

impl WriteConfig {
    /// Reads the environment.
    pub fn read(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(lookup);
        let stage = reader.stage();
        let route = stage.as_ref().and_then(|stage| reader.route(stage));
        let projection = reader.projection();
        let commands_table = reader.text("COMMANDS_TABLE");
        let keys = reader.keys();
        reader.finish(|| {
            Some(Self { commands_table: commands_table?, stage: stage?, projection, route: route?, keys: keys? })
        })
    }
}

impl IngestConfig {
    /// Reads the environment.
    pub fn read(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(lookup);
        let stage = reader.stage();
        let (write_table, commands_table) = (reader.text("WRITE_TABLE"), reader.text("COMMANDS_TABLE"));
        let (read_table, queue_url) = (reader.parsed("READ_TABLE"), reader.text("QUEUE_URL"));
        let other_read_table = reader.optional("OTHER_READ_TABLE");
        let redis = reader.redis(stage.as_ref().is_some_and(|stage| stage.writes_redis));
        let visibility_timeout = reader.visibility_timeout();
        let receive_count_max = reader.parsed("MAX_RECEIVE_COUNT");
        if receive_count_max.is_some_and(|count: u32| count < RECEIVES_MIN) {
            let wrong = format!("MAX_RECEIVE_COUNT must be at least {RECEIVES_MIN}: deferrals and crashes count too");
            reader.errors.push(wrong);
        }
        reader.finish(|| {
            Some(Self {
                stage: stage?,
                write_table: write_table?,
                commands_table: commands_table?,
                read_table: read_table?,
                other_read_table,
                queue_url: queue_url?,
                redis,
                visibility_timeout: visibility_timeout?,
                receive_count_max: receive_count_max?,
            })
        })
    }
}

impl MetricsConfig {
    /// Reads the environment. Returns `None` if `METRICS` is not set: then the function writes no metrics.
    pub fn read(lookup: Lookup<'_>) -> Result<Option<Self>, ConfigError> {
        let mut reader = Reader::new(lookup);
        match lookup("METRICS").as_deref() {
            None => return Ok(None),
            Some("emf") => {}
            Some(_) => reader.errors.push("METRICS must be `emf`, or unset".to_owned()),
        }
        let (function, stage) = (reader.text("AWS_LAMBDA_FUNCTION_NAME"), reader.stage());
        reader.finish(|| Some(Some(Self { function: function?, stage: stage?.stage })))
    }
}

impl Identity {
    /// Reads `TENANT` and `SUBJECT`: the identity of all requests through a front door that names none.
    pub fn read(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(lookup);
        let (tenant, subject) = (reader.parsed("TENANT"), reader.parsed("SUBJECT"));
        reader.finish(|| Some(Self { tenant: tenant?, subject: subject?, scopes: None }))
    }
}

impl BasePath {
    /// Reads `BASE_PATH`: the path under which the front door serves the service; empty if it is not set.
    pub fn read(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(lookup);
        let base = reader.optional("BASE_PATH").unwrap_or_default();
        reader.finish(|| Some(base))
    }
}

struct Reader<'a> {
    lookup: Lookup<'a>,
    errors: Vec<String>,
}

impl<'a> Reader<'a> {
    fn new(lookup: Lookup<'a>) -> Self {
        Self { lookup, errors: Vec::new() }
    }

    fn text(&mut self, name: &str) -> Option<String> {
        let value = (self.lookup)(name);
        if value.is_none() {
            self.complain(format!("{name} is not set"));
        }
        value
    }

    /// Adds an error, unless it is in the list already: some variables are read more than once.
    fn complain(&mut self, error: String) {
        if !self.errors.contains(&error) {
            self.errors.push(error);
        }
    }

    fn parsed<T: FromStr<Err: fmt::Display>>(&mut self, name: &str) -> Option<T> {
        let value = self.text(name)?;
        value.parse().map_err(|error| self.complain(format!("{name} {error}"))).ok()
    }

    fn optional<T: FromStr<Err: fmt::Display>>(&mut self, name: &str) -> Option<T> {
        (self.lookup)(name).and_then(|_| self.parsed(name))
    }

    fn stage(&mut self) -> Option<StageConfig> {
        let name = self.text("STAGE")?;
        StageConfig::of(&name).map_err(|error| self.errors.push(format!("STAGE {error}"))).ok()
    }

    /// Returns the table to read, and the projection of its views.
    fn views(&mut self, stage: Option<&StageConfig>) -> (Option<String>, Projection) {
        let table = match stage.map(|stage| stage.reads_from) {
            Some(Source::WriteStore) => "WRITE_TABLE",
            Some(Source::ReadStore) | None => "READ_TABLE",
        };
        (self.text(table), self.projection())
    }

    /// Returns the projection of views and cache entries. Stages that do not read the read store derive it from
    /// `READ_TABLE` as well, so it is the same in all functions.
    fn projection(&mut self) -> Projection {
        self.optional("READ_TABLE").map_or(Projection::FIRST, |table: ReadTable| table.projection)
    }

    fn redis(&mut self, is_wanted: bool) -> Option<RedisBackend> {
        if !is_wanted {
            return None;
        }
        let (url, iam_cache) = ((self.lookup)("REDIS_URL"), (self.lookup)("REDIS_IAM_CACHE"));
        if url.is_none() && iam_cache.is_some() {
            self.errors.push("REDIS_IAM_CACHE is set, but REDIS_URL is not: set both".to_owned());
        }
        Some(RedisBackend { url: Secret(url?), iam_cache })
    }

    fn keys(&mut self) -> Option<KeySource> {
        match ((self.lookup)("SIGNING_KEYS"), (self.lookup)("SIGNING_KEYS_SECRET")) {
            (Some(_), None) => self.parsed("SIGNING_KEYS").map(KeySource::Text),
            (None, Some(secret)) => Some(KeySource::Secret(secret)),
            (found, _) => {
                let wrong = if found.is_some() { "both are" } else { "neither is" };
                self.errors.push(format!("exactly one of SIGNING_KEYS and SIGNING_KEYS_SECRET must be set: {wrong}"));
                None
            }
        }
    }

    fn visibility_timeout(&mut self) -> Option<Duration> {
        self.parsed("VISIBILITY_TIMEOUT_SECONDS").map(Duration::from_secs)
    }

    fn route(&mut self, stage: &StageConfig) -> Option<WriteRoute<QueueBackends, DirectBackends>> {
        Some(match WriteRoute::of(stage) {
            WriteRoute::Queue(()) => WriteRoute::Queue(self.queue_backends()?),
            WriteRoute::Direct { queued_before, .. } => {
                WriteRoute::Direct { direct: self.direct_backends(stage)?, queued_before }
            }
            WriteRoute::Either { honours_async, .. } => {
                let (direct, queue) = (self.direct_backends(stage), self.queue_backends());
                WriteRoute::Either { direct: direct?, queue: queue?, honours_async }
            }
        })
    }

    fn queue_backends(&mut self) -> Option<QueueBackends> {
        let (queue_url, read_table) = (self.text("QUEUE_URL"), self.parsed("READ_TABLE"));
        Some(QueueBackends { queue_url: queue_url?, read_table: read_table? })
    }

    fn direct_backends(&mut self, stage: &StageConfig) -> Option<DirectBackends> {
        let reorder_window = match stage.queue_deployed {
            true => self.visibility_timeout().map(reorder_window),
            false => Some(Duration::ZERO),
        };
        let write_table = self.text("WRITE_TABLE");
        let read_table = match stage.writes_read_store {
            true => Some(self.parsed("READ_TABLE")?),
            false => None,
        };
        let redis = self.redis(stage.writes_redis);
        Some(DirectBackends { write_table: write_table?, read_table, redis, reorder_window: reorder_window? })
    }

    /// Returns the result, or all errors.
    fn finish<T>(self, result: impl FnOnce() -> Option<T>) -> Result<T, ConfigError> {
        match result() {
            Some(config) if self.errors.is_empty() => Ok(config),
            _ => Err(ConfigError(self.errors)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_that_serves_one_resource_needs_its_name() {
        let read = |variables: &[(&str, &str)]| resource(&environment(variables));
        let served = RESOURCES[0].collection;
        assert_eq!(read(&[("RESOURCE", served)]).unwrap().collection, served);
        assert_eq!(read(&[]).unwrap_err().0, ["RESOURCE is not set"]);
        let ConfigError(errors) = read(&[("RESOURCE", "nothing")]).unwrap_err();
        let says = format!("RESOURCE is `nothing`: choose one of {served}");
        assert!(errors.len() == 1 && errors[0].starts_with(&says), "{errors:?}");
    }

    const KEYS: &str = "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

    fn environment<'a>(variables: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
    }

    #[test]
    fn all_errors_of_the_environment_are_reported_at_once() {
        let variables = [("STAGE", "cqrs"), ("VISIBILITY_TIMEOUT_SECONDS", "soon"), ("MAX_RECEIVE_COUNT", "3")];
        let ConfigError(errors) = IngestConfig::read(&environment(&variables)).unwrap_err();
        let named = |name: &str| errors.iter().filter(|error| error.starts_with(name)).count();
        for name in [
            "WRITE_TABLE",
            "COMMANDS_TABLE",
            "READ_TABLE",
            "QUEUE_URL",
            "VISIBILITY_TIMEOUT_SECONDS",
            "MAX_RECEIVE_COUNT",
        ] {
            assert_eq!(named(name), 1, "{name}: {errors:?}");
        }
    }

    #[test]
    fn a_stage_needs_only_the_variables_that_it_uses() {
        let direct = [("STAGE", "lambda-lith"), ("WRITE_TABLE", "w"), ("COMMANDS_TABLE", "c"), ("SIGNING_KEYS", KEYS)];
        let config = WriteConfig::read(&environment(&direct)).unwrap();
        let WriteRoute::Direct { direct: backends, queued_before: false } = config.route else { panic!("{config:?}") };
        assert!(backends.read_table.is_none() && backends.redis.is_none());
        assert_eq!(ReadConfig::read(&environment(&direct)).unwrap().views_table, "w");
        let without_records = [("STAGE", "single-responsibility"), ("WRITE_TABLE", "w"), ("SIGNING_KEYS", KEYS)];
        assert_eq!(ListConfig::read(&environment(&without_records)).unwrap().views_table, "w");
        let ConfigError(errors) =
            WriteConfig::read(&environment(&[("STAGE", "cqrs"), ("COMMANDS_TABLE", "c"), ("SIGNING_KEYS", KEYS)]))
                .unwrap_err();
        assert_eq!(errors, ["QUEUE_URL is not set", "READ_TABLE is not set"]);
        let both = [&direct[1..], &[("STAGE", "cqrs-expand"), ("READ_TABLE", "r-v1"), ("QUEUE_URL", "q")]].concat();
        let ConfigError(errors) = WriteConfig::read(&environment(&both)).unwrap_err();
        assert_eq!(errors, ["VISIBILITY_TIMEOUT_SECONDS is not set"]);
        let both = [&both[..], &[("VISIBILITY_TIMEOUT_SECONDS", "20")]].concat();
        let config = WriteConfig::read(&environment(&both)).unwrap();
        assert!(matches!(config.route, WriteRoute::Either { honours_async: true, .. }));
    }

    #[test]
    fn signing_keys_are_named_or_given_but_not_both() {
        let read =
            |keys: &[(&str, &str)]| LookupConfig::read(&environment(&[&[("COMMANDS_TABLE", "c")], keys].concat()));
        let (text, secret) = (("SIGNING_KEYS", KEYS), ("SIGNING_KEYS_SECRET", "watershed/keys"));
        assert!(matches!(read(&[text]).unwrap().keys, KeySource::Text(_)));
        assert!(matches!(read(&[secret]).unwrap().keys, KeySource::Secret(name) if name == "watershed/keys"));
        for (keys, wrong) in [(&[][..], "neither is"), (&[text, secret], "both are")] {
            let ConfigError(errors) = read(keys).unwrap_err();
            assert_eq!(errors, [format!("exactly one of SIGNING_KEYS and SIGNING_KEYS_SECRET must be set: {wrong}")]);
        }
    }

    #[test]
    fn a_name_of_a_cache_needs_a_url_in_the_stages_with_redis() {
        let common = [("READ_TABLE", "r-v1"), ("WRITE_TABLE", "w"), ("COMMANDS_TABLE", "c"), ("SIGNING_KEYS", KEYS)];
        let read = |more: &[(&str, &str)]| ReadConfig::read(&environment(&[&common, more].concat()));
        let ConfigError(errors) = read(&[("STAGE", "cqrs"), ("REDIS_IAM_CACHE", "cache")]).unwrap_err();
        assert_eq!(errors, ["REDIS_IAM_CACHE is set, but REDIS_URL is not: set both"]);
        let without = read(&[("STAGE", "lambda-lith"), ("REDIS_IAM_CACHE", "cache")]).unwrap();
        assert!(without.redis.is_none());
        let url = "rediss://reader@cache.example.com:6379";
        let with = read(&[("STAGE", "cqrs"), ("REDIS_URL", url), ("REDIS_IAM_CACHE", "cache")]).unwrap();
        let redis = with.redis.unwrap();
        assert_eq!((redis.url.0.as_str(), redis.iam_cache.as_deref()), (url, Some("cache")));
    }

    #[test]
    fn metrics_are_written_only_if_they_are_enabled() {
        let lambda = [("AWS_LAMBDA_FUNCTION_NAME", "read-fn"), ("STAGE", "cqrs")];
        assert!(MetricsConfig::read(&environment(&lambda)).unwrap().is_none());
        let wanted = [&lambda[..], &[("METRICS", "emf")]].concat();
        let config = MetricsConfig::read(&environment(&wanted)).unwrap().unwrap();
        assert_eq!((config.function.as_str(), config.stage.as_str()), ("read-fn", "cqrs"));
        let ConfigError(errors) = MetricsConfig::read(&environment(&[("METRICS", "statsd")])).unwrap_err();
        assert_eq!(errors.len(), 3, "{errors:?}");
    }

    #[test]
    fn the_base_path_is_empty_unless_it_is_set() {
        let read = |variables: &[(&str, &str)]| BasePath::read(&environment(variables)).map(|base| base.to_string());
        assert_eq!(read(&[]).unwrap(), "");
        assert_eq!(read(&[("BASE_PATH", "/v1")]).unwrap(), "/v1");
        let ConfigError(errors) = read(&[("BASE_PATH", "v1/")]).unwrap_err();
        assert!(errors.len() == 1 && errors[0].starts_with("BASE_PATH must begin with a slash"), "{errors:?}");
    }

    #[test]
    fn secrets_do_not_print() {
        let url = "redis://:hunter2@127.0.0.1";
        let variables = [
            ("STAGE", "cqrs"),
            ("READ_TABLE", "r-v1"),
            ("COMMANDS_TABLE", "c"),
            ("SIGNING_KEYS", KEYS),
            ("REDIS_URL", url),
        ];
        let printed = format!("{:?}", ReadConfig::read(&environment(&variables)).unwrap());
        assert!(!printed.contains("hunter2") && !printed.contains("AAAA"), "{printed}");
        let ConfigError(errors) = ReadConfig::read(&environment(&[("SIGNING_KEYS", "k1:secret")])).unwrap_err();
        assert!(!errors.join(" ").contains("k1:secret"), "{errors:?}");
    }
}
