//! The table of routes. Each function serves its own part of it, and answers 404 and 405 for all of it.

use ::http::Method;

/// All users; new users.
pub const COLLECTION: &str = "/users";
/// One user.
pub const ITEM: &str = "/users/{id}";
/// The status of one command.
pub const COMMAND: &str = "/commands/{id}";
/// Whether the function lives.
pub const HEALTH: &str = "/health";

/// What each path takes.
const TABLE: &[(&str, &[Method])] = &[
    (COLLECTION, &[Method::GET, Method::HEAD, Method::POST]),
    (ITEM, &[Method::GET, Method::HEAD, Method::PUT, Method::PATCH, Method::DELETE]),
    (COMMAND, &[Method::GET, Method::HEAD]),
    (HEALTH, &[Method::GET, Method::HEAD]),
];

/// What the path takes; `None` where there is no such path.
#[must_use]
pub fn allowed(path: &str) -> Option<&'static [Method]> {
    TABLE.iter().find(|(pattern, _)| matches(pattern, path)).map(|(_, methods)| *methods)
}

/// Whether a path fits a pattern: segment by segment, where `{id}` stands for any one that is not empty.
fn matches(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some("{id}"), Some(segment)) if !segment.is_empty() => {}
            (Some(wanted), Some(segment)) if wanted == segment => {}
            _ => return false,
        }
    }
}

/// Methods as the `Allow` header lists them (RFC 9110, section 10.2.1).
#[must_use]
pub fn join(methods: &[Method]) -> String {
    methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_known_by_its_segments() {
        assert_eq!(allowed("/users").map(join).unwrap(), "GET, HEAD, POST");
        assert_eq!(allowed("/users/7").map(join).unwrap(), "GET, HEAD, PUT, PATCH, DELETE");
        for unknown in ["", "/", "/users/", "/users/7/", "/users/7/8", "/user", "/commands", "users"] {
            assert_eq!(allowed(unknown), None, "{unknown}");
        }
    }
}
