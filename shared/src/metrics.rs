//! Metrics: what CloudWatch shall know of each request and of each batch; docs/operations.md has the table.
//!
//! They are lines on stdout, among the logs, in CloudWatch's embedded metric format: nothing is called, and nothing is
//! kept between invocations, when an environment may be frozen or ended.

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

/// Writes metrics, where they are wanted.
#[derive(Debug, Clone)]
pub struct Metrics(Option<Arc<MetricsConfig>>);

/// What was measured of one request.
#[derive(Debug, Clone, Copy)]
pub struct Measured<'a> {
    /// `None` where the service has no such route.
    pub route: Option<Route>,
    /// What it was answered with.
    pub status: StatusCode,
    /// How long the answer took.
    pub latency: Duration,
    /// The results of the caches, in the order in which they were asked.
    pub caches: &'a [TierReport],
    /// The id of the request. The front door's log has it, too.
    pub request_id: &'a str,
    /// The tenant whose request it was, if the front door named one.
    pub tenant: Option<&'a Tenant>,
}

/// The results of the caches for one response. The handler stores them in the response.
#[derive(Debug, Clone)]
pub struct CachesAsked(pub Vec<TierReport>);

impl Metrics {
    /// As the environment says.
    pub fn read(lookup: Lookup<'_>) -> Result<Self, ConfigError> {
        Ok(Self(MetricsConfig::read(lookup)?.map(Arc::new)))
    }

    /// Whether there is anything to measure for.
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
            // In one piece, so that nothing else comes in between. Work does not fail for want of its metrics.
            let _ = std::io::stdout().write_all(&lines(source));
        }
    }
}
