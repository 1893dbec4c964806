//! Checks that each function may make the calls of its start. The tables of docs/security.md list its permissions, and another test
//! compares the CDK's policies with them.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use serde_json::Value;
use service::functions::{FUNCTIONS, Function};
use service::stages::StageConfig;

use crate::docs::quoted;
use crate::harness::program::{self, Leashed};
use crate::harness::scripted::{self, Asked, Reply};

/// How long a function may take until it requests its first invocation. The machine may be busy.
const START_MAX: Duration = Duration::from_secs(60);
/// The request for an invocation, which a function sends after its start.
const NEXT: &str = "GET /2018-06-01/runtime/invocation/next";
/// The function behind the queue. It does not warm up, because no client waits for it.
const BEHIND_THE_QUEUE: &str = "ingest-fn";

/// The permissions of each function at each stage: an action and a resource, by the document's names.
type Matrix = BTreeMap<(String, String), Vec<(String, String)>>;

#[test]
fn each_function_opens_its_first_connection_by_a_call_that_the_document_allows_it() {
    let (documented, mut wrong) = (documented(), Vec::new());
    for row in StageConfig::all().unwrap() {
        for binary in row.binaries.iter().filter(|binary| *binary != BEHIND_THE_QUEUE) {
            // If no resource has actions, there is no function for them.
            let Some(function) = FUNCTIONS.iter().find(|function| function.binary == binary) else { continue };
            let allowed = documented.get(&(row.stage.clone(), binary.clone()));
            let allowed = allowed.unwrap_or_else(|| panic!("docs/security.md has no {binary} at {row}"));
            let knows_records = allowed.iter().any(|(_, on)| on == "commands table");
            let asked = first_calls(function, &row.stage, knows_records);
            assert!(!asked.is_empty(), "{binary} at {row} does not warm up");
            let beyond = asked.into_iter().filter(|call| !allowed.contains(call));
            wrong.extend(beyond.map(|(action, on)| format!("{binary} at {row} begins with {action} on the {on}")));
        }
    }
    assert!(wrong.is_empty(), "docs/security.md allows none of these: {wrong:#?}");
}

/// Reads the tables of docs/security.md. A heading names stages; a line has a function, a resource and actions.
fn documented() -> Matrix {
    let text = std::fs::read_to_string(program::workspace().join("docs/security.md")).unwrap();
    let (mut rows, mut matrix) = (Vec::<String>::new(), Matrix::new());
    for line in text.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        match cells.as_slice() {
            [heading] if heading.starts_with('#') => rows = quoted(heading).map(str::to_owned).collect(),
            [_, function, on, actions, _, _] => {
                for row in &rows {
                    let may = matrix.entry((row.clone(), (*function).to_owned())).or_default();
                    may.extend(quoted(actions).map(|action| (action.to_owned(), (*on).to_owned())));
                }
            }
            _ => {}
        }
    }
    matrix
}

/// Starts a function as Lambda does. Returns its calls to AWS before it requests an invocation.
fn first_calls(function: &Function, stage: &str, knows_records: bool) -> Vec<(String, String)> {
    let (calls, called) = mpsc::channel();
    let (ready, is_ready) = mpsc::channel();
    let url = scripted::serve(move |asked| reply(asked, &calls, &ready));
    let name = |name: &str, value: &str| format!("{name}={value}");
    let mut arguments = vec![
        name("AWS_LAMBDA_RUNTIME_API", url.trim_start_matches("http://")),
        name("AWS_LAMBDA_FUNCTION_NAME", function.binary),
        name("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        name("AWS_LAMBDA_FUNCTION_VERSION", "1"),
        name("AWS_LAMBDA_LOG_GROUP_NAME", "log"),
        name("AWS_LAMBDA_LOG_STREAM_NAME", "log"),
        name("AWS_ENDPOINT_URL", &url),
        name("AWS_REGION", "us-east-1"),
        name("AWS_ACCESS_KEY_ID", "x"),
        name("AWS_SECRET_ACCESS_KEY", "y"),
        name("SIGNING_KEYS", "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        name("STAGE", stage),
        name("WRITE_TABLE", "write"),
        name("READ_TABLE", "read-v1"),
        name("QUEUE_URL", &format!("{url}/0/queue")),
        name("VISIBILITY_TIMEOUT_SECONDS", "60"),
    ];
    arguments.extend(function.resource.map(|resource| name("RESOURCE", resource)));
    arguments.extend(function.action.map(|action| name("ACTION", action)));
    arguments.extend(knows_records.then(|| name("COMMANDS_TABLE", "commands")));
    arguments.push(program::function(function.binary).to_str().unwrap().to_owned());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (process, _) = Leashed::start(&program::find("env").unwrap(), &arguments, Stdio::inherit);
    let started = is_ready.recv_timeout(START_MAX);
    process.kill();
    assert!(started.is_ok(), "{} at {stage} did not ask for an invocation", function.binary);
    called.try_iter().collect()
}

/// Answers every call with an empty result, and never with an invocation.
fn reply(asked: &Asked, calls: &Sender<(String, String)>, ready: &Sender<()>) -> Reply {
    if asked.what == NEXT {
        // The test may have stopped listening.
        let _ = ready.send(());
        return Reply::Never;
    }
    let _ = calls.send(call(asked));
    Reply::Json(200, "{}".to_owned())
}

/// Returns the action and the resource of a call, by the document's names.
fn call(asked: &Asked) -> (String, String) {
    let target = asked.header("x-amz-target").unwrap_or(&asked.what);
    let (service, operation) = target.split_once('.').unwrap_or(("", target));
    let request: Value = serde_json::from_slice(&asked.body).unwrap_or_default();
    let table = match &request["RequestItems"] {
        Value::Object(tables) => tables.keys().next().map(String::as_str),
        _ => request["TableName"].as_str(),
    };
    let table = table.unwrap_or_default().trim_end_matches("-v1");
    let indexes = if request["IndexName"].is_string() { "'s indexes" } else { "" };
    match service {
        "DynamoDB_20120810" => (format!("dynamodb:{operation}"), format!("{table} table{indexes}")),
        _ => (target.to_owned(), asked.what.clone()),
    }
}
