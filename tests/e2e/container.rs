//! The lambda-lith outside Lambda: a plain HTTP server, as in a container.

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::harness::{Api, Stack, Variant, check, eventually, program};
use crate::sample::{PATH, TEXT};

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
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
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

#[test]
fn the_lith_says_what_it_lacks_outside_lambda() {
    let ended = server("http://127.0.0.1:9", 0).env_remove("TENANT").output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && said.contains("TENANT is not set"), "{said}");
    let ended = server("http://127.0.0.1:9", 0).env_remove("WRITE_TABLE").env_remove("SIGNING_KEYS").output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(said.contains("WRITE_TABLE is not set") && said.contains("SIGNING_KEYS is not set"), "{said}");
}
