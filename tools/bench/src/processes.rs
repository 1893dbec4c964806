//! Facts about processes from the system: the ports of their connections, and their peak memory.

use std::collections::BTreeSet;
use std::fs;

/// Returns the local ports of a process's TCP connections over IPv4.
pub(crate) fn ports(pid: u64) -> BTreeSet<u16> {
    let connections = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let sockets = sockets(pid);
    let connections = connections.lines().filter_map(connection);
    connections.filter(|(_, socket)| sockets.contains(socket)).map(|(port, _)| port).collect()
}

/// Returns the peak memory of a process in RAM, in KiB. Returns `None` if the process has ended.
pub(crate) fn peak_memory_kib(pid: u64) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().trim_end_matches("kB").trim().parse().ok()
}

/// Returns the numbers of a process's sockets.
fn sockets(pid: u64) -> BTreeSet<String> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    let targets = descriptors.filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok());
    let socket =
        |target: std::path::PathBuf| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned);
    targets.filter_map(socket).collect()
}

/// Returns the local port and the socket of a line of `/proc/<pid>/net/tcp`.
fn connection(line: &str) -> Option<(u16, String)> {
    let mut words = line.split_whitespace();
    let (_, port) = words.nth(1)?.rsplit_once(':')?;
    Some((u16::from_str_radix(port, 16).ok()?, words.nth(7)?.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_process_is_found_by_the_port_of_its_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ports = ports(std::process::id().into());
        assert!(ports.contains(&stream.local_addr().unwrap().port()), "{ports:?}");
    }

    #[test]
    fn the_peak_memory_of_a_missing_process_is_unknown() {
        assert!(peak_memory_kib(std::process::id().into()).unwrap() > 100);
        assert_eq!(peak_memory_kib(u64::MAX), None);
    }
}
