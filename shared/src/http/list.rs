//! Lists and parameters in header fields (RFC 9110, section 5.6).

use ::http::{HeaderMap, header::AsHeaderName};

/// The meaning of a backslash between quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backslash {
    /// It escapes the next character: a `quoted-string` (RFC 9110, section 5.6.4).
    Escapes,
    /// It stands for itself: an entity tag (RFC 9110, section 8.8.3).
    Literal,
}

/// Returns the values of a header. It skips values that are not text.
pub(super) fn values(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = &str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
}

/// Splits a value at each separator outside quotes. It skips empty parts.
///
/// For example `note="a, b", wait=3` has two parts if the separator is a comma.
pub(super) fn split(value: &str, separator: char, backslash: Backslash) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let separates = move |character: char| {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = backslash == Backslash::Escapes,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        character == separator && !is_quoted
    };
    value.split(separates).map(str::trim).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(value: &str, backslash: Backslash) -> Vec<&str> {
        split(value, ',', backslash).collect()
    }

    #[test]
    fn a_separator_between_quotes_does_not_separate() {
        assert_eq!(
            parts(r#"note="a, wait=3, b" ,, wait=1,"#, Backslash::Escapes),
            [r#"note="a, wait=3, b""#, "wait=1"]
        );
        assert_eq!(parts("", Backslash::Escapes), [""; 0]);
        assert_eq!(parts(r#""never closed, b"#, Backslash::Escapes), [r#""never closed, b"#]);
    }

    #[test]
    fn a_backslash_keeps_a_quote_open_in_a_quoted_string_and_not_in_an_entity_tag() {
        assert_eq!(parts(r#""a\", b", c"#, Backslash::Escapes), [r#""a\", b""#, "c"]);
        assert_eq!(parts(r#""a\", "b""#, Backslash::Literal), [r#""a\""#, r#""b""#]);
        assert_eq!(parts(r#""a\\", b"#, Backslash::Escapes), [r#""a\\""#, "b"]);
    }
}
