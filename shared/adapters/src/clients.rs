//! The clients of the AWS SDK, configured in one place.

use std::time::Duration;

pub use aws_config::SdkConfig;
pub use aws_sdk_dynamodb::Client as DynamoDb;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider, SharedHttpClient};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

/// The time limit for a connection with TCP and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The time limit of one attempt at an operation.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// The time limit of an operation with all its attempts.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(4);
/// The most attempts at an operation, if a retry may help.
const ATTEMPTS_MAX: u32 = 3;
/// The same limits for an operator's tool. No client waits for it, and a failure can end an hour's work.
const PATIENT_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
const PATIENT_OPERATION_TIMEOUT: Duration = Duration::from_secs(60);
const PATIENT_ATTEMPTS_MAX: u32 = 6;
/// The longest pause before the second attempt. It doubles with each further attempt.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// The longest pause between attempts.
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// The time that an idle connection is kept: shorter than AWS keeps it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// Pins the defaults of the SDK, so that an update of the SDK does not change them.
fn behavior_version() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// Reads the configuration from the environment variables that AWS documents: region, credentials, and the endpoints in
/// `AWS_ENDPOINT_URL_DYNAMODB`, `AWS_ENDPOINT_URL_SQS` and `AWS_ENDPOINT_URL_SECRETS_MANAGER`.
pub async fn aws() -> SdkConfig {
    aws_config::defaults(behavior_version())
        .http_client(http_client())
        .timeout_config(timeouts(ATTEMPT_TIMEOUT, OPERATION_TIMEOUT))
        .retry_config(retries(ATTEMPTS_MAX))
        .load()
        .await
}

/// Returns the configuration for services on this machine, which accept any credentials.
#[must_use]
pub fn local(endpoint_url: &str) -> SdkConfig {
    let credentials = Credentials::new("local", "local", None, None, "local");
    SdkConfig::builder()
        .behavior_version(behavior_version())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(http_client())
        .timeout_config(timeouts(ATTEMPT_TIMEOUT, OPERATION_TIMEOUT))
        .retry_config(retries(ATTEMPTS_MAX))
        .endpoint_url(endpoint_url)
        .build()
}

/// Returns the same configuration with longer time limits, for a tool that no client waits for.
#[must_use]
pub fn patient(config: &SdkConfig) -> SdkConfig {
    config
        .to_builder()
        .timeout_config(timeouts(PATIENT_ATTEMPT_TIMEOUT, PATIENT_OPERATION_TIMEOUT))
        .retry_config(retries(PATIENT_ATTEMPTS_MAX))
        .build()
}

/// Makes a client for DynamoDB.
#[must_use]
pub fn dynamodb(config: &SdkConfig) -> DynamoDb {
    aws_sdk_dynamodb::Client::new(config)
}

/// Makes a client for SQS.
#[must_use]
pub fn sqs(config: &SdkConfig) -> aws_sdk_sqs::Client {
    aws_sdk_sqs::Client::new(config)
}

/// Makes the HTTP client. It uses ring, because the first TLS call with aws-lc costs 30 ms of CPU in every new environment.
fn http_client() -> SharedHttpClient {
    aws_smithy_http_client::Builder::new()
        .pool_idle_timeout(IDLE_TIMEOUT)
        .tls_provider(Provider::Rustls(CryptoMode::Ring))
        .build_https()
}

fn timeouts(attempt: Duration, operation: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(attempt)
        .operation_timeout(operation)
        .build()
}

fn retries(attempts: u32) -> RetryConfig {
    RetryConfig::standard()
        .with_max_attempts(attempts)
        .with_initial_backoff(BACKOFF_FIRST)
        .with_max_backoff(BACKOFF_MAX)
}
