//! Numbers.

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use super::Value;
use crate::given::Given;

/// A whole number from `MIN` to `MAX`. JavaScript and other clients keep numbers as IEEE 754 doubles, which are exact up to
/// 2^53 (RFC 8259, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Integer<const MIN: i64, const MAX: i64>(i64);

/// The error for a number outside of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a whole number from {0} to {1}")]
pub struct IntegerError(i64, i64);

impl<const MIN: i64, const MAX: i64> Integer<MIN, MAX> {
    /// Returns the number.
    #[must_use]
    pub fn get(self) -> i64 {
        self.0
    }
}

impl<const MIN: i64, const MAX: i64> TryFrom<i64> for Integer<MIN, MAX> {
    type Error = IntegerError;

    fn try_from(number: i64) -> Result<Self, IntegerError> {
        if (MIN..=MAX).contains(&number) { Ok(Self(number)) } else { Err(IntegerError(MIN, MAX)) }
    }
}

impl<const MIN: i64, const MAX: i64> From<Integer<MIN, MAX>> for i64 {
    fn from(value: Integer<MIN, MAX>) -> Self {
        value.0
    }
}

impl<const MIN: i64, const MAX: i64> Value for Integer<MIN, MAX> {
    const WRONG: &'static [&'static str] = &["null", "\"7\"", "7.5", "1e400", "99999999999999999999", "[]"];

    fn read(given: Given) -> Result<Self, String> {
        let number = match given {
            Given::Number(number) => Self::try_from(number),
            _ => Err(IntegerError(MIN, MAX)),
        };
        number.map_err(|error| error.to_string())
    }

    fn read_parameter(text: &str) -> Result<Self, String> {
        let number = text.parse::<i64>().map_err(|_| IntegerError(MIN, MAX)).and_then(Self::try_from);
        number.map_err(|error| error.to_string())
    }

    /// Returns the distance from `i64::MIN` in 20 digits, so that texts sort as the numbers do.
    fn search_form(&self) -> String {
        format!("{:020}", i128::from(self.0) - i128::from(i64::MIN))
    }

    fn key(&self) -> String {
        self.0.to_string()
    }

    fn sample(number: u64) -> Json {
        let width = u64::try_from(MAX.saturating_sub(MIN)).unwrap_or(u64::MAX).saturating_add(1);
        json!(MIN.saturating_add_unsigned(number % width))
    }
}

/// A decimal number with at most `SCALE` digits after the point, for example `12.50`. It is stored as a text, because a double
/// can lose digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Decimal<const SCALE: usize>(String);

/// The error for a text that is not a decimal number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a decimal number in a string, such as \"12.5\", with at most {DIGITS_MAX} digits before the point and {0} after it"
)]
pub struct DecimalError(usize);

/// The most digits before the point.
const DIGITS_MAX: usize = 18;

text_value!(Decimal<SCALE>, SCALE);

impl<const SCALE: usize> TryFrom<String> for Decimal<SCALE> {
    type Error = DecimalError;

    fn try_from(text: String) -> Result<Self, DecimalError> {
        let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
        let whole = whole.strip_prefix('-').unwrap_or(whole);
        let are_digits = |digits: &str, max: usize| {
            (1..=max).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit())
        };
        let is_plain = whole == "0" || !whole.starts_with('0');
        let is_decimal =
            is_plain && are_digits(whole, DIGITS_MAX) && fraction.is_none_or(|fraction| are_digits(fraction, SCALE));
        if is_decimal { Ok(Self(text)) } else { Err(DecimalError(SCALE)) }
    }
}

impl<const SCALE: usize> Value for Decimal<SCALE> {
    const WRONG: &'static [&'static str] =
        &["null", "7", "\"\"", "\".5\"", "\"1.\"", "\"01\"", "\"+1\"", "\"1e3\"", "\"1,5\"", "\"9999999999999999999\""];

    fn read(given: Given) -> Result<Self, String> {
        match given {
            Given::Text(text) => Self::try_from(text).map_err(|error| error.to_string()),
            _ => Err(DecimalError(SCALE).to_string()),
        }
    }

    /// Returns the same form for equal numbers, such as `1.50` and `1.5`, or `-0` and `0`.
    fn search_form(&self) -> String {
        let short = match self.0.contains('.') {
            true => self.0.trim_end_matches('0').trim_end_matches('.'),
            false => &self.0,
        };
        if short == "-0" { "0".to_owned() } else { short.to_owned() }
    }

    fn key(&self) -> String {
        self.search_form()
    }

    fn sample(number: u64) -> Json {
        let fraction = "7".repeat(SCALE.min(2));
        let point = if fraction.is_empty() { "" } else { "." };
        json!(format!("{}{point}{fraction}", number % 1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_sorted_as_numbers_are() {
        let form = |number| Integer::<{ i64::MIN }, { i64::MAX }>::try_from(number).unwrap().search_form();
        let sorted = [i64::MIN, -10, -9, 0, 9, 10, i64::MAX].map(form);
        assert!(sorted.is_sorted() && sorted.iter().all(|form| form.len() == 20), "{sorted:?}");
    }

    #[test]
    fn a_whole_number_is_in_its_range() {
        type Quantity = Integer<1, 10>;
        for (given, due) in [
            (Given::Number(1), true),
            (Given::Number(10), true),
            (Given::Number(0), false),
            (Given::Number(11), false),
            (Given::Text("1".to_owned()), false),
        ] {
            assert_eq!(Quantity::read(given.clone()).is_ok(), due, "{given:?}");
        }
        assert_eq!(Quantity::read_parameter("7").map(Quantity::get), Ok(7));
        assert_eq!(Quantity::read_parameter("x").unwrap_err(), "must be a whole number from 1 to 10");
    }

    #[test]
    fn a_decimal_number_keeps_its_digits_and_is_found_without_its_last_zeros() {
        let form = |text: &str| Decimal::<2>::try_from(text.to_owned()).map(|number| number.search_form());
        for (given, due) in [("1.50", "1.5"), ("-0.00", "0"), ("10", "10"), ("0.07", "0.07"), ("100.00", "100")] {
            assert_eq!(form(given).as_deref(), Ok(due));
        }
        for wrong in ["1.555", "1.", ".5", "--1", "", "-", "00", "1 "] {
            form(wrong).unwrap_err();
        }
    }
}
