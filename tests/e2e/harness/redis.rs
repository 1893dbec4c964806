//! A redis-server that a test can stop, kill and bring back.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::program;
use super::stack::{guarded, wait};

/// How long it may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// A redis-server without persistence, on a port of its own, under the guard.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    guard: Child,
}

impl Redis {
    /// Whether there is one on this machine; says so where there is none.
    pub fn is_installed() -> bool {
        let installed = program::find("redis-server").is_some();
        if !installed {
            println!("skipped: there is no redis-server on this machine");
        }
        installed
    }

    /// Starts one on a free port.
    pub fn start() -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        Self { port, guard: start(port) }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = *program::descendants(self.guard.id()).first().expect("redis-server does not run");
        program::send_signal(pid, signal);
    }

    /// Kills it.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        wait(&mut self.guard, PATIENCE).expect("the guard ends with redis-server");
    }

    /// Starts it again, empty, on the same port.
    pub fn start_again(&mut self) {
        self.guard = start(self.port);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        wait(&mut self.guard, PATIENCE);
    }
}

fn start(port: u16) -> Child {
    let mut command = guarded(program::find("redis-server").unwrap().to_str().unwrap());
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port.to_string()]);
    let guard = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(Instant::now() < deadline, "redis-server does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    guard
}
