//! An HTTP client that checks the rules for all answers on each answer.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::LazyLock;
use std::time::Duration;

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::poll::{eventually, eventually_within};
use super::unique;
use crate::sample::{self, Sample};

/// The timeout of a request: longer than a function's timeout.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// The maximum time from the acknowledgement of a command to its outcome, even if environments are killed.
pub const OUTCOME_MAX: Duration = Duration::from_secs(120);

/// The content type of a PATCH.
pub const MERGE_PATCH: &str = "application/merge-patch+json";

/// A client of one stack.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    bearer: Option<String>,
}

/// A request before it is sent.
#[derive(Debug, Clone)]
pub struct Call {
    api: Api,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Option<Vec<u8>>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub method: Method,
    pub path: String,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// The outcome of a write, in the same form for every stage.
#[derive(Debug)]
pub struct Written {
    /// The acknowledgement, or the result if writes are synchronous.
    pub answer: Answer,
    /// The status of the outcome in the synchronous API.
    pub status: u16,
    /// The id of the item, if any.
    pub id: Option<String>,
    /// The version that the write made, if known.
    pub version: Option<u64>,
    /// The token that covers the outcome.
    pub token: Option<String>,
    /// The reason of a rejection.
    pub problem: Option<Value>,
}

/// An item, as a read returned it.
#[derive(Debug, Clone)]
pub struct Item {
    pub id: String,
    pub path: String,
    pub token: String,
    pub body: Value,
}

impl Api {
    pub fn new(base: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().timeout(ANSWER_MAX).build().unwrap();
        Self { http, base: base.to_owned(), bearer: None }
    }

    /// Returns a client with this bearer token.
    pub fn with_bearer(&self, token: &str) -> Self {
        Self { bearer: Some(token.to_owned()), ..self.clone() }
    }

    pub fn call(&self, method: Method, path: &str) -> Call {
        let call = Call { api: self.clone(), method, path: path.to_owned(), headers: HeaderMap::new(), body: None };
        match &self.bearer {
            Some(token) => call.header("authorization", &format!("Bearer {token}")),
            None => call,
        }
    }

    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    pub fn post(&self, path: &str, body: &Value) -> Call {
        self.call(Method::POST, path).json(body)
    }

    pub fn put(&self, path: &str, body: &Value) -> Call {
        self.call(Method::PUT, path).json(body)
    }

    pub fn patch(&self, path: &str, body: &Value) -> Call {
        self.call(Method::PATCH, path).json(body).header("content-type", MERGE_PATCH)
    }

    pub fn delete(&self, path: &str) -> Call {
        self.call(Method::DELETE, path)
    }

    /// Creates an item with this body, and reads it.
    pub async fn create(&self, sample: &Sample, body: &Value) -> Item {
        let written = self.post(&sample.path, body).write().await.expect(201);
        self.item(&written).await
    }

    /// Creates an item of a resource.
    pub async fn any(&self, sample: &Sample) -> Item {
        self.create(sample, &sample.body(&unique("any"))).await
    }

    /// Creates an item of the main resource, for tests that need only one resource.
    pub async fn any_item(&self) -> Item {
        self.any(sample::main()).await
    }

    /// Returns a request for an action.
    pub fn act(&self, item: &Item, action: &str) -> Call {
        self.call(Method::POST, &format!("{}/{action}", item.path))
    }

    /// Reads the written item with the write's token.
    pub async fn item(&self, written: &Written) -> Item {
        let id = written.id.clone().unwrap_or_else(|| panic!("{} is about no item", written.answer));
        let token = written.token.clone().unwrap_or_else(|| panic!("{} gave no token", written.answer));
        let sample = sample::at(&written.answer.path).unwrap_or_else(|| panic!("{}", written.answer));
        let path = sample.resource.item(&id);
        let answer = self.get(&path).token(&token).send().await.expect(200);
        Item { id, path, token: answer.token(), body: answer.json() }
    }

    /// Reads the current version of an item.
    pub async fn reread(&self, item: &Item) -> Item {
        let answer = self.get(&item.path).token(&item.token).send().await.expect(200);
        Item { token: answer.token(), body: answer.json(), ..item.clone() }
    }

    /// Waits until a command has ended. Returns its status document.
    pub async fn outcome(&self, command: &str) -> Value {
        let path = format!("/commands/{command}");
        eventually_within(OUTCOME_MAX, &format!("{path} has ended"), async || {
            let document = self.get(&path).send().await.expect(200).json();
            (document["status"] != "pending").then_some(document)
        })
        .await
    }
}

impl Call {
    /// Sets a header, and replaces one of the same name.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.insert(HeaderName::try_from(name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        self
    }

