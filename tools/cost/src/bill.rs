//! The bill of AWS, item by item: per month and per million requests.

use serde::Serialize;
use service::functions::INGEST;
use service::stages::StageConfig;

use crate::model::{DAYS_PER_MONTH, Model, POLLERS, millions};
use crate::prices::{self, GIGABYTE, HOURS_PER_MONTH, Price};
use crate::traffic::{Architecture, QueueType, TrafficOptions};

/// The assumptions about the deployment, besides the options.
mod assumed {
    use kernel::ports::Slot;
    use kernel::record::RECORD_TTL;

    /// Alarms of the front door: errors, requests and latency.
    pub(super) const ALARMS: f64 = 3.0;
    /// Alarms of each function: errors, throttles, and errors of the newest version.
    pub(super) const ALARMS_PER_FUNCTION: f64 = 3.0;
    /// Further alarms of a function that answers requests: errors, requests and latency.
    pub(super) const ALARMS_PER_ANSWERING: f64 = 3.0;
    /// Alarms of each table and of each of its indexes, used or not: throttled reads and throttled writes.
    pub(super) const ALARMS_PER_TABLE: f64 = 2.0;
    pub(super) const ALARMS_OF_LISTS: f64 = 2.0 * INDEXES;
    /// Alarms of the queue: age of the oldest message, dead letters, lag of projections, and failed commands. The alarm on the
    /// share of failed deliveries reads three metrics: failed deliveries, applied commands and rejected commands.
    pub(super) const ALARMS_OF_QUEUE: f64 = 7.0;
    /// Alarms of Redis: throttled requests.
    pub(super) const ALARMS_OF_REDIS: f64 = 1.0;
    /// Alarms of the nightly comparison of the stores: its successes, and failed starts.
    pub(super) const ALARMS_OF_READ_STORE: f64 = 2.0;
    /// Metrics of each function that answers requests, and of each route: requests, errors and latency.
    pub(super) const METRICS_PER_FUNCTION: f64 = 3.0;
    pub(super) const METRICS_PER_ROUTE: f64 = 3.0;
    /// Metrics of each cache: hits and misses.
    pub(super) const METRICS_PER_CACHE: f64 = 2.0;
    /// Metrics of the queue: lag; applied, rejected and failed commands; and failed deliveries.
    pub(super) const METRICS_OF_QUEUE: f64 = 5.0;
    /// Routes of the HTTP contract.
    pub(super) const ROUTES: f64 = 7.0;
    /// The interface endpoints: functions in a VPC read the signing keys through one, and ingest-fn defers messages through the
    /// other.
    pub(super) const SECRETS_ENDPOINT: f64 = 1.0;
    pub(super) const QUEUE_ENDPOINT: f64 = 1.0;
    /// Polls of one poller at an empty queue, where each poll waits for 20 seconds.
    pub(super) const POLLS_PER_HOUR: f64 = 180.0;
    /// Bytes of log: platform lines and metrics of an invocation, and the front door's line about a request.
    pub(super) const LOG_BYTES_PER_INVOCATION: f64 = 1_300.0;
    pub(super) const LOG_BYTES_PER_REQUEST: f64 = 400.0;
    /// Bytes of status line, headers and TLS around a response's body.
    pub(super) const RESPONSE_BYTES: f64 = 600.0;
    /// Bytes that DynamoDB adds to each item, and to each list entry.
    pub(super) const ITEM_OVERHEAD_BYTES: f64 = 100.0;
    /// Lists that contain a user.
    pub(super) const LISTS: f64 = 3.0;
    /// Indexes of a table.
    #[expect(clippy::cast_precision_loss, reason = "there are five")]
    pub(super) const INDEXES: f64 = Slot::ALL.len() as f64;
    /// The bytes of a command's record, and the days that it is kept.
    pub(super) const RECORD_BYTES: f64 = 500.0;
    pub(super) const RECORD_DAYS: f64 = RECORD_TTL.as_secs_f64() / (24.0 * 3_600.0);
}

/// A part of the service that costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The API, and its responses to the internet.
    FrontDoor,
    /// The functions, and their secret.
    Functions,
    /// The tables.
    Tables,
    /// The queue.
    Queue,
    /// Redis, and the endpoints of its network.
    Redis,
    /// Alarms, the dashboard, logs, metrics and traces.
    Monitoring,
}

impl Part {
    /// All parts.
    pub const ALL: [Self; 6] =
        [Self::FrontDoor, Self::Functions, Self::Tables, Self::Queue, Self::Redis, Self::Monitoring];

