//! The program of the lambda-lith: wiring only.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lith_fn::run().await
}
