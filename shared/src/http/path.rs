//! Paths in two forms: as the service knows them, and as clients use them at a front door.

use std::fmt;
use std::str::FromStr;

use ::http::Uri;
use ::http::uri::PathAndQuery;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// The characters that a path holds only in encoded form (RFC 3986, section 3.3).
const NOT_IN_PATHS: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'?').add(b'`').add(b'{').add(b'}');

/// The segments before each path at a front door: the stage of an API, the base path of a custom domain, or both. For
/// example `/prod`, or an empty text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BasePath(String);

/// The error for a text that is not a base path.
#[derive(Debug, thiserror::Error)]
#[error("must begin with a slash, end without one, and have only letters, digits, / and -._~$+!*'(), such as /v1")]
pub struct BasePathError;

impl FromStr for BasePath {
    type Err = BasePathError;

    fn from_str(text: &str) -> Result<Self, BasePathError> {
        let is_character = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~$+!*'()".contains(&byte);
        let is_segment = |segment: &str| !segment.is_empty() && segment.bytes().all(is_character);
        let segments = text.strip_prefix('/').ok_or(BasePathError)?;
        if segments.split('/').all(is_segment) { Ok(Self(text.to_owned())) } else { Err(BasePathError) }
    }
}

/// Writes the text before a path; it may be empty.
impl fmt::Display for BasePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl BasePath {
    /// Returns the link to a path of the service, for clients of this front door.
    #[must_use]
    pub fn link(&self, path: impl fmt::Display) -> String {
        format!("{self}{path}")
    }

    /// Splits this base path off a path. If the path does not begin with it, returns an empty base path and the whole path.
    #[must_use]
    pub fn split<'path>(&self, path: &'path str) -> (Self, &'path str) {
        match path.strip_prefix(self.0.as_str()) {
            Some("") if !self.0.is_empty() => (self.clone(), "/"),
            Some(rest) if rest.starts_with('/') => (self.clone(), rest),
            _ => (Self::default(), path),
        }
    }

    /// Returns this base path, followed by another.
    #[must_use]
    pub fn join(&self, inner: &Self) -> Self {
        Self(self.link(inner))
    }
}

/// Builds a URI from a path and a raw query, which may be empty. It encodes the characters of the path that no URI may
/// hold. Returns `None` if the path does not begin with a slash, if the query is malformed, or if both are too long for a
/// URI.
#[must_use]
pub fn uri(path: &str, query: &str) -> Option<Uri> {
    // The parser would read the rest as a fragment, which is not part of a request (RFC 9112, section 3.2.1).
    if !path.starts_with('/') || query.contains('#') {
        return None;
    }
    let path = utf8_percent_encode(path, NOT_IN_PATHS);
    let text = if query.is_empty() { path.to_string() } else { format!("{path}?{query}") };
    PathAndQuery::try_from(text).ok().map(Uri::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(text: &str) -> BasePath {
        text.parse().unwrap()
    }

    #[test]
    fn a_path_that_no_uri_can_hold_is_encoded_and_others_are_left_alone() {
        let text = |path: &str, query: &str| uri(path, query).map(|uri| uri.to_string());
        assert_eq!(text("/things/a b\0#?é{`\"", "a=1").unwrap(), "/things/a%20b%00%23%3F%C3%A9%7B%60%22?a=1");
        assert_eq!(text("/things/7%20", "").unwrap(), "/things/7%20");
        assert_eq!(text("//x:99999/", "").unwrap(), "//x:99999/");
        let too_long = format!("/{}", "x".repeat(70_000));
        for (path, query) in
            [("", ""), ("things", ""), ("*", ""), ("/", "a b"), ("/", "a#b"), ("/", "\n"), (&too_long, "")]
        {
            assert_eq!(text(path, query), None, "{path:.20} {query}");
        }
    }

    #[test]
    fn a_base_path_is_split_off_at_the_end_of_a_segment() {
        let split = |base: &BasePath, path| {
            let (before, rest) = base.split(path);
            (before.to_string(), rest.to_owned())
        };
        let expect = |before: &str, rest: &str| (before.to_owned(), rest.to_owned());
        let prod = base("/prod");
        assert_eq!(split(&prod, "/prod/things"), expect("/prod", "/things"));
        assert_eq!(split(&prod, "/prod"), expect("/prod", "/"));
        assert_eq!(split(&prod, "/prod/prod/things"), expect("/prod", "/prod/things"));
        for path in ["/production/things", "/things", "/", "", "prod/things"] {
            assert_eq!(split(&prod, path), expect("", path));
            assert_eq!(split(&BasePath::default(), path), expect("", path));
        }
        assert_eq!(prod.join(&base("/v1")), base("/prod/v1"));
    }

    #[test]
    fn a_base_path_has_segments_of_plain_characters() {
        assert_eq!(base("/v1/api").link("/things"), "/v1/api/things");
        for wrong in ["", "/", "v1", "/v1/", "//v1", "/a b", "/a%20b", "/a?b", "/é", "/a\n"] {
            assert!(wrong.parse::<BasePath>().is_err(), "{wrong}");
        }
    }
}
