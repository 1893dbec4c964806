//! Tests for the operators' command line, with a real stack.

mod migrate;
mod rebuild;
mod restore;
mod runbooks;

use std::path::Path;
use std::process::{self, Output};
use std::time::Instant;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::harness::{Api, Item, Stack, Variant, check, eventually, program, run, seed, unique};
use crate::sample;

/// A separate stack, because these tests damage the stored data.
struct Target {
    stack: Stack,
    dir: TempDir,
}

/// The output of the command line.
#[derive(Debug)]
struct ToolOutput {
    code: i32,
    json: Value,
    error: String,
}

impl Target {
    fn start(variant: Variant) -> Self {
        Self::start_with(variant, &["--ephemeral"])
    }

    fn start_with(variant: Variant, arguments: &[&str]) -> Self {
        Self { stack: Stack::start(variant, arguments), dir: tempfile::tempdir().unwrap() }
    }

    /// Runs `watershed --json` with these arguments, in a separate folder.
    async fn watershed(&self, arguments: &[&str]) -> ToolOutput {
        output_of(command(self.dir.path()).args(["--stack", &self.stack.service.url]).args(arguments)).await
    }

    /// Runs `watershed --json` as on AWS, without a local stack: with the functions' variables, except those in `without`.
    async fn elsewhere<'a>(&'a self, without: &'a [&str]) -> impl AsyncFn(&[&str]) -> ToolOutput {
        let variables = self.stack.status().await["variables"].as_object().unwrap().clone();
        let credentials = [("AWS_REGION", "us-east-1"), ("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "y")];
        async move |arguments| {
            let variables = variables.iter().filter(|(name, _)| !without.contains(&name.as_str()));
            let variables = variables.map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
            output_of(command(self.dir.path()).envs(variables).envs(credentials).args(arguments)).await
        }
    }

    async fn place(&self, variable: &str) -> String {
        self.stack.status().await["variables"][variable].as_str().unwrap().to_owned()
    }

    async fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        let url = self.place("AWS_ENDPOINT_URL_DYNAMODB").await;
        adapters::clients::dynamodb(&adapters::clients::local(&url))
    }

    async fn sqs(&self) -> aws_sdk_sqs::Client {
        adapters::clients::sqs(&adapters::clients::local(&self.place("AWS_ENDPOINT_URL_SQS").await))
    }
}

impl ToolOutput {
    /// Asserts one line with this text, and the exit code of a refused operation.
    fn is_refused(&self, says: &str) {
        assert_eq!((self.code, self.error.trim_end().lines().count()), (3, 1), "{self:?}");
        assert!(self.error.contains(says), "{self:?} does not say {says:?}");
        self.is_an_error();
    }

    /// Asserts that the same error is on stdout, as JSON for scripts.
    fn is_an_error(&self) {
        let error = &self.json["error"];
        assert_eq!(error["exit_code"], self.code, "{self:?}");
        let message = error["message"].as_str().unwrap_or_else(|| panic!("{self:?}"));
        assert_eq!(self.error.trim_end(), format!("watershed: {message}"), "{self:?}");
    }
}

/// Returns `watershed --json`, to run in this folder.
pub fn command(dir: &Path) -> Command {
    let mut command = Command::from(program::leashed(program::watershed()));
    command.env_clear().current_dir(dir).arg("--json");
    command
}

async fn output_of(command: &mut Command) -> ToolOutput {
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    let error = String::from_utf8_lossy(&stderr).into_owned();
    let json = serde_json::from_slice(&stdout).unwrap_or_default();
    ToolOutput { code: status.code().unwrap_or_else(|| panic!("killed: {error}")), json, error }
}

async fn item(api: &Api) -> Item {
    api.any_item().await
}

fn key(item: &Item) -> AttributeValue {
    AttributeValue::S(format!("{}#local#{}", sample::main().resource.kind, item.id))
}

