//! Conditional requests (RFC 9110, section 13).
//!
//! The strong entity tag of a representation holds its version and its projection, because another projection shows the
//! same version in other bytes. A write depends on the version alone, so the tag of a write may omit the projection.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

use ::http::{HeaderMap, header};
use kernel::envelope::{Excluded, ExpectedVersion};
use kernel::projection::Projection;

use super::list::{self, Backslash};
use super::problem::HttpProblem;

/// Returns the entity tag of a version in a projection, for example `"7-v2"`.
#[must_use]
pub fn etag(version: u64, projection: Projection) -> String {
    format!("\"{version}-{projection}\"")
}

/// `If-Match` (RFC 9110, section 13.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMatch {
    /// The header is absent.
    Absent,
    /// `*`: any version.
    Any,
    /// A tag of the service.
    Tag(Tag),
    /// A tag that the service never issues.
    Foreign,
}

/// An entity tag of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    version: u64,
    /// The projection; `None` if the tag omits it.
    projection: Option<Projection>,
}

impl IfMatch {
    /// Returns the version that a write expects. A foreign tag is an error: 412.
    pub fn expected(self) -> Result<ExpectedVersion, HttpProblem> {
        match self {
            Self::Absent => Ok(ExpectedVersion::Any),
            Self::Any => Ok(ExpectedVersion::Exists),
            Self::Tag(tag) => Ok(ExpectedVersion::Version(tag.version)),
            Self::Foreign => Err(HttpProblem::unknown_tag()),
        }
    }

    /// Returns the version in the tag, or 0 without a tag of the service.
    #[must_use]
    pub fn named(self) -> u64 {
        if let Self::Tag(tag) = self { tag.version } else { 0 }
    }

    /// Returns whether a read of this version may continue. `*` always passes, because a missing representation gets 404
    /// earlier.
    #[must_use]
    pub fn lets_through(self, version: u64, projection: Projection) -> bool {
        match self {
            Self::Absent | Self::Any => true,
            Self::Tag(tag) => tag.version == version && tag.projection.is_none_or(|its| its == projection),
            Self::Foreign => false,
        }
    }
}

/// Reads `If-Match`: one strong tag, or `*`.
pub fn if_match(headers: &HeaderMap) -> Result<IfMatch, HttpProblem> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let Some(value) = values.next() else { return Ok(IfMatch::Absent) };
    let wrong = || HttpProblem::bad_request("If-Match must be one strong entity tag, such as \"3\", or *");
    match (value.to_str().map(str::trim), values.next()) {
        (Ok("*"), None) => Ok(IfMatch::Any),
        (Ok(tag), None) => Ok(tag_of(opaque(tag).ok_or_else(wrong)?).map_or(IfMatch::Foreign, IfMatch::Tag)),
        _ => Err(wrong()),
    }
}

/// Returns the versions that `If-None-Match` of a write excludes: all for `*`, or those in a list of tags. The comparison
/// is weak. Returns `None` if it excludes no version.
pub fn excluded(headers: &HeaderMap) -> Result<Option<Excluded>, HttpProblem> {
    let wrong = || HttpProblem::bad_request("If-None-Match must be a list of entity tags, such as \"3\", or *");
    let mut tags = Vec::new();
    for value in headers.get_all(header::IF_NONE_MATCH) {
        tags.extend(list::split(value.to_str().map_err(|_| wrong())?, ',', Backslash::Literal));
    }
    if tags == ["*"] {
        return Ok(Some(Excluded::Any));
    }
    let mut versions = BTreeSet::new();
    for tag in tags {
        let tag = tag_of(opaque(tag.strip_prefix("W/").unwrap_or(tag)).ok_or_else(wrong)?);
        versions.extend(tag.map(|tag| tag.version));
    }
    Ok((!versions.is_empty()).then(|| Excluded::Versions(versions.into_iter().collect())))
}

/// Reads the text between the quotes, such as `7-v2` or `7`. Returns `None` for a text that the service would not write.
fn tag_of(opaque: &str) -> Option<Tag> {
    let Some((version, projection)) = opaque.split_once("-v") else {
        return Some(Tag { version: number(opaque)?, projection: None });
    };
    Some(Tag { version: number(version)?, projection: Some(Projection(number(projection)?)) })
}

/// Reads a positive number in its canonical form, for example without leading zeros.
fn number<T: FromStr + Display + Default + PartialEq>(text: &str) -> Option<T> {
    text.parse().ok().filter(|number: &T| *number != T::default() && number.to_string() == text)
}

/// Returns the text between the quotes of a strong tag.
fn opaque(tag: &str) -> Option<&str> {
    let inside = tag.strip_prefix('"')?.strip_suffix('"')?;
    inside.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"').then_some(inside)
}

