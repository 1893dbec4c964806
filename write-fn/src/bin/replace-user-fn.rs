//! The binary of the function for `PUT /users/{id}` alone: wiring only.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    write_fn::run_replace_user().await
}
