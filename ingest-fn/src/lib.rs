//! The ingest function: takes batches from the queue, applies their commands, and projects what they left.

pub mod batch;
pub mod event;

/// TODO
pub async fn run() -> Result<(), lambda_runtime::Error> {
    Ok(())
}
