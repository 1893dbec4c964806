//! The queue in SQS keeps the contract of its port, against our own server.

use adapters::clients;
use adapters::contract::queue::{Queue, fifo_suite, suite};
use aws_sdk_sqs::Client;
use local::sqs::SqsServer;
use tokio::net::TcpListener;

/// A client of a new server, which serves as long as the test's runtime lives.
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