    /// Adds one more line of a header.
    pub fn and_header(mut self, name: &str, value: &str) -> Self {
        self.headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap());
        self
    }

    pub fn without_header(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    /// Sets the consistency token.
    pub fn token(self, token: &str) -> Self {
        self.header("consistency-token", token)
    }

    pub fn idempotency_key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub fn if_match(self, tag: &str) -> Self {
        self.header("if-match", tag)
    }

    pub fn if_none_match(self, tags: &str) -> Self {
        self.header("if-none-match", tags)
    }

    pub fn prefer(self, preference: &str) -> Self {
        self.header("prefer", preference)
    }

    pub fn with_method(mut self, method: &str) -> Self {
        self.method = method.parse().unwrap();
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    /// Sends the request to a function, and checks the rules for all answers of functions. Retries if the gateway is too busy to
    /// invoke the function.
    pub async fn send(self) -> Answer {
        let answer = eventually("the gateway is not busy", async || {
            let answer = self.clone().send_unchecked().await;
            (answer.status != 429).then_some(answer)
        });
        let answer = answer.await;
        answer.assert_is_from_a_function();
        answer
    }

    /// Sends the request. The answer may come from the front door instead of a function.
    pub async fn send_unchecked(self) -> Answer {
        let described = format!("{} {}", self.method, self.path);
        self.try_send().await.unwrap_or_else(|error| panic!("{described}: {error:?}"))
    }

    /// Sends the request like [`Call::send_unchecked`], but returns an error if there is no answer.
    pub async fn try_send(self) -> Result<Answer, reqwest::Error> {
        let Self { api, method, path, headers, body } = self;
        let mut request = api.http.request(method.clone(), format!("{}{path}", api.base)).headers(headers);
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await?.to_vec();
        Ok(Answer { method, path, status, headers, body })
    }

    /// Sends a write and waits for its outcome.
    pub async fn write(self) -> Written {
        let api = self.api.clone();
        let answer = self.send().await;
        Written::follow(&api, answer).await
    }
}

impl Answer {
    /// Asserts the status, and returns the answer.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}");
        self
    }

    /// Asserts the status, and returns the problem in the answer.
    #[track_caller]
    pub fn problem(self, status: u16) -> Value {
        self.expect(status).json()
    }

    /// Asserts the status, and returns the kind of problem: the last part of its type.
    #[track_caller]
    pub fn kind(self, status: u16) -> String {
        kind_of(&self.problem(status))
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self}"))
    }

    pub fn find(&self, header: &str) -> Option<&str> {
        self.headers.get(header).map(|value| value.to_str().unwrap())
    }

    #[track_caller]
    pub fn header(&self, header: &str) -> &str {
        self.find(header).unwrap_or_else(|| panic!("no {header} in {self}"))
    }

    #[track_caller]
    pub fn token(&self) -> String {
        self.header("consistency-token").to_owned()
    }

    /// Returns the JSON pointers to all wrong fields, sorted.
    #[track_caller]
    pub fn wrong_fields(self) -> Vec<String> {
        let problem = self.problem(422);
        let errors = problem["errors"].as_array().unwrap_or_else(|| panic!("no errors in {problem}"));
        let mut pointers: Vec<String> = errors
            .iter()
            .map(|error| {
                assert!(error["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
                error["pointer"].as_str().unwrap().to_owned()
            })
            .collect();
        pointers.sort();
        pointers
    }

    /// Asserts that pages may read each header, except those of the connection and of CORS itself.
    fn assert_is_exposed(&self) {
        let is_for_pages = |name: &str| !["connection", "date", "vary"].contains(&name) && !name.starts_with("access-");
        let hidden = self.headers.keys().find(|name| is_for_pages(name.as_str()) && !exposed().contains(name.as_str()));
        assert_eq!(hidden, None, "shared/cors.json does not expose it: {self}");
    }

    fn assert_is_from_a_function(&self) {
        assert!(!self.header("x-request-id").is_empty(), "{self}");
        self.assert_is_exposed();
        if self.status < 400 {
            return;
        }
        if self.method == Method::HEAD {
            assert!(self.body.is_empty(), "{self}");
            return;
        }
        assert_eq!(self.header("content-type"), "application/problem+json", "{self}");
        let problem = self.json();
        assert_is_problem(&problem);
        assert_eq!(problem["status"], self.status, "{self}");
        assert!(problem["instance"].as_str().is_some_and(|instance| !instance.is_empty()), "{self}");
    }
}

/// Returns the headers that a page of another origin may read: those of `shared/cors.json`, and those that are always readable
/// (<https://fetch.spec.whatwg.org/#cors-safelisted-response-header-name>).
fn exposed() -> &'static BTreeSet<String> {
    static EXPOSED: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
        let table: Value = serde_json::from_str(include_str!("../../../shared/cors.json")).unwrap();
        let ours = table["expose_headers"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
        ours.chain(["cache-control", "content-length", "content-type"].map(str::to_owned)).collect()
    });
    &EXPOSED
}

