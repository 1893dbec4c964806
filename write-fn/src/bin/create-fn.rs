//! The program of the functions for `POST` of the resource that `RESOURCE` names: wiring only.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    write_fn::run_create().await
}
