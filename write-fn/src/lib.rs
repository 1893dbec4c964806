//! The write function: validates commands, and queues them or, in the earlier stages, applies them.

mod respond;
pub mod routes;

use std::sync::Arc;

use shared::config::{self, WriteConfig};
use shared::{front_door, http::middleware, telemetry, wiring};

/// Serves invocations, as the environment's variables say.
pub async fn run() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let side = wiring::write_side(WriteConfig::read(&config::process)?).await?;
    side.warm_up().await;
    front_door::run(middleware::finish(routes::router(Arc::new(side)))).await
}
