//! The behaviour of DynamoDB under load or failure, from a scripted server. The embedded database cannot show it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use adapters::clients;
use adapters::contract::Stores;
use adapters::contract::sample::{applied, key, record, snapshot, step, tenant, unique_key};
use aws_sdk_dynamodb::Client;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use kernel::error_chain::ErrorChain;
use kernel::ids::AggregateKey;
use kernel::ports::{CommitError, Consistency, FailedConditions, LOAD_KEYS_MAX, PortError, Transaction};
use kernel::record::CommandStatus;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::names;

type Script = dyn Fn(usize, &Value) -> (u16, Value) + Send + Sync;

/// The received requests, each an operation with its body.
pub(crate) type Requests = Arc<Mutex<Vec<(String, Value)>>>;

#[derive(Clone)]
struct Scripted {
    script: Arc<Script>,
    requests: Requests,
}

async fn answer(State(scripted): State<Scripted>, headers: HeaderMap, body: String) -> (StatusCode, String) {
    let operation = headers["x-amz-target"].to_str().unwrap().rsplit('.').next().unwrap().to_owned();
    let body: Value = serde_json::from_str(&body).unwrap();
    let mut requests = scripted.requests.lock().unwrap_or_else(PoisonError::into_inner);
    let (status, answer) = (scripted.script)(requests.len(), &body);
    requests.push((operation, body));
    (StatusCode::from_u16(status).unwrap(), answer.to_string())
}

/// Returns a client whose n-th request, from 0, is answered by `script`.
pub(crate) async fn scripted_client(
    script: impl Fn(usize, &Value) -> (u16, Value) + Send + Sync + 'static,
) -> (Client, Requests) {
    let requests = Requests::default();
    let state = Scripted { script: Arc::new(script), requests: Arc::clone(&requests) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(state);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (clients::dynamodb(&clients::local(&url)), requests)
}

/// Returns stores over such a client.
async fn scripted(script: impl Fn(usize, &Value) -> (u16, Value) + Send + Sync + 'static) -> (Stores, Requests) {
    let (client, requests) = scripted_client(script).await;
    (Stores::dynamo(&client, &names()), requests)
}

fn error(code: &str, message: &str) -> Value {
    json!({ "__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": message })
}

fn cancelled(reasons: &Value) -> (u16, Value) {
    let mut error = error("TransactionCanceledException", "Transaction cancelled, please refer cancellation reasons");
    error["CancellationReasons"] = reasons.clone();
    (400, error)
}

fn none() -> Value {
    json!({ "Code": "None" })
}

fn condition_failed() -> Value {
    json!({ "Code": "ConditionalCheckFailed", "Message": "The conditional request failed" })
}

/// Answers with the requested items, but leaves out the keys from index `from` on.
fn all_but(request: &Value, from: usize) -> (u16, Value) {
    let table = names().write;
    let keys = request["RequestItems"][&table]["Keys"].as_array().unwrap();
    let (processed, unprocessed) = keys.split_at(from.min(keys.len()));
    let items = processed.iter().map(|key| json!({ "pk": key["pk"], "version": { "N": "7" }, "schema": { "N": "1" } }));
    let responses = json!({ &table: items.collect::<Vec<_>>() });
    let left_out = json!({ &table: { "Keys": unprocessed, "ConsistentRead": true } });
    (
        200,
        json!({ "Responses": responses, "UnprocessedKeys": if unprocessed.is_empty() { json!({}) } else { left_out } }),
    )
}

fn keys(count: usize) -> Vec<AggregateKey> {
    let tenant = tenant();
    (0..count).map(|_| key(&tenant)).collect()
}

#[tokio::test]
async fn unprocessed_keys_are_requested_again() {
    let (stores, requests) = scripted(|_, request| all_but(request, 40)).await;
    let found = stores.write.load(&keys(LOAD_KEYS_MAX)).await.unwrap();
    assert_eq!(found.len(), LOAD_KEYS_MAX);
    assert!(found.iter().all(|found| found.as_ref().is_some_and(|found| found.version == 7)));
    let requests = requests.lock().unwrap();
    let loads = requests.iter().map(|(_, body)| &body["RequestItems"][names().write]);
    let loads: Vec<_> = loads.inspect(|load| assert_eq!(load["ConsistentRead"], true)).collect();
    assert_eq!(loads.iter().map(|load| load["Keys"].as_array().unwrap().len()).collect::<Vec<_>>(), [100, 60, 20]);
}

#[tokio::test]
async fn a_load_may_be_complete_at_its_last_attempt() {
    let (stores, requests) = scripted(|_, request| all_but(request, 1)).await;
    assert_eq!(stores.write.load(&keys(8)).await.unwrap().iter().flatten().count(), 8);
    assert_eq!(requests.lock().unwrap().len(), 8);
}

#[tokio::test]
async fn a_load_that_stays_incomplete_fails() {
    let (stores, requests) = scripted(|_, request| all_but(request, 0)).await;
    let error = stores.write.load(&keys(3)).await.unwrap_err();
    assert!(matches!(error, PortError::Unavailable { .. }), "{error:?}");
    assert_eq!(requests.lock().unwrap().len(), 8);
}

/// Each pause is random, up to twice the limit of the pause before.
#[tokio::test]
async fn the_pauses_of_a_load_that_stays_incomplete_grow() {
    let longest_pause = async || {
        let times = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&times);
        let (stores, _) = scripted(move |_, request| {
            seen.lock().unwrap().push(Instant::now());
            all_but(request, 0)
        })
        .await;
        stores.write.load(&keys(3)).await.unwrap_err();
        let times = times.lock().unwrap();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap()
    };
    let longest = tokio::join!(longest_pause(), longest_pause(), longest_pause());
    let longest = longest.0.max(longest.1).max(longest.2);
    // The first pause is at most 20 ms, the last one at most 1,280 ms.
    assert!(longest > Duration::from_millis(100), "{longest:?}");
}