/// Returns whether `If-None-Match` of a read names this tag, or is `*`: then the client has the representation already. The
/// comparison is weak.
#[must_use]
pub fn none_match_names(headers: &HeaderMap, current: &str) -> bool {
    let names = |tag: &str| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == current;
    list::values(headers, header::IF_NONE_MATCH)
        .flat_map(|value| list::split(value, ',', Backslash::Literal))
        .any(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &header::HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn if_match_is_one_strong_tag_or_a_star() {
        let parse = |values: &[&str]| {
            let expected = if_match(&headers(&header::IF_MATCH, values)).and_then(IfMatch::expected);
            expected.map_err(|problem| problem.problem.status)
        };
        assert_eq!(parse(&[]), Ok(ExpectedVersion::Any));
        assert_eq!(parse(&["*"]), Ok(ExpectedVersion::Exists));
        for tag in ["\"999\"", "\"999-v1\"", "\"999-v65535\""] {
            assert_eq!(parse(&[tag]), Ok(ExpectedVersion::Version(999)), "{tag}");
        }
        assert_eq!(parse(&[&etag(7, Projection(2))]), Ok(ExpectedVersion::Version(7)));
        for malformed in [&["3"][..], &["W/\"3\""], &["\"1\", \"2\""], &["\"1\"", "\"2\""], &["\""], &[""]] {
            assert_eq!(parse(malformed), Err(400), "{malformed:?}");
        }
        for foreign in [
            "\"7-\"",
            "\"7-v\"",
            "\"7-v0\"",
            "\"7-v02\"",
            "\"7-2\"",
            "\"-v2\"",
            "\"7-v2-v2\"",
            "\"7-v65536\"",
            "\"abc\"",
            "\"0\"",
            "\"03\"",
            "\"-1\"",
            "\"\"",
            "\"99999999999999999999\"",
        ] {
            assert_eq!(parse(&[foreign]), Err(412), "{foreign}");
        }
    }

    #[test]
    fn if_match_lets_a_read_of_the_named_version_through() {
        let read = |given: &[&str]| if_match(&headers(&header::IF_MATCH, given)).unwrap();
        for yes in [&[][..], &["*"], &["\"7\""], &["\"7-v2\""]] {
            assert!(read(yes).lets_through(7, Projection(2)), "{yes:?}");
        }
        for no in ["\"7-v1\"", "\"8-v2\"", "\"8\"", "\"abc\""] {
            assert!(!read(&[no]).lets_through(7, Projection(2)), "{no}");
        }
        assert_eq!((read(&["\"9-v1\""]).named(), read(&["*"]).named(), read(&["\"abc\""]).named()), (9, 0, 0));
    }

    #[test]
    fn if_none_match_of_a_write_excludes_all_versions_or_those_that_it_names() {
        let parse = |values: &[&str]| {
            excluded(&headers(&header::IF_NONE_MATCH, values)).map_err(|problem| problem.problem.status)
        };
        let versions = |versions: &[u64]| Ok(Some(Excluded::Versions(versions.to_vec())));
        assert_eq!(parse(&["*"]), Ok(Some(Excluded::Any)));
        assert_eq!(parse(&["\"7\""]), versions(&[7]));
        assert_eq!(parse(&["\"7-v2\", W/\"7-v1\""]), versions(&[7]));
        assert_eq!(parse(&["\"7\", W/\"3\",,\"7\"", "\"abc\", \"a,9\", \"\""]), versions(&[3, 7]));
        for none in [&[][..], &[""], &["\"abc\""], &["\"0\", \"07\""], &["\"99999999999999999999\""]] {
            assert_eq!(parse(none), Ok(None), "{none:?}");
        }
        for malformed in [&["7"][..], &["\"7"], &["*, \"7\""], &["*", "*"], &["\"a\"b\""], &["w/\"7\""]] {
            assert_eq!(parse(malformed), Err(400), "{malformed:?}");
        }
    }

    #[test]
    fn if_none_match_is_a_list_of_whole_tags_compared_weakly() {
        let names = |values: &[&str]| none_match_names(&headers(&header::IF_NONE_MATCH, values), "\"3-v2\"");
        for named in [&["\"3-v2\""][..], &["W/\"3-v2\""], &["\"1\", \"3-v2\""], &["\"1\"", "\"3-v2\""], &["*"]] {
            assert!(names(named), "{named:?}");
        }
        for other in [&[][..], &["\"2-v2\""], &["3-v2"], &["\"3\""], &["\"3-v1\""], &["\"a,*,b\""]] {
            assert!(!names(other), "{other:?}");
        }
    }
}