#[test]
fn verify_finds_what_differs_and_repairs_it() {
    let target = Target::start(Variant::Cqrs);
    check(&target.stack, async {
        let api = target.stack.api();
        let (deleted, outdated, altered, orphaned, cached, fine) = (
            item(&api).await,
            item(&api).await,
            item(&api).await,
            item(&api).await,
            item(&api).await,
            item(&api).await,
        );
        let output = target.watershed(&["verify"]).await;
        assert_eq!(
            (output.code, &output.json["items"], &output.json["differences"]),
            (0, &json!(6), &json!(0)),
            "{output:?}"
        );

        let (dynamodb, write, read) =
            (target.dynamodb().await, target.place("WRITE_TABLE").await, target.place("READ_TABLE").await);
        dynamodb.delete_item().table_name(&read).key("pk", key(&deleted)).send().await.unwrap();
        let set = async |item: &Item, attribute: &str, value: AttributeValue| {
            let update = dynamodb.update_item().table_name(&read).key("pk", key(item));
            let update = update.update_expression("SET #a = :v").expression_attribute_names("#a", attribute);
            update.expression_attribute_values(":v", value).send().await.unwrap();
        };
        set(&outdated, "version", AttributeValue::N("0".to_owned())).await;
        set(&altered, "body", AttributeValue::B(Blob::new(b"{}".as_slice()))).await;
        dynamodb.delete_item().table_name(&write).key("pk", key(&orphaned)).send().await.unwrap();
        set_in_redis(&target.place("REDIS_URL").await, &cached, "V00000000000000000009|b|1|{}");

        let output = target.watershed(&["verify"]).await;
        let kinds =
            json!({"view_missing": 1, "view_older": 1, "view_differs": 1, "view_orphaned": 1, "cache_differs": 1});
        assert_eq!((output.code, &output.json["by_kind"]), (1, &kinds), "{output:?}");
        assert!(!output.json["shown"].to_string().contains(&fine.id));

        let output = target.watershed(&["verify", "--repair", "--dry-run"]).await;
        assert_eq!((output.code, &output.json["repaired"]), (1, &json!(5)), "{output:?}");
        let output = target.watershed(&["verify", "--repair"]).await;
        assert_eq!(
            (output.code, &output.json["differences"], &output.json["repaired"]),
            (0, &json!(5), &json!(5)),
            "{output:?}"
        );
        let output = target.watershed(&["verify"]).await;
        assert_eq!(
            (output.code, &output.json["items"], &output.json["differences"]),
            (0, &json!(5), &json!(0)),
            "{output:?}"
        );
        for item in [&deleted, &outdated, &altered, &cached] {
            assert_eq!(api.reread(item).await.body, item.body);
        }
    });
}

