//! A Redis that is down, hangs, or breaks connections.

use std::io::{self, ErrorKind};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use adapters::contract::cache::{key, view};
use adapters::redis_cache::RedisCache;
use kernel::ports::{LEASE_TTL, Lookup, PortError, SharedCache, SharedCacheUpdater};
use nix::sys::signal::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};

use super::server::{PATIENCE, Server};

/// Returns the reason why the cache did not answer.
pub(crate) async fn failure(cache: &RedisCache) -> String {
    match cache.get_or_lease("k").await {
        Err(PortError::Unavailable { cause, .. }) => cause.to_string(),
        other => panic!("it should not answer: {other:?}"),
    }
}

/// Repeats a read until the cache answers, and returns the answer.
async fn answer(cache: &RedisCache) -> Lookup {
    let started = Instant::now();
    loop {
        match cache.get_or_lease("k").await {
            Ok(found) => return found,
            Err(error) => assert!(started.elapsed() < PATIENCE, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Repeats a read until the cache answers, and returns the elapsed time.
pub(crate) async fn until_it_answers(cache: &RedisCache) -> Duration {
    let started = Instant::now();
    answer(cache).await;
    started.elapsed()
}

/// The time limit for a recovery. It takes at most 1 s until the circuit lets a probe through, and 1 s for a connection in
/// progress. The rest is a margin for a busy machine.
const BACK_WITHIN: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_redis_that_starts_later_is_used_from_then_on() {
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
        let leased_at = Instant::now();
        let Lookup::Leased(lease) = cache.get_or_lease(&key).await.unwrap() else { panic!("nothing is stored") };
        server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
        let landed = cache.fill(&key, &lease, &view(version), PATIENCE).await.unwrap();
        // On a busy machine the lease may have expired by then.
        assert!(landed || leased_at.elapsed() >= LEASE_TTL);
        server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
        cache.update(&key, &view(version + 1), PATIENCE).await.unwrap();
    }
}

#[tokio::test]
async fn a_caller_that_can_wait_for_an_operation_waits_for_its_connection_too() {
    let server = Server::start(&[]);
    server.signal(Signal::SIGSTOP);
    let cache = server.patient_cache();
    let going_on = async {
        // Longer than the time limit for a connection of a function.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        server.signal(Signal::SIGCONT);
    };
    let (found, ()) = tokio::join!(cache.get_or_lease("k"), going_on);
    assert!(matches!(found.unwrap(), Lookup::Leased(_)));
}

/// A proxy in place of the DNS name of a primary. It passes each new connection to the server to which the name currently
/// leads.
struct Name {
    port: u16,
    target: Arc<Mutex<(Ipv4Addr, u16)>>,
    stranded: Arc<Notify>,
}

impl Name {
    async fn of(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let name = Self { port, target: Arc::new(Mutex::new(server.address())), stranded: Arc::default() };
        let (target, stranded) = (Arc::clone(&name.target), Arc::clone(&name.stranded));
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let target = *target.lock().unwrap();
                tokio::spawn(pass_on(client, target, Arc::clone(&stranded)));
            }
        });
        name
    }

    fn cache(&self) -> RedisCache {
        RedisCache::new(&format!("redis://127.0.0.1:{}", self.port)).unwrap()
    }

    fn lead_to(&self, server: &Server) {
        *self.target.lock().unwrap() = server.address();
    }

    /// Makes the existing connections lose all further data.
    fn strand_connections(&self) {
        self.stranded.notify_waiters();
    }
}

async fn pass_on(mut client: TcpStream, target: (Ipv4Addr, u16), stranded: Arc<Notify>) -> io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    tokio::select! {
        copied = copy_bidirectional(&mut client, &mut server) => copied.map(drop),
        () = stranded.notified() => std::future::pending().await,
    }
}

/// A failover of ElastiCache: the name leads to another node, and the old primary refuses writes.
#[tokio::test]
async fn after_a_failover_one_operation_fails_and_the_next_one_reaches_the_new_primary() {
    let refused = async |cache: &RedisCache| match cache.update("k", &view(9), PATIENCE).await {
        Err(PortError::Unavailable { cause, .. }) => cause.to_string(),
        other => panic!("a replica took it: {other:?}"),
    };
    let looked = async |cache: &RedisCache| failure(cache).await;
    for updates in [false, true] {
        let (old, new) = (Server::start(&[]), Server::start(&[]));
        let name = Name::of(&old).await;
        let cache = name.cache().with_operation_timeout(PATIENCE);
        until_it_answers(&cache).await;
        name.lead_to(&new);
        let nobody = Server::down().address().1.to_string();
        old.command(&["REPLICAOF", "127.0.0.1", &nobody]);
        let output = if updates { refused(&cache).await } else { looked(&cache).await };
        assert!(output.to_lowercase().contains("read only"), "{output}");
        assert!(matches!(cache.get_or_lease("k").await.unwrap(), Lookup::Leased(_)), "the new one holds nothing yet");
    }
}

