//! The stores keep their contract: in memory, and in DynamoDB through the real SDK over HTTP.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test may panic")]

#[path = "stores/configuration.rs"]
mod configuration;
#[path = "stores/faults.rs"]
mod faults;
#[path = "stores/items.rs"]
mod items;
#[path = "stores/operators.rs"]
mod operators;
#[path = "stores/reads.rs"]
mod reads;
#[path = "stores/tables.rs"]
mod tables;
#[path = "stores/timeouts.rs"]
mod timeouts;

use adapters::clients;
use adapters::contract::{Stores, records, view_store, write_store};
use adapters::tables::{TableNames, create_all};
use aws_sdk_dynamodb::Client;
use dynoxide::{Database, server};
use tokio::net::TcpListener;

/// Starts a new, empty database, which runs as long as the test's runtime, and returns its address.
async fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(server::serve_with_shutdown(listener, Database::memory().unwrap(), std::future::pending()));
    url
}

/// Returns a client of a new, empty database.
async fn database() -> Client {
    clients::dynamodb(&clients::local(&serve().await))
}

fn names() -> TableNames {
    TableNames { write: "write".to_owned(), commands: "commands".to_owned(), read: "read-v1".to_owned() }
}

/// Returns stores in new tables.
async fn tables_in(client: &Client) -> Stores {
    create_all(client, &names()).await.unwrap();
    Stores::dynamo(client, &names())
}

async fn dynamo() -> Stores {
    tables_in(&database().await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_write_store_in_memory_keeps_its_contract() {
    write_store::suite(&Stores::memory()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_records_in_memory_keep_their_contract() {
    records::suite(&Stores::memory()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_view_store_in_memory_keeps_its_contract() {
    view_store::suite(&Stores::memory()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_write_store_in_dynamodb_keeps_its_contract() {
    write_store::suite(&dynamo().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_records_in_dynamodb_keep_their_contract() {
    records::suite(&dynamo().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_view_store_in_dynamodb_keeps_its_contract() {
    view_store::suite(&dynamo().await).await;
}