    /// Returns the name, for tables and charts.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FrontDoor => "front door",
            Self::Functions => "functions",
            Self::Tables => "tables",
            Self::Queue => "queue",
            Self::Redis => "Redis",
            Self::Monitoring => "monitoring",
        }
    }
}

/// A line of the bill.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Item {
    /// The part of the service.
    #[serde(skip)]
    pub part: Part,
    /// The name.
    pub name: &'static str,
    /// The formula of the quantity.
    #[serde(skip)]
    pub formula: &'static str,
    /// The cost.
    pub dollars_per_month: f64,
}

/// The bill at one rate.
#[derive(Debug, Serialize)]
pub struct Bill {
    /// The rate.
    pub requests_per_second: f64,
    /// The lines. Those at another rate have the same order.
    pub items: Vec<Item>,
    /// The sum.
    pub dollars_per_month: f64,
    /// The sum for a million requests; `None` at idle.
    pub dollars_per_million_requests: Option<f64>,
}

impl Bill {
    /// Returns the bill of a service with this traffic at this rate, in requests per second.
    #[must_use]
    pub fn of(model: &Model<'_>, rate: f64) -> Self {
        let items = [fixed(model), metered(model, rate)].concat();
        let sum = items.iter().map(|item| item.dollars_per_month).sum();
        let per_million = (rate > 0.0).then(|| sum / millions(rate));
        Self { requests_per_second: rate, items, dollars_per_month: sum, dollars_per_million_requests: per_million }
    }

    /// Returns the dollars for a part per million requests; 0 at idle.
    #[must_use]
    pub fn per_million(&self, part: Part) -> f64 {
        let items = self.items.iter().filter(|item| item.part == part);
        // The sum of no numbers is -0.
        let sum: f64 = items.fold(0.0, |sum, item| sum + item.dollars_per_month);
        if self.requests_per_second > 0.0 { sum / millions(self.requests_per_second) } else { 0.0 }
    }
}

fn one(is: bool) -> f64 {
    f64::from(u8::from(is))
}

fn item(part: Part, name: &'static str, formula: &'static str, price: Price, units: f64) -> Item {
    Item { part, name, formula, dollars_per_month: price.of(units) }
}

/// Returns the items that cost the same at any traffic.
fn fixed(model: &Model<'_>) -> Vec<Item> {
    let Model { options, config } = model;
    let formula = "3 + 3 per function, 3 more if it answers requests + 2 per table and list + 7 of the queue + 1 of Redis + 2 of the read store";
    let mut items = vec![
        item(Part::Monitoring, "alarms", formula, prices::ALARMS, alarms(model)),
        item(Part::Monitoring, "dashboard", "1", prices::DASHBOARDS, 1.0),
        item(Part::Functions, "signing keys", "1 secret", prices::SECRETS, 1.0),
    ];
    let tables = 1.0 + one(config.writes_read_store);
    let table = f64::from(options.items) * (f64::from(options.item_bytes) + assumed::ITEM_OVERHEAD_BYTES) / GIGABYTE;
    let stored = tables * table * (1.0 + assumed::LISTS);
    items.push(item(
        Part::Tables,
        "users, stored",
        "items × (item bytes + 100) × (1 + 3 lists) × tables, in GB",
        prices::TABLE_STORAGE,
        stored,
    ));
    items.push(item(
        Part::Tables,
        "users, backed up",
        "items × (item bytes + 100) × tables, in GB",
        prices::POINT_IN_TIME_RECOVERY,
        tables * table,
    ));
    if config.queue_deployed {
        let polls = POLLERS * assumed::POLLS_PER_HOUR * HOURS_PER_MONTH / 1e6;
        items.push(item(
            Part::Queue,
            "polling the queue",
            "5 pollers × 180 an hour × 730 hours",
            queue_price(options),
            polls,
        ));
    }
    if model.has_redis() {
        let cached = (f64::from(options.items) * f64::from(options.item_bytes) / GIGABYTE).max(prices::CACHE_GB_MIN);
        items.push(item(
            Part::Redis,
            "Redis, stored",
            "all items, 0.1 GB at the least, × 730 hours",
            prices::CACHE_STORAGE,
            cached * HOURS_PER_MONTH,
        ));
        let endpoints = assumed::SECRETS_ENDPOINT + assumed::QUEUE_ENDPOINT * one(config.queue_deployed);
        let hours = endpoints * f64::from(options.zones) * HOURS_PER_MONTH;
        items.push(item(
            Part::Redis,
            "interface endpoints",
            "(1 for the secret + 1 for the queue) × zones × 730 hours",
            prices::ENDPOINT_HOURS,
            hours,
        ));
    }
    items
}

