use aws_sdk_sqs::primitives::Blob;

use super::*;

fn result_of(answer: &str) -> BatchResult {
    batch_result(answer.as_bytes(), &BTreeSet::from(["a", "b"]))
}

fn all_but(ids: &[&str]) -> BatchResult {
    BatchResult::AllBut(ids.iter().map(|id| (*id).to_owned()).collect())
}

#[test]
fn an_empty_answer_is_total_success() {
    for answer in ["", " ", "null", "{}", r#"{"batchItemFailures":[]}"#, r#"{"batchItemFailures":null}"#] {
        assert_eq!(result_of(answer), all_but(&[]), "{answer}");
    }
}

#[test]
fn a_misspelt_field_is_total_success_as_it_is_in_production() {
    assert_eq!(result_of(r#"{"batch_item_failures":[{"itemIdentifier":"a"}]}"#), all_but(&[]));
}

#[test]
fn named_messages_are_delivered_again() {
    assert_eq!(result_of(r#"{"batchItemFailures":[{"itemIdentifier":"b"}]}"#), all_but(&["b"]));
}

#[test]
fn a_malformed_answer_is_total_failure() {
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
        assert_eq!(result_of(answer), BatchResult::Nothing, "{answer}");
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
    let records = records(&[message], "arn:q").unwrap();
    let event = serde_json::to_value(Event { records: &records }).unwrap();
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

#[test]
fn records_are_cut_into_runs_that_fit_into_an_event_and_keep_their_order() {
    let raw = |length: usize| to_raw_value(&"x".repeat(length - 2)).unwrap();
    let lengths = |records: &[usize]| -> Vec<Vec<usize>> {
        let records: Vec<_> = records.iter().copied().map(raw).collect();
        by_size(&records, 20).map(|run| run.iter().map(|record| record.get().len()).collect()).collect()
    };
    assert_eq!(lengths(&[]), Vec::<Vec<usize>>::new());
    assert_eq!(lengths(&[6, 6, 6]), [[6, 6, 6]]);
    assert_eq!(lengths(&[6, 6, 7]), [vec![6, 6], vec![7]]);
    assert_eq!(lengths(&[3, 40, 4, 5, 20, 6]), [vec![3], vec![40], vec![4, 5], vec![20], vec![6]]);
}
