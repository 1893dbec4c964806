//! Tests for `watershed smoke`, with healthy and with broken services.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adapters::contract::port;
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use crate::auth::{BOTH, Guarded, READ, guarded};
use crate::container::listening;
use crate::harness::proxy::{Line, Proxy};
use crate::harness::scripted::{self, Asked, Reply};
use crate::harness::tokens::Issuer;
use crate::harness::{Service, Stack, Variant, check, eventually, program, run, shared, unique};
use crate::sample::{self, Sample};

/// The stages of these tests. Together they have every function except ingest-fn alone, both kinds of acknowledgement, and all
/// caches.
const VARIANTS: [Variant; 5] =
    [Variant::SingleResponsibility, Variant::LambdaLith, Variant::RedisCache, Variant::Cqrs, Variant::CqrsFifo];
/// The checks that need no item.
const CHECKS: [&str; 3] = ["health", "404", "405"];
/// The checks that change an item.
const CHANGES: [&str; 4] = ["change", "replace", "act", "delete"];
/// The answer of a front door without the permission to invoke a function.
const BROKEN: &str = r#"{"message":"Internal Server Error"}"#;
/// The time that a failed run may take after `--timeout`, for its deletion on a busy machine.
const LONGER_MAX: Duration = Duration::from_secs(20);

/// The output of the smoke test.
#[derive(Debug)]
pub struct ToolOutput {
    pub code: i32,
    pub json: Value,
    pub lines: Vec<String>,
    pub error: String,
}

/// Runs the smoke test twice: with the output for people, then with that for scripts.
pub async fn smoke(url: &str, token: Option<&str>, arguments: &[&str]) -> ToolOutput {
    let output = tool(url, token, arguments).await;
    let document = tool(url, token, &[arguments, &["--json"]].concat()).await;
    assert_eq!(output.status, document.status, "{output:?}, {document:?}");
    ToolOutput {
        code: output.status.code().unwrap_or_else(|| panic!("{output:?}")),
        json: serde_json::from_slice(&document.stdout).unwrap_or_default(),
        lines: String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect(),
        error: String::from_utf8(output.stderr).unwrap(),
    }
}

async fn tool(url: &str, token: Option<&str>, arguments: &[&str]) -> Output {
    let mut tool = Command::from(program::leashed(program::watershed()));
    tool.env_clear().args(["smoke", "--url", url]).args(arguments);
    tool.envs(token.map(|token| ("WATERSHED_TOKEN", token)));
    tool.output().await.unwrap()
}

impl ToolOutput {
    /// Returns the names of the passed checks.
    fn passed(&self) -> Vec<&str> {
        let passed = self.json["passed"].as_array().unwrap_or_else(|| panic!("{self:?}"));
        passed.iter().map(|passed| passed["check"].as_str().unwrap()).collect()
    }

    /// Asserts that all checks passed.
    pub fn is_well(&self) {
        assert_eq!((self.code, self.error.as_str(), &self.json["failed"]), (0, "", &Value::Null), "{self:?}");
        assert_eq!(self.lines.iter().filter(|line| line.starts_with("ok ")).count(), self.passed().len(), "{self:?}");
        assert!(self.lines.last().is_some_and(|line| line.contains(" checks passed in ")), "{self:?}");
    }

    /// Asserts that exactly this check failed, in one line with all of these texts.
    #[track_caller]
    fn failed(&self, check: &str, says: &[&str]) {
        assert_eq!((self.code, self.error.as_str()), (1, ""), "{self:?}");
        let failures: Vec<_> = self.lines.iter().filter(|line| line.starts_with("FAILED ")).collect();
        let [line] = failures[..] else { panic!("{self:?}") };
        assert_eq!(self.lines.last(), Some(line));
        assert!(line.split_whitespace().nth(1) == Some(check) && self.json["failed"]["check"] == check, "{self:?}");
        for text in says {
            assert!(line.contains(text), "{line:?} does not say {text:?}");
        }
    }

