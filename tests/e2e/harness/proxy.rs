//! A TCP proxy that a test can cut, to make a dependency unreachable.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// The proxy's mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Forwards connections.
    Open,
    /// Closes connections at once.
    Cut,
    /// Accepts connections and data, and never answers.
    Silent,
}

/// A proxy between a client and a server on this machine.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    line: Line,
    connections: Vec<TcpStream>,
}

impl Proxy {
    /// Starts a proxy in front of the server at `url`.
    pub fn before(url: &str) -> Self {
        let target = url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Mutex::new(State { line: Line::Open, connections: Vec::new() });
        let shared = Arc::new(Shared { target, state });
        let accepting = Arc::clone(&shared);
        // The thread ends with the process: a waiting listener cannot be stopped.
        thread::spawn(move || {
            for client in listener.incoming() {
                if let Err(error) = client.and_then(|client| accepting.take(client)) {
                    eprintln!("proxy: {error}");
                }
            }
        });
        Self { address, shared }
    }

    /// Returns the proxy's URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes the mode, for new and for existing connections.
    pub fn set(&self, line: Line) {
        let mut state = self.shared.state.lock().unwrap();
        state.line = line;
        for connection in state.connections.drain(..) {
            // The connection may be closed already.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn take(&self, client: TcpStream) -> io::Result<()> {
        let mut state = self.state.lock().unwrap();
        match state.line {
            Line::Cut => return Ok(()),
            Line::Silent => {
                state.connections.push(client);
                return Ok(());
            }
            Line::Open => {}
        }
        let server = TcpStream::connect(self.target)?;
        for connection in [&client, &server] {
            connection.set_nodelay(true)?;
            state.connections.push(connection.try_clone()?);
        }
        copy(client.try_clone()?, server.try_clone()?);
        copy(server, client);
        Ok(())
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    thread::spawn(move || {
        // Either side may close at any time. Then close both.
        let _ = io::copy(&mut from, &mut to);
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
}
