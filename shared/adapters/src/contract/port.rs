//! Ports of servers that tests start.

use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below those that the system gives to whoever connects (`net.ipv4.ip_local_port_range`, from 32768 on): the port of a
/// server that is starting, or that was killed, becomes nobody else's meanwhile.
const FIRST: u32 = 15_000;
const COUNT: u32 = 15_000;

/// A port on loopback that nobody listens at, and that is given out once in this process.
#[must_use]
pub fn unused() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Processes that run side by side begin at different places.
    let beginning = process::id().wrapping_mul(97);
    let next = || FIRST + beginning.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % COUNT;
    let mut ports = std::iter::repeat_with(next).take(COUNT as usize).filter_map(|port| u16::try_from(port).ok());
    ports.find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()).unwrap()
}
