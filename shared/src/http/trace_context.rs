//! `traceparent` (W3C Trace Context, section 3.2).

use super::TRACEPARENT;
use super::incoming::Incoming;

/// The version that this code knows.
const VERSION: &str = "00";
/// The length of a value of that version, in characters.
const LENGTH: usize = 55;

impl Incoming {
    /// Returns the trace of the request, in the form of version 00. A malformed or repeated header is ignored, so a new
    /// trace starts.
    ///
    /// From a later version, it reads only the fields of version 00 (W3C Trace Context, section 3.2.4).
    #[must_use]
    pub fn traceparent(&self) -> Option<String> {
        parse(self.header(&TRACEPARENT).ok()??)
    }
}

fn parse(given: &str) -> Option<String> {
    let (known, rest) = given.split_at_checked(LENGTH)?;
    let [version, trace, parent, flags] = <[&str; 4]>::try_from(known.split('-').collect::<Vec<_>>()).ok()?;
    let has_known_end = rest.is_empty() || (version != VERSION && rest.starts_with('-'));
    let is_well_formed = is_hex(version, 2)
        && version != "ff"
        && is_hex(trace, 32)
        && is_hex(parent, 16)
        && is_hex(flags, 2)
        && has_known_end
        && !is_zero(trace)
        && !is_zero(parent);
    is_well_formed.then(|| format!("{VERSION}-{trace}-{parent}-{flags}"))
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_zero(hex: &str) -> bool {
    hex.bytes().all(|byte| byte == b'0')
}

#[cfg(test)]
mod tests {
    use super::super::incoming::tests::with_headers;
    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_is_taken_as_version_00_writes_it() {
        assert_eq!(parse(GIVEN).as_deref(), Some(GIVEN));
        for later in [GIVEN.replacen("00", "01", 1), format!("{}-more", GIVEN.replacen("00", "cc", 1))] {
            assert_eq!(parse(&later).as_deref(), Some(GIVEN), "{later}");
        }
    }

    #[test]
    fn a_malformed_trace_is_ignored() {
        let wrong = [
            String::new(),
            "00".to_owned(),
            GIVEN.to_uppercase(),
            GIVEN.replacen("00", "ff", 1),
            GIVEN.replacen("00", "0x", 1),
            format!("{GIVEN}-more"),
            format!("{GIVEN}0"),
            format!("{}.more", GIVEN.replacen("00", "01", 1)),
            GIVEN.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            GIVEN.replace("b7ad6b7169203331", &"0".repeat(16)),
            GIVEN.replace('-', "_"),
            GIVEN.replace("-01", "-0g"),
            GIVEN[1..].to_owned(),
            "é".repeat(40),
        ];
        for wrong in wrong {
            assert_eq!(parse(&wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_trace_that_is_given_twice_is_ignored() {
        let trace = |values: &[&str]| with_headers(values.iter().map(|value| (TRACEPARENT, *value))).traceparent();
        assert_eq!(trace(&[GIVEN]).as_deref(), Some(GIVEN));
        assert_eq!(trace(&[]), None);
        assert_eq!(trace(&[GIVEN, GIVEN]), None);
        assert_eq!(trace(&[&format!("{GIVEN},{GIVEN}")]), None);
    }
}
