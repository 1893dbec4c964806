//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header).

use std::borrow::Cow;

use sfv::{Parser, StringRef};

use super::IDEMPOTENCY_KEY;
use super::incoming::Incoming;
use super::list::{Backslash, split};
use super::problem::HttpProblem;

/// The maximum length of a key, in characters.
const KEY_CHARS_MAX: usize = 255;

impl Incoming {
    /// Returns the idempotency key, if the client sent one.
    ///
    /// The draft defines it as a structured-field string, such as `"K7"` (RFC 9651, section 3.3.3). A bare key, such as
    /// `K7`, is the same key. Two keys are an error, also in one line: an HTTP API joins the lines of a header with a
    /// comma.
    pub fn idempotency_key(&self) -> Result<Option<String>, HttpProblem> {
        let Some(given) = self.header(&IDEMPOTENCY_KEY)? else { return Ok(None) };
        if split(given, ',', Backslash::Escapes).nth(1).is_some() {
            return Err(HttpProblem::bad_request("Idempotency-Key is given twice: send one key"));
        }
        let key = if given.starts_with('"') { quoted(given) } else { bare(given) };
        let key = key.filter(|key| (1..=KEY_CHARS_MAX).contains(&key.len()));
        let wrong = "Idempotency-Key must be 1 to 255 ASCII characters in quotes, such as \"K7\"; without quotes, \
            visible characters without commas and quotes";
        key.map(|key| Some(key.into_owned())).ok_or_else(|| HttpProblem::bad_request(wrong))
    }
}

/// Reads a key in quotes. It ignores parameters of the string (RFC 9651, section 2).
fn quoted(given: &str) -> Option<Cow<'_, str>> {
    let string = Parser::new(given).parse_item::<Cow<'_, StringRef>>().ok()?;
    Some(match string {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_str()),
        Cow::Owned(text) => Cow::Owned(text.into()),
    })
}

fn bare(given: &str) -> Option<Cow<'_, str>> {
    let is_bare = given.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',' && byte != b'"');
    is_bare.then_some(Cow::Borrowed(given))
}

#[cfg(test)]
mod tests {
    use super::super::incoming::tests::with_headers;
    use super::*;

    fn key(values: &[&str]) -> Result<Option<String>, String> {
        let incoming = with_headers(values.iter().map(|value| (IDEMPOTENCY_KEY, *value)));
        incoming.idempotency_key().map_err(|problem| problem.problem.detail)
    }

    #[test]
    fn a_key_is_a_structured_string_or_the_same_characters_bare() {
        assert_eq!(key(&[]), Ok(None));
        let longest = "k".repeat(KEY_CHARS_MAX);
        for (given, expected) in [
            ("K7", "K7"),
            ("\"K7\"", "K7"),
            ("\"K7\";v=1", "K7"),
            (" K7 ", "K7"),
            ("\"a, \\\"b\\\" \\\\\"", "a, \"b\" \\"),
            ("a;b=c", "a;b=c"),
            ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
            (&longest, &longest),
            (&format!("\"{longest}\""), &longest),
        ] {
            assert_eq!(key(&[given]), Ok(Some(expected.to_owned())), "{given}");
        }
    }

    #[test]
    fn an_invalid_key_is_refused() {
        let too_long = "k".repeat(KEY_CHARS_MAX + 1);
        for wrong in ["", "\"\"", "\"K7", "K7\"", "K\"7", "\"K7\" x", "a b", "a,", ",", "\"a\\b\"", "\"\t\"", &too_long]
        {
            assert!(key(&[wrong]).unwrap_err().starts_with("Idempotency-Key must be"), "{wrong}");
        }
        assert!(key(&[&format!("\"{too_long}\"")]).is_err());
    }

    #[test]
    fn two_keys_are_refused_in_two_lines_and_in_one() {
        for twice in
            [&["K7", "K7"][..], &["\"K7\"", "\"K7\""], &["K7,K7"], &["K7, K8"], &["\"K7\", \"K7\""], &["K7, \"K7\""]]
        {
            assert!(key(twice).unwrap_err().contains("given twice"), "{twice:?}");
        }
    }
}
