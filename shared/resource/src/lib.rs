//! What a resource is: a domain with its place in the HTTP API; what can be derived from a list of them; and a kit for those
//! whose fields clients set.
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
pub mod machine;
pub mod parameters;
pub mod plain;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod text;
pub mod value;

use kernel::domain::Domain;
use kernel::query::ListScope;
/// Makes a plain resource of a struct.
///
/// On the struct: `kind = "O"`, one or two upper-case letters that no other resource has; `collection = "orders"`; if wanted
/// `name = "order"`, otherwise the struct's name; `schema = 2` with `older = path`, a function that reads the stored forms of
/// earlier schemas; `implied`, for the one resource whose messages and keys name no kind. For a state machine
/// `machine = "status: Status"`, its field and its type, and `machine_list = "i2"` for a list by it.
///
/// On a field: `default`, for one that a create may leave out; `unique`, for a value that one item of the tenant has;
/// `list = "i2"`, for `GET /orders?field=value`; `sort = "i1"`, on at most one, for `GET /orders` and
/// `GET /orders?field_prefix=beginning`. Without `sort` the list of all is sorted by age, in `i1`.
pub use resource_derive::Resource;

pub use crate::body::BodyError;
pub use crate::description::{Access, Description, are_apart, is_reserved};
pub use crate::field::Field;
pub use crate::parameters::{FilterError, Parameters};

/// A kind of aggregate with its place in the HTTP API.
pub trait Resource: Domain {
    /// All of them, for example `users`: the path `/users`, and the scopes `users:read` and `users:write`.
    const COLLECTION: &'static str;
    /// One of them, for example `user`: `user_id` in acknowledgements, and the function `create-user-fn`.
    const NAME: &'static str;

    /// All fields, in the order of bodies and views.
    const FIELDS: &'static [Field];
    /// What else can be done to one of them, for example `pay`: `POST /orders/{id}/pay`.
    const ACTIONS: &'static [&'static str];

    /// Reads the body of a request.
    fn parse(operation: Operation, body: &[u8]) -> Result<Self::Command, BodyError>;

    /// Reads the filter of a list. Takes the parameters that it knows; one that is left over is refused.
    fn filter(parameters: &mut Parameters) -> Result<ListScope, FilterError>;
}

/// What a client asks to be done to a resource.
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
    /// For example `POST /orders/{id}/pay`: one of [`Resource::ACTIONS`]. The body may be empty.
    Act(&'static str),
}

impl Operation {
    /// Those that every resource has.
    pub const OF_ALL: [Self; 4] = [Self::Create, Self::Replace, Self::Update, Self::Delete];

    /// The method of HTTP.
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

/// Does something with a resource whose type it does not know.
pub trait Visitor {
    /// What comes of it.
    type Output;

    /// Does it.
    fn visit<R: Resource>(self) -> Self::Output;
}

/// The resources that a service serves: `serve!(users::User, orders::Order)` makes `RESOURCES` and `visit` of the list.
///
/// Two resources with one kind, collection or name do not compile; neither does a collection whose path is the service's own.
#[macro_export]
macro_rules! serve {
    ($($resource:ty),+ $(,)?) => {
        /// All resources.
        pub static RESOURCES: &[$crate::Description] = {
            const ALL: &[$crate::Description] = &[$($crate::Description::of::<$resource>()),+];
            const { assert!($crate::are_apart(ALL), "two resources have one kind, collection or name, or a reserved one") };
            ALL
        };

        /// Shows the type of a resource to a visitor; `None` if it is not one of these.
        pub fn visit<V: $crate::Visitor>(resource: &$crate::Description, visitor: V) -> Option<V::Output> {
            $(if resource.kind == $crate::Description::of::<$resource>().kind {
                return Some($crate::Visitor::visit::<$resource>(visitor));
            })+
            None
        }
    };
}

/// What the derive macros write in their code.
#[doc(hidden)]
pub mod derived {
    pub use {bytes, kernel, serde, serde_json};
}