/// Returns the items whose cost depends on the traffic.
fn metered(model: &Model<'_>, rate: f64) -> Vec<Item> {
    let parts = [front_door, functions, tables, monitoring, queue, redis];
    parts.iter().flat_map(|part| part(model, rate)).collect()
}

fn front_door(Model { options, .. }: &Model<'_>, rate: f64) -> Vec<Item> {
    let response = f64::from(options.item_bytes) * options.reads + assumed::RESPONSE_BYTES;
    let formula = "requests × (600 + item bytes × reads), in GB";
    vec![
        item(Part::FrontDoor, "HTTP API", "requests", prices::HTTP_API, millions(rate)),
        item(Part::FrontDoor, "data out", formula, prices::DATA_OUT, gigabytes(rate, response)),
    ]
}

fn functions(model: &Model<'_>, rate: f64) -> Vec<Item> {
    let duration = match model.options.arch {
        Architecture::Arm64 => prices::LAMBDA_ARM64,
        Architecture::X86_64 => prices::LAMBDA_X86_64,
    };
    let invocations = millions(rate) * model.invocations(rate);
    let formula = "requests × (1 + writes ÷ batch, if they are queued)";
    let seconds = "requests × seconds of all invocations × memory in GB";
    vec![
        item(Part::Functions, "Lambda requests", formula, prices::LAMBDA_REQUESTS, invocations),
        item(Part::Functions, "Lambda duration", seconds, duration, millions(rate) * model.gb_seconds(rate)),
    ]
}

fn tables(model: &Model<'_>, rate: f64) -> Vec<Item> {
    let (reads, writes) = (millions(rate) * model.read_units(), millions(rate) * model.writes() * model.write_units());
    let of_reads = "requests × (reads from a store + writes) × units of 4 KB";
    let of_writes = "writes × (2 state + 2 record + 5 lists; with a read store + 1 view, 2 unless queued, + 5 lists)";
    let of_records = "writes of 45 days × 500 bytes, in GB";
    let records = gigabytes(rate, model.writes() * assumed::RECORD_BYTES) * assumed::RECORD_DAYS / DAYS_PER_MONTH;
    vec![
        item(Part::Tables, "read units", of_reads, prices::READ_UNITS, reads),
        item(Part::Tables, "write units", of_writes, prices::WRITE_UNITS, writes),
        item(Part::Tables, "records, stored", of_records, prices::TABLE_STORAGE, records),
        item(Part::Tables, "records, backed up", "the same", prices::POINT_IN_TIME_RECOVERY, records),
    ]
}

fn monitoring(model: &Model<'_>, rate: f64) -> Vec<Item> {
    let logged = model.invocations(rate) * assumed::LOG_BYTES_PER_INVOCATION + assumed::LOG_BYTES_PER_REQUEST;
    let of_logs = "requests × 400 bytes + invocations × 1,300 bytes, in GB";
    // At idle, the service writes no metrics.
    let written = if rate > 0.0 { metrics(&model.config) } else { 0.0 };
    let of_metrics = "3 per function that answers and per route, 2 per cache, 5 behind a queue";
    let mut items = vec![
        item(Part::Monitoring, "logs", of_logs, prices::LOGS, gigabytes(rate, logged)),
        item(Part::Monitoring, "metrics", of_metrics, prices::METRICS, written),
    ];
    if model.options.traced > 0.0 {
        let formula = "the first request a second + a share of the others";
        items.push(item(Part::Monitoring, "traces", formula, prices::TRACES, millions(model.traces(rate))));
    }
    items
}

fn queue(model: &Model<'_>, rate: f64) -> Vec<Item> {
    if !model.is_queued() {
        return Vec::new();
    }
    let requests = millions(rate) * model.queue_requests(rate);
    let formula = "writes × (1 to send + 2 ÷ batch, or ÷ 10, to receive and delete)";
    let mut items = vec![item(Part::Queue, "queue requests", formula, queue_price(model.options), requests)];
    if model.options.queue == QueueType::Standard {
        let formula = "the same, because messages name their tenant";
        items.push(item(Part::Queue, "queue, fairness", formula, prices::SQS_FAIR, requests));
    }
    items
}

