//! Preferences (RFC 7240).

use std::time::Duration;

use ::http::HeaderMap;

use super::list::{self, Backslash};

/// The longest wait that a client can request, in seconds.
pub const WAIT_SECONDS_MAX: u64 = 10;

/// The preferences of a client. Unknown and malformed preferences are ignored, as the RFC says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Preferences {
    /// `wait=n`: the seconds to wait for the result, at most [`WAIT_SECONDS_MAX`].
    pub wait_seconds: Option<u64>,
    /// `respond-async`: an acknowledgement is enough.
    pub respond_async: bool,
    /// `handling=lenient`: a stale answer is better than none.
    pub lenient: bool,
}

impl Preferences {
    /// Reads all `Prefer` headers. If a preference is repeated, the first one counts; for `wait`, the first number.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut preferences = Self::default();
        let mut handling_said = false;
        let values = list::values(headers, "prefer");
        for preference in values.flat_map(|value| list::split(value, ',', Backslash::Escapes)) {
            let token = list::split(preference, ';', Backslash::Escapes).next().unwrap_or_default();
            let (name, value) = token.split_once('=').unwrap_or((token, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "wait" if preferences.wait_seconds.is_none() => {
                    preferences.wait_seconds = value.parse().ok().map(|seconds: u64| seconds.min(WAIT_SECONDS_MAX));
                }
                "respond-async" => preferences.respond_async = true,
                "handling" if !handling_said => {
                    handling_said = true;
                    preferences.lenient = value.eq_ignore_ascii_case("lenient");
                }
                _ => {}
            }
        }
        preferences
    }

    /// Returns the wait as a duration.
    #[must_use]
    pub fn wait(self) -> Option<Duration> {
        self.wait_seconds.map(Duration::from_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_read_and_what_is_unknown_is_ignored() {
        let of = |values: &[&str]| {
            Preferences::of(
                &values
                    .iter()
                    .map(|value| (::http::HeaderName::from_static("prefer"), value.parse().unwrap()))
                    .collect(),
            )
        };
        assert_eq!(of(&[]), Preferences::default());
        assert_eq!(of(&["wait=3, wait=9"]).wait_seconds, Some(3));
        assert_eq!(of(&["Wait = \"99\"; x=y"]).wait_seconds, Some(WAIT_SECONDS_MAX));
        assert_eq!(of(&["wait=soon, frobnicate"]), Preferences::default());
        let both = of(&["respond-async", "handling=lenient"]);
        assert!(both.respond_async && both.lenient);
        assert!(!of(&["handling=strict, handling=lenient"]).lenient);
        for quoted in
            ["note=\"a, wait=3, b\"", "note=\"a\\\", respond-async, b\"", "wait=\"a;b\", note=\"handling=lenient\""]
        {
            assert_eq!(of(&[quoted]), Preferences::default(), "{quoted}");
        }
        assert_eq!(of(&["note=\"a, b\"; x=\"c, d\", wait=2"]).wait_seconds, Some(2));
    }
}
