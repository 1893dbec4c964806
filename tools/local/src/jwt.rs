//! The JWT authorizer of an HTTP API.
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-jwt-authorizer.html>

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::Path;

use http::HeaderValue;
use jsonwebtoken::jwk::{AlgorithmParameters, Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header, get_current_timestamp};
use resource::{Access, Description};
use serde_json::{Map, Value};
use service::resources::RESOURCES;

/// The algorithms that the authorizer of an HTTP API accepts: those based on RSA.
const ALGORITHMS: [Algorithm; 3] = [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512];
/// The scheme of the credentials. A client may omit it.
const SCHEME: &str = "bearer ";

/// The claims of a token, each as text, in the form of the event.
pub type Claims = BTreeMap<String, String>;

/// The reason for which the authorizer denies a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// The token is missing or does not verify: 401, with a reason for the `WWW-Authenticate` header.
    Unauthorized(Option<&'static str>),
    /// The token is valid, but has none of these scopes: 403.
    Forbidden(Vec<String>),
}

/// The error of an unusable key set.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Read(#[source] io::Error),
    /// The file is not a JSON Web Key Set.
    #[error("it is not a JSON Web Key Set: {0}")]
    Parse(#[source] serde_json::Error),
    /// The file has no key that can verify a token.
    #[error("it has no RSA key with a kid")]
    NoKeys,
}

/// Decides which requests may pass, and with which claims.
#[derive(Debug)]
pub enum Authorizer {
    /// All requests pass, with the same subject and tenant, and with all scopes.
    Fixed(Claims),
    /// Only requests with a valid token pass.
    Verifying(Box<Verifier>),
}

/// Verifies tokens.
pub struct Verifier {
    keys: HashMap<String, DecodingKey>,
    validation: Validation,
    audience: String,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Authorizer {
    /// Returns an authorizer that accepts all requests.
    #[must_use]
    pub fn fixed(issuer: &str, audience: &str) -> Self {
        let of_one = |resource: &Description| [Access::Read, Access::Write].map(|access| resource.scope(access));
        let scopes = RESOURCES.iter().flat_map(of_one).collect::<Vec<_>>().join(" ");
        let claims = [
            ("sub", "local-user"),
            ("tenant_id", "local"),
            ("scope", &*scopes),
            ("iss", issuer),
            ("aud", audience),
            // The end of the year 2099.
            ("exp", "4102444799"),
        ];
        Self::Fixed(claims.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    /// Returns an authorizer that verifies tokens with the keys of a file.
    pub fn verifying(key_set: &Path, issuer: &str, audience: &str) -> Result<Self, KeySetError> {
        let text = std::fs::read(key_set).map_err(KeySetError::Read)?;
        let set: JwkSet = serde_json::from_slice(&text).map_err(KeySetError::Parse)?;
        Ok(Self::Verifying(Box::new(Verifier::new(&set, issuer, audience)?)))
    }

    /// Returns the claims of a request's token. `authorization` is the value of the header.
    pub fn authorize(&self, authorization: Option<&HeaderValue>, scopes: &[String]) -> Result<Claims, Denied> {
        match self {
            Self::Fixed(claims) => Ok(claims.clone()),
            Self::Verifying(verifier) => verifier.authorize(authorization, scopes),
        }
    }
}

impl Verifier {
    fn new(set: &JwkSet, issuer: &str, audience: &str) -> Result<Self, KeySetError> {
        let keys: HashMap<_, _> = set.keys.iter().filter_map(usable).collect();
        if keys.is_empty() {
            return Err(KeySetError::NoKeys);
        }
        let mut validation = Validation::new(Algorithm::RS256);
        validation.algorithms = ALGORITHMS.to_vec();
        validation.leeway = 0;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "iss"]);
        validation.set_issuer(&[issuer]);
        // `has_audience` checks it, because it may be in `client_id` instead.
        validation.validate_aud = false;
        Ok(Self { keys, validation, audience: audience.to_owned() })
    }

    fn authorize(&self, authorization: Option<&HeaderValue>, scopes: &[String]) -> Result<Claims, Denied> {
        let token = authorization.and_then(|value| value.to_str().ok()).map(without_scheme);
        let token = token.filter(|token| !token.is_empty()).ok_or(Denied::Unauthorized(None))?;
        let claims = self.verify(token).map_err(|reason| Denied::Unauthorized(Some(reason)))?;
        if !scopes.iter().any(|scope| has_scope(&claims, scope)) {
            return Err(Denied::Forbidden(scopes.to_vec()));
        }
        Ok(claims.iter().map(|(name, value)| (name.clone(), as_text(value))).collect())
    }

    fn verify(&self, token: &str) -> Result<Map<String, Value>, &'static str> {
        use jsonwebtoken::errors::ErrorKind;
        let header = decode_header(token).map_err(|_| "the token is not a JWT")?;
        let key = header.kid.as_deref().and_then(|kid| self.keys.get(kid)).ok_or("the key id is unknown")?;
        if !self.validation.algorithms.contains(&header.alg) {
            return Err("the algorithm is not allowed");
        }
        // This authorizer understands no extension (RFC 7515, section 4.1.11).
        if header.crit.is_some() {
            return Err("the token has a critical header");
        }
        let token = decode::<Map<String, Value>>(token, key, &self.validation).map_err(|error| match error.kind() {
            ErrorKind::ExpiredSignature => "the token has expired",
            ErrorKind::ImmatureSignature => "the token is not yet valid",
            ErrorKind::InvalidIssuer => "the issuer is wrong",
            ErrorKind::MissingRequiredClaim(_) => "a claim is missing",
            ErrorKind::InvalidClaimFormat(_) => "a time is not a number",
            _ => "the signature does not verify",
        })?;
        if !token.claims.get("iss").is_some_and(Value::is_string) {
            return Err("the issuer is wrong");
        }
        if !self.has_audience(&token.claims) {
            return Err("the audience is wrong");
        }
        match token.claims.get("iat").map(Value::as_f64) {
            Some(None) => Err("a time is not a number"),
            Some(Some(seconds)) if is_in_future(seconds) => Err("the token was issued in the future"),
            _ => Ok(token.claims),
        }
    }

