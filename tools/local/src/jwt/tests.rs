use std::sync::LazyLock;

use jsonwebtoken::{EncodingKey, Header, encode};
use rsa::pkcs1::EncodeRsaPrivateKey;
use serde_json::json;

use super::*;

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "watershed";
const READ: &str = "things:read";
const WRITE: &str = "things:write";

static KEYS: LazyLock<[EncodingKey; 2]> = LazyLock::new(|| [new_key(), new_key()]);

/// Returns a new key. It is short, so that tests are quick.
fn new_key() -> EncodingKey {
    let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 1024).unwrap();
    EncodingKey::from_rsa_der(key.to_pkcs1_der().unwrap().as_bytes())
}

/// Returns an authorizer that knows the first key.
fn authorizer() -> Authorizer {
    let mut key = Jwk::from_encoding_key(&KEYS[0], Algorithm::RS256).unwrap();
    key.common.key_id = Some("first".to_owned());
    let file = tempfile::NamedTempFile::new().unwrap();
    serde_json::to_writer(&file, &JwkSet { keys: vec![key] }).unwrap();
    Authorizer::verifying(file.path(), ISSUER, AUDIENCE).unwrap()
}

fn claims() -> Value {
    let now = get_current_timestamp();
    json!({"iss": ISSUER, "aud": AUDIENCE, "exp": now + 60, "iat": now - 1, "sub": "s", "tenant_id": "t",
        "scope": READ})
}

fn with(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

fn sign_with(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey, claims: &Value) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    encode(&header, claims, key).unwrap()
}

fn signed(claims: &Value) -> String {
    sign_with(Algorithm::RS256, Some("first"), &KEYS[0], claims)
}

fn authorize(authorization: &str, scope: &str) -> Result<Claims, Denied> {
    authorizer().authorize(Some(&HeaderValue::from_str(authorization).unwrap()), &[scope.to_owned()])
}

#[track_caller]
fn assert_refused(token: &str, reason: &'static str) {
    assert_eq!(authorize(&format!("Bearer {token}"), READ), Err(Denied::Unauthorized(Some(reason))));
}

#[test]
fn a_good_token_passes_with_or_without_its_scheme() {
    let token = signed(&claims());
    for authorization in [format!("Bearer {token}"), format!("bearer {token}"), token] {
        let claims = authorize(&authorization, READ).unwrap();
        assert_eq!((claims["sub"].as_str(), claims["tenant_id"].as_str()), ("s", "t"));
    }
}

#[test]
fn claims_arrive_as_text() {
    let token = signed(&with(&json!({"groups": ["a", "b"], "admin": true, "exp": 4_102_444_799_u64})));
    let claims = authorize(&token, READ).unwrap();
    assert_eq!((claims["groups"].as_str(), claims["admin"].as_str()), ("[a b]", "true"));
    assert_eq!(claims["exp"], "4102444799");
}

#[test]
fn no_token_is_unauthorized() {
    assert_eq!(authorizer().authorize(None, &[READ.to_owned()]), Err(Denied::Unauthorized(None)));
    assert_eq!(authorize("Bearer ", READ), Err(Denied::Unauthorized(None)));
}

#[test]
fn a_token_of_another_time_or_issuer_or_audience_is_refused() {
    let now = get_current_timestamp();
    assert_refused(&signed(&with(&json!({"exp": now - 1}))), "the token has expired");
    assert_refused(&signed(&with(&json!({"exp": null}))), "a claim is missing");
    assert_refused(&signed(&with(&json!({"nbf": now + 60}))), "the token is not yet valid");
    assert_refused(&signed(&with(&json!({"iat": now + 60}))), "the token was issued in the future");
    assert_refused(&signed(&with(&json!({"iss": "https://other.example"}))), "the issuer is wrong");
    assert_refused(&signed(&with(&json!({"iss": null}))), "a claim is missing");
    assert_refused(&signed(&with(&json!({"aud": "other"}))), "the audience is wrong");
    assert_refused(&signed(&with(&json!({"aud": "other", "client_id": AUDIENCE}))), "the audience is wrong");
    assert_refused(&signed(&with(&json!({"aud": null}))), "the audience is wrong");
}

