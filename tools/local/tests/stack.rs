//! The stack as its user starts it, with functions that do what the test says.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::QueueAttributeName;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::{Client, Response, StatusCode};
use serde_json::{Value, json};
use service::resources::RESOURCES;
use tempfile::TempDir;
use tokio::task::JoinSet;

/// The maximum time that a test waits for one event.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running stack; it is killed when dropped.
struct Stack {
    child: Child,
    url: String,
    client: Client,
    functions: TempDir,
}

impl Stack {
    fn start(arguments: &[&str]) -> Self {
        Self::start_with(functions(), &[arguments, &["--ephemeral", "--no-redis"]].concat())
    }

    fn start_with(functions: TempDir, arguments: &[&str]) -> Self {
        let mut child = command(functions.path(), arguments).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.find_map(|line| Some(line.unwrap().strip_prefix("ready ")?.to_owned()));
        Self { child, url: ready.unwrap(), client: Client::new(), functions }
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.url)).send().await.unwrap()
    }

    async fn status(&self) -> Value {
        self.get("/_local/status").await.json().await.unwrap()
    }

    async fn deploy(&self, stage: &str) -> Response {
        let deployment = json!({"STAGE": stage, "READ_TABLE": "watershed-read-v1"}).to_string();
        self.client.put(format!("{}/_local/deployment", self.url)).body(deployment).send().await.unwrap()
    }

    /// Returns the ids of the functions' processes.
    async fn pids(&self) -> Vec<i64> {
        let status = self.status().await;
        let environments = status["environments"].as_array().unwrap();
        environments.iter().map(|environment| environment["pid"].as_i64().unwrap()).collect()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(functions: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watershed-local"));
    let stage = if arguments.contains(&"--stage") { &[] } else { &["--stage", "read-write"][..] };
    command.args(["--port", "0", "--functions-dir"]).arg(functions).args(stage).args(arguments);
    command.stdout(Stdio::piped());
    command
}

/// Returns a directory of packaged functions, each in a directory of its own.
fn functions() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in ["read-fn", "write-fn", "ingest-fn", "lith-fn"] {
        std::fs::create_dir(directory.path().join(name)).unwrap();
        std::fs::copy(test_function(), directory.path().join(name).join("bootstrap")).unwrap();
    }
    directory
}

/// Returns the path of the example that was built with this test.
fn test_function() -> PathBuf {
    let profile = PathBuf::from(env!("CARGO_BIN_EXE_watershed-local"));
    profile.with_file_name("examples").join("test_function")
}

async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if let Some(found) = condition().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("not in time: {what}");
}

/// Returns whether a process runs. A zombie does not run.
fn runs(pid: i64) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

async fn assert_message(response: Response, status: StatusCode, message: &str) {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.json::<Value>().await.unwrap(), json!({ "message": message }));
}

