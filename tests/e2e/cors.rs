//! CORS: the answers to requests from pages of other origins, and their effect in a browser.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::program::{self, Leashed};
use crate::harness::scripted::{self, Reply};
use crate::harness::tokens::Issuer;
use crate::harness::{Answer, Api, Stack, Variant, check, shared, unique};
use crate::sample;

/// The browser's timeout. The machine may be busy.
const BROWSER_MAX: Duration = Duration::from_secs(60);
/// How long the browser's child processes may outlive it.
const END_MAX: Duration = Duration::from_secs(10);

/// A page that creates, reads, changes and deletes an item, and reports the outcome to its own server.
const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><title>Page of another origin</title><script>
const reported = (response) => ({ status: response.status, headers: Object.fromEntries(response.headers) });
const call = (method, path, headers, body) => fetch(API + path, {
  method, headers: { authorization: 'Bearer none', prefer: 'wait=10', ...headers }, body: body && JSON.stringify(body),
});
async function run() {
  const created = await call('POST', PATH, {
    'content-type': 'application/json',
    'idempotency-key': 'a-page',
    traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01',
  }, CREATED);
  const path = `${PATH}/${(await created.json()).id}`;
  const token = { 'consistency-token': created.headers.get('consistency-token') };
  const read = await call('GET', path, { ...token, 'if-none-match': '"0"' });
  const changed = await call('PATCH', path, {
    'content-type': 'application/merge-patch+json', 'if-match': read.headers.get('etag'),
  }, CHANGED);
  const deleted = await call('DELETE', path, { 'consistency-token': changed.headers.get('consistency-token') });
  return { created: reported(created), read: reported(read), changed: reported(changed), deleted: reported(deleted) };
}
run().catch((error) => ({ error: String(error) }))
  .then((outcome) => fetch('/outcome', { method: 'POST', body: JSON.stringify(outcome) }));
</script>"#;

/// A page with its own origin, and the outcome of its calls.
struct Page {
    origin: String,
    /// The service's URL.
    service: Arc<OnceLock<String>>,
    outcome: mpsc::Receiver<Value>,
}

impl Page {
    fn serve() -> Self {
        let (reported, outcome) = mpsc::channel();
        let service = Arc::new(OnceLock::<String>::new());
        let api = Arc::clone(&service);
        let origin = scripted::serve(move |asked| match asked.what.as_str() {
            "GET /" => {
                let word = unique("page");
                let constants = [
                    ("API", json!(api.get().unwrap())),
                    ("PATH", json!(sample::main().path)),
                    ("CREATED", sample::main().body(&word)),
                    ("CHANGED", sample::main().patch("Changed")),
                ];
                let constants = constants.map(|(name, value)| format!("const {name} = {value};")).concat();
                Reply::Page(PAGE.replace("<script>", &format!("<script>{constants}")))
            }
            "POST /outcome" => {
                reported.send(serde_json::from_slice(&asked.body).unwrap()).unwrap();
                Reply::Json(200, "{}".to_owned())
            }
            _ => Reply::Json(404, "{}".to_owned()),
        });
        Self { origin, service, outcome }
    }

    /// Opens the page in a browser. Returns the outcome of its calls to the service.
    fn open(&self, browser: &Path, service: &str) -> Value {
        self.service.set(service.to_owned()).unwrap();
        let profile = tempfile::tempdir().unwrap();
        let profile_dir = format!("--item-data-dir={}", profile.path().display());
        let arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", &profile_dir, &self.origin];
        let (running, _) = Leashed::start(browser, &arguments, Stdio::null);
        let outcome =
            self.outcome.recv_timeout(BROWSER_MAX).unwrap_or_else(|error| panic!("the page tells nothing: {error}"));
        let processes = program::descendants(running.pid());
        running.kill();
        assert_eq!(program::survivors(&processes, END_MAX), [0; 0], "the browser leaves processes behind");
        outcome
    }
}

/// Returns the browser's path; prints a message if there is none.
fn browser() -> Option<PathBuf> {
    let found = program::find("chromium");
    if found.is_none() {
        println!("skipped: chromium is not installed");
    }
    found
}

