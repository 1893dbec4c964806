//! Passwords from IAM for a cache of ElastiCache Serverless. A token is a signed request to connect that is never sent.

use std::error::Error;
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningParams, SigningSettings, sign};
use aws_sigv4::sign::v4;

/// The time in which a token can open connections: the maximum of ElastiCache. An open connection lives longer.
const TOKEN_TTL: Duration = Duration::from_mins(15);

/// Makes a new token for each connection. A stored token could be expired, because the environment may have been frozen since.
#[derive(Debug, Clone)]
pub(super) struct TokenIssuer {
    aws: SdkConfig,
    /// The unsigned request.
    request: String,
}

/// The reason why there is no token.
type TokenError = Box<dyn Error + Send + Sync>;

impl TokenIssuer {
    /// Makes an issuer for a user of a cache; `None` if ElastiCache does not allow one of the names.
    pub(super) fn new(aws: &SdkConfig, cache: &str, user: &str) -> Option<Self> {
        let is_name = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        let request = format!("http://{cache}/?Action=connect&User={user}&ResourceType=ServerlessCache");
        (is_name(cache) && is_name(user)).then(|| Self { aws: aws.clone(), request })
    }

    /// Returns a token that is valid from now on.
    pub(super) async fn token(&self) -> Result<String, TokenError> {
        let region = self.aws.region().ok_or("there is no AWS region: set AWS_REGION")?;
        let provider = self.aws.credentials_provider().ok_or("there are no AWS credentials")?;
        let scope = Scope { service: "elasticache", region: region.as_ref() };
        let signed =
            presign(&self.request, scope, TOKEN_TTL, provider.provide_credentials().await?, SystemTime::now())?;
        Ok(signed.trim_start_matches("http://").to_owned())
    }
}

/// The service and the region that a signature is valid for.
#[derive(Debug, Clone, Copy)]
struct Scope<'a> {
    service: &'a str,
    region: &'a str,
}

/// Returns the URL with its signature (AWS Signature Version 4) in the query.
fn presign(
    url: &str,
    scope: Scope<'_>,
    ttl: Duration,
    credentials: Credentials,
    at: SystemTime,
) -> Result<String, TokenError> {
    let mut settings = SigningSettings::default();
    settings.signature_location = SignatureLocation::QueryParams;
    settings.expires_in = Some(ttl);
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder().identity(&identity).region(scope.region).name(scope.service);
    let parameters = SigningParams::V4(parameters.time(at).settings(settings).build()?);
    let unsigned = SignableRequest::new("GET", url, std::iter::empty(), SignableBody::empty())?;
    let (signature, _) = sign(unsigned, &parameters)?.into_parts();
    let mut request = http::Request::get(url).body(())?;
    signature.apply_to_request_http1x(&mut request);
    Ok(request.uri().to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::UNIX_EPOCH;

    use super::*;

    fn credentials(session: Option<&str>) -> Credentials {
        let secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
        Credentials::new("AKIDEXAMPLE", secret, session.map(str::to_owned), None, "test")
    }

    /// Returns the parts of a URL, without the order of its parameters.
    fn parts(url: &str) -> BTreeSet<&str> {
        url.split(['?', '&']).collect()
    }

    /// The cases of AWS's Signature Version 4 test suite (awslabs, aws-c-auth) with the parts of a token: a query, or the token
    /// of a session. All are dated 2015-08-30T12:36:00Z.
    #[test]
    fn urls_are_signed_as_the_published_test_suite_has_them() {
        const QUERY: &str = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2F\
            service%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600";
        const SESSION: &str = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
        let cases = [
            ("", None, "e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d"),
            (
                "Param-3=Value3&Param=Value2&%E1%88%B4=Value1",
                None,
                "c5f1848ceec943ac2ca68ee720460c23aaae30a2300586597ada94c4a65e4787",
            ),
            ("", Some(SESSION), "7ff2b50b376cb4d151970630573d6291dc128cc5c2a12ffb237f73cc53f67b6c"),
        ];
        for (query, session, signature) in cases {
            let url = format!("http://example.amazonaws.com/?{query}");
            let scope = Scope { service: "service", region: "us-east-1" };
            let at = UNIX_EPOCH + Duration::from_secs(1_440_938_160);
            let signed =
                presign(url.trim_end_matches('?'), scope, Duration::from_hours(1), credentials(session), at).unwrap();
            let session = session.map(|token| format!("&X-Amz-Security-Token={token}")).unwrap_or_default();
            let separator = if query.is_empty() { "" } else { "&" };
            let published = format!("{url}{separator}{QUERY}{session}&X-Amz-Signature={signature}");
            assert_eq!(parts(&signed), parts(&published));
        }
    }

    /// The expected URL is from the AWS SDK for Python: `botocore.auth.SigV4QueryAuth`.
    #[test]
    fn a_request_to_connect_is_signed_as_another_sdk_signs_it() {
        let aws = SdkConfig::builder().build();
        let issuer = TokenIssuer::new(&aws, "watershed-prod", "watershed-read").unwrap();
        let scope = Scope { service: "elasticache", region: "eu-central-1" };
        let at = UNIX_EPOCH + Duration::from_secs(1_767_323_045);
        let credentials = credentials(Some("c2Vzc2lvbg/+token=="));
        let signed = presign(&issuer.request, scope, TOKEN_TTL, credentials, at).unwrap();
        let other = "http://watershed-prod/?Action=connect&User=watershed-read&ResourceType=ServerlessCache&\
            X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20260102%2Feu-central-1%2Felasticache%2F\
            aws4_request&X-Amz-Date=20260102T030405Z&X-Amz-Expires=900&X-Amz-SignedHeaders=host&\
            X-Amz-Security-Token=c2Vzc2lvbg%2F%2Btoken%3D%3D&\
            X-Amz-Signature=aae71bebe856c8b43443316a2e697f807b52d6024b5f9c4c5bb1d85fa3a05208";
        assert_eq!(parts(&signed), parts(other));
    }

    #[tokio::test]
    async fn without_a_region_or_credentials_there_is_no_token() {
        let aws = SdkConfig::builder().build();
        let error = TokenIssuer::new(&aws, "cache", "user").unwrap().token().await.unwrap_err();
        assert!(error.to_string().contains("AWS_REGION"), "{error}");
    }
}
