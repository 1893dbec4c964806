//! The AWS SDK's clients, configured in one place.

use std::time::Duration;

pub use aws_config::SdkConfig;
pub use aws_sdk_dynamodb::Client as DynamoDb;

use aws_config::{BehaviorVersion, Region};
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider, SharedHttpClient};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

/// How long a TCP and TLS connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long one attempt at an operation may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long an operation may take, with all its attempts.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(4);
/// How often an operation is tried where trying again may help.
const ATTEMPTS_MAX: u32 = 3;
/// The same for an operator's tool: no client waits for it, and a failure ends an hour's work.
const PATIENT_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
const PATIENT_OPERATION_TIMEOUT: Duration = Duration::from_secs(60);
const PATIENT_ATTEMPTS_MAX: u32 = 6;
/// The longest pause before the second attempt; it doubles from there.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
/// The longest pause between attempts.
const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// How long an idle connection is kept: shorter than AWS keeps it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// What the SDK does by default is pinned, so that an update of the SDK does not change it.
fn behavior_version() -> BehaviorVersion {
    BehaviorVersion::v2026_01_12()
}

/// Configuration from the environment, as AWS documents it: region, credentials, and endpoints in
/// `AWS_ENDPOINT_URL_DYNAMODB`, `AWS_ENDPOINT_URL_SQS` and `AWS_ENDPOINT_URL_SECRETS_MANAGER`.
pub async fn aws() -> SdkConfig {
    aws_config::defaults(behavior_version())
        .http_client(http_client())
        .timeout_config(timeouts(ATTEMPT_TIMEOUT, OPERATION_TIMEOUT))
        .retry_config(retries(ATTEMPTS_MAX))
        .load()
        .await
}

/// Configuration for services on this machine, which accept any credentials.
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

/// The same configuration for a tool that no client waits for: it takes a slow store as it is.
#[must_use]
pub fn patient(config: &SdkConfig) -> SdkConfig {
    config
        .to_builder()
        .timeout_config(timeouts(PATIENT_ATTEMPT_TIMEOUT, PATIENT_OPERATION_TIMEOUT))
        .retry_config(retries(PATIENT_ATTEMPTS_MAX))
        .build()
}

/// A client for DynamoDB.
#[must_use]
pub fn dynamodb(config: &SdkConfig) -> DynamoDb {
    aws_sdk_dynamodb::Client::new(config)
}

/// A client for SQS.
#[must_use]
pub fn sqs(config: &SdkConfig) -> aws_sdk_sqs::Client {
    aws_sdk_sqs::Client::new(config)
}

/// Ring, because the first TLS call with aws-lc costs 30 ms of CPU in every new environment.
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
