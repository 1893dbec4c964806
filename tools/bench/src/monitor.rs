//! Records the commands that Redis receives, with its `MONITOR` command.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

/// The commands, each with the client's port.
pub(crate) type Commands = BTreeSet<(u16, String)>;

/// A recording of the commands, until Redis ends.
#[derive(Debug)]
pub(crate) struct Monitor(Arc<Mutex<Commands>>);

impl Monitor {
    /// Starts to record the commands of the Redis at `url`.
    pub(crate) async fn start(url: &str) -> io::Result<Self> {
        let address = url.trim_start_matches("redis://").trim_end_matches('/');
        let mut lines = BufReader::new(TcpStream::connect(address).await?);
        lines.write_all(b"MONITOR\r\n").await?;
        let mut lines = lines.lines();
        // Redis answers OK before it reports commands.
        lines.next_line().await?;
        let commands = Arc::new(Mutex::new(Commands::new()));
        let recorded = Arc::clone(&commands);
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                recorded.lock().unwrap_or_else(PoisonError::into_inner).extend(command(&line));
            }
        });
        Ok(Self(commands))
    }

    /// Returns the commands so far.
    pub(crate) fn commands(&self) -> Commands {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Parses a line: `+1700000000.000000 [0 127.0.0.1:60866] "GET" "key"` is a GET. A command of a script has no port, so it returns
/// `None`.
fn command(line: &str) -> Option<(u16, String)> {
    let (origin, words) = line.split_once('[')?.1.split_once(']')?;
    let port = origin.rsplit_once(':')?.1.parse().ok()?;
    Some((port, words.trim().trim_start_matches('"').split('"').next()?.to_uppercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_the_port_and_the_command_except_those_of_a_script() {
        let line = r#"+1700000000.000000 [0 127.0.0.1:60866] "get" "a key""#;
        assert_eq!(command(line), Some((60866, "GET".to_owned())));
        assert_eq!(command(r#"+1700000000.000000 [0 lua] "SET" "a key""#), None);
    }
}
