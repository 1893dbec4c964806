//! Conditional requests (RFC 9110, section 13). The strong entity tag of what is kept is its version in quotes.

use ::http::{HeaderMap, header};
use kernel::envelope::Expected;

use super::list::{self, Backslash};
use super::problem::HttpProblem;

/// The entity tag of a version.
#[must_use]
pub fn etag(version: u64) -> String {
    format!("\"{version}\"")
}

/// What `If-Match` expects: one strong tag, or `*`.
pub fn if_match(headers: &HeaderMap) -> Result<Expected, HttpProblem> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let Some(value) = values.next() else { return Ok(Expected::Unsaid) };
    let wrong = || HttpProblem::bad_request("If-Match must be one strong entity tag, such as \"3\", or *");
    match (value.to_str().map(str::trim), values.next()) {
        (Ok("*"), None) => Ok(Expected::Exists),
        (Ok(tag), None) => {
            let opaque = opaque(tag).ok_or_else(wrong)?;
            // Only what we would have written can be a version of ours.
            let version = opaque.parse().ok().filter(|version: &u64| *version > 0 && version.to_string() == opaque);
            version.map(Expected::Version).ok_or_else(HttpProblem::unknown_tag)
        }
        _ => Err(wrong()),
    }
}

/// What is inside the quotes of a strong tag.
fn opaque(tag: &str) -> Option<&str> {
    let inside = tag.strip_prefix('"')?.strip_suffix('"')?;
    inside.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"').then_some(inside)
}

/// Whether `If-None-Match` names this version, or any: then the client has what it asks for. Compares weakly.
#[must_use]
pub fn none_match_names(headers: &HeaderMap, version: u64) -> bool {
    let current = etag(version);
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
        let parse =
            |values: &[&str]| if_match(&headers(&header::IF_MATCH, values)).map_err(|problem| problem.problem.status);
        assert_eq!(parse(&[]), Ok(Expected::Unsaid));
        assert_eq!(parse(&["*"]), Ok(Expected::Exists));
        assert_eq!(parse(&["\"999\""]), Ok(Expected::Version(999)));
        for malformed in [&["3"][..], &["W/\"3\""], &["\"1\", \"2\""], &["\"1\"", "\"2\""], &["\""], &[""]] {
            assert_eq!(parse(malformed), Err(400), "{malformed:?}");
        }
        for foreign in ["\"abc\"", "\"0\"", "\"03\"", "\"-1\"", "\"\"", "\"99999999999999999999\""] {
            assert_eq!(parse(&[foreign]), Err(412), "{foreign}");
        }
    }

    #[test]
    fn if_none_match_is_a_list_compared_weakly() {
        let names = |values: &[&str]| none_match_names(&headers(&header::IF_NONE_MATCH, values), 3);
        for named in [&["\"3\""][..], &["W/\"3\""], &["\"1\", \"3\""], &["\"1\"", "\"3\""], &["*"]] {
            assert!(names(named), "{named:?}");
        }
        assert!(!names(&[]) && !names(&["\"2\""]) && !names(&["3"]));
        assert!(!names(&["\"a,*,b\""]), "a comma between quotes does not separate");
    }
}
