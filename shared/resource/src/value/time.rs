//! Dates and points in time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::{Value, text_of};
use crate::given::Given;

/// A calendar date without a time zone, for example `2026-11-28` (RFC 3339, section 5.6, `full-date`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Date(jiff::civil::Date);

/// A point in time, for example `2026-11-28T07:30:00.5Z` (RFC 3339, section 5.6, `date-time`). It is stored in UTC, with a
/// precision of microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Moment(jiff::Timestamp);

/// The error for a text that is not a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a date such as 2026-11-28")]
pub struct DateError;

/// The error for a text that is not a point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a date and time with its offset, such as 2026-11-28T07:30:00Z, in the years 0000 to 9999")]
pub struct MomentError;

impl FromStr for Date {
    type Err = DateError;

    fn from_str(text: &str) -> Result<Self, DateError> {
        // The library also accepts other spellings.
        let date = text.parse().map(Self).map_err(|_| DateError)?;
        if date.to_string() == text && !text.starts_with('-') { Ok(date) } else { Err(DateError) }
    }
}

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        let is_rfc_3339 =
            text.len() >= 20 && text.as_bytes().get(10).is_some_and(|byte| byte.eq_ignore_ascii_case(&b'T'));
        let moment: jiff::Timestamp = text.parse().map_err(|_| MomentError)?;
        let rounded = jiff::Timestamp::from_microsecond(moment.as_microsecond()).map_err(|_| MomentError)?;
        let moment = Self(rounded);
        if is_rfc_3339 && !text.contains('[') && !moment.to_string().starts_with('-') {
            Ok(moment)
        } else {
            Err(MomentError)
        }
    }
}

impl TryFrom<String> for Date {
    type Error = DateError;

    fn try_from(text: String) -> Result<Self, DateError> {
        text.parse()
    }
}

impl TryFrom<String> for Moment {
    type Error = MomentError;

    fn try_from(text: String) -> Result<Self, MomentError> {
        text.parse()
    }
}

impl From<Date> for String {
    fn from(value: Date) -> Self {
        value.to_string()
    }
}

impl From<Moment> for String {
    fn from(value: Moment) -> Self {
        value.to_string()
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Always writes microseconds, so that texts sort as the points in time do.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}", self.0)
    }
}

impl Value for Date {
    const WRONG: &'static [&'static str] =
        &["null", "7", "\"\"", "\"2026-02-30\"", "\"2026-1-1\"", "\"20260101\"", "\"2026-01-01T00:00:00Z\""];

    fn read(given: Given) -> Result<Self, String> {
        text_of(given)?.parse().map_err(|error: DateError| error.to_string())
    }

    fn search_form(&self) -> String {
        self.to_string()
    }

    fn key(&self) -> String {
        self.to_string()
    }

    fn sample(number: u64) -> Json {
        json!(format!("20{:02}-{:02}-{:02}", number / 336 % 100, number / 28 % 12 + 1, number % 28 + 1))
    }
}

impl Value for Moment {
    const WRONG: &'static [&'static str] = &[
        "null",
        "7",
        "\"\"",
        "\"2026-01-01\"",
        "\"2026-01-01T00:00:00\"",
        "\"2026-02-30T00:00:00Z\"",
        "\"2026-01-01T00:00:00+01:00[Europe/Berlin]\"",
    ];

    fn read(given: Given) -> Result<Self, String> {
        text_of(given)?.parse().map_err(|error: MomentError| error.to_string())
    }

    fn search_form(&self) -> String {
        self.to_string()
    }

    fn key(&self) -> String {
        self.to_string()
    }

    fn sample(number: u64) -> Json {
        json!(format!("2026-11-28T{:02}:{:02}:{:02}.000007Z", number / 3600 % 24, number / 60 % 60, number % 60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_kept_in_utc_to_the_microsecond() {
        for (given, due) in [
            ("2026-11-28T07:30:00Z", "2026-11-28T07:30:00.000000Z"),
            ("2026-11-28t07:30:00.1234567+01:00", "2026-11-28T06:30:00.123456Z"),
            ("2026-11-28T07:30:60Z", "2026-11-28T07:30:59.000000Z"),
        ] {
            assert_eq!(given.parse::<Moment>().map(|moment| moment.to_string()).as_deref(), Ok(due));
        }
    }

    #[test]
    fn a_date_is_spelt_in_one_way() {
        assert_eq!("2024-02-29".parse::<Date>().unwrap().to_string(), "2024-02-29");
        for wrong in ["2023-02-29", "2024-W01-1", " 2024-02-29", "-000001-01-01"] {
            wrong.parse::<Date>().unwrap_err();
        }
    }
}
