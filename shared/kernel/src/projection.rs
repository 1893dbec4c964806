//! The version of the form that readers are shown.

use std::fmt;

use crate::ids::AggregateKey;

/// The version of a projection: of what [`Domain::project`] and [`Domain::index`] make of a state.
///
/// It is part of a read store's name, of every cache key and of every cursor, so that two can live side by side while
/// one takes the other's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Projection(pub u16);

impl Projection {
    /// Where every service begins.
    pub const FIRST: Self = Self(1);

    /// Where caches keep the view of an aggregate.
    #[must_use]
    pub fn cache_key(self, key: &AggregateKey) -> String {
        match key {
            AggregateKey { kind, id, .. } if mutant!(CacheKeyWithoutTenant) => format!("{self}#{kind}#{id}"),
            AggregateKey { tenant, id, .. } if mutant!(CacheKeyWithoutKind) => format!("{self}#{tenant}#{id}"),
            key => format!("{self}#{key}"),
        }
    }
}

impl fmt::Display for Projection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}