async fn commit_against(reasons: Value) -> CommitError {
    let (stores, requests) = scripted(move |_, _| cancelled(&reasons)).await;
    let key = key(&tenant());
    let transaction = Transaction { records: vec![applied(&key, 1)], ..step(&key, 0) };
    let error = stores.write.commit(&transaction).await.unwrap_err();
    assert_eq!(requests.lock().unwrap().len(), 1, "the caller decides whether to try again");
    error
}

#[tokio::test]
async fn a_conflict_is_contention_whatever_else_failed() {
    let conflict = json!({ "Code": "TransactionConflict", "Message": "Transaction is ongoing for the item" });
    for reasons in [json!([conflict, none()]), json!([condition_failed(), conflict]), json!([none(), conflict])] {
        assert!(matches!(commit_against(reasons).await, CommitError::Contended));
    }
}

#[tokio::test]
async fn a_throttled_transaction_is_unavailable() {
    for code in ["ProvisionedThroughputExceeded", "ThrottlingError", "SomethingNew"] {
        let reasons = json!([condition_failed(), { "Code": code, "Message": "Throughput exceeds the capacity" }]);
        let error = commit_against(reasons).await;
        assert!(matches!(error, CommitError::Port(PortError::Unavailable { .. })), "{error:?}");
    }
}

#[tokio::test]
async fn a_transaction_that_only_the_service_finds_too_large_is_too_large() {
    let message = "Item size to update has exceeded the maximum allowed size";
    let reasons = json!([{ "Code": "ValidationError", "Message": message }, none()]);
    assert!(matches!(commit_against(reasons).await, CommitError::TooLarge));
    let reasons =
        json!([none(), { "Code": "ItemCollectionSizeLimitExceeded", "Message": "Collection size exceeded." }]);
    assert!(matches!(commit_against(reasons).await, CommitError::TooLarge));
    let (stores, _) = scripted(move |_, _| (400, error("ValidationException", message))).await;
    let refused = stores.write.commit(&step(&key(&tenant()), 0)).await;
    assert!(matches!(refused, Err(CommitError::TooLarge)));
}

#[tokio::test]
async fn reasons_that_do_not_match_the_actions_are_no_failed_conditions() {
    for reasons in
        [json!([]), json!([condition_failed()]), json!([none(), none()]), json!([none(), condition_failed()])]
    {
        let error = commit_against(reasons).await;
        assert!(matches!(error, CommitError::Port(PortError::Unavailable { .. })), "{error:?}");
    }
}

