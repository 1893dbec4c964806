//! A sample resource: users with a name, an email address that is unique in the tenant, and a status.

use resource::Resource;
use resource::value::{Choice, Email, Text};
use serde::{Deserialize, Serialize};

/// A user.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Resource)]
#[resource(kind = "U", implied, collection = "users")]
pub struct User {
    /// The name of the user.
    #[resource(sort = "i1")]
    pub name: Text<100>,
    /// The email address.
    #[resource(unique, list = "i3")]
    pub email: Email,
    /// Whether the user may act.
    #[resource(default, list = "i2")]
    pub status: Status,
}

/// Whether a user may act.
#[derive(Debug, Clone, Copy, Default, PartialEq, Choice)]
pub enum Status {
    /// The user may act.
    #[default]
    Active,
    /// The user may not act for now.
    Suspended,
}
