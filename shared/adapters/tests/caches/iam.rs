//! A Redis that accepts tokens of IAM as passwords. The test gives its user the tokens of the coming seconds.

use std::time::{SystemTime, UNIX_EPOCH};

use adapters::clients;
use adapters::redis_cache::{RedisCache, SetupError};
use jiff::Timestamp;
use ring::{digest, hmac};

use super::failures::{failure, until_it_answers};
use super::server::{PATIENCE, Server};
use super::tls::Authority;

/// The credentials with which [`clients::local`] signs.
const KEY_ID: &str = "local";
const SECRET: &str = "local";
const REGION: &str = "us-east-1";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn sign(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// Returns the token of a second, built according to AWS's documentation of Signature Version 4.
fn token(second: u64) -> String {
    let time = Timestamp::from_second(second.try_into().unwrap()).unwrap();
    let (date, time) = (time.strftime("%Y%m%d"), time.strftime("%Y%m%dT%H%M%SZ"));
    let scope = format!("{date}/{REGION}/elasticache/aws4_request");
    let credential = format!("{KEY_ID}/{scope}").replace('/', "%2F");
    let signature = format!(
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={credential}&X-Amz-Date={time}&X-Amz-Expires=900&\
         X-Amz-SignedHeaders=host"
    );
    let nothing = hex(digest::digest(&digest::SHA256, b"").as_ref());
    let sorted = format!("Action=connect&ResourceType=ServerlessCache&User=reader&{signature}");
    let request = format!("GET\n/\n{sorted}\nhost:watershed\n\nhost\n{nothing}");
    let request = hex(digest::digest(&digest::SHA256, request.as_bytes()).as_ref());
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{request}");
    let key = [&date.to_string(), REGION, "elasticache", "aws4_request"];
    let key = key.iter().fold(format!("AWS4{SECRET}").into_bytes(), |key, part| sign(&key, part));
    let query = format!("Action=connect&User=reader&ResourceType=ServerlessCache&{signature}");
    format!("watershed/?{query}&X-Amz-Signature={}", hex(&sign(&key, &text)))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Gives the user the tokens from that second on as its only passwords.
fn admit(server: &Server, from: u64) {
    let tokens: Vec<String> =
        (from..from + 2 * PATIENCE.as_secs()).map(|second| format!(">{}", token(second))).collect();
    let user = ["ACL", "SETUSER", "reader", "on", "resetpass", "~*", "+@all"];
    server.command(&user.into_iter().chain(tokens.iter().map(String::as_str)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_connection_brings_a_new_token() {
    let Some(authority) = Authority::trusted("iam::each_connection_brings_a_new_token") else { return };
    let server = Server::start_with_tls(&authority.certify("127.0.0.1"));
    // A client without a token can only change users, and disconnect clients.
    server.command(&["ACL", "SETUSER", "default", "-@all", "+acl", "+client"]);
    let url = format!("rediss://reader@127.0.0.1:{}", server.address().1);
    let cache = RedisCache::with_iam(&url, "watershed", &clients::local("http://127.0.0.1:1")).unwrap();
    let cache = cache.with_operation_timeout(PATIENCE);
    for _ in 0..3 {
        let later = now() + 1;
        admit(&server, later);
        server.command(&["CLIENT", "KILL", "USER", "reader"]);
        until_it_answers(&cache).await;
        assert!(now() >= later);
    }
    admit(&server, now() + 1_000);
    server.command(&["CLIENT", "KILL", "USER", "reader"]);
    let output = failure(&cache).await;
    assert!(output.contains("authentication failed"), "{output}");
}

#[test]
fn iam_lets_in_a_named_user_over_tls_and_makes_the_password() {
    let aws = clients::local("http://127.0.0.1:1");
    let refused = |url: &str, cache: &str| RedisCache::with_iam(url, cache, &aws).unwrap_err();
    for url in ["redis://reader@localhost", "rediss://localhost", "rediss://reader:secret@localhost"] {
        let error = refused(url, "watershed");
        assert_eq!(error, SetupError::NotForIam);
        assert!(!error.to_string().contains("secret"));
    }
    assert_eq!(refused("http://reader@localhost", "watershed"), SetupError::NotRedis);
    for cache in ["", "watershed.cache.amazonaws.com", "a/b", "a&b"] {
        assert_eq!(refused("rediss://reader@localhost", cache), SetupError::NoName);
    }
    assert_eq!(refused("rediss://a%26b@localhost", "watershed"), SetupError::NoName);
    RedisCache::with_iam("rediss://reader@localhost:6379", "watershed", &aws).unwrap();
}
