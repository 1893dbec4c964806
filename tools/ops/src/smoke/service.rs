//! An HTTP client of the service, with one deadline for all requests.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::response::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use shared::http::CONSISTENCY_TOKEN;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::fault::{self, Fault, Route, Seen};
use crate::output::{Failure, explain};

/// The header of each answer of a function. The front door's own answers have none.
const REQUEST_ID: &str = "x-request-id";
/// The longest part of a body in a message, in characters.
const EXCERPT_MAX: usize = 200;

/// The service, through its front door.
#[derive(Debug)]
pub(super) struct Service {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: String,
    token: Option<HeaderValue>,
    /// The time for all requests together, and its end.
    time_limit: Duration,
    deadline: Instant,
}

/// A request.
#[derive(Debug)]
pub(super) struct Call {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
    route: Route,
    is_anonymous: bool,
}

/// A response.
#[derive(Debug)]
pub(super) struct Response {
    /// The method and the path, such as `GET /health`.
    call: String,
    route: Route,
    has_token: bool,
    status: u16,
    headers: HeaderMap,
    body: Bytes,
    took: Duration,
}

impl Service {
    pub(super) fn new(url: &str, token: Option<&str>, time_limit: Duration) -> Result<Self, Failure> {
        let wrong =
            |_| Failure::Impossible("WATERSHED_TOKEN has characters that no token has: set it to the token alone");
        let token = token.map(|token| HeaderValue::from_str(&format!("Bearer {token}"))).transpose().map_err(wrong)?;
        let token = token.map(|mut token| {
            token.set_sensitive(true);
            token
        });
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls(url)?).https_or_http().enable_http1().build();
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, url: url.to_owned(), token, time_limit, deadline: Instant::now() + time_limit })
    }

    pub(super) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// Returns the link to a path. It begins with the path of the URL, if that has one.
    pub(super) fn link(&self, path: &str) -> String {
        let base = self.url.parse::<Uri>().unwrap_or_default();
        format!("{}{path}", base.path().trim_end_matches('/'))
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Sets the time for all further requests, from now.
    pub(super) fn restart(&mut self, time_limit: Duration) {
        (self.time_limit, self.deadline) = (time_limit, Instant::now() + time_limit);
    }

    pub(super) async fn send(&self, call: Call) -> Result<Response, Fault> {
        let Call { method, path, mut headers, body, route, is_anonymous } = call;
        let call = format!("{method} {path}");
        let token = self.token.as_ref().filter(|_| route == Route::Guarded && !is_anonymous);
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        let failed = |found: String, next| Fault::new(&call, "an answer", found, next);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        let uri = format!("{}{path}", self.url).parse();
        *request.uri_mut() = uri.map_err(|error| failed(explain(&error), fault::NO_CONNECTION))?;

        let began = Instant::now();
        let (status, headers, body) = timeout_at(self.deadline, self.exchange(request))
            .await
            .map_err(|_| failed(format!("none in {} s", self.time_limit.as_secs()), fault::NO_ANSWER))?
            .map_err(|cause| failed(cause, fault::NO_CONNECTION))?;
        let has_token = token.is_some();
        Ok(Response { call, route, has_token, status, headers, body, took: began.elapsed() })
    }

    /// Returns status, headers and body, or the cause if there is no answer.
    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<(u16, HeaderMap, Bytes), String> {
        let response = self.client.request(request).await.map_err(|error| explain(&error))?;
        let (Parts { status, headers, .. }, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| explain(&error))?.to_bytes();
        Ok((status.as_u16(), headers, body))
    }
}

/// Trusts the certificate authorities of the system. Plain HTTP needs none.
fn tls(url: &str) -> Result<ClientConfig, Failure> {
    let builder = ClientConfig::builder();
    let builder = match url.starts_with("https:") {
        true => builder
            .with_native_roots()
            .map_err(|error| Failure::Refused { part: "trusted certificates", cause: explain(&error) })?,
        false => builder.with_root_certificates(RootCertStore::empty()),
    };
    Ok(builder.with_no_client_auth())
}

impl Call {
    /// Creates a request to a route with data. It carries the access token, if there is one.
    pub(super) fn new(method: Method, path: impl Into<String>) -> Self {
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        Self { method, path: path.into(), headers, body, route: Route::Guarded, is_anonymous: false }
    }

    /// Creates a request to the route `$default`.
    pub(super) fn of_default_route(method: Method, path: impl Into<String>) -> Self {
        Self { route: Route::Default, ..Self::new(method, path) }
    }

