//! The quota of AWS that each stage reaches first, and the rate at which it does.

use serde::Serialize;
use service::stages::{StageConfig, StageKind};

use crate::cli::LimitsOptions;
use crate::output::{CommandOutput, Failure};
use crate::quotas::environments;
use crate::quotas::{
    BATCHES, CACHE_CONNECTIONS, ENVIRONMENTS, ENVIRONMENTS_PER_SECOND, FIFO_SENDS, HTTP_API, NEW_TABLE_READS,
    NEW_TABLE_WRITES, OUR_CACHE_UNITS, OUR_CONCURRENCY, OUR_THROTTLE, PARTITION_WRITES, TABLE_UNITS,
};
use crate::table::{Table, number};
use cost::model::Model;
use cost::traffic::QueueType;

/// A default quota in us-east-1, as it was in November 2026.
#[derive(Debug, Serialize)]
struct Quota {
    name: &'static str,
    most: f64,
    set_by: SetBy,
    helps: &'static str,
    source: &'static str,
    /// The part of the quota that one request per second takes, with full batches and all requests on one tenant.
    #[serde(skip)]
    taken: fn(&Model<'_>) -> f64,
}

/// The party that sets a quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum SetBy {
    /// We do, with the configuration `prod` of the CDK app, to limit the cost of a mistake.
    Us,
    /// AWS, which raises it on request.
    AwsRaises,
    /// AWS, which never raises it.
    Aws,
}

/// All quotas.
static QUOTAS: [Quota; 13] = [
    Quota {
        name: "our throttle, requests a second",
        most: OUR_THROTTLE,
        set_by: SetBy::Us,
        helps: "raise throttle in the configuration",
        source: "cdk/lib/config.ts",
        taken: |_| 1.0,
    },
    Quota {
        name: "our maximum concurrency, batches at once",
        most: OUR_CONCURRENCY,
        set_by: SetBy::Us,
        helps: "raise queue.pollers in the configuration",
        source: "cdk/lib/config.ts",
        taken: ingest_environments,
    },
    Quota {
        name: "our limit of Redis, processing units a second",
        most: OUR_CACHE_UNITS,
        set_by: SetBy::Us,
        helps: "raise the limit, which only caps the cost; one slot of keys takes at most 30,000",
        source: "cdk/lib/cache.ts",
        taken: |model| model.cache_units(),
    },
    Quota {
        name: "HTTP API, requests a second",
        most: HTTP_API,
        set_by: SetBy::AwsRaises,
        helps: "ask AWS; another region or account",
        source: "https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html",
        taken: |_| 1.0,
    },
    Quota {
        name: "Lambda, environments",
        most: ENVIRONMENTS,
        set_by: SetBy::AwsRaises,
        helps: "ask AWS; Managed Instances, which serve several requests at once",
        source: "https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html",
        taken: |model| front_environments(model) + ingest_environments(model),
    },
    Quota {
        name: "event source mapping, batches at once",
        most: BATCHES,
        set_by: SetBy::Aws,
        helps: "larger batches; provisioned pollers, 10 batches at once each",
        source: "https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html",
        taken: ingest_environments,
    },
    Quota {
        name: "FIFO queue, high throughput, sends a second",
        most: FIFO_SENDS,
        set_by: SetBy::AwsRaises,
        helps: "a standard queue: correctness does not depend on order",
        source: "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html",
        taken: fifo_sends,
    },
    Quota {
        name: "one tenant's list, write units a second",
        most: PARTITION_WRITES,
        set_by: SetBy::Aws,
        helps: "shards of the list; DynamoDB splits a partition that stays hot, after minutes",
        source: "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/bp-partition-key-design.html",
        taken: list_writes,
    },
    Quota {
        name: "a new table, write units a second",
        most: NEW_TABLE_WRITES,
        set_by: SetBy::Aws,
        helps: "warm throughput; without it, twice the last peak within 30 minutes",
        source: "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/warm-throughput.html",
        taken: table_writes,
    },
    Quota {
        name: "a new table, read units a second",
        most: NEW_TABLE_READS,
        set_by: SetBy::Aws,
        helps: "warm throughput; without it, twice the last peak within 30 minutes",
        source: "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/warm-throughput.html",
        taken: |model| model.read_units_of_busiest(),
    },
    Quota {
        name: "any table, write units a second",
        most: TABLE_UNITS,
        set_by: SetBy::AwsRaises,
        helps: "ask AWS; regions, with tenants divided among them",
        source: "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html",
        taken: table_writes,
    },
    Quota {
        name: "any table, read units a second",
        most: TABLE_UNITS,
        set_by: SetBy::AwsRaises,
        helps: "ask AWS; a cache in front",
        source: "https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ServiceQuotas.html",
        taken: |model| model.read_units_of_busiest(),
    },
    Quota {
        name: "Redis, connections",
        most: CACHE_CONNECTIONS,
        set_by: SetBy::Aws,
        helps: "Managed Instances: fewer environments; a second cache",
        source: "https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/RedisConfiguration.html",
        taken: cache_connections,
    },
];

