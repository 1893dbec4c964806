//! Runs the contract of the queue's port on SQS, with the local server.

use adapters::clients;
use adapters::contract::queue::{Queue, fifo_suite, suite};
use aws_sdk_sqs::Client;
use local::sqs::SqsServer;
use tokio::net::TcpListener;

/// Returns a client of a new server. The server runs as long as the test's runtime.
async fn client() -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(SqsServer::in_memory().unwrap().serve(listener, std::future::pending()));
    clients::sqs(&clients::local(&url))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_standard_queue_in_sqs_keeps_its_contract() {
    suite(&Queue::standard(&client().await).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fifo_queue_in_sqs_keeps_its_contract() {
    let client = client().await;
    suite(&Queue::fifo(&client).await).await;
    fifo_suite(&Queue::fifo(&client).await).await;
}
