//! The program of the functions for lists of the resource that `RESOURCE` names: wiring only.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    read_fn::run_list().await
}