    /// Returns the path of the item that the run created.
    fn item(&self) -> String {
        let passed = self.json["passed"].as_array().unwrap();
        let call = |passed: &Value| passed["call"].as_str().unwrap().to_owned();
        let read = passed.iter().map(call).find(|call| call.starts_with(&format!("GET {}/", sample::main().path)));
        read.unwrap_or_else(|| panic!("{self:?}")).split_off("GET ".len())
    }
}

#[test]
fn a_smoke_test_follows_links_with_a_base_path_and_without() {
    let stack = Stack::start(Variant::LambdaLith, &["--ephemeral"]);
    let port = port::unused();
    check(&stack, async {
        let _running = listening(&stack.endpoint("dynamodb"), port, Some("/v1")).await;
        let url = format!("http://127.0.0.1:{port}");
        smoke(&format!("{url}/v1"), None, &[]).await.is_well();
        smoke(&url, None, &[]).await.is_well();
    });
}

#[test]
fn a_smoke_test_passes_at_every_kind_of_stage_and_leaves_nothing() {
    for variant in VARIANTS {
        let stack = shared(variant);
        check(stack, async {
            let output = smoke(&stack.service.url, None, &[]).await;
            output.is_well();
            let of_items = sample::all().iter().flat_map(|sample| lifetime(sample, variant.is_queued()));
            assert_eq!(output.passed(), CHECKS.into_iter().chain(of_items).collect::<Vec<_>>(), "{variant:?}");
            is_gone(stack, &output.item()).await;
        });
    }
}

/// Returns the checks of an item. A queued command has an additional check.
fn lifetime(sample: &Sample, is_queued: bool) -> Vec<&'static str> {
    let acts = vec!["act"; sample.resource.actions.len()];
    let checks =
        [&["write", "command", "read", "list", "change", "replace", "read"], acts.as_slice(), &["delete", "read"]]
            .concat();
    let with_command =
        |check| std::iter::once(check).chain((is_queued && CHANGES.contains(&check)).then_some("command"));
    checks.into_iter().flat_map(with_command).collect()
}

/// Returns whether a list finds a single item by its unique value.
fn is_found() -> bool {
    sample::main().resource.fields.iter().any(|field| field.taken.is_some() && field.list.is_some())
}

/// Waits until the item is gone: memory caches may keep it for a moment.
async fn is_gone(stack: &Stack, item: &str) {
    let answer = async || stack.api().get(item).send().await;
    eventually("the item is gone", async || (answer().await.status == 404).then_some(())).await;
}

#[test]
fn a_token_opens_what_is_guarded_and_without_one_only_the_rest_is_checked() {
    let (stack, guarded) = guarded(Variant::Cqrs);
    check(stack, async {
        let url = &stack.service.url;
        let output = smoke(url, Some(&token(guarded, &BOTH)), &[]).await;
        output.is_well();
        let refused = vec!["401"; sample::all().len()];
        let public = [&CHECKS, refused.as_slice()].concat();
        assert!(output.passed().starts_with(&public), "{output:?}");

        let output = smoke(url, None, &["--public"]).await;
        output.is_well();
        assert_eq!(output.passed(), public);
        assert!(output.json["unchecked"].as_array().unwrap().contains(&"write".into()), "{output:?}");
        assert!(output.lines.iter().any(|line| line.starts_with("skipped ") && line.contains("write")), "{output:?}");
    });
}

#[test]
fn a_wrong_token_is_pointed_at() {
    let (stack, guarded) = guarded(Variant::LambdaLith);
    check(stack, async {
        let url = &stack.service.url;
        smoke(url, None, &[]).await.failed("write", &["expected 201 or 202, got 401", "WATERSHED_TOKEN is not set"]);
        let other = Issuer::new(&guarded.issuer.url);
        let forged = other.sign(&other.claims("local", "tester", &BOTH));
        for token in [forged.as_str(), "nonsense"] {
            let output = smoke(url, Some(token), &[]).await;
            let says = ["got 401", "WWW-Authenticate: Bearer", "the token in WATERSHED_TOKEN: its issuer, audience"];
            output.failed("write", &says);
            assert!(!format!("{output:?}").contains(token), "the token is printed");
        }
        smoke(url, Some(&token(guarded, &READ)), &[]).await.failed("write", &["got 403", "scopes"]);
        let output = smoke(url, Some("a\u{7f}b"), &[]).await;
        assert!(output.code == 3 && output.error.contains("WATERSHED_TOKEN has characters"), "{output:?}");
    });
}

