//! The domain as the end-to-end tests speak of it: they know its fields by the part that they play. Whoever brings
//! another domain replaces this file, and `contract/fields.rs`, which checks what is the domain's alone.

use kernel::domain::Domain;
use resource::{Operation, Resource as _};
use serde_json::{Value, json};
use shared::ServedDomain;

/// Where all are.
pub const PATH: &str = "/users";
/// What acknowledgements and status documents call the identity.
pub const ID: &str = "user_id";
/// The scopes of queries and of commands.
pub const SCOPES: [&str; 2] = ["users:read", "users:write"];

/// The fields that a client sets.
pub const FIELDS: &[&str] = &["name", "email", "status"];
/// Those of them that a create needs.
pub const REQUIRED: &[&str] = &["name", "email"];
/// A field that takes any text of 1 to 100 characters, but control characters.
pub const TEXT: &str = "name";
/// A field whose value one user of a tenant holds, regardless of case.
pub const UNIQUE: &str = "email";
/// The problem of a value that somebody else holds.
pub const TAKEN: &str = "email-taken";
/// A field that has a default.
pub const STATUS: &str = "status";
/// What it is unless something else is said.
pub const STATUS_DEFAULT: &str = "active";
/// What else it may be.
pub const STATUS_OTHER: &str = "suspended";

/// The field by which a list is sorted.
pub const LISTED: &str = "name";
/// The parameter that asks for those in which it begins so.
pub const PREFIX: &str = "name_prefix";
/// Queries of lists that are refused, besides those that no list takes.
pub const REFUSED_QUERIES: &[&str] = &[
    "status=active&status=suspended",
    "status=active&name_prefix=a",
    "email=a@example.com&status=active",
    "email=a@example.com&name_prefix=a",
    "email=nobody",
    "email=",
    "status=asleep",
    "status=Active",
    "status=active,suspended",
    "name_prefix=",
    "name_prefix=%00",
    "name_prefix=%FF",
];

/// A value of the field that is unique, made of a word.
pub fn value(word: &str) -> String {
    format!("{word}@example.com")
}

/// What a create, or a replace, takes.
pub fn full_body(text: &str, unique: &str) -> Value {
    json!({"name": text, "email": unique})
}

/// As [`full_body`], with that in the field by which a list is sorted.
pub fn listed(listed: &str) -> Value {
    full_body(listed, &value(&super::harness::unique("listed")))
}

/// The query that finds who holds this value.
pub fn held(unique: &str) -> String {
    format!("email={unique}")
}

/// Queries of every kind that find what was made of this body.
pub fn finding(body: &Value) -> [String; 3] {
    let field = |field: &str| body[field].as_str().unwrap().to_owned();
    [held(&field("email")), format!("status={STATUS_DEFAULT}"), format!("name_prefix={}", field("name"))]
}

/// The command of a create.
pub fn create(body: &Value) -> <ServedDomain as Domain>::Command {
    ServedDomain::parse(Operation::Create, body.to_string().as_bytes()).unwrap()
}
