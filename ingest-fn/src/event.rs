//! The event of the event source mapping, and the batch response that it expects.

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};

use kernel::ingest::Message;

/// The error of a message without an id or a receipt handle. Only the whole batch can fail then.
#[derive(Debug, thiserror::Error)]
#[error("a message has no {0}")]
pub struct IncompleteMessage(&'static str);

/// Returns the messages of an event.
pub fn messages(event: SqsEvent) -> Result<Vec<Message>, IncompleteMessage> {
    event.records.into_iter().map(message).collect()
}

fn message(message: SqsMessage) -> Result<Message, IncompleteMessage> {
    let attribute = |name: &str| message.attributes.get(name);
    Ok(Message {
        receive_count: attribute("ApproximateReceiveCount").and_then(|count| count.parse().ok()).unwrap_or(1),
        order_group: attribute("MessageGroupId").cloned(),
        id: message.message_id.filter(|id| !id.is_empty()).ok_or(IncompleteMessage("id"))?,
        receipt_handle: message.receipt_handle.ok_or(IncompleteMessage("receipt handle"))?,
        body: message.body.unwrap_or_default(),
    })
}

/// Returns the batch response. The queue deletes the messages that it does *not* name, so an empty or misspelt response would
/// delete all.
#[must_use]
pub fn response(failed: Vec<String>) -> SqsBatchResponse {
    let mut response = SqsBatchResponse::default();
    response.set_failures(failed);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_has_the_field_names_that_the_event_source_mapping_expects() {
        let json = |failed: &[&str]| {
            serde_json::to_string(&response(failed.iter().map(ToString::to_string).collect())).unwrap()
        };
        assert_eq!(json(&[]), r#"{"batchItemFailures":[]}"#);
        assert_eq!(json(&["a", "b"]), r#"{"batchItemFailures":[{"itemIdentifier":"a"},{"itemIdentifier":"b"}]}"#);
    }

    #[test]
    fn an_event_is_read_and_one_with_a_message_without_an_id_fails_as_a_whole() {
        let event = r#"{"Records":[{"messageId":"m","receiptHandle":"r","body":"b","eventSource":"aws:sqs",
            "attributes":{"ApproximateReceiveCount":"3","MessageGroupId":"g"},"messageAttributes":{},
            "md5OfBody":"x","eventSourceARN":"arn:aws:sqs:eu-central-1:0:q","awsRegion":"eu-central-1"}]}"#;
        let expected = Message {
            id: "m".to_owned(),
            receipt_handle: "r".to_owned(),
            body: "b".to_owned(),
            receive_count: 3,
            order_group: Some("g".to_owned()),
        };
        assert_eq!(messages(serde_json::from_str(event).unwrap()).unwrap(), [expected]);
        let nameless = event.replace(r#""messageId":"m","#, "");
        assert!(messages(serde_json::from_str(&nameless).unwrap()).is_err());
    }
}
