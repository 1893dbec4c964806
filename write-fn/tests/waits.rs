//! A client that waits for the result gets its answer in time.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use adapters::memory::{MemoryQueue, MemoryStores};
use axum::body::Body;
use http::{Request, StatusCode};
use kernel::clock::{Clock as _, SystemClock};
use kernel::ids::AggregateId;
use kernel::projection::Projection;
use kernel::seal::KeyRing;
use kernel::submit::{QueueRoute, Route, Submitter};
use resource::value::Text;
use resource::{Description, Operation, Resource};
use serde::{Deserialize, Serialize};
use shared::http::incoming::{Deadline, Identity};
use tokio::time::Instant;
use tower::ServiceExt as _;

/// A resource of this test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Resource)]
#[resource(kind = "T", collection = "things")]
struct Thing {
    name: Text<10>,
}

/// Returns a submitter whose queue has no reader.
fn commands() -> Arc<Submitter<Thing>> {
    let (stores, clock) = (MemoryStores::default(), Arc::new(SystemClock));
    let queue = QueueRoute {
        queue: Arc::new(MemoryQueue::new(clock.clone())),
        records: Arc::new(stores.records()),
        views: Arc::new(stores.views()),
        projection: Projection::FIRST,
    };
    let keys: KeyRing = format!("k1:{}=", "A".repeat(43)).parse().unwrap();
    Arc::new(Submitter::new(Route::Queue(queue), clock, Arc::default(), Arc::new(keys)))
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_the_client_says_so_and_at_the_latest_when_the_answer_is_due() {
    for (wait, due, waits) in [(1, 9_000, 1_000), (10, 2_000, 2_000), (10, 0, 0), (99, 60_000, 10_000)] {
        let began = Instant::now();
        let identity = Identity { tenant: "acme".parse().unwrap(), subject: "ada".parse().unwrap(), scopes: None };
        let path = Description::of::<Thing>().item(AggregateId::generate(SystemClock.now()));
        let request = Request::delete(path)
            .header("prefer", format!("wait={wait}"))
            .extension(identity)
            .extension(Deadline(began + Duration::from_millis(due)))
            .body(Body::empty());
        let answer = write_fn::routes::of(&Operation::OF_ALL, &commands()).oneshot(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        let waited = began.elapsed().as_millis();
        assert!((waits..waits + 10).contains(&waited), "wait={wait}, due in {due} ms: {waited} ms");
    }
}
