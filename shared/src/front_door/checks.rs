//! Checks of the parts that the events of all front doors share.

use std::fmt;

use ::http::{HeaderMap, HeaderName, HeaderValue, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::http::host;
use crate::http::problem::HttpProblem;

/// The maximum number of header lines. A front door accepts far fewer; a `HeaderMap` panics at 24,577 names.
const HEADERS_MAX: usize = 1_000;

/// Names with their values, in order. The JSON is an object of texts or of lists of texts, or null.
#[derive(Debug, Default)]
pub(super) struct Pairs(Vec<(String, String)>);

impl Pairs {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

#[derive(serde::Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of texts, of lists of texts, or null")
    }

    fn visit_unit<E>(self) -> Result<Pairs, E> {
        Ok(Pairs::default())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
        let mut pairs = Vec::new();
        while let Some((name, values)) = map.next_entry::<String, OneOrMany>()? {
            match values {
                OneOrMany::One(value) => pairs.push((name, value)),
                OneOrMany::Many(values) => pairs.extend(values.into_iter().map(|value| (name.clone(), value))),
            }
        }
        Ok(Pairs(pairs))
    }
}

/// Builds headers from texts, or refuses them.
pub(super) fn headers<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Result<HeaderMap, HttpProblem> {
    let mut headers = HeaderMap::new();
    for (index, (name, text)) in pairs.enumerate() {
        if index >= HEADERS_MAX {
            return Err(HttpProblem::bad_request(format!("the request has more than {HEADERS_MAX} headers")));
        }
        let name = HeaderName::from_bytes(name.as_bytes());
        let name = name.map_err(|_| HttpProblem::bad_request("the name of a header is not valid"))?;
        if name == header::HOST && !host::is_host(text) {
            return Err(HttpProblem::bad_request("Host is not valid"));
        }
        if name == FORWARDED_PROTO && !is_scheme(text) {
            return Err(HttpProblem::bad_request("X-Forwarded-Proto is neither http nor https"));
        }
        headers.append(name, value(text)?);
    }
    Ok(headers)
}

/// The header in which the front door names the scheme of the client's request.
const FORWARDED_PROTO: &str = "x-forwarded-proto";

fn is_scheme(text: &str) -> bool {
    ["http", "https"].iter().any(|scheme| text.eq_ignore_ascii_case(scheme))
}

/// Builds the value of a header from a text, or refuses it.
pub(super) fn value(text: &str) -> Result<HeaderValue, HttpProblem> {
    HeaderValue::from_str(text).map_err(|_| HttpProblem::bad_request("the value of a header is not valid"))
}

/// Returns the bytes of a body, or refuses it.
pub(super) fn body(text: String, is_base64_encoded: bool) -> Result<Bytes, HttpProblem> {
    if !is_base64_encoded {
        return Ok(text.into());
    }
    let bytes = STANDARD.decode(text);
    Ok(bytes.map_err(|_| HttpProblem::bad_request("the event's body is not Base64"))?.into())
}
