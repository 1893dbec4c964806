//! Cross-origin requests (<https://fetch.spec.whatwg.org/#http-cors-protocol>). The answers are those of an HTTP API whose
//! configuration names origins in `cors`.

use std::time::Duration;

use http::header::ACCESS_CONTROL_REQUEST_METHOD;
use http::{HeaderName, HeaderValue, Method, Request};
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use tower_http::cors::CorsLayer;
use url::Url;

/// The methods and headers, the same for every origin. The CDK reads the same file.
const TABLE: &str = include_str!("../../../shared/cors.json");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(deserialize_with = "parsed")]
    allow_methods: Vec<Method>,
    #[serde(deserialize_with = "parsed")]
    allow_headers: Vec<HeaderName>,
    #[serde(deserialize_with = "parsed")]
    expose_headers: Vec<HeaderName>,
    max_age_seconds: u64,
}

fn parsed<'de, D: Deserializer<'de>, T: std::str::FromStr>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| text.parse().map_err(|_| D::Error::custom(format!("`{text}` is not valid")))).collect()
}

/// Lets pages of these origins call the service. Returns `None` if there are no origins: then no answer has a header of
/// CORS, and browsers block all pages of other origins.
pub(crate) fn layer(origins: &[HeaderValue]) -> Result<Option<CorsLayer>, serde_json::Error> {
    if origins.is_empty() {
        return Ok(None);
    }
    let table: Table = serde_json::from_str(TABLE)?;
    let layer = CorsLayer::new()
        .allow_origin(origins.to_vec())
        .allow_methods(table.allow_methods)
        .allow_headers(table.allow_headers)
        .expose_headers(table.expose_headers)
        .max_age(Duration::from_secs(table.max_age_seconds));
    Ok(Some(layer))
}

/// Returns whether a request is a preflight: a browser's question whether a page may send another request.
pub(crate) fn is_preflight<Body>(request: &Request<Body>) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Parses an origin in the form of browsers, such as `https://app.example.com` or `http://localhost:8080`.
pub(crate) fn origin(text: &str) -> Result<HeaderValue, String> {
    let is_origin = Url::parse(text).is_ok_and(|url| {
        ["http", "https"].contains(&url.scheme()) && !text.contains('*') && url.origin().ascii_serialization() == text
    });
    let refusal =
        || "use the form https://app.example.com, without a path, a slash at the end or a wildcard".to_owned();
    if is_origin { HeaderValue::from_str(text).map_err(|_| refusal()) } else { Err(refusal()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_accepted_only_in_the_form_of_browsers() {
        for valid in ["https://app.example.com", "http://localhost:8080", "http://127.0.0.1:1", "http://[::1]:8080"] {
            assert_eq!(origin(valid).unwrap(), valid);
        }
        for invalid in [
            "",
            "*",
            "null",
            "app.example.com",
            "https://app.example.com/",
            "https://app.example.com/page",
            "https://app.example.com:443",
            "https://App.example.com",
            "https://*.example.com",
            "https://user@app.example.com",
            "ftp://app.example.com",
            "file:///page.html",
        ] {
            assert!(origin(invalid).is_err(), "{invalid}");
        }
    }

    #[test]
    fn without_origins_there_is_no_layer() {
        assert!(layer(&[]).unwrap().is_none());
        assert!(layer(&[HeaderValue::from_static("https://app.example.com")]).unwrap().is_some());
    }
}
