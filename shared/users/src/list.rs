//! Lists of users. Filters are keys of indexes: what is not asked for is never read.

use kernel::domain::Domain;
use kernel::ids::AggregateKey;
use kernel::ports::IndexEntry;
use kernel::query::ListScope;

use crate::field::{Email, NAME_CHARS_MAX, Status, sort_form};
use crate::{User, UserState};

/// All users by name; by status, then name; by email address.
pub(crate) const INDEXES: &[&str] = &["name", "status", "email"];

/// The shard of an index partition. A partition takes 1,000 writes a second; one is enough to begin with.
const SHARD: u32 = 0;

/// Which users a list shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// All.
    All,
    /// The one with this email address.
    Email(Email),
    /// Those with this status.
    Status(Status),
    /// Those whose name starts so, regardless of case.
    NamePrefix(String),
}

/// Why query parameters are not a filter; for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// More than one was given.
    #[error("give at most one of email, status and name_prefix")]
    Several,
    /// The email address is not one.
    #[error("email {0}")]
    Email(crate::field::FieldInvalid),
    /// The status is not one.
    #[error("status {0}")]
    Status(crate::field::FieldInvalid),
    /// The prefix is not one.
    #[error("name_prefix must have 1 to {NAME_CHARS_MAX} characters, none of them a control character")]
    NamePrefix,
}

impl Filter {
    /// Reads query parameters.
    pub fn parse(email: Option<&str>, status: Option<&str>, name_prefix: Option<&str>) -> Result<Self, FilterError> {
        match (email, status, name_prefix) {
            (None, None, None) => Ok(Self::All),
            (Some(email), None, None) => Email::try_from(email.to_owned()).map(Self::Email).map_err(FilterError::Email),
            (None, Some(status), None) => {
                Status::try_from(status.to_owned()).map(Self::Status).map_err(FilterError::Status)
            }
            (None, None, Some(prefix)) => {
                let is_prefix =
                    (1..=NAME_CHARS_MAX).contains(&prefix.chars().count()) && !prefix.chars().any(char::is_control);
                if is_prefix { Ok(Self::NamePrefix(prefix.to_owned())) } else { Err(FilterError::NamePrefix) }
            }
            _ => Err(FilterError::Several),
        }
    }

    /// The part of an index that holds these users.
    #[must_use]
    pub fn scope(&self) -> ListScope {
        let (index, value, sort_prefix) = match self {
            Self::All => ("name", String::new(), String::new()),
            Self::NamePrefix(prefix) => ("name", String::new(), sort_form(prefix)),
            Self::Status(status) => ("status", status.as_str().to_owned(), String::new()),
            Self::Email(email) => ("email", email.digest(), String::new()),
        };
        ListScope { kind: User::KIND, index, partition: partition(&value), sort_prefix }
    }
}

fn partition(value: &str) -> String {
    format!("{SHARD}#{value}")
}

pub(crate) fn index(key: &AggregateKey, state: &UserState) -> Vec<IndexEntry> {
    // Two users may have one name; a control character cannot be in a name, so the id behind it never interferes.
    let by_name = format!("{}\u{1}{}", state.name.value.sort_form(), key.id);
    let entry =
        |index, value: &str, sort: &str| IndexEntry { index, partition: partition(value), sort: sort.to_owned() };
    vec![
        entry("name", "", &by_name),
        entry("status", state.status.value.as_str(), &by_name),
        entry("email", &state.email.value.digest(), &key.id.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_filter_is_one_of_a_valid_value_or_refused(
            email in prop::option::of(any::<String>()),
            status in prop::option::of("active|suspended|[ -~]{0,9}"),
            prefix in prop::option::of(any::<String>()),
        ) {
            let given = [&email, &status, &prefix].iter().filter(|value| value.is_some()).count();
            match Filter::parse(email.as_deref(), status.as_deref(), prefix.as_deref()) {
                Ok(filter) => {
                    prop_assert!(given <= 1);
                    prop_assert!(INDEXES.contains(&filter.scope().index));
                }
                Err(error) => prop_assert_eq!(error == FilterError::Several, given > 1),
            }
        }

        #[test]
        fn every_beginning_of_a_name_in_any_case_finds_it(
            text in "[^\\pC\\pZ]\\PC{0,40}|[ΑΟΔΣςσßİıſẞǅ. ]{1,8}", length in 1..40usize,
        ) {
            let Ok(name) = crate::field::Name::try_from(text.clone()) else { return Ok(()) };
            let beginning: String = text.chars().take(length).collect();
            for typed in [beginning.clone(), beginning.to_lowercase()] {
                let Ok(filter) = Filter::parse(None, None, Some(&typed)) else { continue };
                let prefix = filter.scope().sort_prefix;
                prop_assert!(name.sort_form().starts_with(&prefix), "{:?} {:?}", name.sort_form(), prefix);
            }
        }
    }

    #[test]
    fn a_beginning_that_is_a_greek_word_of_its_own_finds_the_longer_name() {
        let name = crate::field::Name::try_from("ΟΔΟΣΣΑ".to_owned()).unwrap();
        for typed in ["ΟΔΟΣ", "οδος", "οδοσ"] {
            let prefix = Filter::parse(None, None, Some(typed)).unwrap().scope().sort_prefix;
            assert!(name.sort_form().starts_with(&prefix), "{typed}");
        }
    }

    #[test]
    fn at_most_one_filter_is_taken_and_each_is_checked() {
        assert_eq!(Filter::parse(None, None, None), Ok(Filter::All));
        assert_eq!(Filter::parse(None, Some("active"), None), Ok(Filter::Status(Status::Active)));
        assert_eq!(Filter::parse(Some("a@b.de"), Some("active"), None), Err(FilterError::Several));
        assert!(matches!(Filter::parse(Some("nobody"), None, None), Err(FilterError::Email(_))));
        assert!(matches!(Filter::parse(None, Some("asleep"), None), Err(FilterError::Status(_))));
        for wrong in ["", "a\n", &"x".repeat(101)] {
            assert_eq!(Filter::parse(None, None, Some(wrong)), Err(FilterError::NamePrefix), "{wrong:?}");
        }
    }
}