fn set_in_redis(url: &str, item: &Item, entry: &str) {
    let arguments = ["-u", url, "SET", &format!("v1#{}#local#{}", sample::main().resource.kind, item.id), entry];
    let done = process::Command::new("redis-cli").args(arguments).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[test]
#[ignore = "long: make test-full"]
fn verify_compares_twenty_thousand_items() {
    let target = Target::start(Variant::Cqrs);
    check(&target.stack, async {
        seed::items(&target.stack, 20_000).await;
        let began = Instant::now();
        let output = target.watershed(&["verify", "--segments", "8"]).await;
        assert_eq!((output.code, &output.json["items"], &output.json["views"]), (0, &json!(20_000), &json!(20_000)));
        println!("verify compared 20,000 items in {:?}", began.elapsed());
    });
}

#[test]
fn verify_calls_what_is_on_its_way_lag_and_not_a_difference() {
    let target = Target::start(Variant::Cqrs);
    check(&target.stack, async {
        let api = target.stack.api();
        let busy = item(&api).await;
        let writes = async {
            for _ in 0..60 {
                api.patch(&busy.path, &sample::main().patch(&unique("busy"))).send().await.expect(202);
            }
        };
        let ((), output) = futures::future::join(writes, target.watershed(&["verify"])).await;
        assert_eq!((output.code, &output.json["differences"]), (0, &json!(0)), "{output:?}");
    });
}

/// Returns a command for an existing item, as a message of the queue.
fn envelope(item: &Item, name: &str) -> String {
    let at = 1_790_000_000_000_000_u64 + u64::from(rand::random::<u32>());
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let at = at.max(u64::try_from(now.as_micros()).unwrap());
    sample::main().message(&item.id, at, &json!({"update": sample::main().patch(name)})).to_string()
}

/// Sends a message directly to the dead-letter queue.
async fn die(target: &Target, body: &str) -> String {
    let (sqs, url) = (target.sqs().await, target.place("DEAD_LETTER_QUEUE_URL").await);
    let mut send = sqs.send_message().queue_url(url).message_body(body);
    if target.stack.service.variant == Variant::CqrsFifo {
        send = send.message_group_id(unique("group")).message_deduplication_id(unique("deduplication"));
    }
    send.send().await.unwrap().message_id.unwrap()
}

#[test]
fn dead_letters_are_listed_marked_sent_back_and_discarded() {
    for variant in [Variant::Cqrs, Variant::CqrsFifo] {
        let target = Target::start(variant);
        check(&target.stack, dead_letters_end_well(&target));
    }
}

async fn dead_letters_end_well(target: &Target) {
    let api = target.stack.api();
    let item = item(&api).await;
    let name = unique("redriven");
    let bodies = [envelope(&item, &name), envelope(&item, "discarded"), "poison".to_owned()];
    let mut ids = Vec::new();
    for body in &bodies {
        ids.push(die(target, body).await);
    }
    let command_of =
        |body: &str| serde_json::from_str::<Value>(body).unwrap()["stamp"]["command"].as_str().unwrap().to_owned();

    let output = target.watershed(&["queue"]).await;
    assert_eq!((output.code, &output.json["dead_letters"]["visible"]), (1, &json!(3)), "{output:?}");
    // Twice: the list must make the messages visible again.
    for _ in 0..2 {
        let output = target.watershed(&["dlq", "list"]).await;
        let mut found: Vec<_> =
            output.json.as_array().unwrap().iter().map(|letter| letter["message_id"].as_str().unwrap()).collect();
        found.sort_unstable();
        let mut due: Vec<_> = ids.iter().map(String::as_str).collect();
        due.sort_unstable();
        assert_eq!((output.code, found), (1, due));
    }
    let output = target.watershed(&["dlq", "show", &ids[0]]).await;
    assert_eq!((&output.json["status"], &output.json["item"]), (&json!("no record"), &json!(item.path)), "{output:?}");
    assert_eq!(output.json["body"]["command"], json!({"update": sample::main().patch(&name)}));

    let output = target.watershed(&["dlq", "sync", "--dry-run"]).await;
    assert_eq!((&output.json["done"], &output.json["unreadable"]), (&json!(2), &json!(1)), "{output:?}");
    let output = target.watershed(&["dlq", "sync"]).await;
    assert_eq!((output.code, &output.json["done"], &output.json["left"]), (0, &json!(2), &json!(0)), "{output:?}");
    let output = target.watershed(&["dlq", "sync"]).await;
    assert_eq!((&output.json["done"], &output.json["left"]), (&json!(0), &json!(2)), "{output:?}");
    let output = target.watershed(&["command", "show", &command_of(&bodies[0])]).await;
    assert_eq!((output.code, &output.json["record"]["status"]), (0, &json!("failed")), "{output:?}");

    let output = target.watershed(&["dlq", "redrive", &ids[0], "--operator", "ada"]).await;
    assert_eq!((output.code, &output.json["done"], &output.json["left"]), (0, &json!(1), &json!(2)), "{output:?}");
    eventually("the redriven command is applied", async || {
        let output = target.watershed(&["command", "show", &command_of(&bodies[0])]).await;
        (output.json["record"]["status"] == "applied").then_some(())
    })
    .await;
    eventually("it can be read", async || {
        let changed = sample::main().changed;
        let read = api.get(&item.path).send().await.json();
        (read[changed.name] == sample::main().value(changed, &name)).then_some(())
    })
    .await;

    let output = target.watershed(&["dlq", "discard", "--all"]).await;
    assert_eq!((output.code, &output.json["done"]), (0, &json!(2)), "{output:?}");
    let output = target.watershed(&["dlq", "list"]).await;
    assert_eq!((output.code, &output.json), (0, &json!([])), "{output:?}");
    let output = target.watershed(&["command", "show", &command_of(&bodies[1])]).await;
    assert_eq!(output.json["record"]["status"], "failed", "{output:?}");

    let log = std::fs::read_to_string(target.dir.path().join("watershed-audit.jsonl")).unwrap();
    let log: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        (&log[0]["who"], &log[0]["what"], &log[0]["message_id"]),
        (&json!("ada"), &json!("redrive"), &json!(ids[0]))
    );
    assert_eq!(log.len(), 3);
    assert!(log.iter().any(|line| line["what"] == "discard" && line["body"] == "poison"));
}

