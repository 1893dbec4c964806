//! Metrics of each request and of each batch, for CloudWatch. docs/operations.md lists them.
//!
//! They are lines on stdout, among the logs, in CloudWatch's embedded metric format. So a function calls no service for
//! them. It keeps none between invocations, when Lambda may freeze or end the environment.

mod emf;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use ::http::StatusCode;
use kernel::clock::{Clock, SystemClock};
use kernel::ids::{Kind, Tenant};
use kernel::ingest::Tally;
use kernel::query::TierReport;

use crate::config::{ConfigError, Lookup, MetricsConfig};
use crate::http::routes::Route;

/// Writes metrics, if the environment enables them.
#[derive(Debug, Clone)]
pub struct Metrics(Option<Arc<MetricsConfig>>);

/// The measurements of one request.
#[derive(Debug, Clone, Copy)]
pub struct Measured<'a> {
    /// The route; `None` if the service has no such route.
    pub route: Option<Route>,
    /// The status of the answer.
    pub status: StatusCode,
    /// The time until the answer.
    pub latency: Duration,
    /// The results of the caches, in the order of the lookups.
    pub caches: &'a [TierReport],
    /// The id of the request. The front door's log has it, too.
    pub request_id: &'a str,
    /// The tenant of the request, if the front door named one.
    pub tenant: Option<&'a Tenant>,
}

/// The results of the caches for one response. The handler stores them in the response.
#[derive(Debug, Clone)]
pub struct CacheReports(pub Vec<TierReport>);

impl Metrics {
    /// Reads the environment.
    pub fn read(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        Ok(Self(MetricsConfig::read(lookup)?.map(Arc::new)))
    }

    /// Returns whether metrics are enabled.
    #[must_use]
    pub fn are_wanted(&self) -> bool {
        self.0.is_some()
    }

    /// Writes the metrics of a request.
    pub fn request(&self, measured: Measured<'_>) {
        self.write(|source| emf::request(source, SystemClock.now(), measured));
    }

    /// Writes the metrics of a batch.
    pub fn batch(&self, tallies: &BTreeMap<Option<Kind>, Tally>) {
        self.write(|source| emf::batch(source, SystemClock.now(), tallies));
    }

    fn write(&self, lines: impl FnOnce(&MetricsConfig) -> Vec<u8>) {
        if let Some(source) = &self.0 {
            // One write, so that no other line comes in between. Errors are ignored: work does not fail because of its
            // metrics.
            let _ = std::io::stdout().write_all(&lines(source));
        }
    }
}