/// The network drops the packets of a connection that it has forgotten while the environment was frozen.
#[tokio::test]
async fn a_connection_that_leads_nowhere_is_not_used_again() {
    let server = Server::start(&[]);
    let name = Name::of(&server).await;
    let cache = name.cache().with_operation_timeout(Duration::from_secs(2));
    until_it_answers(&cache).await;
    name.strand_connections();
    assert_eq!(failure(&cache).await, "no answer in time");
    until_it_answers(&cache).await;
}

/// Holds the first read back, and ends its connection. Sends the read to the server on request.
async fn delay_the_first_read(
    listener: TcpListener,
    server: (Ipv4Addr, u16),
    wanted: oneshot::Receiver<()>,
    arrived: oneshot::Sender<()>,
) {
    let (late, mut connection) = loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(server).await.unwrap();
        if let Ok(late) = first_read(&mut client, &mut server).await {
            break (late, server);
        }
    };
    tokio::spawn(async move {
        wanted.await.unwrap();
        connection.write_all(&late).await.unwrap();
        assert!(connection.read(&mut [0; 1024]).await.unwrap() > 0);
        arrived.send(()).unwrap();
    });
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(server).await.unwrap();
        tokio::spawn(async move { copy_bidirectional(&mut client, &mut server).await });
    }
}

/// Passes all data on until there is a read, and returns the read.
async fn first_read(client: &mut TcpStream, server: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let length = client.read(&mut bytes).await?;
        if length == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if bytes[..length].windows(4).any(|window| window == b"PTTL") {
            return Ok(bytes[..length].to_vec());
        }
        server.write_all(&bytes[..length]).await?;
        let answered = server.read(&mut bytes).await?;
        client.write_all(&bytes[..answered]).await?;
    }
}

/// The first attempt brings back a lease after a writer has revoked the lease of the second one.
#[tokio::test]
async fn a_lease_that_an_earlier_attempt_brings_back_fills_nothing() {
    let server = Server::start(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let ((want, wanted), (arrive, arrived)) = (oneshot::channel(), oneshot::channel());
    tokio::spawn(delay_the_first_read(listener, server.address(), wanted, arrive));
    let cache = RedisCache::new(&url).unwrap().with_operation_timeout(PATIENCE);
    let found = answer(&cache).await;
    let Lookup::Leased(lease) = found else { panic!("no lease: {found:?}") };
    cache.update("k", &view(2), PATIENCE).await.unwrap();
    want.send(()).unwrap();
    arrived.await.unwrap();
    assert_eq!(cache.get_or_lease("k").await.unwrap(), Lookup::Busy, "the late request was carried out");
    assert!(!cache.fill("k", &lease, &view(1), PATIENCE).await.unwrap(), "a view from before the write");
}

/// Passes all data on until the server has answered a read. Then the answer and the connection are lost. Returns an error if
/// the client closed the connection before.
async fn lose_an_answer(mut client: TcpStream, mut server: TcpStream) -> io::Result<()> {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let length = client.read(&mut bytes).await?;
        if length == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        server.write_all(&bytes[..length]).await?;
        let is_read = bytes[..length].windows(4).any(|window| window == b"PTTL");
        let answered = server.read(&mut bytes).await?;
        if is_read {
            return Ok(());
        }
        client.write_all(&bytes[..answered]).await?;
    }
}

/// Loses the first answer, and passes everything else on.
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
async fn a_lease_whose_answer_was_lost_blocks_nothing_after_an_update() {
    let server = Server::start(&[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(lose_the_first_answer(listener, server.address()));
    let cache = RedisCache::new(&url).unwrap().with_operation_timeout(PATIENCE);
    // On a busy machine a connection may exceed its time limit before the first request is sent.
    assert_eq!(answer(&cache).await, Lookup::Busy);
    cache.update("k", &view(1), PATIENCE).await.unwrap();
    assert!(matches!(cache.get_or_lease("k").await.unwrap(), Lookup::Leased(_)));
}
