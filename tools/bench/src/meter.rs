//! Counts the requests to `DynamoDB` and SQS, with a proxy in front of each. The proxy asks `DynamoDB` for the capacity that it
//! would bill.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::serve::ListenerExt as _;
use serde_json::{Map, Value};
use tokio::net::TcpListener;

/// The largest body that `DynamoDB` accepts, in bytes.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The header that names the operation.
const TARGET: &str = "x-amz-target";
/// The headers of a single connection, which the proxy does not forward.
const CONNECTION_HEADERS: [&str; 4] = ["connection", "content-length", "host", "transfer-encoding"];
/// The operations that report their consumed capacity on request: reads, then writes.
const READS: [&str; 5] = ["BatchGetItem", "GetItem", "Query", "Scan", "TransactGetItems"];
const WRITES: [&str; 5] = ["BatchWriteItem", "DeleteItem", "PutItem", "TransactWriteItems", "UpdateItem"];

/// The counts, by the client's port and the operation.
pub(crate) type Tally = BTreeMap<(u16, String), Count>;

/// The count of one operation, with its capacity.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub(crate) struct Count {
    pub(crate) requests: usize,
    pub(crate) read_units: f64,
    pub(crate) write_units: f64,
}

impl Count {
    /// Returns the sum of several counts.
    pub(crate) fn sum<'a>(counts: impl IntoIterator<Item = &'a Self>) -> Self {
        counts.into_iter().fold(Self::default(), |sum, count| Self {
            requests: sum.requests + count.requests,
            read_units: sum.read_units + count.read_units,
            write_units: sum.write_units + count.write_units,
        })
    }
}

/// A proxy that counts requests.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    http: reqwest::Client,
    tally: Mutex<Tally>,
}

impl Meter {
    /// Starts a proxy in front of the server at `upstream`. It runs until this program ends.
    pub(crate) async fn start(upstream: &str) -> std::io::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().build().map_err(std::io::Error::other)?;
        let shared = Arc::new(Shared { upstream: upstream.to_owned(), http, tally: Mutex::default() });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().fallback(proxy).layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
        let service = router.with_state(Arc::clone(&shared)).into_make_service_with_connect_info::<SocketAddr>();
        // Otherwise small answers wait for delayed acknowledgements. If the option cannot be set, they do.
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        tokio::spawn(async move { axum::serve(listener, service).await });
        Ok(Self { url, shared })
    }

    /// Returns the counts since the last call.
    pub(crate) fn take(&self) -> Tally {
        std::mem::take(&mut *self.shared.tally())
    }
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn proxy(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, HeaderMap, Bytes) {
    let operation = operation(&headers).to_owned();
    remove_connection_headers(&mut headers);
    let body = with_capacity(&operation, body);
    match forward(&shared, headers, body).await {
        Ok((status, headers, response)) => {
            let count = count(&operation, &response);
            let mut tally = shared.tally();
            let counted = tally.entry((peer.port(), operation)).or_default();
            *counted = Count::sum([&*counted, &count]);
            (status, headers, response)
        }
        Err(error) => {
            eprintln!("cannot forward {operation}: {error}");
            (StatusCode::BAD_GATEWAY, HeaderMap::new(), Bytes::new())
        }
    }
}

async fn forward(
    shared: &Shared,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, HeaderMap, Bytes), reqwest::Error> {
    let response = shared.http.post(&shared.upstream).headers(headers).body(body).send().await?;
    let (status, mut headers) = (response.status(), response.headers().clone());
    remove_connection_headers(&mut headers);
    Ok((status, headers, response.bytes().await?))
}

fn remove_connection_headers(headers: &mut HeaderMap) {
    for name in CONNECTION_HEADERS {
        headers.remove(HeaderName::from_static(name));
    }
}

/// Returns the operation, such as `GetItem` for `DynamoDB_20120810.GetItem`.
fn operation(headers: &HeaderMap) -> &str {
    let target = headers.get(TARGET).and_then(|target| target.to_str().ok()).unwrap_or_default();
    target.rsplit('.').next().unwrap_or_default()
}

/// Returns the request. If its operation can report the consumed capacity, the returned request asks for it.
fn with_capacity(operation: &str, body: Bytes) -> Bytes {
    if !READS.contains(&operation) && !WRITES.contains(&operation) {
        return body;
    }
    let Ok(mut request) = serde_json::from_slice::<Map<String, Value>>(&body) else { return body };
    request.insert("ReturnConsumedCapacity".to_owned(), "TOTAL".into());
    Value::Object(request).to_string().into()
}

/// Counts a response, with the capacity that it reports.
fn count(operation: &str, response: &[u8]) -> Count {
    let units = if READS.contains(&operation) || WRITES.contains(&operation) { consumed(response) } else { 0.0 };
    let (read_units, write_units) = if READS.contains(&operation) { (units, 0.0) } else { (0.0, units) };
    Count { requests: 1, read_units, write_units }
}

/// Returns the consumed capacity. A response about several tables has a list of them.
fn consumed(response: &[u8]) -> f64 {
    let response: Value = serde_json::from_slice(response).unwrap_or_default();
    let of_table = |table: &Value| table.get("CapacityUnits").and_then(Value::as_f64).unwrap_or_default();
    match response.get("ConsumedCapacity") {
        Some(Value::Array(tables)) => tables.iter().map(of_table).sum(),
        Some(table) => of_table(table),
        None => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consumed_capacity_is_summed_over_tables() {
        let one = br#"{"Item":{},"ConsumedCapacity":{"TableName":"t","CapacityUnits":0.5}}"#;
        assert_eq!(count("GetItem", one), Count { requests: 1, read_units: 0.5, write_units: 0.0 });
        let two = br#"{"ConsumedCapacity":[{"CapacityUnits":4.0},{"CapacityUnits":2.0}]}"#;
        assert_eq!(count("TransactWriteItems", two), Count { requests: 1, read_units: 0.0, write_units: 6.0 });
    }

    #[test]
    fn a_request_without_consumed_capacity_is_still_counted() {
        assert_eq!(count("SendMessage", b"not json"), Count { requests: 1, ..Count::default() });
    }

    #[test]
    fn only_operations_that_report_capacity_are_asked_for_it() {
        let request = with_capacity("PutItem", Bytes::from_static(br#"{"TableName":"t"}"#));
        assert_eq!(request, br#"{"ReturnConsumedCapacity":"TOTAL","TableName":"t"}"#.as_slice());
        let sent = Bytes::from_static(br#"{"QueueUrl":"q"}"#);
        assert_eq!(with_capacity("SendMessage", sent.clone()), sent);
    }

    #[test]
    fn the_target_names_the_operation() {
        let mut headers = HeaderMap::new();
        headers.insert(TARGET, "DynamoDB_20120810.Query".parse().unwrap());
        assert_eq!(operation(&headers), "Query");
    }
}