#[test]
fn a_service_that_asks_nobody_for_a_token_does_not_pass_as_guarded() {
    let stack = shared(Variant::LambdaLith);
    check(stack, async {
        for (token, arguments) in [(Some("any"), &[][..]), (None, &["--public"])] {
            let output = smoke(&stack.service.url, token, arguments).await;
            output.failed("401", &["expected 401, got 200", "requires no token"]);
        }
    });
}

fn token(guarded: &Guarded, scope: &str) -> String {
    guarded.issuer.sign(&guarded.issuer.claims(&unique("smoke"), "tester", scope))
}

/// Starts a front door that answers some requests itself, and forwards the others to the service.
fn behind(service: &Service, broken: impl Fn(&str) -> Option<Reply> + Send + Sync + 'static) -> String {
    let url = service.url.clone();
    scripted::serve(move |asked: &Asked| broken(&asked.what).unwrap_or_else(|| Reply::AsAt(url.clone())))
}

#[test]
fn a_front_door_that_may_not_invoke_a_function_is_pointed_at() {
    let stack = shared(Variant::SingleResponsibility);
    check(stack, async {
        let broken = || Reply::Json(500, BROKEN.to_owned());
        let url = scripted::serve(move |_| broken());
        let output = smoke(&url, None, &[]).await;
        output.failed("health", &["GET /health: expected 200, got 500", "the Lambda permission of $default"]);

        // Each route has its own permission.
        let path = &sample::main().path;
        for (method, path, check) in [
            ("POST", "/health".to_owned(), "405"),
            ("POST", path.clone(), "write"),
            ("GET", "/commands/".to_owned(), "command"),
            ("GET", format!("{path}/"), "read"),
            ("GET", if is_found() { format!("{path}?") } else { path.clone() }, "list"),
            ("PATCH", format!("{path}/"), "change"),
            ("PUT", format!("{path}/"), "replace"),
            ("DELETE", format!("{path}/"), "delete"),
        ] {
            for (status, body, says) in [(500, BROKEN, "permission"), (404, r#"{"message":"Not Found"}"#, "the URL")] {
                let begins = format!("{method} {path}");
                let url = behind(&stack.service, move |what| {
                    what.starts_with(&begins).then(|| Reply::Json(status, body.to_owned()))
                });
                let output = smoke(&url, None, &["--timeout", "30s"]).await;
                output.failed(check, &[&format!("got {status} {body}"), says]);
                // A create with the answer 500 may have taken effect.
                let may_be_left = method == "DELETE" || (check == "write" && status == 500);
                assert_eq!(output.json["left"].is_string(), may_be_left, "{output:?}");
            }
        }
    });
}

#[test]
fn a_failed_run_deletes_what_it_has_created_or_says_where_that_is() {
    let stack = shared(Variant::Cqrs);
    check(stack, async {
        let broken = || Reply::Json(503, r#"{"message":"Service Unavailable"}"#.to_owned());
        let url = behind(&stack.service, move |what| what.starts_with("PATCH ").then(broken));
        let output = smoke(&url, None, &[]).await;
        output.failed("change", &["got 503", "the function's log"]);
        assert_eq!(output.json["left"], Value::Null, "{output:?}");
        is_gone(stack, &output.item()).await;

        let url = behind(&stack.service, move |what| what.starts_with("DELETE ").then(broken));
        let output = smoke(&url, None, &[]).await;
        output.failed("delete", &["got 503"]);
        let line = output.lines.iter().find_map(|line| line.strip_prefix("left "));
        let printed = line.and_then(|line| line.strip_suffix(": it may still exist: delete it"));
        for left in [output.json["left"].as_str(), printed] {
            let left = left.unwrap_or_else(|| panic!("{output:?}")).trim();
            stack.api().get(left).send().await.expect(200);
            stack.api().delete(left).send().await.expect(202);
        }

        if !is_found() {
            return;
        }
        // The answer to the create is lost. The tool finds the item by its unique value.
        let (lost, create) = (stack.service.url.clone(), format!("POST {}", sample::main().path));
        let url = behind(&stack.service, move |what| (what == create).then(|| Reply::LostAt(lost.clone())));
        let output = smoke(&url, None, &["--timeout", "3s"]).await;
        output.failed("write", &["expected an answer, got none in 3 s"]);
        assert_eq!(output.json["left"], Value::Null, "{output:?}");
    });
}

#[test]
fn an_answer_of_another_service_is_no_answer_of_this_one() {
    run(async {
        let url = scripted::serve(|_| Reply::Json(200, r#"{"status":"ok"}"#.to_owned()));
        smoke(&url, None, &[]).await.failed("health", &["expected 200 of a function", "that of this service"]);
    });
}

#[test]
fn what_does_not_answer_is_told_in_time() {
    let stack = shared(Variant::LambdaLith);
    check(stack, async {
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, port::unused()));
        let output = smoke(&format!("http://{nowhere}"), None, &[]).await;
        output.failed("health", &["expected an answer, got", "refused", "the URL"]);

        let silent = Proxy::before(&stack.service.url);
        silent.set(Line::Silent);
        let began = Instant::now();
        let output = smoke(&silent.url(), None, &["--timeout", "2s"]).await;
        output.failed("health", &["got none in 2 s", "--timeout"]);
        // The smoke test ran twice.
        assert!(began.elapsed() < 2 * (Duration::from_secs(2) + LONGER_MAX), "{:?}", began.elapsed());
    });
}

#[test]
fn rubbish_is_no_url() {
    run(async {
        for url in [
            "",
            "nowhere",
            "127.0.0.1:3000",
            "ftp://example.com",
            "https://",
            "https://a b",
            "https://me:pw@host/",
            "/x",
        ] {
            let output = smoke(url, None, &[]).await;
            assert!(
                output.code == 2 && output.error.contains("give the value of the stack's output Url"),
                "{url}: {output:?}"
            );
        }
        for timeout in ["0s", "-1s", "2h", "soon"] {
            let argument = format!("--timeout={timeout}");
            assert_eq!(smoke("http://127.0.0.1:9", None, &[&argument]).await.code, 2, "{timeout}");
        }
    });
}

#[test]
fn a_service_with_a_certificate_is_spoken_to_by_tls() {
    let stack = shared(Variant::LambdaLith);
    check(stack, async {
        let host = Ipv4Addr::LOCALHOST.to_string();
        let certified = rcgen::generate_simple_self_signed([host.clone()]).unwrap();
        let trusted = NamedTempFile::new().unwrap();
        std::fs::write(trusted.path(), certified.cert.pem()).unwrap();
        let key = certified.signing_key.serialize_der().try_into().unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        let config = config.with_single_cert(vec![certified.cert.der().clone()], key).unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let url = format!("https://{host}:{}/", listener.local_addr().unwrap().port());
        let serving = tokio::spawn(terminate_tls(listener, TlsAcceptor::from(Arc::new(config)), stack.service.clone()));
        let mut tool = Command::from(program::leashed(program::watershed()));
        tool.env_clear().args(["smoke", "--url", &url]);
        let distrusted = tool.output().await.unwrap();
        assert!(!distrusted.status.success(), "{distrusted:?}");
        let trusting = tool.env("SSL_CERT_FILE", trusted.path()).output().await.unwrap();
        assert!(trusting.status.success(), "{trusting:?}");
        serving.abort();
    });
}

async fn terminate_tls(listener: TcpListener, acceptor: TlsAcceptor, service: Service) {
    loop {
        let (client, _) = listener.accept().await.unwrap();
        let (acceptor, address) = (acceptor.clone(), service.url.trim_start_matches("http://").to_owned());
        tokio::spawn(async move {
            // A client that does not trust the certificate closes the connection.
            let mut client = acceptor.accept(client).await?;
            let mut server = TcpStream::connect(address).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await
        });
    }
}
