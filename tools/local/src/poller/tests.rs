use aws_sdk_sqs::primitives::Blob;

use super::*;

fn judge(answer: &str) -> Verdict {
    verdict(answer.as_bytes(), &BTreeSet::from(["a", "b"]))
}

fn all_but(ids: &[&str]) -> Verdict {
    Verdict::AllBut(ids.iter().map(|id| (*id).to_owned()).collect())
}

#[test]
fn an_empty_answer_is_total_success() {
    for answer in ["", " ", "null", "{}", r#"{"batchItemFailures":[]}"#, r#"{"batchItemFailures":null}"#] {
        assert_eq!(judge(answer), all_but(&[]), "{answer}");
    }
}

#[test]
fn a_misspelt_field_is_total_success_as_it_is_in_production() {
    assert_eq!(judge(r#"{"batch_item_failures":[{"itemIdentifier":"a"}]}"#), all_but(&[]));
}

#[test]
fn named_messages_come_again() {
    assert_eq!(judge(r#"{"batchItemFailures":[{"itemIdentifier":"b"}]}"#), all_but(&["b"]));
}

#[test]
fn an_answer_that_makes_no_sense_is_total_failure() {
    for answer in [
        "not json",
        "[]",
        r#""ok""#,
        r#"{"batchItemFailures":{}}"#,
        r#"{"batchItemFailures":[{}]}"#,
        r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#,
        r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#,
        r#"{"batchItemFailures":[{"itemIdentifier":"a"},{"itemIdentifier":"unknown"}]}"#,
        r#"{"batchItemFailures":[{"item_identifier":"a"}]}"#,
    ] {
        assert_eq!(judge(answer), Verdict::Nothing, "{answer}");
    }
}

#[test]
fn a_batch_becomes_the_event_that_lambda_sends() {
    let attribute = |data_type: &str| MessageAttributeValue::builder().data_type(data_type);
    let message = Message::builder()
        .message_id("id")
        .receipt_handle("handle")
        .body("body")
        .md5_of_body("md5")
        .attributes(MessageSystemAttributeName::ApproximateReceiveCount, "2")
        .message_attributes("trace", attribute("String").string_value("t").build().unwrap())
        .message_attributes("bytes", attribute("Binary").binary_value(Blob::new([255])).build().unwrap())
        .build();
    let event: serde_json::Value = serde_json::from_slice(&event(&[message], "arn:q").unwrap()).unwrap();
    let lists = serde_json::json!([]);
    let expected = serde_json::json!({"Records": [{
        "messageId": "id",
        "receiptHandle": "handle",
        "body": "body",
        "attributes": {"ApproximateReceiveCount": "2"},
        "messageAttributes": {
            "trace": {"stringValue": "t", "stringListValues": lists, "binaryListValues": lists, "dataType": "String"},
            "bytes": {"binaryValue": "/w==", "stringListValues": lists, "binaryListValues": lists, "dataType": "Binary"},
        },
        "md5OfBody": "md5",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:q",
        "awsRegion": "us-east-1",
    }]});
    assert_eq!(event, expected);
}
