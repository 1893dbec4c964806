//! Sends requests at their times, whether or not earlier ones have been answered. A latency counts from the time at
//! which the request was to be sent, so that whatever makes requests wait is part of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::BenchError;
use crate::plan::{Operation, Planned};
use crate::stats::Latency;

/// How long an answer may take: longer than a function's timeout.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// From now to the first request.
const HEAD_START: Duration = Duration::from_millis(20);

/// What came of a plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) latency: Latency,
    pub(crate) requests: usize,
    pub(crate) failures: usize,
}

/// Speaks HTTP with the service.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) ok: bool,
    location: Option<String>,
    body: Vec<u8>,
}

impl Client {
    pub(crate) fn new(base: &str) -> Result<Self, BenchError> {
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWER_MAX).build()?;
        Ok(Self { http, base: base.to_owned() })
    }

    /// Any request.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, Value)>,
    ) -> Result<Answer, BenchError> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some((content_type, body)) = body {
            request = request.header("content-type", content_type).body(body.to_string());
        }
        let answer = request.send().await?;
        let location = answer.headers().get("location").and_then(|location| location.to_str().ok()).map(str::to_owned);
        Ok(Answer { ok: answer.status().is_success(), location, body: answer.bytes().await?.to_vec() })
    }

    /// The document at a path.
    pub(crate) async fn document(&self, path: &str) -> Result<Value, BenchError> {
        let answer = self.send(Method::GET, path, None).await?;
        serde_json::from_slice(&answer.body).map_err(|_| BenchError::NotUnderstood(path.to_owned()))
    }

    /// An operation on one of these users.
    pub(crate) async fn operate(&self, operation: Operation, users: &[String]) -> Result<Answer, BenchError> {
        let path = |user: usize| {
            users.get(user).map(|id| format!("/users/{id}")).ok_or_else(|| BenchError::NotUnderstood(user.to_string()))
        };
        let json = "application/json";
        match operation {
            Operation::Get(user) => self.send(Method::GET, &path(user)?, None).await,
            Operation::List => self.send(Method::GET, "/users", None).await,
            Operation::Create => self.send(Method::POST, "/users", Some((json, details()))).await,
            Operation::Replace(user) => self.send(Method::PUT, &path(user)?, Some((json, details()))).await,
            Operation::Update(user) => {
                let body = json!({"name": format!("Name {}", unique())});
                self.send(Method::PATCH, &path(user)?, Some(("application/merge-patch+json", body))).await
            }
            Operation::Delete(user) => self.send(Method::DELETE, &path(user)?, None).await,
        }
    }

    /// Carries out a plan.
    pub(crate) async fn run(&self, plan: &[Planned], users: &Arc<[String]>) -> Outcome {
        let mut due = paced(plan.to_vec());
        let mut under_way = JoinSet::new();
        while let Some((at, operation)) = due.recv().await {
            let (client, users) = (self.clone(), Arc::clone(users));
            under_way.spawn(async move {
                let answer = client.operate(operation, &users).await;
                (at.elapsed(), answer.is_ok_and(|answer| answer.ok))
            });
        }
        let answers = under_way.join_all().await;
        let failures = answers.iter().filter(|(_, ok)| !ok).count();
        let latencies: Vec<Duration> = answers.into_iter().map(|(latency, _)| latency).collect();
        Outcome { latency: Latency::of(&latencies), requests: latencies.len(), failures }
    }
}

impl Answer {
    /// The user that was created, or is to be: the result has an id, an acknowledgement names it.
    pub(crate) fn user(&self) -> Option<String> {
        let body: Value = serde_json::from_slice(&self.body).ok()?;
        let id = body.get("user_id").or_else(|| body.get("id"))?;
        id.as_str().map(str::to_owned)
    }

    /// Where to ask what became of the command, where that is told.
    pub(crate) fn command(&self) -> Option<&str> {
        self.location.as_deref().filter(|location| location.starts_with("/commands/"))
    }
}

/// Hands over each request at its time. On a thread of its own: the runtime's timer counts in milliseconds, which is as
/// long as some answers take.
fn paced(plan: Vec<Planned>) -> mpsc::UnboundedReceiver<(Instant, Operation)> {
    let (sender, due) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let start = Instant::now() + HEAD_START;
        for Planned { at, operation } in plan {
            let at = start + at;
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if sender.send((at, operation)).is_err() {
                return;
            }
        }
    });
    due
}

/// Emails are unique.
fn details() -> Value {
    let number = unique();
    json!({"name": format!("User {number}"), "email": format!("user-{number}@example.com")})
}

fn unique() -> usize {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    LAST.fetch_add(1, Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_is_due_at_its_time_and_never_before() {
        let plan = [0, 5, 10].map(|millis| Planned { at: Duration::from_millis(millis), operation: Operation::List });
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
    fn an_acknowledgement_and_a_result_both_name_the_user() {
        let answer = |body: &str| Answer { ok: true, location: None, body: body.as_bytes().to_vec() };
        assert_eq!(answer(r#"{"command_id":"c","user_id":"u"}"#).user().as_deref(), Some("u"));
        assert_eq!(answer(r#"{"id":"u","name":"n"}"#).user().as_deref(), Some("u"));
        assert_eq!(answer("").user(), None);
    }
}