#[test]
fn a_claim_of_a_type_that_the_rfc_forbids_is_refused() {
    let now = get_current_timestamp();
    for iss in [json!(7), json!(true), json!([ISSUER]), json!({"a": ISSUER})] {
        let refused = authorize(&format!("Bearer {}", signed(&with(&json!({"iss": iss})))), READ);
        assert!(matches!(refused, Err(Denied::Unauthorized(Some(_)))), "{iss}: {refused:?}");
    }
    for aud in [json!(7), json!(true), json!([]), json!([7, AUDIENCE]), json!([[AUDIENCE]]), json!({"a": AUDIENCE})] {
        assert_refused(&signed(&with(&json!({"aud": aud}))), "the audience is wrong");
    }
    for (claim, time) in [("exp", now + 60), ("nbf", now - 1), ("iat", now - 1)] {
        for time in [json!(time.to_string()), json!(true), json!([time])] {
            let refused = authorize(&format!("Bearer {}", signed(&with(&json!({claim: time})))), READ);
            assert!(matches!(refused, Err(Denied::Unauthorized(Some(_)))), "{claim} {time}: {refused:?}");
        }
    }
}

/// RFC 7515, section 4.1.11. The authorizer understands no extension.
#[test]
fn a_token_with_a_critical_header_is_refused() {
    let sign = |crit: Option<Vec<String>>| {
        let header = Header { kid: Some("first".to_owned()), crit, ..Header::new(Algorithm::RS256) };
        encode(&header, &claims(), &KEYS[0]).unwrap()
    };
    assert!(authorize(&sign(None), READ).is_ok());
    for crit in [&["exp"][..], &["b64", "http://example.com/unknown"], &[]] {
        assert_refused(
            &sign(Some(crit.iter().map(|name| (*name).to_owned()).collect())),
            "the token has a critical header",
        );
    }
}

#[test]
fn the_audience_may_be_one_of_several_or_the_client() {
    assert!(authorize(&signed(&with(&json!({"aud": ["other", AUDIENCE]}))), READ).is_ok());
    assert!(authorize(&signed(&with(&json!({"aud": null, "client_id": AUDIENCE}))), READ).is_ok());
}

#[test]
fn a_token_with_another_key_or_algorithm_is_refused() {
    let claims = claims();
    assert_refused("not.a.jwt", "the token is not a JWT");
    assert_refused(&sign_with(Algorithm::RS256, Some("second"), &KEYS[1], &claims), "the key id is unknown");
    assert_refused(&sign_with(Algorithm::RS256, None, &KEYS[0], &claims), "the key id is unknown");
    assert_refused(&sign_with(Algorithm::RS256, Some("first"), &KEYS[1], &claims), "the signature does not verify");
    assert_refused(&sign_with(Algorithm::PS256, Some("first"), &KEYS[0], &claims), "the algorithm is not allowed");
    let secret = EncodingKey::from_secret(b"public knowledge");
    assert_refused(&sign_with(Algorithm::HS256, Some("first"), &secret, &claims), "the algorithm is not allowed");
}

#[test]
fn a_token_without_the_scope_is_forbidden() {
    assert_eq!(authorize(&signed(&claims()), WRITE), Err(Denied::Forbidden(vec![WRITE.to_owned()])));
    let write = WRITE;
    for scopes in [json!({"scope": format!("a {write}")}), json!({"scope": null, "scp": [write]})] {
        assert!(authorize(&signed(&with(&scopes)), WRITE).is_ok());
    }
    let similar = signed(&with(&json!({"scope": format!("{write}r")})));
    assert_eq!(authorize(&similar, WRITE), Err(Denied::Forbidden(vec![WRITE.to_owned()])));
}

#[test]
fn without_keys_everybody_is_the_same_local_user() {
    let claims = Authorizer::fixed(ISSUER, AUDIENCE).authorize(None, &[WRITE.to_owned()]).unwrap();
    assert_eq!((claims["sub"].as_str(), claims["tenant_id"].as_str()), ("local-user", "local"));
}

#[test]
fn an_unusable_key_set_is_refused() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), r#"{"keys":[]}"#).unwrap();
    assert!(matches!(Authorizer::verifying(file.path(), ISSUER, AUDIENCE), Err(KeySetError::NoKeys)));
    std::fs::write(file.path(), "-----BEGIN").unwrap();
    assert!(matches!(Authorizer::verifying(file.path(), ISSUER, AUDIENCE), Err(KeySetError::Parse(_))));
    assert!(matches!(Authorizer::verifying(Path::new("/nowhere"), ISSUER, AUDIENCE), Err(KeySetError::Read(_))));
}
