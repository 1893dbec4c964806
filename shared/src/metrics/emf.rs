//! CloudWatch's embedded metric format: one JSON document a line, which names the metrics and dimensions among its members.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use std::collections::BTreeMap;
use std::time::Duration;

use kernel::clock::Timestamp;
use kernel::ids::{Kind, Tenant};
use kernel::ingest::Tally;
use kernel::query::{CacheResult, TierReport};
use serde::{Serialize, Serializer};
use service::resources;

use super::Measured;
use crate::config::MetricsConfig;
use crate::http::routes::Route;

const NAMESPACE: &str = "Watershed";

/// The value of `Route` for all requests without a route, so that clients cannot create metrics. It is also the value of
/// `Resource` for work that belongs to no resource.
const NONE: &str = "none";

/// The maximum number of values of a metric in one document.
const VALUES_MAX: usize = 100;

/// The metrics and dimensions that CloudWatch reads from a document's members.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Directive {
    namespace: &'static str,
    dimensions: &'static [&'static [&'static str]],
    metrics: &'static [Metric],
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metric {
    name: &'static str,
    unit: &'static str,
}

const fn count(name: &'static str) -> Metric {
    Metric { name, unit: "Count" }
}

const fn milliseconds(name: &'static str) -> Metric {
    Metric { name, unit: "Milliseconds" }
}

const REQUESTS: Directive = Directive {
    namespace: NAMESPACE,
    dimensions: &[&["Function", "Stage"], &["Function", "Stage", "Route"]],
    metrics: &[count("Requests"), count("Errors"), milliseconds("Latency")],
};

const LOOKUPS: Directive = Directive {
    namespace: NAMESPACE,
    dimensions: &[&["Function", "Stage", "Layer"], &["Function", "Stage", "Layer", "Resource"]],
    metrics: &[count("CacheHits"), count("CacheMisses")],
};

const COMMANDS: Directive = Directive {
    namespace: NAMESPACE,
    dimensions: &[&["Function", "Stage"], &["Function", "Stage", "Resource"]],
    metrics: &[count("CommandsApplied"), count("CommandsRefused"), count("CommandsFailed"), count("DeliveriesFailed")],
};

const LAGS: Directive = Directive {
    namespace: NAMESPACE,
    dimensions: &[&["Function", "Stage"], &["Function", "Stage", "Resource"]],
    metrics: &[milliseconds("ProjectionLag")],
};

/// One document, on a line of its own.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Line<'a, M> {
    #[serde(rename = "_aws")]
    aws: Metadata,
    #[serde(flatten)]
    source: &'a MetricsConfig,
    #[serde(flatten)]
    members: M,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    /// In milliseconds since 1970.
    timestamp: u64,
    cloud_watch_metrics: &'static [Directive],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RequestMembers<'a> {
    route: RouteName,
    resource: &'static str,
    /// For searches only: as a dimension, each id would create a metric.
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    requests: u8,
    errors: u8,
    latency: f64,
    #[serde(flatten)]
    lookup: Option<LookupMembers>,
}

struct RouteName(Option<Route>);

/// Members, with the resource that they belong to.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct OfResource<M> {
    resource: &'static str,
    #[serde(flatten)]
    members: M,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct LookupMembers {
    layer: &'static str,
    cache_hits: u8,
    cache_misses: u8,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct BatchMembers {
    commands_applied: usize,
    commands_refused: usize,
    commands_failed: usize,
    deliveries_failed: usize,
    #[serde(flatten)]
    lags: Option<LagMembers>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct LagMembers {
    projection_lag: Vec<f64>,
}

/// Returns the lines for a request: one with the request and the first cache, and one for each further cache. A document
/// has only one `Layer`.
pub(super) fn request(source: &MetricsConfig, at: Timestamp, measured: Measured<'_>) -> Vec<u8> {
    let mut lookups = measured.caches.iter().map(LookupMembers::of);
    let lookup = lookups.next();
    let directives: &[Directive] = if lookup.is_some() { &[REQUESTS, LOOKUPS] } else { &[REQUESTS] };
    let resource = measured.route.and_then(Route::resource).unwrap_or(NONE);
    let members = RequestMembers {
        route: RouteName(measured.route),
        resource,
        request_id: measured.request_id,
        tenant: measured.tenant.map(Tenant::as_str),
        requests: 1,
        errors: measured.status.is_server_error().into(),
        latency: in_milliseconds(measured.latency),
        lookup,
    };
    let mut lines = Lines { source, at, text: Vec::with_capacity(1024) };
    lines.add(directives, members);
    for lookup in lookups {
        lines.add(&[LOOKUPS], OfResource { resource, members: lookup });
    }
    lines.text
}

/// Returns the lines for a batch: one for each kind, and further ones if a kind has more lags than a line may hold.
pub(super) fn batch(source: &MetricsConfig, at: Timestamp, tallies: &BTreeMap<Option<Kind>, Tally>) -> Vec<u8> {
    let mut lines = Lines { source, at, text: Vec::new() };
    for (kind, tally) in tallies {
        let resource = kind.and_then(|kind| resources::of_kind(kind.name()));
        lines.add_tally(resource.map_or(NONE, |resource| resource.collection), tally);
    }
    lines.text
}

impl Lines<'_> {
    fn add_tally(&mut self, resource: &'static str, tally: &Tally) {
        let mut lags = tally.projection_lags.chunks(VALUES_MAX).map(LagMembers::of);
        let first = lags.next();
        let directives: &[Directive] = if first.is_some() { &[COMMANDS, LAGS] } else { &[COMMANDS] };
        let members = BatchMembers {
            commands_applied: tally.applied,
            commands_refused: tally.refused,
            commands_failed: tally.failed,
            deliveries_failed: tally.deliveries_failed,
            lags: first,
        };
        self.add(directives, OfResource { resource, members });
        for more in lags {
            self.add(&[LAGS], OfResource { resource, members: more });
        }
    }
}

struct Lines<'a> {
    source: &'a MetricsConfig,
    at: Timestamp,
    text: Vec<u8>,
}

impl Lines<'_> {
    fn add(&mut self, directives: &'static [Directive], members: impl Serialize) {
        let aws = Metadata { timestamp: self.at.as_millis(), cloud_watch_metrics: directives };
        // This cannot fail, because it writes texts and numbers into memory.
        if serde_json::to_writer(&mut self.text, &Line { aws, source: self.source, members }).is_ok() {
            self.text.push(b'\n');
        }
    }
}

