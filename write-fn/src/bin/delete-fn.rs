//! The program of the functions for `DELETE` of the resource that `RESOURCE` names: wiring only.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    write_fn::run_delete().await
}
