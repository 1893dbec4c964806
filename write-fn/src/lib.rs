//! The write function: validates commands, and queues them or, in the earlier stages, applies them. In the stage with a function
//! per operation, each of its other programs serves one command.

mod respond;
pub mod routes;

use axum::Router;
use resource::Operation;
use shared::config::{self, WriteConfig};
use shared::metrics::Metrics;
use shared::wiring::WriteSide;
use shared::{front_door, http::middleware, telemetry, wiring};

/// Serves invocations, with the configuration from the environment variables.
pub async fn run() -> Result<(), lambda_runtime::Error> {
    serve(routes::router).await
}

/// Serves only creates of the resource that `RESOURCE` names, for example `POST /users`. Otherwise like [`run`].
pub async fn run_create() -> Result<(), lambda_runtime::Error> {
    run_one(Operation::Create).await
}

/// Serves only `PUT`, like [`run_create`].
pub async fn run_replace() -> Result<(), lambda_runtime::Error> {
    run_one(Operation::Replace).await
}

/// Serves only `PATCH`, like [`run_create`].
pub async fn run_update() -> Result<(), lambda_runtime::Error> {
    run_one(Operation::Update).await
}

/// Serves only `DELETE`, like [`run_create`].
pub async fn run_delete() -> Result<(), lambda_runtime::Error> {
    run_one(Operation::Delete).await
}

/// Serves only the action that `ACTION` names, for example `POST /orders/{id}/pay`. Otherwise like [`run_create`].
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
