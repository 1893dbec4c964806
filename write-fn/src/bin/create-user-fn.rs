//! The binary of the function for `POST /users` alone: wiring only.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    write_fn::run_create_user().await
}