    /// Returns whether `aud`, a text or a list, names this service. Without `aud`, `client_id` counts.
    fn has_audience(&self, claims: &Map<String, Value>) -> bool {
        match (claims.get("aud"), claims.get("client_id")) {
            (Some(Value::Array(several)), _) => {
                several.iter().all(Value::is_string) && several.iter().any(|one| one == &self.audience)
            }
            (Some(one), _) | (None, Some(one)) => one == &self.audience,
            (None, None) => false,
        }
    }
}

fn usable(key: &Jwk) -> Option<(String, DecodingKey)> {
    let AlgorithmParameters::RSA(_) = key.algorithm else { return None };
    Some((key.common.key_id.clone()?, DecodingKey::from_jwk(key).ok()?))
}

fn without_scheme(value: &str) -> &str {
    match value.split_at_checked(SCHEME.len()) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case(SCHEME) => token.trim(),
        _ => value.trim(),
    }
}

fn is_in_future(seconds: f64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 fit a double for ages to come")]
    let now = get_current_timestamp() as f64;
    seconds > now
}

fn has_scope(claims: &Map<String, Value>, scope: &str) -> bool {
    let listed = |value: &Value| match value {
        Value::String(text) => text.split_ascii_whitespace().any(|one| one == scope),
        Value::Array(several) => several.iter().any(|one| one == scope),
        _ => false,
    };
    ["scope", "scp"].iter().filter_map(|claim| claims.get(*claim)).any(listed)
}

/// Returns the text of a claim in the event of an HTTP API. A list becomes `[a b]`.
fn as_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(several) => format!("[{}]", several.iter().map(as_text).collect::<Vec<_>>().join(" ")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