    /// Leaves out the access token.
    pub(super) fn anonymous(self) -> Self {
        Self { is_anonymous: true, ..self }
    }

    pub(super) fn json(mut self, body: &Value) -> Self {
        let kind = if self.method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Self { body: body.to_string().into(), ..self }
    }

    /// Adds the consistency token of an earlier answer.
    pub(super) fn after(mut self, token: &str) -> Self {
        // The token was a header's value before, so it is valid.
        if let Ok(token) = HeaderValue::from_str(token) {
            self.headers.insert(CONSISTENCY_TOKEN, token);
        }
        self
    }
}

impl Response {
    pub(super) fn call(&self) -> &str {
        &self.call
    }

    pub(super) fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn took(&self) -> Duration {
        self.took
    }

    pub(super) fn is_from_function(&self) -> bool {
        self.find(REQUEST_ID).is_some()
    }

    fn find(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the fault of a check that expected another answer.
    pub(super) fn fault(&self, expected: impl Into<String>) -> Fault {
        let found = format!("{} {}", self.status, excerpt(&self.body));
        let reason = self.find("www-authenticate").map(|reason| format!(", WWW-Authenticate: {reason}"));
        self.fault_of(expected, &format!("{}{}", found.trim_end(), reason.unwrap_or_default()))
    }

    fn fault_of(&self, expected: impl Into<String>, found: &str) -> Fault {
        let Self { status, route, has_token, .. } = *self;
        let advice = Seen { status, request_id: self.find(REQUEST_ID), route, has_token }.advice();
        Fault::new(&self.call, expected, found, advice)
    }

    /// Requires one of these statuses.
    pub(super) fn expect(&self, statuses: &[u16]) -> Result<(), Fault> {
        let expected: Vec<String> = statuses.iter().map(u16::to_string).collect();
        if statuses.contains(&self.status) { Ok(()) } else { Err(self.fault(expected.join(" or "))) }
    }

    pub(super) fn header(&self, name: &str) -> Result<&str, Fault> {
        self.find(name).ok_or_else(|| self.fault(format!("the header {name}")))
    }

    pub(super) fn has(&self, name: &str, value: &str) -> Result<(), Fault> {
        let found = self.header(name)?;
        let fault = || self.fault_of(format!("{name}: {value}"), &format!("{name}: {found}"));
        if found == value { Ok(()) } else { Err(fault()) }
    }

    /// Requires this status, and returns the document of a function.
    pub(super) fn json(&self, status: u16) -> Result<Value, Fault> {
        self.expect(&[status])?;
        self.document()
    }

    /// Returns the document of a function, with any status.
    pub(super) fn document(&self) -> Result<Value, Fault> {
        self.of_kind("application/json")
    }

    /// Requires a problem document (RFC 9457) of a function, with this status.
    pub(super) fn problem(&self, status: u16) -> Result<(), Fault> {
        self.expect(&[status])?;
        let document = self.of_kind("application/problem+json")?;
        match self.number(&document, "status")? == u64::from(status) {
            true => Ok(()),
            false => Err(self.fault(format!("a problem document with status {status}"))),
        }
    }

    fn of_kind(&self, kind: &str) -> Result<Value, Fault> {
        let is_kind = self.find("content-type").is_some_and(|found| found.split(';').next() == Some(kind));
        let document = serde_json::from_slice(&self.body).ok().filter(|_| is_kind && self.is_from_function());
        document.ok_or_else(|| self.fault(format!("{} of a function, {kind}", self.status)))
    }

    /// Returns a text from the document of this answer. Fails if the text is missing or empty.
    pub(super) fn text(&self, document: &Value, name: &str) -> Result<String, Fault> {
        let text = document.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        text.map(str::to_owned).ok_or_else(|| self.fault(format!("{name} in the answer")))
    }

    /// Returns a number from the document of this answer. Fails if it is missing.
    pub(super) fn number(&self, document: &Value, name: &str) -> Result<u64, Fault> {
        document.get(name).and_then(Value::as_u64).ok_or_else(|| self.fault(format!("{name} in the answer")))
    }
}

/// Returns the beginning of a body, on one line.
fn excerpt(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = shown.take(EXCERPT_MAX + 1).collect();
    if shown.chars().count() > EXCERPT_MAX {
        shown.pop();
        shown.push('…');
    }
    shown
}