impl SetBy {
    fn name(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::AwsRaises => "AWS, raised on request",
            Self::Aws => "AWS",
        }
    }
}

/// The use of a quota by one request per second.
#[derive(Debug, Clone, Copy, Serialize)]
struct Limit {
    quota: &'static Quota,
    per_request_a_second: f64,
    /// The rate at which the quota is reached.
    requests_per_second: f64,
}

/// The result for scripts.
#[derive(Debug, Serialize)]
struct Document {
    stages: Vec<StageLimits>,
}

#[derive(Debug, Serialize)]
struct StageLimits {
    stage: String,
    /// The limits, in the order in which the stage reaches them.
    limits: Vec<Limit>,
}

/// Calculates the limits.
pub(crate) fn run(options: &LimitsOptions, stage: Option<&str>) -> Result<CommandOutput, Failure> {
    let model = Model::new(&options.traffic, stage)?;
    let stages = StageConfig::all()?.into_iter().filter(|config| config.kind == StageKind::Stage);
    let models: Vec<_> = stages.map(|config| Model { options: &options.traffic, config }).collect();
    let lines = if options.explain {
        explained()
    } else {
        [by_rate(&model, &options.rates), vec![String::new()], by_stage(&models)].concat()
    };
    let stages = models.iter().map(|model| StageLimits { stage: model.config.stage.clone(), limits: limits(model) });
    Ok(CommandOutput::new(true, &Document { stages: stages.collect() }, lines))
}

/// Returns every quota that the stage uses, in the order in which it reaches them.
fn limits(model: &Model<'_>) -> Vec<Limit> {
    let limit = |quota: &'static Quota| {
        let per_request_a_second = (quota.taken)(model);
        let requests_per_second = quota.most / per_request_a_second;
        (per_request_a_second > 0.0).then_some(Limit { quota, per_request_a_second, requests_per_second })
    };
    let mut limits: Vec<Limit> = QUOTAS.iter().filter_map(limit).collect();
    limits.sort_by(|one, other| one.requests_per_second.total_cmp(&other.requests_per_second));
    limits
}

fn fifo_sends(model: &Model<'_>) -> f64 {
    let is_fifo = model.is_queued() && model.options.queue == QueueType::Fifo;
    if is_fifo { model.writes() } else { 0.0 }
}

fn list_writes(model: &Model<'_>) -> f64 {
    model.writes() * model.write_units_of_list()
}

fn table_writes(model: &Model<'_>) -> f64 {
    model.writes() * model.write_units_of_busiest()
}

/// Returns the number of connections to Redis: one for each environment.
fn cache_connections(model: &Model<'_>) -> f64 {
    if model.has_redis() { front_environments(model) + ingest_environments(model) } else { 0.0 }
}

/// Returns the environments of the functions behind the front door.
fn front_environments(model: &Model<'_>) -> f64 {
    environments(model.options.reads, model.read_ms()) + environments(model.writes(), model.write_ms())
}

/// Returns the environments of ingest-fn, one for each batch at a time.
fn ingest_environments(model: &Model<'_>) -> f64 {
    let invocations = model.invocations(f64::MAX) - 1.0;
    environments(invocations, model.ingest_ms(f64::MAX))
}

/// Returns a table with the use of each quota at each rate.
fn by_rate(model: &Model<'_>, rates: &[f64]) -> Vec<String> {
    let limits = limits(model);
    let heads = [model.config.stage.clone(), "quota".to_owned(), "reached at".to_owned()];
    let mut table = Table::new(heads.into_iter().chain(rates.iter().map(|rate| format!("{}/s", number(*rate)))));
    for Limit { quota, per_request_a_second, requests_per_second } in &limits {
        let taken = |rate: &f64| {
            let taken = rate * per_request_a_second;
            format!("{}{}", number(taken), if taken > quota.most { "!" } else { "" })
        };
        let cells = [number(quota.most), format!("{}/s", number(*requests_per_second))];
        table.row(quota.name, cells.into_iter().chain(rates.iter().map(taken)));
    }
    let needed = |title: &str, table: &mut Table, of: &dyn Fn(f64) -> f64| {
        let blanks = [String::new(), String::new()];
        table.row(title, blanks.into_iter().chain(rates.iter().map(|rate| number(of(*rate)))));
    };
    let shards = |rate: f64| (rate * list_writes(model) / PARTITION_WRITES).ceil().max(1.0);
    needed("shards that one tenant's list needs", &mut table, &shards);
    let seconds = |rate: f64| rate * front_environments(model) / ENVIRONMENTS_PER_SECOND;
    needed("seconds to start the environments", &mut table, &seconds);
    let mut lines = table.lines();
    if let Some(Limit { quota, requests_per_second, .. }) = limits.first() {
        let at = number(*requests_per_second);
        lines.push(format!("reached first: {}, at {at} requests a second; remedy: {}", quota.name, quota.helps));
    }
    lines
}