fn redis(model: &Model<'_>, rate: f64) -> Vec<Item> {
    if !model.has_redis() {
        return Vec::new();
    }
    let formula = "lookups × 2 + fills + writes, each by 1 KB";
    vec![item(Part::Redis, "Redis units", formula, prices::CACHE_UNITS, millions(rate) * model.cache_units())]
}

/// Returns the gigabytes per month, for bytes per request.
fn gigabytes(rate: f64, bytes: f64) -> f64 {
    millions(rate) * 1e6 * bytes / GIGABYTE
}

/// Returns the number of metrics with an alarm.
fn alarms(model: &Model<'_>) -> f64 {
    let config = &model.config;
    let with_lists = 1.0 + one(config.writes_read_store);
    let tables = 1.0 + with_lists;
    assumed::ALARMS
        + assumed::ALARMS_PER_FUNCTION * count(config.functions().count())
        + assumed::ALARMS_PER_ANSWERING * count(answering(config))
        + assumed::ALARMS_PER_TABLE * tables
        + assumed::ALARMS_OF_LISTS * with_lists
        + assumed::ALARMS_OF_QUEUE * one(config.queue_deployed)
        + assumed::ALARMS_OF_REDIS * one(model.has_redis())
        + assumed::ALARMS_OF_READ_STORE * one(config.writes_read_store)
}

/// Returns the number of metrics that the service writes.
fn metrics(config: &StageConfig) -> f64 {
    assumed::METRICS_PER_FUNCTION * count(answering(config))
        + assumed::METRICS_PER_ROUTE * assumed::ROUTES
        + assumed::METRICS_PER_CACHE * count(config.caches.len())
        + assumed::METRICS_OF_QUEUE * one(config.queue_deployed)
}

/// Returns the number of functions that answer requests.
fn answering(config: &StageConfig) -> usize {
    config.functions().filter(|function| function.name != INGEST).count()
}

