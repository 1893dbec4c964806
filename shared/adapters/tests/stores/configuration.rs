//! The SDK's clients take their configuration from the environment.

use std::process::Command;

use adapters::clients;

use super::serve;

/// The standard variables name the endpoint of each service. The test runs in a separate process, because it must not change
/// the environment of other tests.
#[tokio::test]
async fn the_environment_names_the_endpoints() {
    const DYNAMODB: &str = "AWS_ENDPOINT_URL_DYNAMODB";
    if std::env::var_os(DYNAMODB).is_some() {
        let (config, local) = (clients::aws().await, clients::local("http://127.0.0.1:1"));
        assert_eq!((config.timeout_config(), config.retry_config()), (local.timeout_config(), local.retry_config()));
        clients::dynamodb(&config).list_tables().send().await.unwrap();
        let error = clients::sqs(&config).list_queues().send().await.unwrap_err();
        assert!(matches!(error, aws_sdk_sqs::error::SdkError::DispatchFailure(_)), "{error:?}");
        return;
    }
    let name = "configuration::the_environment_names_the_endpoints";
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", name]).env(DYNAMODB, serve().await).env("AWS_ENDPOINT_URL_SQS", "http://127.0.0.1:1");
    child.env("AWS_REGION", "eu-central-1").env("AWS_ACCESS_KEY_ID", "x").env("AWS_SECRET_ACCESS_KEY", "x");
    let output = tokio::task::spawn_blocking(move || child.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}
