//! The write function: validates commands, and queues them or, in the earlier stages, applies them. Also, for the stage
//! that has a function per operation, the functions for one command each.

mod respond;
pub mod routes;

use axum::Router;
use shared::config::{self, WriteConfig};
use shared::metrics::Metrics;
use shared::wiring::WriteSide;
use shared::{ServedDomain, front_door, http::middleware, telemetry, wiring};

/// Serves invocations, as the environment's variables say.
pub async fn run() -> Result<(), lambda_runtime::Error> {
    serve(routes::router).await
}

/// As [`run`], for `POST /users`.
pub async fn run_create_user() -> Result<(), lambda_runtime::Error> {
    serve(|side| routes::create::<ServedDomain>(side.submitter())).await
}

/// As [`run`], for `PUT /users/{id}`.
pub async fn run_replace_user() -> Result<(), lambda_runtime::Error> {
    serve(|side| routes::replace::<ServedDomain>(side.submitter())).await
}

/// As [`run`], for `PATCH /users/{id}`.
pub async fn run_update_user() -> Result<(), lambda_runtime::Error> {
    serve(|side| routes::update::<ServedDomain>(side.submitter())).await
}

/// As [`run`], for `DELETE /users/{id}`.
pub async fn run_delete_user() -> Result<(), lambda_runtime::Error> {
    serve(|side| routes::delete::<ServedDomain>(side.submitter())).await
}

async fn serve(routes: impl FnOnce(&WriteSide) -> Router) -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let side = wiring::write_side(WriteConfig::read(&config::process)?).await?;
    side.warm_up().await;
    front_door::run(middleware::finish(routes(&side), Metrics::read(&config::process)?)).await
}
