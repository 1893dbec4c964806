//! The binary of the function for `GET /users` alone: wiring only.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    read_fn::run_list_users().await
}
