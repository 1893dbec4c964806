//! A redis-server that a test can stop, kill and restart.

use std::net::{Ipv4Addr, TcpStream};
use std::process::Stdio;
use std::time::{Duration, Instant};

use adapters::contract::port;
use nix::sys::signal::Signal;

use super::program::{self, Leashed};

/// The timeout of the start.
const PATIENCE: Duration = Duration::from_secs(20);

/// A redis-server without persistence, on its own port.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    process: Leashed,
}

impl Redis {
    /// Returns whether a redis-server is installed; prints a message if not.
    pub fn is_installed() -> bool {
        let installed = program::find("redis-server").is_some();
        if !installed {
            println!("skipped: there is no redis-server on this machine");
        }
        installed
    }

    /// Starts a redis-server on a free port.
    pub fn start() -> Self {
        let port = port::unused();
        Self { port, process: start(port) }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        program::send_signal(self.process.pid(), signal);
    }

    /// Kills it.
    pub fn kill(&self) {
        self.process.kill();
    }

    /// Restarts it, empty, on the same port.
    pub fn start_again(&mut self) {
        self.process = start(self.port);
    }
}

fn start(port: u16) -> Leashed {
    let port_text = port.to_string();
    let arguments = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port_text];
    let (process, _) = Leashed::start(&program::find("redis-server").unwrap(), &arguments, Stdio::null);
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(Instant::now() < deadline, "redis-server does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    process
}