#[test]
fn an_item_and_a_command_are_shown_in_all_stores_at_once() {
    let target = Target::start(Variant::Cqrs);
    check(&target.stack, async {
        let api = target.stack.api();
        let item = item(&api).await;
        eventually("the view is cached", async || {
            api.get(&item.path).send().await.expect(200);
            let output = target.watershed(&["item", "show", &item.path]).await;
            let versions = ["state", "view", "cached"].map(|part| output.json[part]["version"].clone());
            (output.code == 0 && versions == [json!(1), json!(1), json!(1)]).then_some(())
        })
        .await;
        let output = target.watershed(&["item", "show", &item.path, "--tenant", "another"]).await;
        assert_eq!((output.code, &output.json["state"]), (1, &Value::Null), "{output:?}");
    });
}

#[test]
fn an_item_is_shown_where_there_is_no_read_store() {
    let target = Target::start(Variant::LambdaLith);
    check(&target.stack, async {
        let item = item(&target.stack.api()).await;
        let output = target.elsewhere(&["READ_TABLE"]).await(&["item", "show", &item.path]).await;
        let versions = ["state", "view"].map(|part| output.json[part]["version"].clone());
        assert_eq!((output.code, versions), (0, [json!(1), Value::Null]), "{output:?}");
    });
}

#[test]
fn what_cannot_be_done_is_said_in_one_line_with_an_exit_code() {
    let target = Target::start(Variant::Cqrs);
    check(&target.stack, async {
        refusals_without_a_site(target.dir.path()).await;
        refusals_at_a_site(&target).await;
    });
}

async fn refusals_without_a_site(dir: &Path) {
    let nowhere = [
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:9"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "y"),
    ];
    let (shape, malformed) = (sample::main().resource.item("<id>"), sample::main().resource.item("7"));
    let refusals: [(&[&str], &str); 11] = [
        (&["--stack", "http://127.0.0.1:9", "queue"], "no local stack answers"),
        (&["verify"], "--read-table or READ_TABLE"),
        (&["verify", "--read-table", "views"], "must end in -v1"),
        (&["queue"], "--queue-url or QUEUE_URL"),
        (&["migrate", "advance", "--to", "read-write"], "--stage or STAGE"),
        (&["dlq", "list"], "--dead-letter-queue-url"),
        (&["verify", "--write-table", "w", "--read-table", "r-v1"], "no server answers"),
        (&["command", "show", "nonsense"], "is not a command id"),
        (&["item", "show", "nonsense"], &shape),
        (&["item", "show", "/nowhere/01a1fd43-133d-7699-a058-4496c435e7ef"], "is not the path of an item"),
        (&["item", "show", &malformed], "is not the path of an item"),
    ];
    for (arguments, says) in refusals {
        output_of(command(dir).args(arguments).envs(nowhere)).await.is_refused(says);
    }
    for wrong in [&["dlq", "redrive"][..], &["verify", "--segments", "0"], &["no-such-command"]] {
        let wrong = output_of(command(dir).args(wrong)).await;
        assert_eq!(wrong.code, 2, "{wrong:?}");
        wrong.is_an_error();
    }
    let help = command(dir).arg("--help").output().await.unwrap();
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("Usage: watershed"), "{help:?}");
}

