//! The read function: answers queries, from memory where it can. Also, for the stage that has a function per operation, the
//! functions for one query each.

mod respond;
pub mod routes;

use axum::Router;
use shared::config::{self, ListConfig, LookupConfig, ReadConfig};
use shared::metrics::Metrics;
use shared::wiring::{self, ReadSide};
use shared::{ServedDomain, front_door, http::middleware, telemetry};

/// Serves invocations, as the environment's variables say.
pub async fn run() -> Result<(), lambda_runtime::Error> {
    let side = read_side().await?;
    serve(routes::router(&side)).await
}

/// As [`run`], for `GET /users/{id}` and for what no other function answers.
pub async fn run_get_user() -> Result<(), lambda_runtime::Error> {
    let side = read_side().await?;
    serve(routes::item::<ServedDomain>(side.queries::<ServedDomain>()).merge(routes::health())).await
}

/// As [`run`], for `GET /users`.
pub async fn run_list_users() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let lists = wiring::lists::<ServedDomain>(ListConfig::read(&config::process)?).await?;
    serve(routes::collection::<ServedDomain>(lists)).await
}

/// As [`run`], for `GET /commands/{id}`.
pub async fn run_get_command() -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let commands = wiring::command_lookup(LookupConfig::read(&config::process)?).await?;
    serve(routes::command(commands)).await
}

async fn read_side() -> Result<ReadSide, lambda_runtime::Error> {
    telemetry::init();
    let side = wiring::read_side(ReadConfig::read(&config::process)?).await?;
    side.warm_up().await;
    Ok(side)
}

async fn serve(router: Router) -> Result<(), lambda_runtime::Error> {
    front_door::run(middleware::finish(router, Metrics::read(&config::process)?)).await
}
