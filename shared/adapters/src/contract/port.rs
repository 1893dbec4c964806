//! TCP ports for the servers that tests start.

use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// The first port of the range. The range is below the ports that the system gives to clients (`net.ipv4.ip_local_port_range`,
/// from 32768). So no client takes the port of a server that is starting, or that was killed.
const FIRST: u32 = 15_000;
const COUNT: u32 = 15_000;

/// Returns a port on loopback that is not in use. This process gets it only once.
#[must_use]
pub fn unused() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Processes that run at the same time start at different ports.
    let beginning = process::id().wrapping_mul(97);
    let next = || FIRST + beginning.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
    let mut ports = std::iter::repeat_with(next).take(COUNT as usize).filter_map(|port| u16::try_from(port).ok());
    ports.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).unwrap()
}
