//! Lists of orders. Filters are keys of indexes: what is not asked for is never read.

use kernel::domain::Domain;
use kernel::ids::AggregateKey;
use kernel::ports::IndexEntry;
use kernel::query::ListScope;

use crate::field::{FieldInvalid, Reference, Status};
use crate::{Order, OrderState};

/// All orders by reference; by status, then reference.
pub(crate) const INDEXES: &[&str] = &["reference", "status"];

/// The shard of an index partition. A partition takes 1,000 writes a second; one is enough to begin with.
const SHARD: u32 = 0;

/// Which orders a list shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// All.
    All,
    /// Those with this status.
    Status(Status),
    /// Those whose reference starts so, regardless of case. What a reference may begin with is one itself.
    ReferencePrefix(Reference),
}

/// Why query parameters are not a filter; for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// More than one was given.
    #[error("give at most one of status and reference_prefix")]
    Several,
    /// The status is not one.
    #[error("status {0}")]
    Status(FieldInvalid),
    /// The prefix is not one.
    #[error("reference_prefix {0}")]
    ReferencePrefix(FieldInvalid),
}

impl Filter {
    /// Reads query parameters.
    pub fn parse(status: Option<&str>, reference_prefix: Option<&str>) -> Result<Self, FilterError> {
        match (status, reference_prefix) {
            (None, None) => Ok(Self::All),
            (Some(status), None) => Status::try_from(status.to_owned()).map(Self::Status).map_err(FilterError::Status),
            (None, Some(prefix)) => {
                Reference::try_from(prefix.to_owned()).map(Self::ReferencePrefix).map_err(FilterError::ReferencePrefix)
            }
            (Some(_), Some(_)) => Err(FilterError::Several),
        }
    }

    /// The part of an index that holds these orders.
    #[must_use]
    pub fn scope(&self) -> ListScope {
        let (index, value, sort_prefix) = match self {
            Self::All => ("reference", "", String::new()),
            Self::ReferencePrefix(prefix) => ("reference", "", prefix.sort_form()),
            Self::Status(status) => ("status", status.as_str(), String::new()),
        };
        ListScope { kind: Order::KIND, index, partition: partition(value), sort_prefix }
    }
}

fn partition(value: &str) -> String {
    format!("{SHARD}#{value}")
}

pub(crate) fn index(key: &AggregateKey, state: &OrderState) -> Vec<IndexEntry> {
    // A space cannot be in a reference, so the id behind it never interferes.
    let sort = format!("{} {}", state.reference.value.sort_form(), key.id);
    let entry = |index, value: &str| IndexEntry { index, partition: partition(value), sort: sort.clone() };
    vec![entry("reference", ""), entry("status", state.status.value.as_str())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_one_filter_is_taken_and_each_is_checked() {
        assert_eq!(Filter::parse(None, None), Ok(Filter::All));
        assert_eq!(Filter::parse(Some("paid"), None), Ok(Filter::Status(Status::Paid)));
        assert_eq!(Filter::parse(Some("paid"), Some("a")), Err(FilterError::Several));
        assert!(matches!(Filter::parse(Some("sent"), None), Err(FilterError::Status(_))));
        assert!(matches!(Filter::parse(None, Some("a b")), Err(FilterError::ReferencePrefix(_))));
        for filter in [Filter::All, Filter::Status(Status::Placed), Filter::parse(None, Some("A")).unwrap()] {
            assert!(INDEXES.contains(&filter.scope().index));
        }
    }
}
