//! The write function: validates commands, and queues them or, in the earlier stages, applies them. Also, for the stage
//! that has a function per operation, the programs for one command each.

mod respond;
pub mod routes;

use axum::Router;
use resource::Operation;
use shared::config::{self, WriteConfig};
use shared::metrics::Metrics;
use shared::wiring::WriteSide;
use shared::{front_door, http::middleware, telemetry, wiring};

/// Serves invocations, as the environment's variables say.
pub async fn run() -> Result<(), lambda_runtime::Error> {
    serve(routes::router).await
}

/// As [`run`], for creates of the resource that `RESOURCE` names, for example `POST /users`.
pub async fn run_create() -> Result<(), lambda_runtime::Error> {
    run_one(Operation::Create).await
}

/// As [`run_create`], for `PUT`.
pub async fn run_replace() -> Result<(), lambda_runtime::Error> {
    run_one(Operation::Replace).await
}

/// As [`run_create`], for `PATCH`.
pub async fn run_update() -> Result<(), lambda_runtime::Error> {
    run_one(Operation::Update).await
}

/// As [`run_create`], for `DELETE`.
pub async fn run_delete() -> Result<(), lambda_runtime::Error> {
    run_one(Operation::Delete).await
}

/// As [`run_create`], for the action that `ACTION` names, for example `POST /orders/{id}/pay`.
pub async fn run_act() -> Result<(), lambda_runtime::Error> {
    let (resource, operation) = config::action(&config::env_var)?;
    serve(|side| routes::of_resource(resource, &[operation], side)).await
}

async fn run_one(operation: Operation) -> Result<(), lambda_runtime::Error> {
    let resource = config::resource(&config::env_var)?;
    serve(|side| routes::of_resource(resource, &[operation], side)).await
}

async fn serve(routes: impl FnOnce(&WriteSide) -> Router) -> Result<(), lambda_runtime::Error> {
    telemetry::init();
    let side = wiring::write_side(WriteConfig::read(&config::env_var)?).await?;
    side.warm_up().await;
    front_door::run(middleware::finish(routes(&side), Metrics::read(&config::env_var)?)).await
}