/// Every subcommand except `item show`.
const COMMANDS: [&[&str]; 19] = [
    &["verify"],
    &["verify", "--repair"],
    &["rebuild", "build", "--to", "2"],
    &["rebuild", "flip"],
    &["rebuild", "rollback"],
    &["rebuild", "finish"],
    &["rebuild", "status"],
    &["reindex"],
    &["migrate", "plan", "--to", "read-store"],
    &["migrate", "advance", "--to", "read-store"],
    &["migrate", "status"],
    &["migrate", "rollback"],
    &["dlq", "list"],
    &["dlq", "show", "x"],
    &["dlq", "sync"],
    &["dlq", "redrive", "--all"],
    &["dlq", "discard", "--all"],
    &["queue"],
    &["command", "show", "01a1fd43-133d-7699-a058-4496c435e7ef"],
];

#[test]
fn every_command_says_in_one_line_that_nothing_answers_or_that_its_credentials_are_not_accepted() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let refusing = refuse_credentials().await;
        let queue = format!("{refusing}/0/queue");
        let variables = [
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL", &refusing),
            ("STAGE", "redis-cache"),
            ("WRITE_TABLE", "w"),
            ("COMMANDS_TABLE", "c"),
            ("READ_TABLE", "r-v1"),
            ("QUEUE_URL", &queue),
            ("DEAD_LETTER_QUEUE_URL", &queue),
        ];
        let credentials = [("AWS_ACCESS_KEY_ID", "x"), ("AWS_SECRET_ACCESS_KEY", "y")];
        let item = sample::main().resource.item("01a1fd43-133d-7699-a058-4496c435e7ef");
        for arguments in COMMANDS.into_iter().chain([&["item", "show", &item][..]]) {
            let output = output_of(command(dir.path()).args(["--stack", "http://127.0.0.1:9"]).args(arguments)).await;
            output.is_refused("no local stack answers");
            // `rebuild rollback` sends no request: the operator deploys.
            if *arguments != ["rebuild", "rollback"] {
                let mut asked = command(dir.path());
                asked.envs(variables).envs(credentials).args(arguments);
                // A migration and a rebuild exclude each other.
                if arguments[0] != "migrate" {
                    asked.env("OTHER_READ_TABLE", "r-v2");
                }
                output_of(&mut asked).await.is_refused("the credentials are not accepted");
            }
        }
        let nobody = [("AWS_EC2_METADATA_DISABLED", "true"), ("HOME", "/nonexistent")];
        output_of(command(dir.path()).envs(variables).envs(nobody).arg("verify"))
            .await
            .is_refused("no credentials were found");
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none(), "something was written");
    });
}

/// Starts a server that answers every request as AWS answers wrong credentials. Returns its URL.
async fn refuse_credentials() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = r#"{"__type":"com.amazon.coral.service#UnrecognizedClientException","message":"invalid token"}"#;
    let kind = "content-type: application/x-amz-json-1.0";
    let answer = format!("HTTP/1.1 400 Bad Request\r\n{kind}\r\nconnection: close\r\n");
    let answer = format!("{answer}content-length: {}\r\n\r\n{body}", body.len());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 8192];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    url
}

async fn refusals_at_a_site(target: &Target) {
    let output = target.watershed(&["verify", "--write-table", "nope"]).await;
    assert!(output.code == 3 && output.error.contains("there is no such table"), "{output:?}");
    let output = target.watershed(&["dlq", "list", "--dead-letter-queue-url", "http://127.0.0.1:9/0/nope"]).await;
    assert_eq!(output.code, 3, "{output:?}");
    let letter = die(target, "poison").await;
    let output = target.watershed(&["dlq", "discard", &letter, "--audit-log", "/nonexistent/log"]).await;
    assert!(output.code == 3 && output.error.contains("nothing was done"), "{output:?}");
    let output = target.watershed(&["dlq", "discard", "another"]).await;
    assert!(output.code == 3 && output.error.contains("watershed dlq list"), "{output:?}");
    assert_eq!(target.watershed(&["queue"]).await.json["dead_letters"]["visible"], 1);
}
