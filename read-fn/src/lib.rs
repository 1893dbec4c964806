//! The read function: answers queries, from memory where it can.

mod respond;
pub mod routes;

use std::sync::Arc;

use shared::config::{self, ReadConfig};
use shared::{front_door, http::middleware, telemetry, wiring};

/// Serves invocations, as the environment's variables say.
pub async fn run() -> Result<(), lambda_http::Error> {
    telemetry::init();
    let side = wiring::read_side(ReadConfig::read(&config::process)?).await?;
    side.warm_up().await;
    front_door::run(middleware::finish(routes::router(Arc::new(side)))).await
}
