//! The time limits of calls to a store that does not answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use adapters::clients;
use adapters::contract::Stores;
use adapters::contract::sample::{key, tenant};
use axum::Router;
use axum::extract::State;
use kernel::error_chain::ErrorChain;
use kernel::ports::{Consistency, PortError, Snapshot};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::names;

/// The margin for a busy machine.
const SLACK: Duration = Duration::from_millis(1_500);

/// Counts requests, leaves the first ones unanswered, and answers the others with an empty result.
async fn silent_for(requests: usize) -> (String, Arc<AtomicUsize>) {
    let received = Arc::new(AtomicUsize::new(0));
    let answer = async move |State(received): State<Arc<AtomicUsize>>| {
        if received.fetch_add(1, Ordering::SeqCst) < requests {
            std::future::pending::<()>().await;
        }
        "{}"
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(Arc::clone(&received));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, received)
}

/// Answers with an empty result, after more time than a function waits for one attempt.
async fn slow() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer = async || {
        sleep(Duration::from_secs(3)).await;
        "{}"
    };
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    url
}

/// Reads a view, and returns the elapsed time.
async fn read(url: &str) -> (Result<Option<Snapshot>, PortError>, Duration) {
    let stores = Stores::dynamo(&clients::dynamodb(&clients::local(url)), &names());
    let began = Instant::now();
    (stores.views.get(&key(&tenant()), Consistency::Strong).await, began.elapsed())
}

#[tokio::test]
async fn an_attempt_that_is_not_answered_leaves_time_for_another_one() {
    let (url, received) = silent_for(1).await;
    let (found, took) = read(&url).await;
    assert_eq!(found.unwrap(), None);
    assert_eq!(received.load(Ordering::SeqCst), 2);
    assert!(took < Duration::from_secs(2) + SLACK, "{took:?}");
}

#[tokio::test]
async fn an_operation_that_is_not_answered_ends_after_two_attempts_and_four_seconds() {
    let (url, received) = silent_for(usize::MAX).await;
    let (found, took) = read(&url).await;
    assert!(matches!(found, Err(PortError::Unavailable { .. })), "{found:?}");
    assert_eq!(received.load(Ordering::SeqCst), 2);
    assert!(took < Duration::from_secs(4) + SLACK, "{took:?}");
}

#[tokio::test]
async fn a_tool_waits_for_a_slow_store_and_a_function_does_not() {
    let url = slow().await;
    let config = clients::local(&url);
    for (config, is_read) in [(clients::patient(&config), true), (config, false)] {
        let stores = Stores::dynamo(&clients::dynamodb(&config), &names());
        let found = stores.views.get(&key(&tenant()), Consistency::Strong).await;
        assert_eq!(found.is_ok(), is_read, "{found:?}");
    }
}

/// The listener's queue of connections is full, so no further connection is made.
#[tokio::test]
async fn a_connection_attempt_ends_after_a_second_and_is_repeated() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(connection) = timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        waiting.push(connection.unwrap());
    }
    let (found, took) = read(&format!("http://{address}")).await;
    let error = ErrorChain(&found.unwrap_err()).to_string();
    assert!(error.contains("connect timeout occurred after 1s"), "{error}");
    assert!(took > Duration::from_secs(3), "three attempts are made: {took:?}");
}
