//! The queues keep their contract. The queue in memory runs the suite. For SQS, the tests check the requests that a scripted
//! server receives.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adapters::clients;
use adapters::contract::queue::{self, Queue};
use adapters::sqs::SqsQueue;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use kernel::ports::{CommandQueue, MessageDeferral, OutgoingMessage, PortError, SendError};
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_in_memory_keeps_its_contract() {
    queue::suite(&Queue::memory()).await;
}

/// The server's answer to every request: a status, the name of the error in the older query protocol, and a body.
#[derive(Debug, Clone, Default)]
struct ScriptedAnswer {
    status: StatusCode,
    error: &'static str,
    body: Value,
}

/// The received requests, each an operation with its body.
type Requests = Arc<Mutex<Vec<(String, Value)>>>;

async fn answer(
    State((answer, requests)): State<(ScriptedAnswer, Requests)>,
    headers: HeaderMap,
    body: String,
) -> impl IntoResponse {
    let operation = headers["x-amz-target"].to_str().unwrap().rsplit('.').next().unwrap().to_owned();
    let body = serde_json::from_str(&body).unwrap();
    requests.lock().unwrap_or_else(PoisonError::into_inner).push((operation, body));
    (answer.status, [("x-amzn-query-error", answer.error)], answer.body.to_string())
}

/// Returns a queue of this name whose server always gives the same answer.
async fn scripted(name: &str, script: ScriptedAnswer) -> (SqsQueue, Requests) {
    let requests = Requests::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state((script, Arc::clone(&requests)));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (queue_at(&url, name), requests)
}

fn queue_at(url: &str, name: &str) -> SqsQueue {
    SqsQueue::new(clients::sqs(&clients::local(url)), format!("{url}/000000000000/{name}"))
}

async fn accepting(name: &str) -> (SqsQueue, Requests) {
    let body = json!({ "MessageId": "m", "MD5OfMessageBody": "99914b932bd37a50b983c5e7c90ae93b" });
    scripted(name, ScriptedAnswer { body, ..ScriptedAnswer::default() }).await
}

async fn refusing(status: StatusCode, error: &'static str, message: &str) -> (SqsQueue, Requests) {
    let name = error.split(';').next().unwrap();
    let body = json!({ "__type": format!("com.amazonaws.sqs#{name}"), "message": message });
    scripted("commands", ScriptedAnswer { status, error, body }).await
}

fn message() -> OutgoingMessage {
    OutgoingMessage {
        body: "{}".to_owned(),
        tenant: "acme".parse().unwrap(),
        order_group: "group".to_owned(),
        deduplication: "deduplication".to_owned(),
    }
}

fn only(requests: &Requests) -> (String, Value) {
    let requests = requests.lock().unwrap();
    let [request] = requests.as_slice() else { unreachable!("one request: {requests:?}") };
    request.clone()
}

#[tokio::test]
async fn a_standard_queue_is_shared_fairly_by_tenants() {
    let (queue, requests) = accepting("commands").await;
    queue.send(&message()).await.unwrap();
    let (operation, request) = only(&requests);
    assert_eq!(operation, "SendMessage");
    assert!(request["QueueUrl"].as_str().unwrap().ends_with("/commands"));
    assert_eq!(request["MessageBody"], "{}");
    assert_eq!(request["MessageGroupId"], "acme");
    assert_eq!(request["MessageDeduplicationId"], Value::Null);
}

#[tokio::test]
async fn a_fifo_queue_keeps_the_order_of_an_aggregate() {
    let (queue, requests) = accepting("commands.fifo").await;
    queue.send(&message()).await.unwrap();
    let (_, request) = only(&requests);
    assert_eq!(request["MessageGroupId"], "group");
    assert_eq!(request["MessageDeduplicationId"], "deduplication");
}

#[tokio::test]
async fn a_delay_is_rounded_up_to_seconds_and_never_longer_than_allowed() {
    let delays = [
        (Duration::ZERO, 0),
        (Duration::from_nanos(1), 1),
        (Duration::from_secs(1), 1),
        (Duration::from_millis(1_001), 2),
        (Duration::from_secs(43_200), 43_200),
        (Duration::MAX, 43_200),
    ];
    for (delay, seconds) in delays {
        let (queue, requests) = accepting("commands").await;
        queue.defer("receipt", delay).await.unwrap();
        let (operation, request) = only(&requests);
        assert_eq!(operation, "ChangeMessageVisibility");
        assert_eq!(request["ReceiptHandle"], "receipt");
        assert_eq!(request["VisibilityTimeout"], seconds);
    }
}

#[tokio::test]
async fn a_message_that_no_queue_takes_is_not_sent() {
    let (queue, requests) = accepting("commands").await;
    let refused = queue.send(&OutgoingMessage { body: "x".repeat(1_048_577), ..message() }).await;
    assert!(matches!(refused, Err(SendError::TooLarge)), "{refused:?}");
    assert!(requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_message_that_only_this_queue_finds_too_large_is_too_large() {
    let reason = "One or more parameters are invalid. Reason: Message must be shorter than 262144 bytes.";
    let (queue, requests) = refusing(StatusCode::BAD_REQUEST, "InvalidParameterValue;Sender", reason).await;
    let refused = queue.send(&message()).await;
    assert!(matches!(refused, Err(SendError::TooLarge)), "{refused:?}");
    only(&requests);
}

#[tokio::test]
async fn any_other_refusal_leaves_open_whether_the_message_was_sent() {
    let refusals = [
        (StatusCode::BAD_REQUEST, "InvalidParameterValue;Sender", "The parameter MessageGroupId is invalid.", 1),
        (StatusCode::BAD_REQUEST, "AWS.SimpleQueueService.NonExistentQueue;Sender", "no such queue", 1),
        (StatusCode::FORBIDDEN, "AccessDenied;Sender", "no", 1),
        (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable;Receiver", "later", 3),
    ];
    for (status, error, message_of_error, attempts) in refusals {
        let (queue, requests) = refusing(status, error, message_of_error).await;
        let refused = queue.send(&message()).await;
        assert!(matches!(refused, Err(SendError::Port(PortError::Unavailable { .. }))), "{refused:?}");
        assert_eq!(requests.lock().unwrap().len(), attempts, "{error}");
        let refused = queue.defer("receipt", Duration::ZERO).await;
        assert!(matches!(refused, Err(PortError::Unavailable { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn a_queue_out_of_reach_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let refused = queue_at(&url, "commands").send(&message()).await;
    assert!(matches!(refused, Err(SendError::Port(PortError::Unavailable { .. }))), "{refused:?}");
}
