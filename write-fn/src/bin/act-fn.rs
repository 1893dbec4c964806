//! The program of the functions for `POST` of the action that `ACTION` names: wiring only.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    write_fn::run_act().await
}
