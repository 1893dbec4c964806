//! The read function: answers queries, from caches if possible. In the stage with a function per operation, each of its other
//! programs serves one query.

mod respond;
pub mod routes;

use axum::Router;
use shared::config::{self, ListConfig, LookupConfig, ReadConfig};
use shared::metrics::Metrics;
use shared::wiring::{self, ReadSide};
use shared::{front_door, http::middleware, telemetry};

/// Serves invocations, with the configuration from the environment variables.
pub async fn run() -> Result<(), lambda_runtime::Error> {
    let side = read_side().await?;
    serve(routes::router(&side)).await
}

/// Serves only single items of the resource that `RESOURCE` names, for example `GET /users/{id}`. Otherwise like [`run`].
pub async fn run_get() -> Result<(), lambda_runtime::Error> {
    let resource = config::resource(&config::env_var)?;
    let side = read_side().await?;
    serve(routes::item_of(resource, &side)).await
}

/// Serves only lists of the resource that `RESOURCE` names, for example `GET /users`. Otherwise like [`run`].
pub async fn run_list() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let resource = config::resource(&config::env_var)?;
    let side = wiring::list_side(ListConfig::read(&config::env_var)?).await?;
    serve(routes::collection_of(resource, &side)).await
}

/// Serves only `GET /commands/{id}`, `GET /health` and the requests without a route. Otherwise like [`run`].
pub async fn run_get_command() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let commands = wiring::command_lookup(LookupConfig::read(&config::env_var)?).await?;
    serve(routes::command(commands).merge(routes::health())).await
}

async fn read_side() -> Result<ReadSide, lambda_runtime::Error> {
    telemetry::init();
    let side = wiring::read_side(ReadConfig::read(&config::env_var)?).await?;
    side.warm_up().await;
    Ok(side)
}

async fn serve(router: Router) -> Result<(), lambda_runtime::Error> {
    front_door::run(middleware::finish(router, Metrics::read(&config::env_var)?)).await
}
