//! Tests for the lambda-lith outside Lambda, as a plain HTTP server in a container; and for the files of the container's build.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use adapters::contract::port;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::client::shows;
use crate::harness::{Api, Stack, Variant, check, eventually, program, raw, unique};
use crate::sample;

/// An address without a server.
const NOWHERE: &str = "http://127.0.0.1:9";
/// The key is 32 zero bytes.
const SIGNING_KEYS: &str = "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// Returns the command that starts the server at this port.
fn server(dynamodb: &str, port: u16) -> Command {
    let mut command = Command::new(program::watershed_local());
    command.args(["function", "--parent", &std::process::id().to_string(), "lith-fn"]).env_clear();
    command.envs([
        ("LISTEN_ADDR", format!("127.0.0.1:{port}").as_str()),
        ("TENANT", "local"),
        ("SUBJECT", "container"),
        ("STAGE", "lambda-lith"),
        ("WRITE_TABLE", "watershed-write"),
        ("COMMANDS_TABLE", "watershed-commands"),
        ("SIGNING_KEYS", SIGNING_KEYS),
        ("AWS_ENDPOINT_URL_DYNAMODB", dynamodb),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// A server process. Its drop kills the process.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_lith_serves_connections_outside_lambda_and_ends_when_told_to() {
    let stack = Stack::start(Variant::LambdaLith, &["--ephemeral"]);
    let port = port::unused();
    let mut running = Running(server(&stack.endpoint("dynamodb"), port).spawn().unwrap());
    check(&stack, async {
        let api = Api::new(&format!("http://127.0.0.1:{port}"));
        eventually("the server listens", async || api.get("/health").try_send().await.ok()).await;
        let item = api.any_item().await;
        api.patch(&item.path, &sample::main().patch("Container")).if_match("\"1\"").send().await.expect(200);
        api.post(&sample::main().path, &json!({})).send().await.expect(422);
        api.get("/nowhere").send().await.expect(404);
        // The function in Lambda reads the same data.
        let read = stack.api().get(&item.path).send().await.expect(200).json();
        shows(&read, &sample::main().patch("Container"));
        program::send_signal(running.0.id(), Signal::SIGTERM);
        let status = eventually("the server ends", async || running.0.try_wait().unwrap()).await;
        assert!(status.success(), "{status}");
    });
}

/// The health check must pass: a load balancer removes a server that does not answer.
#[tokio::test]
async fn the_server_is_healthy_while_its_stores_are_away() {
    let port = port::unused();
    let _running = Running(server(NOWHERE, port).spawn().unwrap());
    let api = Api::new(&format!("http://127.0.0.1:{port}"));
    let health = eventually("the server listens", async || api.get("/health").try_send().await.ok()).await;
    health.expect(200);
}

#[test]
fn what_the_server_has_begun_it_finishes_when_it_is_told_to_stop() {
    let stack = Stack::start(Variant::LambdaLith, &["--ephemeral"]);
    let port = port::unused();
    let mut running = Running(server(&stack.endpoint("dynamodb"), port).spawn().unwrap());
    check(&stack, async {
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        let mut connection = eventually("the server listens", async || connect().ok()).await;
        connection.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let word = unique("late");
        let body = sample::main().body(&word).to_string();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
            Expect: 100-continue\r\n\r\n",
            sample::main().path,
            body.len()
        );
        connection.write_all(head.as_bytes()).unwrap();
        // The server asks for the body when the handler reads it.
        let expected = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut reported = vec![0; expected.len()];
        connection.read_exact(&mut reported).unwrap();
        assert_eq!(reported, expected);
        program::send_signal(running.0.id(), Signal::SIGTERM);
        eventually("the server takes no more connections", async || connect().is_err().then_some(())).await;
        connection.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        let status = eventually("the server ends", async || running.0.try_wait().unwrap()).await;
        assert!(status.success(), "{status}");
    });
}

/// Starts the server at this port, and waits until it listens.
pub async fn listening(dynamodb: &str, port: u16, base_path: Option<&str>) -> Running {
    let mut command = server(dynamodb, port);
    command.envs(base_path.map(|path| ("BASE_PATH", path)));
    let running = Running(command.spawn().unwrap());
    eventually("the server listens", async || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()).await;
    running
}

/// Incomplete requests, of slow or vanished clients, get a 408. They do not delay a shutdown.
#[tokio::test]
async fn half_a_head_and_half_a_body_get_a_408_and_keep_no_server_from_its_end() {
    let port = port::unused();
    let mut running = listening(NOWHERE, port, None).await;
    let began = Instant::now();
    let head = format!("POST {} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n", sample::main().path);
    let begun = [
        raw::begin(port, "G"),
        raw::begin(port, &head),
        raw::begin(port, &format!("{head}Content-Length: 9\r\n\r\n{{")),
        raw::begin(port, &format!("{head}Transfer-Encoding: chunked\r\n\r\n9\r\n{{")),
        // The incomplete head of a connection's second request.
        raw::begin(port, &format!("GET /health HTTP/1.1\r\nHost: x\r\n\r\n{head}")),
    ];
    let idle = raw::begin(port, "");
    // The server answers a later request, so it has read the earlier ones.
    raw::status(port, "GET /health HTTP/1.0\r\n\r\n");
    program::send_signal(running.0.id(), Signal::SIGTERM);
    for (index, connection) in begun.into_iter().enumerate() {
        let answer = raw::answer(connection);
        let answer = if index == 4 { &answer[answer.find('}').unwrap() + 1..] } else { &answer };
        assert!(answer.is_empty() && index == 4 || answer.starts_with("HTTP/1.1 408 "), "{index}: {answer}");
        assert!(answer.is_empty() || answer.to_ascii_lowercase().contains("connection: close"), "{index}: {answer}");
    }
    assert_eq!(raw::answer(idle), "");
    let status = eventually("the server ends", async || running.0.try_wait().unwrap()).await;
    assert!(status.success() && began.elapsed() < Duration::from_secs(25), "{status} after {:?}", began.elapsed());
}

/// A load balancer keeps connections open for later requests. It answers 502 if the server closes one first.
#[tokio::test]
async fn a_connection_may_be_idle_for_longer_than_a_head_may_take() {
    let port = port::unused();
    let _running = listening(NOWHERE, port, None).await;
    let request = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut connection = raw::begin(port, request);
    for _ in 0..2 {
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") {
            let mut byte = [0];
            connection.read_exact(&mut byte).unwrap();
            answer.push(byte[0]);
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{answer:?}");
        // The test needs the real time to pass.
        tokio::time::sleep(Duration::from_secs(7)).await;
        connection.write_all(request.as_bytes()).unwrap();
    }
}

#[tokio::test]
async fn the_server_wants_one_valid_host() {
    let port = port::unused();
    let _running = listening(NOWHERE, port, None).await;
    raw::check_host(port);
}

#[test]
fn links_of_a_server_under_a_base_path_begin_with_it_and_a_request_is_the_same_there() {
    let stack = Stack::start(Variant::LambdaLith, &["--ephemeral"]);
    let port = port::unused();
    check(&stack, async {
        let _running = listening(&stack.endpoint("dynamodb"), port, Some("/v1")).await;
        let api = Api::new(&format!("http://127.0.0.1:{port}"));
        api.get("/v1/health").send().await.expect(200);
        let create = || {
            let word = unique("based");
            sample::main().body(&word)
        };
        let (body, key) = (create(), unique("key"));
        let under = format!("/v1{}", sample::main().path);
        let first = api.post(&under, &body).idempotency_key(&key).send_unchecked().await.expect(201);
        let location = first.header("location").to_owned();
        assert!(location.starts_with(&format!("{under}/")), "{location}");
        api.get(&location).send().await.expect(200);
        // The same path without the base path is the same command.
        let again = api.post(&sample::main().path, &body).idempotency_key(&key).send_unchecked().await.expect(201);
        assert_eq!(again.header("idempotency-replayed"), "true");
        assert_eq!(again.header("location"), location.strip_prefix("/v1").unwrap());
        api.post(&under, &create()).send_unchecked().await.expect(201);
        let list = api.get(&format!("{under}?limit=1")).send().await.expect(200);
        let next = list.header("link").strip_prefix('<').unwrap().split('>').next().unwrap().to_owned();
        assert!(next.starts_with(&format!("{under}?limit=1&cursor=")), "{next}");
        api.get(&next).send().await.expect(200);
        api.get("/v1").send().await.expect(404);
        api.get("/v2/health").send().await.expect(404);
    });
}

/// Returns the instructions in a file of lith-fn.
fn lines(file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(program::workspace().join("lith-fn").join(file)).unwrap();
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(ToOwned::to_owned).collect()
}

#[test]
fn the_container_is_built_from_what_there_is_with_the_compiler_of_the_repository() {
    let root = program::workspace();
    let dockerfile = lines("Dockerfile");
    let copied: Vec<_> = dockerfile
        .iter()
        .filter_map(|line| line.strip_prefix("COPY ").filter(|rest| !rest.starts_with("--from")))
        .flat_map(|rest| rest.rsplit_once(' ').unwrap().0.split(' '))
        .collect();
    for path in &copied {
        assert!(root.join(path).exists(), "{path} is copied, and is not there");
    }
    let ignored = lines("Dockerfile.dockerignore");
    let sent: Vec<_> = ignored.iter().filter_map(|line| line.strip_prefix('!')).collect();
    assert_eq!(sent, copied, "what is sent to the builder is what is copied");
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let members = manifest.split("members = [").nth(1).unwrap().split(']').next().unwrap().split('"');
    for member in members.skip(1).step_by(2) {
        assert!(copied.iter().any(|path| Path::new(member).starts_with(path)), "{member} is not copied");
    }
    let toolchain = std::fs::read_to_string(root.join("rust-toolchain.toml")).unwrap();
    let channel = toolchain.split("channel = \"").nth(1).unwrap().split('"').next().unwrap();
    assert!(dockerfile[0].starts_with(&format!("FROM rust:{channel}-")), "{} is not {channel}", dockerfile[0]);
    assert!(dockerfile.iter().any(|line| line == "USER nonroot"), "it runs as root");
}

#[test]
fn the_lith_says_what_it_lacks_outside_lambda() {
    let ended = server("http://127.0.0.1:9", 0).env_remove("TENANT").output().unwrap();
    let output = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && output.contains("TENANT is not set"), "{output}");
    let ended = server("http://127.0.0.1:9", 0).env_remove("WRITE_TABLE").env_remove("SIGNING_KEYS").output().unwrap();
    let output = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        output.contains("WRITE_TABLE is not set")
            && output.contains("SIGNING_KEYS and SIGNING_KEYS_SECRET must be set"),
        "{output}"
    );
}
