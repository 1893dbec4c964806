//! Bearer tokens, signed with a key that is made for each test.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rsa::RsaPrivateKey;
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::traits::PublicKeyParts;
use serde_json::{Value, json};

pub const ISSUER: &str = "https://issuer.example";
pub const AUDIENCE: &str = "watershed-tests";
const KEY_ID: &str = "test";
const KEY_BITS: usize = 2048;

/// Signs tokens.
#[derive(Debug)]
pub struct Issuer {
    key: RsaPrivateKey,
}

impl Issuer {
    pub fn new() -> Self {
        Self { key: RsaPrivateKey::new(&mut rsa::rand_core::OsRng, KEY_BITS).unwrap() }
    }

    /// Writes the public key as a JSON Web Key Set.
    pub fn write_key_set(&self, path: &Path) {
        let encode = |number: &rsa::BigUint| URL_SAFE_NO_PAD.encode(number.to_bytes_be());
        let key = json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID,
            "n": encode(self.key.n()), "e": encode(self.key.e())});
        std::fs::write(path, json!({"keys": [key]}).to_string()).unwrap();
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        let header = Header { kid: Some(KEY_ID.to_owned()), ..Header::new(Algorithm::RS256) };
        let key = EncodingKey::from_rsa_der(self.key.to_pkcs1_der().unwrap().as_bytes());
        jsonwebtoken::encode(&header, claims, &key).unwrap()
    }
}

/// The claims of a good token.
pub fn claims(tenant: &str, subject: &str, scope: &str) -> Value {
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": subject, "tenant_id": tenant, "scope": scope,
        "iat": seconds_from_now(0), "exp": seconds_from_now(300)})
}

/// Seconds since 1970, so many from now.
pub fn seconds_from_now(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(now.as_secs()).unwrap() + seconds
}
