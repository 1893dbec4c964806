//! An HTTP server whose answers the test decides.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

/// A received request.
#[derive(Debug)]
pub struct Asked {
    /// The method and the path, such as `GET /health`.
    pub what: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub enum Reply {
    /// This status and this JSON.
    Json(u16, String),
    /// This HTML page.
    Page(String),
    /// The answer of the server at this URL. A path in the URL comes before the path of the request.
    AsAt(String),
    /// No answer, although the server at this URL gets the request.
    LostAt(String),
    /// No answer.
    Never,
}

/// Starts a server, until this process ends. Returns its URL. Every connection takes one request.
pub fn serve(reply: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let reply = Arc::new(reply);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let reply = Arc::clone(&reply);
            thread::spawn(move || {
                // The client may close the connection at any time.
                let _ = answer(&client, reply.as_ref());
            });
        }
    });
    url
}

fn answer(client: &TcpStream, reply: &dyn Fn(&Asked) -> Reply) -> io::Result<()> {
    let asked = Asked::read(client)?;
    match reply(&asked) {
        Reply::Json(status, body) => write_to(client, status, "application/json", &body)?,
        Reply::Page(body) => write_to(client, 200, "text/html", &body)?,
        Reply::AsAt(url) => drop(io::copy(&mut asked.pass_on(&url)?, &mut &*client)?),
        Reply::LostAt(url) => {
            io::copy(&mut asked.pass_on(&url)?, &mut io::sink())?;
            wait_for_the_end(client)?;
        }
        Reply::Never => wait_for_the_end(client)?,
    }
    client.shutdown(Shutdown::Both)
}

fn write_to(mut client: &TcpStream, status: u16, content_type: &str, body: &str) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status} Scripted\r\ncontent-type: {content_type}\r\nconnection: close\r\n");
    write!(client, "{head}content-length: {}\r\n\r\n{body}", body.len())
}

/// Waits until the client has closed the connection.
fn wait_for_the_end(mut client: &TcpStream) -> io::Result<()> {
    io::copy(&mut client, &mut io::sink()).map(drop)
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    fn read(client: &TcpStream) -> io::Result<Self> {
        let mut reader = BufReader::new(client);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let what = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
        let mut asked = Self { what, headers, body: Vec::new() };
        let length = asked.header("content-length").and_then(|length| length.parse().ok()).unwrap_or_default();
        reader.take(length).read_to_end(&mut asked.body)?;
        Ok(asked)
    }

    /// Sends the request to the server at the URL. Returns the connection with the answer.
    fn pass_on(&self, url: &str) -> io::Result<TcpStream> {
        let url = url.trim_start_matches("http://");
        let (address, base) = url.find('/').map_or((url, ""), |end| url.split_at(end));
        let (method, path) = self.what.split_once(' ').ok_or(io::ErrorKind::InvalidData)?;
        let mut server = TcpStream::connect(address)?;
        write!(server, "{method} {base}{path} HTTP/1.1\r\n")?;
        for (name, value) in self.headers.iter().filter(|(name, _)| name != "connection") {
            write!(server, "{name}: {value}\r\n")?;
        }
        server.write_all(b"connection: close\r\n\r\n")?;
        server.write_all(&self.body)?;
        Ok(server)
    }
}
