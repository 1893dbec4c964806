//! Secrets in AWS Secrets Manager.

use aws_config::SdkConfig;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::SdkError;
use aws_sdk_secretsmanager::operation::get_secret_value::GetSecretValueError;

/// The reason why a secret cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The service refuses the request, or does not answer.
    #[error("AWS Secrets Manager did not return it")]
    Refused(#[source] Box<SdkError<GetSecretValueError>>),
    /// The secret is binary.
    #[error("it is binary, not text")]
    NoText,
}

/// Returns the current value of a secret. `id` is its ARN or its name.
pub async fn read(aws: &SdkConfig, id: &str) -> Result<String, SecretError> {
    let found = Client::new(aws).get_secret_value().secret_id(id).send().await;
    let found = found.map_err(|error| SecretError::Refused(Box::new(error)))?;
    found.secret_string.ok_or(SecretError::NoText)
}
