//! The ingest function: applies the commands of each batch from the queue, and projects the resulting states.

pub mod event;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use kernel::ingest::Ingest;
use lambda_runtime::{Error, LambdaEvent, service_fn};
use shared::config::{self, IngestConfig};
use shared::metrics::Metrics;
use shared::{telemetry, wiring};
use tokio::time::Instant;

/// Serves invocations, with the configuration from the environment variables.
pub async fn run() -> Result<(), Error> {
    telemetry::init();
    let ingest = Arc::new(wiring::ingest_side(IngestConfig::read(&config::env_var)?).await?);
    let metrics = Metrics::read(&config::env_var)?;
    let handler = service_fn(move |event| {
        let (ingest, metrics) = (Arc::clone(&ingest), metrics.clone());
        async move { handle(&ingest, &metrics, event).await }
    });
    lambda_runtime::run_concurrent(handler).await
}

/// Ingests one event. An error fails the whole batch, and SQS delivers all its messages again.
async fn handle(ingest: &Ingest, metrics: &Metrics, event: LambdaEvent<SqsEvent>) -> Result<SqsBatchResponse, Error> {
    let messages = event::messages(event.payload)?;
    let report = ingest.batch(&messages, due(event.context.deadline)).await;
    metrics.batch(&report.tallies);
    Ok(event::response(report.failed))
}

/// Returns the deadline of the invocation. `deadline` is in milliseconds since 1970.
fn due(deadline: u64) -> Instant {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Instant::now() + Duration::from_millis(deadline).saturating_sub(now)
}