/// Returns a table with the rates at which each stage reaches each quota.
fn by_stage(models: &[Model<'_>]) -> Vec<String> {
    let heads = models.iter().map(|model| model.config.stage.clone());
    let mut table = Table::new(std::iter::once("maximum requests a second".to_owned()).chain(heads));
    let all: Vec<_> = models.iter().map(limits).collect();
    for quota in &QUOTAS {
        let cell = |limits: &Vec<Limit>| {
            let found = limits.iter().position(|limit| limit.quota.name == quota.name);
            let first = if found == Some(0) { "*" } else { "" };
            let at = found.and_then(|index| limits.get(index)).map(|limit| number(limit.requests_per_second));
            at.map_or_else(|| "-".to_owned(), |at| format!("{first}{at}"))
        };
        let cells: Vec<_> = all.iter().map(cell).collect();
        if cells.iter().any(|cell| cell != "-") {
            table.row(quota.name, cells);
        }
    }
    let mut lines = table.lines();
    lines.push("* reached first".to_owned());
    lines
}

/// Returns a line for each quota.
fn explained() -> Vec<String> {
    let quota = |Quota { name, most, set_by, helps, source, .. }: &Quota| {
        format!("{name}: {}, set by {}; remedy: {helps}; {source}", number(*most), set_by.name())
    };
    QUOTAS.iter().map(quota).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::close;
    use cost::traffic::TrafficOptions;

    fn limits_of(stage: &str, arguments: &[&str]) -> Vec<Limit> {
        limits(&Model::new(&TrafficOptions::of(arguments), Some(stage)).unwrap())
    }

    fn reached(limits: &[Limit], quota: &str) -> f64 {
        limits.iter().find(|limit| limit.quota.name.starts_with(quota)).unwrap().requests_per_second
    }

    #[test]
    fn environments_are_counted_by_littles_law_but_answer_no_more_than_ten_a_second() {
        close(environments(100.0, 500.0), 50.0);
        close(environments(100.0, 2.0), 10.0);
    }

    #[test]
    fn a_list_of_one_tenant_takes_five_hundred_changes_of_name_a_second() {
        let limits = limits_of("cqrs", &["--reads", "0"]);
        close(reached(&limits, "one tenant's list"), 500.0);
        assert!(limits[0].quota.name.starts_with("one tenant's list"));
    }

    #[test]
    fn each_quota_is_reached_at_the_rate_calculated_by_hand() {
        let cqrs = limits_of("cqrs", &[]);
        close(reached(&cqrs, "HTTP API"), 10_000.0);
        // 0.9 + 0.1 requests, at ten per second and environment; and 0.01 batches of 60 ms, which count as 100 ms.
        close(reached(&cqrs, "Lambda"), 1_000.0 / (0.1 + 0.001));
        close(reached(&cqrs, "event source"), 1_250.0 / 0.001);
        close(reached(&cqrs, "any table, write"), 40_000.0 / 0.2);
        // In the write store, one read before each write. In the read store, 0.036 reads that no cache answers.
        close(reached(&cqrs, "a new table, read"), 12_000.0 / 0.1);
        close(reached(&limits_of("read-write", &[]), "a new table, read"), 12_000.0);
    }

    #[test]
    fn only_the_quotas_of_deployed_parts_are_reached() {
        let has = |limits: &[Limit], quota| limits.iter().any(|limit| limit.quota.name.starts_with(quota));
        assert!(has(&limits_of("cqrs", &["--queue", "fifo"]), "FIFO") && !has(&limits_of("cqrs", &[]), "FIFO"));
        assert!(has(&limits_of("cqrs", &[]), "Redis") && !has(&limits_of("cqrs", &["--without-redis"]), "Redis"));
        assert!(!has(&limits_of("read-store", &[]), "event source"));
    }

    #[test]
    fn more_shards_are_needed_with_every_thousand_units() {
        let options = TrafficOptions::of(&["--reads", "0"]);
        let lines = by_rate(&Model::new(&options, None).unwrap(), &[500.0, 501.0, 2_000.0]);
        let shards = lines.iter().find(|line| line.starts_with("shards")).unwrap();
        assert_eq!(shards.split_whitespace().rev().take(3).collect::<Vec<_>>(), ["4", "2", "1"]);
    }
}
