//! Raw HTTP, for requests that no client library sends.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// The timeout of an answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Opens a connection and sends the beginning of a request.
pub fn begin(port: u16, text: &str) -> TcpStream {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    connection.set_read_timeout(Some(ANSWER_MAX)).unwrap();
    connection.write_all(text.as_bytes()).unwrap();
    connection
}

/// Reads the answer, up to the end of the connection.
pub fn answer(mut connection: TcpStream) -> String {
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

/// Sends a request that ends its connection. Returns the status of the answer.
pub fn status(port: u16, text: &str) -> u16 {
    let answer = answer(begin(port, text));
    let status = answer.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
    status.unwrap_or_else(|| panic!("{text:?} is answered by {answer:?}"))
}

/// Checks the answers to every kind of invalid `Host`, with the health check of a healthy server.
pub fn check_host(port: u16) {
    let ask = |version: &str, hosts: &str| {
        status(port, &format!("GET /health HTTP/{version}\r\n{hosts}Connection: close\r\n\r\n"))
    };
    assert_eq!(ask("1.1", "Host: api.example.com:8080\r\n"), 200);
    assert_eq!((ask("1.0", ""), ask("1.0", "Host: x\r\n")), (200, 200));
    for hosts in [
        "",
        "Host: a\r\nHost: b\r\n",
        "Host: a\r\nHost: a\r\n",
        "Host:\r\n",
        "Host: x:99999\r\n",
        "Host: a,b\r\n",
        "Host: u@x\r\n",
    ] {
        assert_eq!(ask("1.1", hosts), 400, "{hosts:?}");
    }
    assert_eq!(ask("1.0", "Host: a\r\nHost: b\r\n"), 400);
    let whole = "GET http://other.example/health HTTP/1.1\r\nHost: x:y\r\nConnection: close\r\n\r\n";
    assert_eq!(status(port, whole), 400);
}
