//! A function for the tests of this crate. Its event says what to do. It speaks the Runtime API over plain TCP, so that it
//! does not depend on the tested code.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test: whatever surprises it ends it")]

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::exit;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value, json};

const INVOCATION: &str = "/2018-06-01/runtime/invocation";

fn main() {
    let address = env::var("AWS_LAMBDA_RUNTIME_API").unwrap();
    if env::current_exe().unwrap().with_file_name("fail-at-start").exists() {
        eprintln!("this build cannot start");
        exit(3);
    }
    let stream = TcpStream::connect(&address).unwrap();
    let mut connection = Connection { reader: BufReader::new(stream.try_clone().unwrap()), stream, address };
    loop {
        let (id, event) = connection.next();
        let (kind, response) = respond(&event);
        connection.send("POST", &format!("{INVOCATION}/{id}/{kind}"), &response);
        connection.receive();
    }
}

/// Does what the path says. A batch says it in its first body.
fn respond(event: &Value) -> (&'static str, String) {
    let path = event["rawPath"].as_str().or(event["Records"][0]["body"].as_str()).unwrap_or_default().to_owned();
    let (action, argument) = path.trim_start_matches('/').split_once('/').unwrap_or((path.trim_start_matches('/'), ""));
    match action {
        "sleep" => sleep(Duration::from_millis(argument.parse().unwrap())),
        "exit" => exit(7),
        "error" => return ("error", json!({"errorType": "Bad", "errorMessage": "the test requested it"}).to_string()),
        "raw" => return ("response", event["body"].as_str().unwrap().to_owned()),
        "environment" => {
            let variables: Value = env::vars().collect::<std::collections::BTreeMap<_, _>>().into_iter().collect();
            return ("response", json!({"statusCode": 200, "body": variables.to_string()}).to_string());
        }
        _ => {}
    }
    if let Some(records) = event["Records"].as_array() {
        return ("response", failures(records).to_string());
    }
    let body = json!({"pid": std::process::id(), "event": event}).to_string();
    ("response", json!({"statusCode": 200, "headers": {"content-type": "application/json"}, "body": body}).to_string())
}

/// Returns the failures of a batch: the messages with the body `fail`.
fn failures(records: &[Value]) -> Value {
    let failed = records.iter().filter(|record| record["body"] == "fail");
    let failed: Vec<_> = failed.map(|record| json!({"itemIdentifier": record["messageId"]})).collect();
    json!({"batchItemFailures": failed})
}

struct Connection {
    address: String,
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Connection {
    fn next(&mut self) -> (String, Value) {
        self.send("GET", &format!("{INVOCATION}/next"), "");
        let (id, body) = self.receive();
        (id, serde_json::from_slice(&body).unwrap())
    }

    fn send(&mut self, method: &str, path: &str, body: &str) {
        let (address, length) = (&self.address, body.len());
        let text = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\n\r\n{body}");
        // If the write fails, the gateway's process has ended. Then this one ends too.
        self.stream.write_all(text.as_bytes()).unwrap_or_else(|_| exit(1));
    }

    fn receive(&mut self) -> (String, Vec<u8>) {
        let (mut id, mut length) = (String::new(), 0);
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line).unwrap_or(0) == 0 {
                exit(1);
            }
            match line.trim_end().split_once(": ") {
                Some(("lambda-runtime-aws-request-id", value)) => value.clone_into(&mut id),
                Some(("content-length", value)) => length = value.parse().unwrap(),
                _ if line == "\r\n" => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).unwrap();
        (id, body)
    }
}
