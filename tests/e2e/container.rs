//! The lambda-lith outside Lambda: a plain HTTP server, as in a container; and what the container is built from.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use adapters::contract::port;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Api, Stack, Variant, check, eventually, program, unique};
use crate::sample::{PATH, TEXT, full_body, value};

/// 32 zero bytes.
const SIGNING_KEYS: &str = "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

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

/// Ends with the test.
struct Running(Child);

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
        let user = api.any_user().await;
        api.patch(&user.path, &json!({TEXT: "Container"})).if_match("\"1\"").send().await.expect(200);
        api.post(PATH, &json!({})).send().await.expect(422);
        api.get("/nowhere").send().await.expect(404);
        // The same data, through the function in Lambda's place.
        let read = stack.api().get(&user.path).send().await.expect(200).json();
        assert_eq!(read[TEXT], "Container");
        program::send_signal(running.0.id(), Signal::SIGTERM);
        let status = eventually("the server ends", async || running.0.try_wait().unwrap()).await;
        assert!(status.success(), "{status}");
    });
}

/// A load balancer asks it all the time, and takes away what does not answer.
#[tokio::test]
async fn the_server_is_healthy_while_its_stores_are_away() {
    let port = port::unused();
    let _running = Running(server("http://127.0.0.1:9", port).spawn().unwrap());
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
        let body = full_body(&word, &value(&word)).to_string();
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
            Expect: 100-continue\r\n\r\n",
            body.len()
        );
        connection.write_all(head.as_bytes()).unwrap();
        // It asks for the body once the handler waits for it.
        let expected = b"HTTP/1.1 100 Continue\r\n\r\n";
        let mut told = vec![0; expected.len()];
        connection.read_exact(&mut told).unwrap();
        assert_eq!(told, expected);
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

/// The instructions in a file of lith-fn.
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
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && said.contains("TENANT is not set"), "{said}");
    let ended = server("http://127.0.0.1:9", 0).env_remove("WRITE_TABLE").env_remove("SIGNING_KEYS").output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        said.contains("WRITE_TABLE is not set") && said.contains("SIGNING_KEYS or SIGNING_KEYS_SECRET must be set"),
        "{said}"
    );
}