/// Asserts the rules for all problems (RFC 9457), including those inside a status document.
#[track_caller]
pub fn assert_is_problem(problem: &Value) {
    let uri = problem["type"].as_str().unwrap_or_else(|| panic!("no type in {problem}"));
    assert!(uri.contains('/') || uri.starts_with("urn:"), "the type is no URI in {problem}");
    for member in ["title", "detail"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "no {member} in {problem}");
    }
    assert!(problem["status"].is_u64(), "no status in {problem}");
}

/// Returns the kind of problem: the last part of its type.
pub fn kind_of(problem: &Value) -> String {
    let uri = problem["type"].as_str().unwrap_or_default();
    uri.rsplit(['/', '#', ':']).next().unwrap_or_default().to_owned()
}

/// Asserts that a view shows these fields.
#[track_caller]
pub fn shows(view: &Value, fields: &Value) {
    for (name, value) in fields.as_object().unwrap_or_else(|| panic!("{fields}")) {
        assert_eq!(view.get(name), Some(value), "{name} of {view}");
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {} → {}", self.method, self.path, self.status)?;
        for (name, value) in &self.headers {
            writeln!(f, "  {name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        f.write_str(&String::from_utf8_lossy(self.body.get(..2000).unwrap_or(&self.body)))
    }
}

impl Written {
    async fn follow(api: &Api, answer: Answer) -> Self {
        if answer.status == 202 {
            return Self::of_document(api, answer).await;
        }
        let refused = answer.status >= 400;
        let body = if answer.body.is_empty() { Value::Null } else { answer.json() };
        let in_path = || sample::at(&answer.path).and_then(|_| answer.path.split('/').nth(2)).map(str::to_owned);
        Self {
            status: answer.status,
            id: body["id"].as_str().map(str::to_owned).or_else(in_path),
            version: body["version"].as_u64(),
            token: answer.find("consistency-token").map(str::to_owned),
            problem: refused.then_some(body),
            answer,
        }
    }

    async fn of_document(api: &Api, answer: Answer) -> Self {
        let command = answer.json()["command_id"].as_str().unwrap().to_owned();
        let document = api.outcome(&command).await;
        let sample = sample::at(&answer.path).unwrap_or_else(|| panic!("{answer}"));
        let done = match answer.method {
            Method::POST if answer.path == sample.path => 201,
            Method::DELETE => 204,
            _ => 200,
        };
        let problem = document.get("problem").cloned();
        let status = match document["status"].as_str() {
            Some("applied") => done,
            Some("superseded") => 200,
            Some("rejected") => {
                let problem = problem.as_ref().unwrap_or_else(|| panic!("no problem in {document}"));
                assert_is_problem(problem);
                problem["status"].as_u64().unwrap().try_into().unwrap()
            }
            _ => panic!("unexpected outcome {document} of {answer}"),
        };
        Self {
            status,
            id: document[&sample.id].as_str().map(str::to_owned),
            version: document["version"].as_u64(),
            token: document["consistency_token"].as_str().map(str::to_owned),
            problem,
            answer,
        }
    }

    /// Asserts the status of the outcome in the synchronous API, and returns the write.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?} of {}", self.problem, self.answer);
        self
    }

    /// Asserts the status of the outcome, and returns the kind of problem for which the write was rejected.
    #[track_caller]
    pub fn kind(self, status: u16) -> String {
        let refused = self.expect(status);
        kind_of(refused.problem.as_ref().unwrap_or_else(|| panic!("no problem in {}", refused.answer)))
    }
}

impl Item {
    #[track_caller]
    pub fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_else(|| panic!("no {field} in {}", self.body))
    }

    /// Asserts that the item shows these fields.
    #[track_caller]
    pub fn shows(&self, fields: &Value) {
        shows(&self.body, fields);
    }

    #[track_caller]
    pub fn version(&self) -> u64 {
        self.body["version"].as_u64().unwrap_or_else(|| panic!("no version in {}", self.body))
    }
}