impl LookupMembers {
    fn of(report: &TierReport) -> Self {
        let is_hit = matches!(report.result, CacheResult::Hit(_));
        Self { layer: report.tier.name(), cache_hits: is_hit.into(), cache_misses: (!is_hit).into() }
    }
}

impl LagMembers {
    fn of(lags: &[Duration]) -> Self {
        Self { projection_lag: lags.iter().copied().map(in_milliseconds).collect() }
    }
}

impl Serialize for RouteName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(route) => serializer.collect_str(route),
            None => serializer.serialize_str(NONE),
        }
    }
}

/// Converts a duration to milliseconds, rounded to the microsecond.
fn in_milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use ::http::{Method, StatusCode};
    use kernel::query::Tier;
    use serde_json::{Value, json};
    use service::api;
    use service::resources::RESOURCES;

    use super::*;
    use crate::http::routes;

    fn source() -> MetricsConfig {
        MetricsConfig { function: "read-fn".to_owned(), stage: "a-row".to_owned() }
    }

    fn lines(text: &[u8]) -> Vec<Value> {
        let text = std::str::from_utf8(text).unwrap();
        assert!(text.ends_with('\n'));
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.iter().for_each(assert_is_a_document);
        lines
    }

    /// Asserts what the specification requires of a document, in its JSON schema and its prose.
    fn assert_is_a_document(document: &Value) {
        let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let aws = &document["_aws"];
        assert_eq!(keys(aws), ["CloudWatchMetrics", "Timestamp"]);
        assert!(aws["Timestamp"].is_u64());
        for directive in aws["CloudWatchMetrics"].as_array().unwrap() {
            assert_eq!(keys(directive), ["Dimensions", "Metrics", "Namespace"]);
            let namespace = directive["Namespace"].as_str().unwrap();
            assert!((1..=1024).contains(&namespace.len()));
            let dimension_sets = directive["Dimensions"].as_array().unwrap();
            assert!(!dimension_sets.is_empty());
            for set in dimension_sets {
                let set = set.as_array().unwrap();
                assert!(set.len() <= 30);
                for dimension in set {
                    assert!((1..=250).contains(&dimension.as_str().unwrap().len()));
                    let value = document[dimension.as_str().unwrap()].as_str().unwrap();
                    assert!((1..=1024).contains(&value.len()) && value.is_ascii() && !value.starts_with(':'));
                }
            }
            let metrics = directive["Metrics"].as_array().unwrap();
            assert!((1..=100).contains(&metrics.len()));
            for metric in metrics {
                assert_eq!(keys(metric), ["Name", "Unit"]);
                assert!(["Count", "Milliseconds"].contains(&metric["Unit"].as_str().unwrap()));
                match &document[metric["Name"].as_str().unwrap()] {
                    Value::Number(_) => {}
                    Value::Array(values) => {
                        assert!((1..=100).contains(&values.len()) && values.iter().all(Value::is_number));
                    }
                    other => panic!("{metric} is {other} in {document}"),
                }
            }
        }
    }

    fn measured(status: StatusCode, caches: &[TierReport]) -> Measured<'_> {
        let route = routes::of(&Method::GET, &RESOURCES[0].item(7));
        Measured { route, status, latency: Duration::from_micros(1234), caches, request_id: "a-request", tenant: None }
    }

    #[test]
    fn a_request_is_one_document_with_the_routes_pattern() {
        let output = lines(&request(&source(), Timestamp::from_micros(5_000), measured(StatusCode::NOT_FOUND, &[])));
        let [line] = output.as_slice() else { panic!("{output:?}") };
        assert_eq!(line["_aws"]["Timestamp"], 5);
        assert_eq!((&line["Function"], &line["Stage"]), (&json!("read-fn"), &json!("a-row")));
        assert_eq!(line["Route"], format!("GET {}", RESOURCES[0].item(api::ID)));
        assert_eq!((&line["Requests"], &line["Errors"], &line["Latency"]), (&json!(1), &json!(0), &json!(1.234)));
        assert_eq!(line["Resource"], RESOURCES[0].collection);
        assert!(line.get("Layer").is_none());
    }

    #[test]
    fn the_metrics_of_a_request_have_its_id_and_its_tenant_whatever_the_tenants_name() {
        let tenant: Tenant = r#"a","Tenant":"b\"#.parse().unwrap();
        let ok = measured(StatusCode::OK, &[]);
        let of_tenant = Measured { tenant: Some(&tenant), ..ok };
        let output = lines(&request(&source(), Timestamp::from_micros(0), of_tenant));
        assert_eq!((&output[0]["RequestId"], &output[0]["Tenant"]), (&json!("a-request"), &json!(tenant.as_str())));
        let without_tenant = lines(&request(&source(), Timestamp::from_micros(0), ok));
        assert_eq!((&without_tenant[0]["RequestId"], without_tenant[0].get("Tenant")), (&json!("a-request"), None));
    }

    #[test]
    fn only_a_5xx_is_an_error_and_an_unknown_path_makes_no_metric_of_its_own() {
        let failed = measured(StatusCode::SERVICE_UNAVAILABLE, &[]);
        assert_eq!(lines(&request(&source(), Timestamp::from_micros(0), failed))[0]["Errors"], 1);
        let nowhere = Measured { route: None, ..failed };
        assert_eq!(lines(&request(&source(), Timestamp::from_micros(0), nowhere))[0]["Route"], NONE);
    }

    #[test]
    fn each_lookup_in_a_cache_has_a_document_with_its_hit_or_miss() {
        let report = |tier, result| TierReport { tier, result };
        let tell = |caches: &[TierReport]| {
            lines(&request(&source(), Timestamp::from_micros(0), measured(StatusCode::OK, caches)))
                .iter()
                .map(|line| (line["Layer"].clone(), line["CacheHits"].clone(), line["CacheMisses"].clone()))
                .collect::<Vec<_>>()
        };
        let hit = CacheResult::Hit(None);
        assert_eq!(tell(&[report(Tier::Memory, hit)]), [(json!("memory"), json!(1), json!(0))]);
        for miss in [CacheResult::Miss, CacheResult::TooOld, CacheResult::Unavailable] {
            let both = tell(&[report(Tier::Memory, miss), report(Tier::Redis, hit)]);
            assert_eq!(both, [(json!("memory"), json!(0), json!(1)), (json!("redis"), json!(1), json!(0))]);
        }
    }

    #[test]
    fn a_batch_is_one_document_unless_it_has_more_lags_than_one_may_hold() {
        let lags = |count| vec![Duration::from_millis(7); count];
        let tell = |tally: Tally| {
            lines(&batch(&source(), Timestamp::from_micros(0), &BTreeMap::from([(Some(RESOURCES[0].kind), tally)])))
        };
        let quiet = tell(Tally { refused: 2, failed: 1, deliveries_failed: 3, ..Tally::default() });
        assert_eq!((quiet.len(), quiet[0].get("ProjectionLag")), (1, None));
        let names = ["CommandsApplied", "CommandsRefused", "CommandsFailed", "DeliveriesFailed"];
        assert_eq!(names.map(|name| quiet[0][name].clone()), [0, 2, 1, 3]);
        let busy = tell(Tally { applied: 250, projection_lags: lags(250), ..Tally::default() });
        let lags: Vec<_> = busy.iter().map(|line| line["ProjectionLag"].as_array().unwrap().len()).collect();
        assert_eq!(lags, [100, 100, 50]);
        assert_eq!((&busy[0]["CommandsApplied"], busy[1].get("CommandsApplied")), (&json!(250), None));
        assert!(busy.iter().all(|line| line["Resource"] == RESOURCES[0].collection));
    }

    #[test]
    fn each_kind_in_a_batch_has_a_document_and_what_cannot_be_read_has_one() {
        let kinds = RESOURCES.iter().map(|resource| Some(resource.kind)).chain([None]);
        let tallies = kinds.map(|kind| (kind, Tally::default())).collect();
        let output = lines(&batch(&source(), Timestamp::from_micros(0), &tallies));
        let resources: BTreeSet<_> = output.iter().map(|line| line["Resource"].as_str().unwrap()).collect();
        assert_eq!(resources, RESOURCES.iter().map(|resource| resource.collection).chain([NONE]).collect());
    }
}