#[tokio::test]
async fn reads_and_writes_go_to_processes_of_their_own_as_events() {
    let stack = Stack::start(&[]);
    let read: Value = stack.get(&RESOURCES[0].item(7)).await.json().await.unwrap();
    assert_eq!(read["event"]["routeKey"], format!("GET {}", RESOURCES[0].item("{id}")));
    assert_eq!(read["event"]["requestContext"]["authorizer"]["jwt"]["claims"]["tenant_id"], "local");
    let write =
        stack.client.post(format!("{}{}", stack.url, RESOURCES[0].path())).json(&json!({"a": 1})).send().await.unwrap();
    assert!(write.headers().contains_key("apigw-requestid"));
    let write: Value = write.json().await.unwrap();
    assert_eq!(write["event"]["body"], r#"{"a":1}"#);
    assert_ne!(read["pid"], write["pid"]);
    let head = stack.client.head(format!("{}{}", stack.url, RESOURCES[0].item(7))).send().await.unwrap();
    assert_eq!((head.status(), head.text().await.unwrap().as_str()), (StatusCode::OK, ""));
}

#[tokio::test]
async fn one_client_after_another_needs_one_process() {
    let stack = Stack::start(&[]);
    for _ in 0..50 {
        assert_eq!(stack.get("/").await.status(), StatusCode::OK);
    }
    assert_eq!(stack.pids().await.len(), 1);
    let status = stack.status().await;
    assert_eq!(status["environments"][0]["invocations"], 50);
    assert_eq!(status["functions"]["read-fn"]["cold_starts"], 1);
}

#[tokio::test]
async fn a_function_sees_its_own_environment_and_nothing_else() {
    let stack = Stack::start(&[]);
    let variables: Value = stack.get("/environment").await.json().await.unwrap();
    for (name, value) in [
        ("AWS_LAMBDA_FUNCTION_NAME", "read-fn"),
        ("STAGE", "read-write"),
        ("WRITE_TABLE", "watershed-write"),
        ("COMMANDS_TABLE", "watershed-commands"),
        ("READ_TABLE", "watershed-read-v1"),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
    ] {
        assert_eq!(variables[name], value, "{name}");
    }
    for absent in ["REDIS_URL", "QUEUE_URL", "CARGO", "CARGO_MANIFEST_DIR"] {
        assert_eq!(variables.get(absent), None, "{absent}");
    }
}

#[tokio::test]
async fn processes_are_added_up_to_the_limit_and_then_requests_are_throttled() {
    let stack = Stack::start(&["--max-environments", "2"]);
    let mut requests = JoinSet::new();
    for _ in 0..3 {
        let request = stack.client.get(format!("{}/sleep/4000", stack.url)).send();
        requests.spawn(async { request.await.unwrap() });
    }
    let responses = requests.join_all().await;
    let (throttled, answered): (Vec<_>, Vec<_>) =
        responses.into_iter().partition(|response| response.status() == StatusCode::TOO_MANY_REQUESTS);
    assert_eq!((answered.len(), throttled.len()), (2, 1));
    for response in throttled {
        assert_message(response, StatusCode::TOO_MANY_REQUESTS, "Too Many Requests").await;
    }
    assert_eq!(stack.pids().await.len(), 2);
    assert_eq!(stack.status().await["functions"]["read-fn"]["throttles"], 1);
}

#[tokio::test]
async fn a_request_waits_a_little_for_a_busy_process() {
    let stack = Stack::start(&["--max-environments", "1"]);
    let slow = tokio::spawn(stack.client.get(format!("{}/sleep/700", stack.url)).send());
    until("the process is busy", || async { (!stack.pids().await.is_empty()).then_some(()) }).await;
    assert_eq!(stack.get("/").await.status(), StatusCode::OK);
    assert_eq!(slow.await.unwrap().unwrap().status(), StatusCode::OK);
    assert_eq!(stack.pids().await.len(), 1);
}

#[tokio::test]
async fn an_error_and_a_malformed_answer_of_a_function_are_internal_errors() {
    let stack = Stack::start(&[]);
    assert_message(stack.get("/error").await, StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error").await;
    let raw = stack.client.post(format!("{}/raw", stack.url)).header("content-type", "text/plain");
    let raw = raw.body(r#"{"statusCode":"x"}"#).send().await.unwrap();
    assert_message(raw, StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error").await;
    // The same process continues.
    assert_eq!(stack.get("/").await.status(), StatusCode::OK);
    assert_eq!(stack.status().await["functions"]["read-fn"]["cold_starts"], 1);
}

#[tokio::test]
async fn a_process_that_ends_during_a_request_is_an_internal_error_and_is_replaced() {
    let stack = Stack::start(&[]);
    assert_message(stack.get("/exit").await, StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error").await;
    assert_eq!(stack.get("/").await.status(), StatusCode::OK);
    let slow = tokio::spawn(stack.client.get(format!("{}/sleep/9000", stack.url)).send());
    let started = Instant::now();
    let busy = until("the process has taken the request", || async {
        let pids = stack.pids().await;
        (started.elapsed() > Duration::from_millis(300)).then(|| pids.first().copied()).flatten()
    });
    kill(Pid::from_raw(i32::try_from(busy.await).unwrap()), Signal::SIGKILL).unwrap();
    assert_eq!(slow.await.unwrap().unwrap().status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(stack.get("/").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn an_idle_process_that_has_been_killed_is_replaced() {
    let stack = Stack::start(&[]);
    for _ in 0..10 {
        assert_eq!(stack.get("/").await.status(), StatusCode::OK);
        let pid = stack.pids().await[0];
        kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
        until("it is gone", || async { (!stack.pids().await.contains(&pid)).then_some(()) }).await;
    }
    assert_eq!(stack.status().await["functions"]["read-fn"]["errors"], 0);
}

#[tokio::test]
async fn a_function_that_takes_too_long_is_killed() {
    let stack = Stack::start(&[]);
    let response = stack.get("/sleep/15000").await;
    assert_message(response, StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error").await;
    until("the process is gone", || async { stack.pids().await.is_empty().then_some(()) }).await;
    assert_eq!(stack.status().await["functions"]["read-fn"]["timeouts"], 1);
}

#[tokio::test]
async fn idle_processes_are_ended() {
    let stack = Stack::start(&["--idle-seconds", "1"]);
    assert_eq!(stack.get("/").await.status(), StatusCode::OK);
    let pid = stack.pids().await[0];
    until("the process is gone", || async { (!runs(pid)).then_some(()) }).await;
    assert_eq!(stack.get("/").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_function_that_cannot_start_is_retried_slowly_and_recovers() {
    let stack = Stack::start(&[]);
    let broken = stack.functions.path().join("read-fn").join("fail-at-start");
    std::fs::write(&broken, "").unwrap();
    for _ in 0..30 {
        assert_message(stack.get("/").await, StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error").await;
    }
    assert!(stack.status().await["functions"]["read-fn"]["init_failures"].as_u64().unwrap() <= 3);
    std::fs::remove_file(broken).unwrap();
    until("it starts again", || async { stack.get("/").await.status().is_success().then_some(()) }).await;
}

#[tokio::test]
async fn the_gateway_refuses_large_requests() {
    let stack = Stack::start(&[]);
    let large = stack
        .client
        .post(format!("{}{}", stack.url, RESOURCES[0].path()))
        .body(vec![b'a'; 10 * 1024 * 1024 + 1])
        .send()
        .await;
    assert_message(large.unwrap(), StatusCode::PAYLOAD_TOO_LARGE, "Request Entity Too Large").await;
    let head = stack.client.get(&stack.url).header("x-large", "a".repeat(11_000)).send().await.unwrap();
    assert_eq!(head.status(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert!(stack.pids().await.is_empty());
}

#[tokio::test]
async fn a_killed_stack_leaves_no_process_behind() {
    let stack = Stack::start(&[]);
    let slow = tokio::spawn(stack.client.get(format!("{}/sleep/60000", stack.url)).send());
    assert_eq!(stack.get("/").await.status(), StatusCode::OK);
    let pids = until("both processes run", || async { Some(stack.pids().await).filter(|pids| pids.len() == 2) }).await;
    stack.signal(Signal::SIGKILL);
    for pid in pids {
        until("the process is gone", || async { (!runs(pid)).then_some(()) }).await;
    }
    assert!(slow.await.unwrap().is_err());
}

#[tokio::test]
async fn a_stopped_stack_finishes_its_requests_and_leaves_no_process_behind() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut stack = Stack::start(&[]);
        let slow = tokio::spawn(stack.client.get(format!("{}/sleep/1000", stack.url)).send());
        let pids =
            until("the process runs", || async { Some(stack.pids().await).filter(|pids| !pids.is_empty()) }).await;
        stack.signal(signal);
        assert_eq!(slow.await.unwrap().unwrap().status(), StatusCode::OK);
        let exit = until("the stack has ended", || std::future::ready(stack.child.try_wait().unwrap())).await;
        assert!(exit.success());
        assert!(!pids.into_iter().any(runs));
    }
}

#[tokio::test]
async fn a_second_stack_on_the_same_port_or_directory_fails_with_one_line() {
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().to_str().unwrap();
    let stack = Stack::start_with(functions(), &["--data-dir", data_dir, "--no-redis"]);
    let message = |arguments: &[&str]| {
        let output = command(stack.functions.path(), arguments).stderr(Stdio::piped()).output().unwrap();
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let same_dir = message(&["--data-dir", data_dir, "--no-redis"]);
    assert!(same_dir.contains("is in use by another run") && same_dir.lines().count() == 1, "{same_dir}");
    let port = stack.url.rsplit(':').next().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_watershed-local")).args(["--ephemeral", "--port", port]).output();
    let same_port = String::from_utf8(output.unwrap().stderr).unwrap();
    assert_eq!(same_port, format!("port {port} is in use: choose another with --port\n"));
}

#[tokio::test]
async fn a_missing_function_or_stage_is_named() {
    let empty = tempfile::tempdir().unwrap();
    let output = command(empty.path(), &["--ephemeral", "--no-redis"]).stderr(Stdio::piped()).output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("no function read-fn in "));
    let output =
        Command::new(env!("CARGO_BIN_EXE_watershed-local")).args(["--port", "0", "--stage", "nowhere"]).output();
    assert!(String::from_utf8(output.unwrap().stderr).unwrap().contains("nowhere"));
}

#[tokio::test]
async fn a_removed_function_finishes_its_request_and_another_one_serves_those_that_wait() {
    let stack = Stack::start(&["--stage", "lambda-lith", "--max-environments", "1"]);
    let slow = tokio::spawn(stack.client.get(format!("{}/sleep/1500", stack.url)).send());
    let is_ready = async || stack.status().await["functions"]["lith-fn"]["cold_starts"] == 1;
    until("the process is busy", || async { is_ready().await.then_some(()) }).await;
    let lith = stack.pids().await[0];
    let waiting = tokio::spawn(stack.client.get(format!("{}{}", stack.url, RESOURCES[0].item(7))).send());
    let status: Value = stack.deploy("read-write").await.json().await.unwrap();
    assert_eq!((&status["stage"], &status["draining"]), (&json!("read-write"), &json!(1)));
    let responses = [waiting.await.unwrap().unwrap(), stack.get(&RESOURCES[0].item(7)).await];
    for response in responses {
        assert_ne!(response.json::<Value>().await.unwrap()["pid"], json!(lith));
    }
    let environment: Value = stack.get("/environment").await.json().await.unwrap();
    assert_eq!((&environment["STAGE"], &environment["QUEUE_URL"]), (&json!("read-write"), &Value::Null));
    assert_eq!(slow.await.unwrap().unwrap().json::<Value>().await.unwrap()["pid"], json!(lith));
    until("the process is gone", || async { (!runs(lith)).then_some(()) }).await;
    assert_eq!(stack.status().await["draining"], 0);
}

#[tokio::test]
async fn a_queue_is_polled_in_the_stages_that_have_one() {
    let stack = Stack::start(&["--stage", "read-store"]);
    assert!(stack.status().await["queue"].is_null());
    for _ in 0..2 {
        assert_eq!(stack.deploy("cqrs").await.status(), StatusCode::OK);
        let queue = Queue::of(&stack).await;
        queue.send("hello").await;
        until("the message is done", || async { (queue.left().await == 0).then_some(()) }).await;
        assert_eq!(stack.deploy("read-store").await.status(), StatusCode::OK);
        queue.send("not polled").await;
        let status = stack.status().await;
        assert!(status["queue"].is_null() && status["variables"]["QUEUE_URL"].is_null(), "{status}");
        assert_eq!(queue.left().await, 1);
    }
}

#[tokio::test]
async fn an_invalid_deployment_is_refused_and_changes_nothing() {
    let stack = Stack::start(&["--stage", "lambda-lith"]);
    for (stage, text) in [("nowhere", "`nowhere` is not a stage"), ("single-responsibility", "no function create-")] {
        let refused = stack.deploy(stage).await;
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
        let refusal: Value = refused.json().await.unwrap();
        assert!(refusal["message"].as_str().unwrap().contains(text), "{refusal}");
    }
    assert_eq!(stack.status().await["stage"], "lambda-lith");
    assert_eq!(stack.get("/").await.status(), StatusCode::OK);
}

/// The queue of a stack, through the same client as the functions.
struct Queue {
    client: aws_sdk_sqs::Client,
    url: String,
}

impl Queue {
    async fn of(stack: &Stack) -> Self {
        let url = stack.status().await["queue"]["url"].as_str().unwrap().to_owned();
        let endpoint = url.split("/0000").next().unwrap();
        Self { client: adapters::clients::sqs(&adapters::clients::local(endpoint)), url }
    }

    /// Returns the number of messages that wait or are in flight.
    async fn left(&self) -> u32 {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let request = self.client.get_queue_attributes().queue_url(&self.url).set_attribute_names(Some(names.into()));
        let counts = request.send().await.unwrap().attributes.unwrap();
        counts.values().map(|count| count.parse::<u32>().unwrap()).sum()
    }

    async fn send(&self, body: &str) {
        self.client.send_message().queue_url(&self.url).message_body(body).send().await.unwrap();
    }
}

async fn until_queue(stack: &Stack, visible: u64, in_flight: u64) {
    let wanted = json!([visible, in_flight]);
    until(&format!("the queue has {wanted}"), || async {
        let queue = &stack.status().await["queue"];
        (json!([queue["visible"], queue["in_flight"]]) == wanted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn messages_arrive_in_batches_and_only_the_failed_ones_stay() {
    let stack = Stack::start(&["--stage", "cqrs"]);
    let queue = Queue::of(&stack).await;
    for body in ["a", "fail", "b", "fail", "c"] {
        queue.send(body).await;
    }
    until_queue(&stack, 0, 2).await;
    let ingest = &stack.status().await["functions"]["ingest-fn"];
    assert!(ingest["invocations"].as_u64().unwrap() <= 5 && ingest["errors"] == 0, "{ingest}");
}

#[tokio::test]
async fn a_batch_whose_function_fails_or_dies_or_times_out_stays() {
    let stack = Stack::start(&["--stage", "cqrs"]);
    let queue = Queue::of(&stack).await;
    for (n, body) in (1..).zip(["error/", "exit/", "sleep/5000"]) {
        queue.send(body).await;
        until("the batch has failed", || async {
            (stack.status().await["functions"]["ingest-fn"]["errors"] == n).then_some(())
        })
        .await;
    }
    until_queue(&stack, 0, 3).await;
    assert_eq!(stack.status().await["functions"]["ingest-fn"]["timeouts"], 1);
}

#[tokio::test]
async fn queued_messages_survive_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--stage", "cqrs", "--no-redis", "--data-dir", directory.path().to_str().unwrap()];
    let stack = Stack::start_with(functions(), &arguments);
    let queue = Queue::of(&stack).await;
    queue.send("fail").await;
    until_queue(&stack, 0, 1).await;
    stack.signal(Signal::SIGKILL);
    drop(stack);
    let stack = Stack::start_with(functions(), &arguments);
    until_queue(&stack, 0, 1).await;
}

#[tokio::test]
async fn redis_is_restarted_at_the_same_port_and_ends_with_the_stack() {
    let stack = Stack::start_with(functions(), &["--stage", "cqrs", "--ephemeral"]);
    let redis = stack.status().await["redis"].clone();
    let Some(pid) = redis["pid"].as_i64() else {
        println!("skipped: there is no redis-server");
        return;
    };
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
    let restarted = until("redis answers again", || async {
        let redis = stack.status().await["redis"].clone();
        (redis["restarts"] == 1 && redis["hits"].is_u64()).then_some(redis)
    });
    let restarted = restarted.await;
    assert_eq!(restarted["url"], redis["url"]);
    stack.signal(Signal::SIGKILL);
    let pid = restarted["pid"].as_i64().unwrap();
    until("redis is gone", || async { (!runs(pid)).then_some(()) }).await;
}
