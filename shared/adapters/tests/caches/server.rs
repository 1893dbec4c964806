//! A redis-server that a test can stop, kill and start again.

use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use adapters::contract::port;
use adapters::redis_cache::RedisCache;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::tls::Identity;

/// The time limit for any operation on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A redis-server without persistence, on a separate port.
pub(crate) struct Server {
    scheme: &'static str,
    port: u16,
    options: Vec<String>,
    process: Option<Child>,
}

impl Server {
    /// Returns a server that is not started yet.
    pub(crate) fn down() -> Self {
        let port = port::unused();
        Self { scheme: "redis", port, options: vec!["--port".to_owned(), port.to_string()], process: None }
    }

    pub(crate) fn start(options: &[&str]) -> Self {
        let mut server = Self::down();
        server.options.extend(options.iter().map(ToString::to_string));
        server.start_again();
        server
    }

    /// Starts a server that accepts only TLS.
    pub(crate) fn start_with_tls(identity: &Identity) -> Self {
        let Self { port, .. } = Self::down();
        let mut server = Self { scheme: "rediss", port, options: Vec::new(), process: None };
        let plain = ["--port", "0", "--tls-auth-clients", "no"].map(str::to_owned);
        let tls = ["--tls-port".to_owned(), port.to_string()];
        let certificate = ["--tls-cert-file".to_owned(), identity.certificate.display().to_string()];
        let key = ["--tls-key-file".to_owned(), identity.key.display().to_string()];
        server.options = [&plain[..], &tls, &certificate, &key].concat();
        server.start_again();
        server
    }

    /// Starts the server on its port, without data.
    pub(crate) fn start_again(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.args(&self.options).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(command.spawn().expect("redis-server does not start: run `make setup`"));
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address()).is_err() {
            assert!(Instant::now() < deadline, "redis-server does not listen");
            std::thread::yield_now();
        }
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.process.as_ref().unwrap().id();
        kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
    }

    pub(crate) fn address(&self) -> (Ipv4Addr, u16) {
        (Ipv4Addr::LOCALHOST, self.port)
    }

    fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// Returns a cache with the settings of a deployed function.
    pub(crate) fn cache(&self) -> RedisCache {
        RedisCache::new(&self.url()).unwrap()
    }

    /// Returns a cache with a long time limit, so that a test does not depend on the load of the machine.
    pub(crate) fn patient_cache(&self) -> RedisCache {
        self.cache().with_operation_timeout(PATIENCE)
    }

    /// Sends a command to the server directly.
    pub(crate) fn command(&self, arguments: &[&str]) {
        let mut connection = redis::Client::open(self.url()).unwrap().get_connection().unwrap();
        let mut command = redis::cmd(arguments[0]);
        command.arg(&arguments[1..]).exec(&mut connection).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
