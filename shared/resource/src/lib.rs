//! The trait `Resource`: a domain with its place in the HTTP API. With it come [`Description`], from which routes and scopes
//! are derived, and the kit that makes a resource from a struct of fields.
//!
//! ```
//! use resource::value::{Choice, Email, Text};
//! use resource::Resource;
//! use serde::{Deserialize, Serialize};
//!
//! /// A member of a club.
//! #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Resource)]
//! #[resource(kind = "M", collection = "members")]
//! pub struct Member {
//!     /// All members are sorted by it, and found by its beginning: `GET /members?name_prefix=a`.
//!     #[resource(sort = "i1")]
//!     pub name: Text<100>,
//!     /// No two members have the same; `GET /members?email=ada@example.com` finds its owner.
//!     #[resource(unique, list = "i2")]
//!     pub email: Email,
//!     /// `GET /members?level=gold`.
//!     #[resource(default, list = "i3")]
//!     pub level: Level,
//! }
//!
//! /// How long a member has been one.
//! #[derive(Debug, Clone, Copy, Default, PartialEq, Choice)]
//! pub enum Level {
//!     #[default]
//!     Silver,
//!     Gold,
//! }
//!
//! assert_eq!((Member::COLLECTION, Member::NAME), ("members", "member"));
//! ```

// The macros name this crate by its name, also here.
extern crate self as resource;

pub mod body;
mod description;
pub mod field;
pub mod given;
pub mod machine;
pub mod parameters;
pub mod plain;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
pub mod value;

use kernel::domain::Domain;
use kernel::query::ListScope;
/// Makes a plain resource from a struct ([`plain`]).
///
/// Attributes of the struct:
///
/// - `kind = "O"`: one or two upper-case letters, different from those of every other resource.
/// - `collection = "orders"`.
/// - `name = "order"`: optional; the default is the struct's name.
/// - `schema = 2` with `older = path`: a function that reads the stored forms of earlier schemas.
/// - `implied`: for the one resource whose messages and keys name no kind.
/// - `machine = "status: Status"`: the field and the type of a state machine.
/// - `machine_list = "i2"`: a list by the state of the machine.
///
/// Attributes of a field:
///
/// - `default`: the field may be missing in a create and a replace.
/// - `unique`: no two items of a tenant share a value.
/// - `list = "i2"`: a list for `GET /orders?field=value`.
/// - `sort = "i1"`, on at most one field: the list of all items is sorted by it, for `GET /orders` and
///   `GET /orders?field_prefix=beginning`. Without `sort`, the list of all items is sorted by age, in `i1`.
pub use resource_derive::Resource;

pub use crate::body::BodyError;
pub use crate::description::{Access, Description, are_apart, is_reserved};
pub use crate::field::Field;
pub use crate::parameters::{FilterError, Parameters};

/// A kind of aggregate with its place in the HTTP API.
pub trait Resource: Domain {
    /// The plural, for example `users`: the path `/users`, and the scopes `users:read` and `users:write`.
    const COLLECTION: &'static str;
    /// The singular, for example `user`: `user_id` in acknowledgements, and the function `create-user-fn`.
    const NAME: &'static str;

    /// All fields, in the order of bodies and views.
    const FIELDS: &'static [Field];
    /// The names of its actions, for example `pay`: `POST /orders/{id}/pay`.
    const ACTIONS: &'static [&'static str];

    /// Reads the body of a request.
    fn parse(operation: Operation, body: &[u8]) -> Result<Self::Command, BodyError>;

    /// Reads the filter of a list. Takes the parameters that it knows; the caller refuses the rest.
    fn filter(parameters: &mut Parameters) -> Result<ListScope, FilterError>;
}

/// An operation that a client can request on a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `POST /users`.
    Create,
    /// `PUT /users/{id}`.
    Replace,
    /// `PATCH /users/{id}`, with a JSON merge patch (RFC 7396).
    Update,
    /// `DELETE /users/{id}`. There is no body.
    Delete,
    /// An action, for example `POST /orders/{id}/pay`: one of [`Resource::ACTIONS`]. The body may be empty.
    Act(&'static str),
}

impl Operation {
    /// The operations that every resource has.
    pub const OF_ALL: [Self; 4] = [Self::Create, Self::Replace, Self::Update, Self::Delete];

    /// Returns the HTTP method.
    #[must_use]
    pub const fn method(self) -> &'static str {
        match self {
            Self::Create | Self::Act(_) => "POST",
            Self::Replace => "PUT",
            Self::Update => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// Code that is generic over the type of a resource. `visit`, which [`serve!`] makes, calls it for a [`Description`].
pub trait Visitor {
    /// The result of the visit.
    type Output;

    /// Runs with the type of the resource.
    fn visit<R: Resource>(self) -> Self::Output;
}

/// Makes `RESOURCES` and `visit` from the list of resources that a service serves: `serve!(users::User, orders::Order)`.
///
/// Two resources with the same kind, collection or name do not compile; nor does a collection whose path the service itself
/// uses.
#[macro_export]
macro_rules! serve {
    ($($resource:ty),+ $(,)?) => {
        /// All resources.
        pub static RESOURCES: &[$crate::Description] = {
            const ALL: &[$crate::Description] = &[$($crate::Description::of::<$resource>()),+];
            const { assert!($crate::are_apart(ALL), "two resources share a kind, collection or name, or one is reserved") };
            ALL
        };

        /// Calls the visitor with the type of a resource; `None` if the resource is not in the list.
        pub fn visit<V: $crate::Visitor>(resource: &$crate::Description, visitor: V) -> Option<V::Output> {
            $(if resource.kind == $crate::Description::of::<$resource>().kind {
                return Some($crate::Visitor::visit::<$resource>(visitor));
            })+
            None
        }
    };
}

/// The crates that the derive macros name in their code.
#[doc(hidden)]
pub mod derived {
    pub use {bytes, kernel, serde, serde_json};
}
