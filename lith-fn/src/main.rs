//! The lambda-lith's binary: wiring only.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    lith_fn::run().await
}
