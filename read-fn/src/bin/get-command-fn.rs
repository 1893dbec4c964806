//! The program of the function for `GET /commands/{id}`: wiring only.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    read_fn::run_get_command().await
}
