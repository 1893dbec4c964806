//! The binary of the function for `DELETE /users/{id}` alone: wiring only.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    write_fn::run_delete_user().await
}
