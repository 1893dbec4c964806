//! A resource as data. Routes, scopes and names are derived from it.

use std::fmt;

use kernel::ids::{AggregateId, Kind};

use crate::{Field, Operation, Resource};

/// The first path segments that the service itself uses.
const RESERVED: &[&str] = &["commands", "docs", "health", "openapi.json", "_console", "_local"];

/// A resource as data.
#[derive(Debug, Clone, Copy)]
pub struct Description {
    /// The kind, which separates its items from those of other resources.
    pub kind: Kind,
    /// [`Resource::COLLECTION`].
    pub collection: &'static str,
    /// [`Resource::NAME`].
    pub name: &'static str,
    /// [`Resource::FIELDS`].
    pub fields: &'static [Field],
    /// [`Resource::ACTIONS`].
    pub actions: &'static [&'static str],
}

/// The access that a scope of an access token grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Queries.
    Read,
    /// Commands.
    Write,
}

impl Access {
    /// Returns the name in a scope.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

impl Description {
    /// Describes a resource.
    #[must_use]
    pub const fn of<R: Resource>() -> Self {
        Self { kind: R::KIND, collection: R::COLLECTION, name: R::NAME, fields: R::FIELDS, actions: R::ACTIONS }
    }

    /// Returns the create and all operations on an item.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        Operation::OF_ALL.into_iter().chain(self.actions.iter().map(|action| Operation::Act(action))).collect()
    }

    /// Returns the path of the collection, for example `/users`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/{}", self.collection)
    }

    /// Returns the path of an item, for example `/users/{id}` for `{id}`.
    #[must_use]
    pub fn item(&self, id: impl fmt::Display) -> String {
        format!("/{}/{id}", self.collection)
    }

    /// Returns the path of an action, for example `/orders/{id}/pay` for `{id}` and `pay`.
    #[must_use]
    pub fn action(&self, id: impl fmt::Display, action: &str) -> String {
        format!("/{}/{id}/{action}", self.collection)
    }

    /// Returns the path of an operation. Without an id, as for a create, it is the path of the collection.
    #[must_use]
    pub fn path_of(&self, operation: Operation, id: Option<AggregateId>) -> String {
        match (id, operation) {
            (None, _) => self.path(),
            (Some(id), Operation::Act(action)) => self.action(id, action),
            (Some(id), _) => self.item(id),
        }
    }

    /// Returns the scope, for example `users:read`.
    #[must_use]
    pub fn scope(&self, access: Access) -> String {
        format!("{}:{}", self.collection, access.as_str())
    }
}

/// Returns whether all kinds, collections and names differ, at most one kind is implied, and no collection is reserved.
#[must_use]
pub const fn are_apart(all: &[Description]) -> bool {
    let mut index = 0;
    while let Some((one, others)) = all.split_at(index).1.split_first() {
        if is_reserved(one.collection) {
            return false;
        }
        let mut other = 0;
        while other < others.len() {
            let (_, rest) = others.split_at(other);
            let Some(next) = rest.first() else { return false };
            if collide(one, next) {
                return false;
            }
            other += 1;
        }
        index += 1;
    }
    true
}

const fn collide(one: &Description, other: &Description) -> bool {
    is_same(one.kind.letters(), other.kind.letters())
        || is_same(one.collection, other.collection)
        || is_same(one.name, other.name)
        || (one.kind.name().is_none() && other.kind.name().is_none())
}

/// Returns whether the service itself uses the path that begins with this segment.
#[must_use]
pub const fn is_reserved(collection: &str) -> bool {
    let mut left = RESERVED;
    while let Some((reserved, rest)) = left.split_first() {
        if is_same(reserved, collection) {
            return true;
        }
        left = rest;
    }
    false
}

/// Compares two texts, because `==` is not constant yet.
const fn is_same(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.as_bytes(), other.as_bytes());
    loop {
        match (one.split_first(), other.split_first()) {
            (None, None) => return true,
            (Some((a, rest_of_one)), Some((b, rest_of_other))) if *a == *b => {
                one = rest_of_one;
                other = rest_of_other;
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: Description =
        Description { kind: Kind::implied("U"), collection: "users", name: "user", fields: &[], actions: &[] };
    const ORDERS: Description =
        Description { kind: Kind::new("O"), collection: "orders", name: "order", fields: &[], actions: &["pay"] };

    #[test]
    fn resources_share_neither_kind_nor_collection_nor_name() {
        assert!(are_apart(&[]) && are_apart(&[USERS]) && are_apart(&[USERS, ORDERS]));
        for wrong in [
            Description { kind: Kind::new("U"), ..ORDERS },
            Description { kind: Kind::implied("O"), ..ORDERS },
            Description { collection: "users", ..ORDERS },
            Description { name: "user", ..ORDERS },
            Description { collection: "commands", ..ORDERS },
            Description { collection: "health", ..ORDERS },
        ] {
            assert!(!are_apart(&[USERS, wrong]) && !are_apart(&[wrong, USERS]), "{wrong:?}");
            assert!(!are_apart(&[
                USERS,
                Description { kind: Kind::new("R"), collection: "rooms", name: "room", ..ORDERS },
                wrong
            ]));
        }
    }

    #[test]
    fn paths_and_scopes_are_derived_from_the_collection() {
        assert_eq!((USERS.path().as_str(), USERS.item("7").as_str()), ("/users", "/users/7"));
        assert_eq!(ORDERS.action("7", "pay"), "/orders/7/pay");
        assert_eq!(
            (USERS.scope(Access::Read).as_str(), USERS.scope(Access::Write).as_str()),
            ("users:read", "users:write")
        );
    }
}
