//! The program of the functions for `PUT` of the resource that `RESOURCE` names: wiring only.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    write_fn::run_replace().await
}
