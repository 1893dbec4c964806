//! A Redis that is down, hangs, or breaks connections.

use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use adapters::contract::cache::{key, view};
use adapters::redis_cache::RedisCache;
use kernel::ports::{Lookup, PortError, SharedCache, SharedCacheUpdater};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::server::{PATIENCE, Server};

/// Why the cache did not answer.
pub(crate) async fn failure(cache: &RedisCache) -> String {
    match cache.get_or_lease("k").await {
        Err(PortError::Unavailable { cause, .. }) => cause.to_string(),
        other => panic!("it should not answer: {other:?}"),
    }
}

/// Asks until the cache answers; returns how long that took.
pub(crate) async fn until_it_answers(cache: &RedisCache) -> Duration {
    let started = Instant::now();
    while let Err(error) = cache.get_or_lease("k").await {
        assert!(started.elapsed() < PATIENCE, "{error:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    started.elapsed()
}

/// A second at most until the circuit lets a probe through, another for a connection that is being made, and something
/// for a busy machine.
const BACK_WITHIN: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_redis_that_is_not_there_yet_is_used_once_it_is() {
    let mut server = Server::down();
    let cache = server.cache();
    for _ in 0..3 {
        assert_ne!(failure(&cache).await, "the circuit is open");
    }
    assert_eq!(failure(&cache).await, "the circuit is open");
    cache.update("k", &view(1), PATIENCE).await.unwrap_err();
    server.start_again();
    let took = until_it_answers(&cache).await;
    assert!(took < BACK_WITHIN, "{took:?}");
}

#[tokio::test]
async fn a_redis_that_was_killed_is_used_again_when_it_is_back() {
    let mut server = Server::start(&[]);
    let cache = server.cache();
    until_it_answers(&cache).await;
    server.kill();
    while failure(&cache).await != "the circuit is open" {}
    server.start_again();
    let took = until_it_answers(&cache).await;
    assert!(took < BACK_WITHIN, "{took:?}");
}

#[tokio::test]
async fn a_restart_that_nobody_saw_fails_no_operation() {
    let mut server = Server::start(&[]);
    let cache = server.patient_cache();
    until_it_answers(&cache).await;
    for _ in 0..10 {
        server.kill();
        server.start_again();
        assert!(matches!(cache.get_or_lease("k").await.unwrap(), Lookup::Leased(_)));
    }
}

#[tokio::test]
async fn a_redis_that_hangs_costs_three_timeouts_and_then_nothing() {
    let server = Server::start(&[]);
    let cache = server.cache();
    until_it_answers(&cache).await;
    server.signal(Signal::SIGSTOP);
    for _ in 0..3 {
        let started = Instant::now();
        assert_eq!(failure(&cache).await, "no answer in time");
        let took = started.elapsed();
        assert!((Duration::from_millis(50)..Duration::from_secs(1)).contains(&took), "{took:?}");
    }
    assert_eq!(failure(&cache).await, "the circuit is open");
    server.signal(Signal::SIGCONT);
    let took = until_it_answers(&cache).await;
    assert!(took < BACK_WITHIN, "{took:?}");
}

#[tokio::test]
async fn a_redis_that_hangs_from_the_start_is_used_once_it_goes_on() {
    let server = Server::start(&[]);
    server.signal(Signal::SIGSTOP);
    let cache = server.cache();
    for _ in 0..3 {
        assert_eq!(failure(&cache).await, "no answer in time");
    }
    server.signal(Signal::SIGCONT);
    let took = until_it_answers(&cache).await;
    assert!(took < BACK_WITHIN, "{took:?}");
}

#[tokio::test]
async fn a_redis_that_hangs_and_is_killed_is_used_again_when_it_is_back() {
    let mut server = Server::start(&[]);
    let cache = server.cache();
    until_it_answers(&cache).await;
    server.signal(Signal::SIGSTOP);
    while failure(&cache).await != "the circuit is open" {}
    server.kill();
    server.start_again();
    let took = until_it_answers(&cache).await;
    assert!(took < BACK_WITHIN, "{took:?}");
}

#[tokio::test]
async fn a_connection_that_was_closed_in_the_meantime_fails_no_operation() {
    closed_in_the_meantime(&Server::start(&[])).await;
}

/// Closes the connection before each operation.
pub(crate) async fn closed_in_the_meantime(server: &Server) {
    let cache = server.patient_cache();
    for version in 1..=10 {
        let key = key();
        let Lookup::Leased(lease) = cache.get_or_lease(&key).await.unwrap() else { panic!("nothing is stored") };
        server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
        assert!(cache.fill(&key, &lease, &view(version), PATIENCE).await.unwrap());
        server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
        cache.update(&key, &view(version + 1), PATIENCE).await.unwrap();
    }
}

/// Passes everything on until the answer to a read has arrived from the server; that one is lost, with the connection.
/// An error where the client gave the connection up before.
async fn lose_an_answer(mut client: TcpStream, mut server: TcpStream) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let asked = client.read(&mut bytes).await?;
        if asked == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        server.write_all(&bytes[..asked]).await?;
        let is_read = bytes[..asked].windows(4).any(|window| window == b"PTTL");
        let answered = server.read(&mut bytes).await?;
        if is_read {
            return Ok(());
        }
        client.write_all(&bytes[..answered]).await?;
    }
}

/// Loses the first answer, and nothing after it.
async fn lose_the_first_answer(listener: TcpListener, server: (Ipv4Addr, u16)) {
    let mut is_lost = false;
    while !is_lost {
        let (client, _) = listener.accept().await.unwrap();
        is_lost = lose_an_answer(client, TcpStream::connect(server).await.unwrap()).await.is_ok();
    }
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(server).await.unwrap();
        tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
    }
}

#[tokio::test]
async fn a_lease_whose_answer_was_lost_is_nobodys() {
    let server = Server::start(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(lose_the_first_answer(listener, server.address()));
    let cache = RedisCache::new(&url).unwrap().with_operation_timeout(PATIENCE);
    // On a busy machine a connection may take longer than it may: then nothing was asked yet.
    let deadline = Instant::now() + PATIENCE;
    let found = loop {
        match cache.get_or_lease("k").await {
            Ok(found) => break found,
            Err(error) => assert!(Instant::now() < deadline, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(found, Lookup::Busy);
    cache.update("k", &view(1), PATIENCE).await.unwrap();
    assert!(matches!(cache.get_or_lease("k").await.unwrap(), Lookup::Leased(_)));
}
