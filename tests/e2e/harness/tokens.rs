//! Bearer tokens, signed with a new key for each test.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rsa::RsaPrivateKey;
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::traits::PublicKeyParts;
use serde_json::{Value, json};

pub const AUDIENCE: &str = "watershed-tests";
const KEY_ID: &str = "test";
const KEY_BITS: usize = 2048;
/// The validity of a token: longer than any test.
const VALID_SECONDS: i64 = 3_600;

/// An issuer of tokens.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// The issuer's URL, as in the claim `iss`.
    pub url: String,
    key: RsaPrivateKey,
}

impl Issuer {
    pub fn new(url: &str) -> Self {
        Self { url: url.to_owned(), key: RsaPrivateKey::new(&mut rsa::rand_core::OsRng, KEY_BITS).unwrap() }
    }

    /// Returns the public key as a JSON Web Key Set.
    pub fn key_set(&self) -> Value {
        let encode = |number: &rsa::BigUint| URL_SAFE_NO_PAD.encode(number.to_bytes_be());
        let key = json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID,
            "n": encode(self.key.n()), "e": encode(self.key.e())});
        json!({"keys": [key]})
    }

    /// Returns the claims of a valid token.
    pub fn claims(&self, tenant: &str, subject: &str, scope: &str) -> Value {
        json!({"iss": self.url, "aud": AUDIENCE, "sub": subject, "tenant_id": tenant, "scope": scope,
            "iat": seconds_from_now(0), "exp": seconds_from_now(VALID_SECONDS)})
    }

    /// Returns a token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(KEY_ID.to_owned()), ..Header::new(Algorithm::RS256) };
        let key = EncodingKey::from_rsa_der(self.key.to_pkcs1_der().unwrap().as_bytes());
        jsonwebtoken::encode(&header, claims, &key).unwrap()
    }
}

/// Returns the time in this number of seconds, as seconds since 1970.
pub fn seconds_from_now(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(now.as_secs()).unwrap() + seconds
}
