//! The version of the form of views.

use std::fmt;

use crate::ids::AggregateKey;

/// The version of a projection: of the views and list entries that [`Domain::project`](crate::domain::Domain::project) and
/// [`Domain::index`](crate::domain::Domain::index) make from a state.
///
/// It is part of a read store's name, of every cache key and of every cursor. So two projections can exist side by side during a
/// change from one to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Projection(pub u16);

impl Projection {
    /// The first projection of every service.
    pub const FIRST: Self = Self(1);

    /// Returns the key of an aggregate's view in caches.
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
