//! The answer to a request is due before the function's time is up, because a later answer never leaves the function.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::routing::get;
use axum::{Extension, Router};
use lambda_runtime::{Context, LambdaEvent};
use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use shared::front_door::{self, Entrance};
use shared::http::incoming::Deadline;
use shared::http::path::BasePath;
use tokio::time::Instant;
use tower::ServiceExt;

/// Returns the time that a handler has, in milliseconds, if the function has `function_has`.
async fn given(function_has: Duration) -> u64 {
    let left = async |Extension(Deadline(due)): Extension<Deadline>| {
        due.saturating_duration_since(Instant::now()).as_millis().to_string()
    };
    let router = Router::new().route("/health", get(left));
    let entrance = Entrance { router, base: BasePath::default(), behind_alb: None };
    let mut event: Value = serde_json::from_str(include_str!("front_doors/http-api.json")).unwrap();
    event["rawPath"] = json!("/health");
    event["requestContext"]["http"]["method"] = json!("GET");
    let mut context = Context::default();
    let ends = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + function_has;
    context.deadline = ends.as_millis().try_into().unwrap();
    let event = to_raw_value(&event).unwrap();
    let answer = front_door::service(entrance).oneshot(LambdaEvent::new(event, context)).await.unwrap();
    let answer = serde_json::to_value(answer).unwrap();
    assert_eq!(answer["statusCode"], 200, "{answer}");
    answer["body"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn an_answer_is_due_a_quarter_of_a_second_before_the_functions_time_is_up() {
    let left = given(Duration::from_secs(60)).await;
    assert!((50_000..=59_750).contains(&left), "{left} ms");
    assert_eq!(given(Duration::from_millis(200)).await, 0);
}
