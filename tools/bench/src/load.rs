//! Sends requests at their planned times, even if earlier ones have no answer yet. A latency counts from the planned time, so it
//! includes every wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kernel::ids::AggregateId;
use reqwest::Method;
use resource::Operation;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::BenchError;
use crate::plan::{Planned, Request, RequestKind};
use crate::sample::Sample;
use crate::stats::Latency;

/// The longest wait for an answer. It is longer than a function's timeout.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause before the first request of a plan.
const HEAD_START: Duration = Duration::from_millis(20);

/// The result of a plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PlanResult {
    pub(crate) latency: Latency,
    pub(crate) requests: usize,
    pub(crate) failures: usize,
}

/// An HTTP client of the service.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    /// The number of the next body. Each number gives other values.
    next: Arc<AtomicU64>,
}

/// An item of the service.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Item {
    pub(crate) sample: &'static Sample,
    pub(crate) id: AggregateId,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Response {
    /// The method and the path, for messages.
    request: String,
    ok: bool,
    location: Option<String>,
    body: Vec<u8>,
}

impl Client {
    pub(crate) fn new(base: &str) -> Result<Self, BenchError> {
        let http = reqwest::Client::builder().no_proxy().timeout(RESPONSE_TIMEOUT).build()?;
        Ok(Self { http, base: base.to_owned(), next: Arc::default() })
    }

    /// Sends a GET request.
    pub(crate) async fn get(&self, path: &str) -> Result<Response, BenchError> {
        self.send(Method::GET, path, None).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<(&str, Value)>) -> Result<Response, BenchError> {
        let name = format!("{method} {path}");
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some((content_type, body)) = body {
            request = request.header("content-type", content_type).body(body.to_string());
        }
        let response = request.send().await?;
        let location = response.headers().get("location").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let ok = response.status().is_success();
        Ok(Response { request: name, ok, location, body: response.bytes().await?.to_vec() })
    }

    /// Returns the JSON document at a path.
    pub(crate) async fn document(&self, path: &str) -> Result<Value, BenchError> {
        let response = self.get(path).await?;
        serde_json::from_slice(&response.body).map_err(|_| BenchError::UnreadableResponse(path.to_owned()))
    }

    /// Creates an item.
    pub(crate) async fn create(&self, sample: &'static Sample) -> Result<Item, BenchError> {
        let response = self.write(sample, Operation::Create, None).await?.accepted()?;
        let id = response.item(sample).ok_or(BenchError::UnreadableResponse(response.request))?;
        Ok(Item { sample, id })
    }

    /// Sends a request about an item.
    pub(crate) async fn request(&self, kind: RequestKind, item: Item) -> Result<Response, BenchError> {
        let Item { sample, id } = item;
        match kind {
            RequestKind::Get => self.get(&sample.resource.item(id)).await,
            RequestKind::List => self.get(&sample.resource.path()).await,
            RequestKind::Write(Operation::Create) => self.write(sample, Operation::Create, None).await,
            RequestKind::Write(operation) => self.write(sample, operation, Some(id)).await,
        }
    }

    async fn write(
        &self,
        sample: &Sample,
        operation: Operation,
        id: Option<AggregateId>,
    ) -> Result<Response, BenchError> {
        let method =
            operation.method().parse().map_err(|_| BenchError::UnreadableResponse(format!("{operation:?}")))?;
        let content_type =
            if operation == Operation::Update { "application/merge-patch+json" } else { "application/json" };
        let body = sample.body(operation, self.next.fetch_add(1, Ordering::Relaxed));
        let path = sample.resource.path_of(operation, id);
        self.send(method, &path, body.map(|body| (content_type, body))).await
    }

    async fn send_planned(&self, request: Request, items: &[Item]) -> Result<Response, BenchError> {
        let item = items.get(request.item).ok_or_else(|| BenchError::UnreadableResponse(format!("{request:?}")))?;
        self.request(request.kind, *item).await
    }

    /// Sends the requests of a plan at their times, and waits for all answers.
    pub(crate) async fn run(&self, plan: &[Planned], items: &Arc<[Item]>) -> PlanResult {
        let mut due = paced(plan.to_vec());
        let mut under_way = JoinSet::new();
        while let Some((at, request)) = due.recv().await {
            let (client, items) = (self.clone(), Arc::clone(items));
            under_way.spawn(async move {
                let response = client.send_planned(request, &items).await;
                let latency = at.elapsed();
                // The report only counts failures, so this prints them.
                let failure = response.and_then(Response::accepted).err();
                if let Some(failure) = &failure {
                    eprintln!("{failure}");
                }
                (latency, failure.is_none())
            });
        }
        let results = under_way.join_all().await;
        let failures = results.iter().filter(|(_, ok)| !ok).count();
        let latencies: Vec<Duration> = results.into_iter().map(|(latency, _)| latency).collect();
        PlanResult { latency: Latency::of(&latencies), requests: latencies.len(), failures }
    }
}

impl Response {
    /// Returns the response itself if its status is a success, or an error otherwise.
    pub(crate) fn accepted(self) -> Result<Self, BenchError> {
        match self.ok {
            true => Ok(self),
            false => Err(BenchError::Refused(self.request, String::from_utf8_lossy(&self.body).into_owned())),
        }
    }

    /// Returns the id of the created item. A result has it as `id`, an acknowledgement as `<name>_id`.
    fn item(&self, sample: &Sample) -> Option<AggregateId> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        let id = body.get(format!("{}_id", sample.resource.name)).or_else(|| body.get("id"))?;
        id.as_str()?.parse().ok()
    }

    /// Returns the path of the command's status, if the response has one.
    pub(crate) fn command(&self) -> Option<&str> {
        self.location.as_deref().filter(|location| location.starts_with("/commands/"))
    }
}

/// Yields each request at its time. It sleeps on a thread of its own: the runtime's timer counts in milliseconds, which is as long
/// as some answers take.
fn paced(plan: Vec<Planned>) -> mpsc::UnboundedReceiver<(Instant, Request)> {
    let (sender, due) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let start = Instant::now() + HEAD_START;
        for Planned { at, request } in plan {
            let at = start + at;
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if sender.send((at, request)).is_err() {
                return;
            }
        }
    });
    due
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[tokio::test]
    async fn a_request_is_due_at_its_time_and_never_before() {
        let request = Request { item: 0, kind: RequestKind::List };
        let plan = [0, 5, 10].map(|millis| Planned { at: Duration::from_millis(millis), request });
        let mut due = paced(plan.to_vec());
        let mut times = Vec::new();
        while let Some((at, _)) = due.recv().await {
            assert!(at <= Instant::now());
            times.push(at);
        }
        let gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(gaps, [Duration::from_millis(5); 2]);
    }

    #[test]
    fn an_acknowledgement_and_a_result_both_name_the_item() {
        const ID: &str = "019a0b5e-6c7b-7000-8000-000000000001";
        let response =
            |body: String| Response { request: String::new(), ok: true, location: None, body: body.into_bytes() };
        for sample in sample::all() {
            let item = |body: String| response(body).item(sample);
            let expected = Some(ID.parse().unwrap());
            assert_eq!(item(format!(r#"{{"command_id":"c","{}_id":"{ID}"}}"#, sample.resource.name)), expected);
            assert_eq!(item(format!(r#"{{"id":"{ID}","version":1}}"#)), expected);
            assert_eq!(item(String::new()), None);
        }
    }
}