fn queue_price(options: &TrafficOptions) -> Price {
    match options.queue {
        QueueType::Standard => prices::SQS_STANDARD,
        QueueType::Fifo => prices::SQS_FIFO,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a deployment has a few functions")]
fn count(parts: usize) -> f64 {
    parts as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::{close, options};

    const STAGES: [&str; 7] =
        ["single-responsibility", "lambda-lith", "read-write", "memory-cache", "redis-cache", "read-store", "cqrs"];

    fn bill(stage: &str, rate: f64, arguments: &[&str]) -> Bill {
        Bill::of(&Model::new(&options(arguments), Some(stage)).unwrap(), rate)
    }

    fn dollars_of(bill: &Bill, name: &str) -> f64 {
        bill.items.iter().find(|item| item.name == name).unwrap_or_else(|| panic!("no {name}")).dollars_per_month
    }

    #[test]
    fn a_lith_at_a_hundred_requests_a_second_costs_the_amount_calculated_by_hand() {
        let bill = bill("lambda-lith", 100.0, &["--traced", "0.05"]);
        // 100 × 730 × 3,600 = 262.8 million requests.
        close(dollars_of(&bill, "HTTP API"), 262.8);
        close(dollars_of(&bill, "Lambda requests"), 262.8 * 0.20);
        // 0.9 × 3 ms + 0.1 × 6 ms = 3.3 ms, with 0.25 GB of memory.
        close(dollars_of(&bill, "Lambda duration"), 262.8 * 0.0033 * 0.25 * 13.3334);
        close(dollars_of(&bill, "read units"), 262.8 * 0.125);
        close(dollars_of(&bill, "write units"), 26.28 * 9.0 * 0.625);
        // 600 + 450 bytes of response, and 400 + 1,300 bytes of log.
        close(dollars_of(&bill, "data out"), 262.8 * 1.05 * 0.09);
        close(dollars_of(&bill, "logs"), 262.8 * 1.7 * 0.50);
        close(dollars_of(&bill, "traces"), (2.628 + 0.05 * 260.172) * 5.0);
        close(dollars_of(&bill, "records, stored"), 26.28 * 0.5 * (45.0 * 24.0 / 730.0) * 0.25);
        // One function and seven routes.
        close(dollars_of(&bill, "metrics"), 24.0 * 0.30);
    }

    #[test]
    fn cqrs_at_ten_thousand_requests_a_second_costs_the_amount_calculated_by_hand() {
        let bill = bill("cqrs", 10_000.0, &[]);
        close(dollars_of(&bill, "HTTP API"), 300.0 + (26_280.0 - 300.0) * 0.90);
        close(dollars_of(&bill, "Lambda requests"), 26_280.0 * 1.01 * 0.20);
        // With 0.25 GB of memory: 0.72 from memory and 0.144 from Redis at 1 ms, 0.036 from the store at 3 ms, and 0.1 × 3 ms.
        // With 0.5 GB: 0.01 × 60 ms.
        let gb_milliseconds = (0.864 + 0.036 * 3.0 + 0.3) * 0.25 + 0.6 * 0.5;
        close(dollars_of(&bill, "Lambda duration"), 26_280.0 * gb_milliseconds / 1_000.0 * 13.3334);
        close(dollars_of(&bill, "read units"), 26_280.0 * 0.136 * 0.125);
        close(dollars_of(&bill, "write units"), 2_628.0 * 15.0 * 0.625);
        close(dollars_of(&bill, "queue requests"), 2_628.0 * 1.2 * 0.40);
        close(dollars_of(&bill, "queue, fairness"), 2_628.0 * 1.2 * 0.10);
        close(dollars_of(&bill, "Redis units"), 26_280.0 * (0.144 * 2.0 + 0.036 * 3.0 + 0.1) * 0.0023);
    }

    #[test]
    fn an_idle_service_costs_the_sum_of_its_fixed_items() {
        let options = options(&[]);
        for stage in STAGES {
            let model = Model::new(&options, Some(stage)).unwrap();
            let sum: f64 = fixed(&model).iter().map(|item| item.dollars_per_month).sum();
            close(Bill::of(&model, 0.0).dollars_per_month, sum);
        }
        let idle = bill("cqrs", 0.0, &[]);
        close(dollars_of(&idle, "Redis, stored"), 0.1 * 0.084 * 730.0);
        close(dollars_of(&idle, "interface endpoints"), 2.0 * 2.0 * 7.30);
        close(dollars_of(&idle, "polling the queue"), 0.657 * 0.40);
        // 3 of the front door. 9 of three functions, and 6 more of the two that answer requests. 6 of three tables, and 20 of ten
        // indexes. 7 of the queue, 1 of Redis, 2 of the read store.
        close(dollars_of(&idle, "alarms"), 5.40);
        close(dollars_of(&idle, "users, stored"), 2.0 * 0.06 * 4.0 * 0.25);
    }

    #[test]
    fn more_requests_never_cost_less_and_each_of_them_costs_less_than_before() {
        for stage in STAGES {
            let bills = [0.5, 1.0, 5.0, 50.0, 100.0, 500.0, 1_000.0, 10_000.0, 1e6].map(|rate| bill(stage, rate, &[]));
            for pair in bills.windows(2) {
                let [less, more] = pair else { unreachable!() };
                let per_item = less.items.iter().zip(&more.items);
                for (less, more) in per_item {
                    assert!(less.dollars_per_month <= more.dollars_per_month, "{stage}: {} gets cheaper", less.name);
                }
                let per_million = pair.iter().map(|bill| bill.dollars_per_million_requests.unwrap());
                assert!(per_million.is_sorted_by(|less, more| less >= more), "{stage}");
            }
        }
    }

    #[test]
    fn traces_cost_nothing_unless_a_share_is_traced() {
        let has_traces =
            |arguments: &[&str]| bill("cqrs", 100.0, arguments).items.iter().any(|item| item.name == "traces");
        assert!(!has_traces(&[]));
        assert!(has_traces(&["--traced", "0.05"]));
    }

    #[test]
    fn without_redis_there_is_no_endpoint_to_pay() {
        let idle = bill("cqrs", 0.0, &["--without-redis"]);
        assert!(idle.items.iter().all(|item| !item.name.contains("endpoint") && !item.name.contains("Redis")));
    }

    #[test]
    fn x86_costs_a_quarter_more_by_the_second_and_fifo_by_the_request() {
        let (arm, x86) = (bill("cqrs", 100.0, &[]), bill("cqrs", 100.0, &["--arch", "x86_64"]));
        close(dollars_of(&x86, "Lambda duration") / dollars_of(&arm, "Lambda duration"), 16.6667 / 13.3334);
        let fifo = bill("cqrs", 100.0, &["--queue", "fifo"]);
        close(dollars_of(&fifo, "queue requests"), dollars_of(&arm, "queue requests") * 1.25);
    }
}
