//! A TCP proxy that can be cut, to make a dependency unreachable.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// What the proxy does with connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Passes them on.
    Open,
    /// Ends them at once.
    Cut,
    /// Takes them, and whatever is sent, and never answers.
    Silent,
}

/// Stands between a client and a server on this machine.
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
    /// Stands in front of what serves at `url`.
    pub fn before(url: &str) -> Self {
        let target = url.trim_start_matches("http://").trim_end_matches('/').parse().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Mutex::new(State { line: Line::Open, connections: Vec::new() });
        let shared = Arc::new(Shared { target, state });
        let accepting = Arc::clone(&shared);
        // The thread ends with the process: nothing else ends a listener that is waiting.
        thread::spawn(move || {
            for client in listener.incoming() {
                if let Err(error) = client.and_then(|client| accepting.take(client)) {
                    eprintln!("proxy: {error}");
                }
            }
        });
        Self { address, shared }
    }

    /// Where it serves.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes what it does, with new connections and with those that there are.
    pub fn set(&self, line: Line) {
        let mut state = self.shared.state.lock().unwrap();
        state.line = line;
        for connection in state.connections.drain(..) {
            // It may be closed already.
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
        // Either side may go away at any time: then both are closed.
        let _ = io::copy(&mut from, &mut to);
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    });
}
