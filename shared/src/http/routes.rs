//! The table of routes, derived from the list of resources. Each function serves its own part of it, and answers 404 and 405
//! for all of it.

use std::fmt;
use std::sync::LazyLock;

use ::http::Method;
use service::resources::RESOURCES;

/// The status of one command.
pub const COMMAND: &str = "/commands/{id}";
/// Whether the function lives.
pub const HEALTH: &str = "/health";
/// The variable part of a path.
pub const ID: &str = "{id}";

/// What each path takes.
static TABLE: LazyLock<Vec<(String, &'static [Method])>> = LazyLock::new(|| {
    let of_resources = RESOURCES.iter().flat_map(|resource| {
        [
            (resource.path(), &[Method::GET, Method::HEAD, Method::POST][..]),
            (resource.item(ID), &[Method::GET, Method::HEAD, Method::PUT, Method::PATCH, Method::DELETE]),
        ]
    });
    let own = [COMMAND, HEALTH].map(|path| (path.to_owned(), &[Method::GET, Method::HEAD][..]));
    of_resources.chain(own).collect()
});

/// One thing that can be asked of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    method: &'static Method,
    pattern: &'static str,
}

/// For example `GET /health`; the variable part of a path stays `{id}`.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.pattern)
    }
}

/// What is asked; `None` where there is no such path, or where it does not take this method.
#[must_use]
pub fn of(method: &Method, path: &str) -> Option<Route> {
    let (pattern, methods) = find(path)?;
    methods.iter().find(|taken| *taken == method).map(|method| Route { method, pattern })
}

/// What the path takes; `None` where there is no such path.
#[must_use]
pub fn allowed(path: &str) -> Option<&'static [Method]> {
    find(path).map(|(_, methods)| methods)
}

fn find(path: &str) -> Option<(&'static str, &'static [Method])> {
    let found = TABLE.iter().find(|(pattern, _)| matches(pattern, path))?;
    Some((found.0.as_str(), found.1))
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

/// The value of the `Allow` header (RFC 9110, section 10.2.1). Every path takes `OPTIONS`.
#[must_use]
pub fn allow(methods: &[Method]) -> String {
    methods.iter().chain([&Method::OPTIONS]).map(Method::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_known_by_its_segments() {
        assert_eq!(allowed("/users").map(allow).unwrap(), "GET, HEAD, POST, OPTIONS");
        assert_eq!(allowed("/users/7").map(allow).unwrap(), "GET, HEAD, PUT, PATCH, DELETE, OPTIONS");
        for unknown in ["", "/", "/users/", "/users/7/", "/users/7/8", "/user", "/commands", "users"] {
            assert_eq!(allowed(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_route_is_known_by_its_pattern_whatever_the_path_says() {
        let told = |method: &Method, path: &str| of(method, path).map(|route| route.to_string());
        assert_eq!(told(&Method::GET, "/users/ada@example.com").unwrap(), "GET /users/{id}");
        assert_eq!(told(&Method::POST, "/users").unwrap(), "POST /users");
        let invented = Method::from_bytes(b"INVENTED").unwrap();
        for (method, path) in [(&invented, "/users"), (&Method::POST, "/users/7"), (&Method::GET, "/nowhere")] {
            assert_eq!(told(method, path), None, "{method} {path}");
        }
    }
}
