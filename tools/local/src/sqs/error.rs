//! Errors as SQS sends them: with the name of the JSON protocol, and with the code of the older query protocol in a header.
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html>

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::MEDIA_TYPE;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SqsError {
    status: StatusCode,
    /// The name in the JSON protocol.
    name: &'static str,
    /// The code in the query protocol.
    pub(super) code: &'static str,
    pub(super) message: String,
}

macro_rules! errors {
    ($($function:ident => $name:literal, $code:literal;)*) => {
        impl SqsError {
            $(pub(super) fn $function(message: impl Into<String>) -> Self {
                Self { status: StatusCode::BAD_REQUEST, name: $name, code: $code, message: message.into() }
            })*
        }
    };
}

errors! {
    queue_does_not_exist => "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue";
    queue_name_exists => "QueueNameExists", "QueueAlreadyExists";
    invalid_parameter => "InvalidParameterValueException", "InvalidParameterValue";
    missing_parameter => "MissingRequiredParameterException", "MissingParameter";
    invalid_attribute_name => "InvalidAttributeName", "InvalidAttributeName";
    invalid_attribute_value => "InvalidAttributeValue", "InvalidAttributeValue";
    invalid_contents => "InvalidMessageContents", "InvalidMessageContents";
    invalid_receipt_handle => "ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid";
    message_not_in_flight => "MessageNotInflight", "AWS.SimpleQueueService.MessageNotInflight";
    empty_batch => "EmptyBatchRequest", "AWS.SimpleQueueService.EmptyBatchRequest";
    too_many_entries => "TooManyEntriesInBatchRequest", "AWS.SimpleQueueService.TooManyEntriesInBatchRequest";
    entry_ids_not_distinct => "BatchEntryIdsNotDistinct", "AWS.SimpleQueueService.BatchEntryIdsNotDistinct";
    batch_too_long => "BatchRequestTooLong", "AWS.SimpleQueueService.BatchRequestTooLong";
    invalid_entry_id => "InvalidBatchEntryId", "AWS.SimpleQueueService.InvalidBatchEntryId";
    unsupported => "UnsupportedOperation", "AWS.SimpleQueueService.UnsupportedOperation";
    not_found => "ResourceNotFoundException", "ResourceNotFoundException";
    malformed => "SerializationException", "MalformedInput";
}

impl SqsError {
    pub(super) fn invalid_action(target: &str) -> Self {
        let message = format!("The action {} is not valid for this endpoint.", target.escape_debug());
        Self { status: StatusCode::BAD_REQUEST, name: "InvalidAction", code: "InvalidAction", message }
    }

    /// Returns the error for a fault of this server.
    pub(super) fn internal(cause: impl std::fmt::Display) -> Self {
        let (status, name) = (StatusCode::INTERNAL_SERVER_ERROR, "InternalFailure");
        Self { status, name, code: "InternalError", message: cause.to_string() }
    }

    pub(super) fn is_sender_fault(&self) -> bool {
        self.status.is_client_error()
    }
}

impl From<rusqlite::Error> for SqsError {
    fn from(error: rusqlite::Error) -> Self {
        Self::internal(error)
    }
}

impl IntoResponse for SqsError {
    fn into_response(self) -> Response {
        let body = json!({ "__type": format!("com.amazonaws.sqs#{}", self.name), "message": self.message });
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, MEDIA_TYPE);
        let fault = if self.is_sender_fault() { "Sender" } else { "Receiver" };
        if let Ok(value) = HeaderValue::from_str(&format!("{};{fault}", self.code)) {
            headers.insert("x-amzn-query-error", value);
        }
        response
    }
}
