//! The domain as the end-to-end tests speak of it: they know its fields by the part that they play. Whoever brings
//! another domain replaces this file, and `contract/fields.rs`, which checks what is the domain's alone.

use kernel::domain::Domain;
use resource::{Operation, Resource as _};
use serde_json::{Value, json};
use shared::ServedDomain;

/// Where all are.
pub const PATH: &str = "/orders";
/// What acknowledgements and status documents call the identity.
pub const ID: &str = "order_id";
/// The scopes of queries and of commands.
pub const SCOPES: [&str; 2] = ["orders:read", "orders:write"];

/// The fields that a client sets.
pub const FIELDS: &[&str] = &["reference", "customer", "quantity", "status"];
/// Those of them that a create needs.
pub const REQUIRED: &[&str] = &["reference", "customer", "quantity"];
/// A field that takes any text of 1 to 100 characters, but control characters.
pub const TEXT: &str = "customer";
/// A field whose value one order of a tenant holds, regardless of case.
pub const UNIQUE: &str = "reference";
/// The problem of a value that somebody else holds.
pub const TAKEN: &str = "reference-taken";
/// A field that has a default.
pub const STATUS: &str = "status";
/// What it is unless something else is said.
pub const STATUS_DEFAULT: &str = "placed";
/// What else it may be.
pub const STATUS_OTHER: &str = "paid";

/// The field by which a list is sorted.
pub const LISTED: &str = "reference";
/// The parameter that asks for those in which it begins so.
pub const PREFIX: &str = "reference_prefix";
/// Queries of lists that are refused, besides those that no list takes.
pub const REFUSED_QUERIES: &[&str] = &[
    "status=paid&status=placed",
    "status=paid&reference_prefix=a",
    "status=sent",
    "status=Paid",
    "reference=a",
    "reference_prefix=",
    "reference_prefix=a+b",
    "reference_prefix=%FF",
];

/// A value of the field that is unique, made of a word.
pub fn value(word: &str) -> String {
    word.to_owned()
}

/// What a create, or a replace, takes.
pub fn full_body(text: &str, unique: &str) -> Value {
    json!({"customer": text, "reference": unique, "quantity": 3})
}

/// As [`full_body`], with that in the field by which a list is sorted.
pub fn listed(listed: &str) -> Value {
    full_body("Listed", listed)
}

/// The query that finds who holds this value.
pub fn held(unique: &str) -> String {
    format!("reference_prefix={unique}")
}

/// Queries of every kind that find what was made of this body.
pub fn finding(body: &Value) -> [String; 2] {
    [held(body["reference"].as_str().unwrap()), format!("status={STATUS_DEFAULT}")]
}

/// The command of a create.
pub fn create(body: &Value) -> <ServedDomain as Domain>::Command {
    ServedDomain::parse(Operation::Create, body.to_string().as_bytes()).unwrap()
}
