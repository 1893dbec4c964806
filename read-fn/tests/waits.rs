//! A read that waits for the version or command of its token is answered in time.

use std::sync::Arc;
use std::time::Duration;

use adapters::memory::MemoryStores;
use axum::body::Body;
use http::{Request, StatusCode};
use kernel::clock::{Clock as _, SystemClock};
use kernel::domain::Domain as _;
use kernel::ids::{AggregateId, Tenant};
use kernel::projection::Projection;
use kernel::query::Queries;
use kernel::seal::KeyRing;
use kernel::token::Token;
use resource::value::Text;
use resource::{Description, Resource};
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

#[tokio::test(start_paused = true)]
async fn a_read_waits_for_five_seconds_and_at_the_latest_until_the_answer_is_due() {
    let (stores, clock) = (MemoryStores::default(), Arc::new(SystemClock));
    let keys: Arc<KeyRing> = Arc::new(format!("k1:{}=", "A".repeat(43)).parse().unwrap());
    let (views, records) = (Arc::new(stores.views()), Arc::new(stores.records()));
    let queries = Queries::new(Projection::FIRST, views, records, None, None, clock, keys.clone());
    let router = read_fn::routes::item::<Thing>(Arc::new(queries));
    let (tenant, id): (Tenant, _) = ("acme".parse().unwrap(), AggregateId::generate(SystemClock.now()));
    let token = Token::of_version(Some(Thing::KIND.to_string()), id, 7).seal(&keys, &tenant, SystemClock.now());
    for (due, waits) in [(2_000, 2_000), (0, 0), (60_000, 5_000)] {
        let began = Instant::now();
        let request = Request::get(Description::of::<Thing>().item(id))
            .header("consistency-token", &token)
            .extension(Identity { tenant: tenant.clone(), subject: "ada".parse().unwrap(), scopes: None })
            .extension(Deadline(began + Duration::from_millis(due)))
            .body(Body::empty());
        let answer = router.clone().oneshot(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        let waited = began.elapsed().as_millis();
        assert!((waits..waits + 10).contains(&waited), "due in {due} ms: {waited} ms");
    }
}