#[test]
fn a_page_of_a_named_origin_reads_and_writes_in_a_browser() {
    let Some(browser) = browser() else { return };
    let page = Page::serve();
    let stack = Stack::start(Variant::Cqrs, &["--ephemeral", "--cors", &page.origin]);
    check(&stack, async {
        let outcome = page.open(&browser, &stack.service.url);
        for (call, status) in [("created", 201), ("read", 200), ("changed", 200), ("deleted", 204)] {
            assert_eq!(outcome[call]["status"], status, "{call} in {outcome}");
            for header in ["consistency-token", "x-request-id", "apigw-requestid"] {
                assert!(outcome[call]["headers"][header].is_string(), "{call}: no {header} in {outcome}");
            }
        }
        for (call, header) in [
            ("created", "location"),
            ("created", "etag"),
            ("created", "preference-applied"),
            ("read", "etag"),
            ("read", "cache-status"),
            ("changed", "etag"),
        ] {
            assert!(outcome[call]["headers"][header].is_string(), "{call}: no {header} in {outcome}");
        }
    });
}

#[test]
fn a_page_of_another_origin_is_kept_out_by_the_browser() {
    let Some(browser) = browser() else { return };
    let page = Page::serve();
    let stack = Stack::start(Variant::LambdaLith, &["--ephemeral", "--cors", "https://app.example.com"]);
    check(&stack, async {
        let outcome = page.open(&browser, &stack.service.url);
        assert_eq!(outcome, json!({"error": "TypeError: Failed to fetch"}));
        assert_eq!(stack.api().get(&sample::main().path).send().await.expect(200).json()["items"], json!([]));
    });
}

/// Sends the preflight by which a browser asks for permission to send a request.
async fn preflight(api: &Api, origin: &str, path: &str, method: &str, headers: &str) -> Answer {
    api.call(Method::OPTIONS, path)
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", headers)
        .send_unchecked()
        .await
}

fn listed(answer: &Answer, header: &str) -> BTreeSet<String> {
    answer.header(header).split(',').map(|item| item.trim().to_lowercase()).collect()
}

#[test]
fn a_preflight_needs_no_token_and_tells_what_pages_may_send() {
    let key_set = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&key_set, Issuer::new("https://issuer.test").key_set().to_string()).unwrap();
    let jwks = key_set.path().to_str().unwrap();
    let (one, two) = ("https://app.example.com", "http://localhost:8080");
    let stack = Stack::start(Variant::ReadWrite, &["--ephemeral", "--jwks", jwks, "--cors", one, "--cors", two]);
    check(&stack, async {
        let api = stack.api();
        for origin in [one, two] {
            let answer = preflight(&api, origin, &sample::main().path, "POST", "authorization,idempotency-key")
                .await
                .expect(204);
            assert_eq!(answer.header("access-control-allow-origin"), origin);
            assert!(answer.find("access-control-allow-credentials").is_none(), "{answer}");
            let methods = ["get", "head", "post", "put", "patch", "delete"].map(str::to_owned);
            assert_eq!(listed(&answer, "access-control-allow-methods"), methods.into());
            let headers = [
                "authorization",
                "consistency-token",
                "content-type",
                "idempotency-key",
                "if-match",
                "if-none-match",
                "prefer",
                "traceparent",
            ];
            assert_eq!(listed(&answer, "access-control-allow-headers"), headers.map(str::to_owned).into());
            // The front door itself rejects a bad token. A page must be able to read that answer too.
            let refused = api.get(&sample::main().path).header("origin", origin).send_unchecked().await.expect(401);
            assert_eq!(refused.header("access-control-allow-origin"), origin);
            assert!(listed(&refused, "access-control-expose-headers").contains("www-authenticate"), "{refused}");
        }
        let answer = preflight(&api, "https://other.example.com", &sample::main().path, "POST", "authorization").await;
        assert!(answer.find("access-control-allow-origin").is_none(), "{answer}");
    });
}

#[test]
fn without_origins_no_answer_lets_a_page_in() {
    let stack = shared(Variant::LambdaLith);
    check(stack, async {
        let api = stack.api();
        let origin = "https://app.example.com";
        let answers = [
            preflight(&api, origin, &sample::main().path, "POST", "authorization").await.expect(204),
            api.get(&sample::main().path).header("origin", origin).send().await.expect(200),
        ];
        for answer in answers {
            let of_cors = answer.headers.keys().find(|name| name.as_str().starts_with("access-control-"));
            assert_eq!(of_cors, None, "{answer}");
        }
    });
}