#[tokio::test]
async fn each_action_carries_its_condition_and_wants_the_old_item() {
    let (stores, requests) = scripted(|_, _| cancelled(&json!([]))).await;
    let tenant = tenant();
    let key = key(&tenant);
    let transaction = Transaction {
        records: vec![applied(&key, 3)],
        unique_keys_taken: vec![unique_key(&tenant, "red")],
        unique_keys_released: vec![unique_key(&tenant, "blue")],
        view: Some(snapshot(3)),
        ..step(&key, 2)
    };
    stores.write.commit(&transaction).await.unwrap_err();
    let requests = requests.lock().unwrap();
    let (operation, body) = &requests[0];
    assert_eq!(operation, "TransactWriteItems");
    assert!(body["ClientRequestToken"].is_string());
    let actions = body["TransactItems"].as_array().unwrap();
    let condition = |action: &Value| {
        let action = if action["Put"].is_object() { &action["Put"] } else { &action["Delete"] };
        assert_eq!(action["ReturnValuesOnConditionCheckFailure"], "ALL_OLD");
        (action["TableName"].as_str().unwrap().to_owned(), action["ConditionExpression"].as_str().unwrap().to_owned())
    };
    let names = names();
    let mine = "attribute_not_exists(#pk) OR #holder = :holder";
    let expected = [
        (names.write.as_str(), "attribute_exists(#pk) AND #version = :expected"),
        (&names.commands, "attribute_not_exists(#pk) OR #status IN (:pending, :failed)"),
        (&names.write, mine),
        (&names.write, mine),
        (&names.read, "attribute_not_exists(#pk) OR #version < :version"),
    ];
    let expected = expected.map(|(table, condition)| (table.to_owned(), condition.to_owned()));
    assert_eq!(actions.iter().map(condition).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn a_transaction_in_progress_is_contention() {
    let (stores, _) = scripted(|_, _| (400, error("TransactionInProgressException", "in progress"))).await;
    let refused = stores.write.commit(&step(&key(&tenant()), 0)).await;
    assert!(matches!(refused, Err(CommitError::Contended)));
}

/// The SDK repeats the request with the same token, so that DynamoDB recognises a first request that took effect.
#[tokio::test]
async fn a_failing_service_is_tried_again_and_then_unavailable() {
    let fails = |_: usize, _: &Value| (500, error("InternalServerError", "try again"));
    let (stores, requests) = scripted(fails).await;
    let refused = stores.write.commit(&step(&key(&tenant()), 0)).await.unwrap_err();
    assert!(matches!(refused, CommitError::Port(PortError::Unavailable { .. })), "{refused:?}");
    let tokens: Vec<_> = requests
        .lock()
        .unwrap()
        .iter()
        .map(|(_, body)| body["ClientRequestToken"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(tokens, vec![tokens[0].clone(); 3]);
}

#[tokio::test]
async fn a_throttled_read_succeeds_when_the_throttling_ends() {
    let (stores, _) = scripted(|n, _| {
        if n < 2 { (400, error("ProvisionedThroughputExceededException", "too fast")) } else { (200, json!({})) }
    })
    .await;
    assert_eq!(stores.views.get(&key(&tenant()), Consistency::Strong).await.unwrap(), None);
}

/// The first request takes effect, and its answer is lost. The second one fails on the record of the first.
#[tokio::test]
async fn a_pending_record_whose_answer_was_lost_is_recognised() {
    let first = Arc::new(Mutex::new(Value::Null));
    let script = move |n: usize, request: &Value| {
        if n == 0 {
            *first.lock().unwrap() = request["Item"].clone();
            return (500, error("InternalServerError", "lost"));
        }
        let mut failed = error("ConditionalCheckFailedException", "The conditional request failed");
        failed["Item"] = first.lock().unwrap().clone();
        (400, failed)
    };
    let (stores, requests) = scripted(script).await;
    let record = record(&key(&tenant()), CommandStatus::Pending);
    assert_eq!(stores.records.put_pending(&record).await.unwrap(), None);
    assert_eq!(requests.lock().unwrap().len(), 2);
}

/// The error contains the whole chain of causes, for the log.
#[tokio::test]
async fn an_unreachable_store_says_why() {
    let stores = Stores::dynamo(&clients::dynamodb(&clients::local("http://127.0.0.1:1")), &names());
    let error = stores.views.get(&key(&tenant()), Consistency::Strong).await.unwrap_err();
    assert_eq!(error.to_string(), "read store is unavailable");
    let chain = ErrorChain(&error).to_string();
    assert!(chain.contains("onnection refused"), "{chain}");
}

#[tokio::test]
async fn failed_conditions_are_matched_to_the_actions_by_their_index() {
    let (stores, _) = scripted(|_, _| cancelled(&json!([none(), none(), condition_failed(), none()]))).await;
    let tenant = tenant();
    let key = key(&tenant);
    let unique_keys = vec![unique_key(&tenant, "red"), unique_key(&tenant, "blue")];
    let transaction = Transaction { unique_keys_taken: unique_keys.clone(), view: Some(snapshot(1)), ..step(&key, 0) };
    let Err(CommitError::Conditions(failed)) = stores.write.commit(&transaction).await else { unreachable!() };
    assert_eq!(
        failed,
        FailedConditions { unique_keys_held: vec![unique_keys[1].clone()], ..FailedConditions::default() }
    );
}
