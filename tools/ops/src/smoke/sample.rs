//! The requests of the smoke test that depend on the domain. Replace this file for another domain.

use serde_json::{Value, json};

/// The name of the identity in acknowledgements.
pub(super) const ID: &str = "user_id";

/// The body of a create and of a replace. The word makes it unique.
pub(super) fn body(word: &str, name: &str) -> Value {
    json!({"name": name, "email": email(word)})
}

/// The body of a change.
pub(super) fn change(name: &str) -> Value {
    json!({"name": name})
}

/// The query of the list that holds the user of this word alone.
pub(super) fn query(word: &str) -> String {
    format!("email={}", email(word))
}

/// No mail is ever delivered to this domain (RFC 2606).
fn email(word: &str) -> String {
    format!("smoke-test-{word}@example.com")
}
