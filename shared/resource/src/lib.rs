//! What a resource is: a domain with its place in the HTTP API. And what can be derived from a list of them: routes, scopes
//! and names of functions.

pub mod body;
mod description;
pub mod parameters;

use kernel::domain::Domain;
use kernel::query::ListScope;

pub use crate::body::BodyError;
pub use crate::description::{Access, Description, are_apart};
pub use crate::parameters::{FilterError, Parameters};

/// A kind of aggregate with its place in the HTTP API.
pub trait Resource: Domain {
    /// All of them, for example `users`: the path `/users`, and the scopes `users:read` and `users:write`.
    const COLLECTION: &'static str;
    /// One of them, for example `user`: `user_id` in acknowledgements, and the function `create-user-fn`.
    const NAME: &'static str;

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
}

/// Does something for each resource of a list.
pub trait Visitor {
    /// Does it for one.
    fn visit<R: Resource>(&mut self);
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

        /// Shows all resources to a visitor.
        pub fn visit(visitor: &mut impl $crate::Visitor) {
            $($crate::Visitor::visit::<$resource>(visitor);)+
        }
    };
}
