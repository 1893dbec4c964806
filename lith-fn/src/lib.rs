//! All routes in one function, the first stage of the evolution path. Outside Lambda it is a plain HTTP server, for containers.

mod server;

use axum::Router;
use shared::config::{self, ReadConfig, WriteConfig};
use shared::http::middleware;
use shared::metrics::Metrics;
use shared::{front_door, telemetry, wiring};

/// Serves invocations in Lambda and connections elsewhere, with the configuration from the environment variables.
pub async fn run() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let router = router().await?;
    // Lambda sets this for every function. https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
    match config::env_var("AWS_LAMBDA_RUNTIME_API") {
        Some(_) => front_door::run(router).await,
        None => server::run(router, &config::env_var).await,
    }
}

async fn router() -> Result<Router, lambda_runtime::Error> {
    let read = wiring::read_side(ReadConfig::read(&config::env_var)?).await?;
    let write = wiring::write_side(WriteConfig::read(&config::env_var)?).await?;
    read.warm_up().await;
    let routes = read_fn::routes::router(&read).merge(write_fn::routes::router(&write));
    Ok(middleware::finish(routes, Metrics::read(&config::env_var)?))
}
