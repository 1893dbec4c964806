//! What is asked: a path and a method of the API. Each function serves its own part of it, and answers 404 and 405 for all of
//! it.

use std::fmt;

use ::http::Method;
use service::api;

/// One thing that can be asked of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    method: &'static str,
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
    methods.iter().find(|taken| **taken == method.as_str()).map(|method| Route { method, pattern })
}

/// What the path takes; `None` where there is no such path.
#[must_use]
pub fn allowed(path: &str) -> Option<&'static [&'static str]> {
    find(path).map(|(_, methods)| methods)
}

fn find(path: &str) -> Option<(&'static str, &'static [&'static str])> {
    let (pattern, methods) = api::PATHS.iter().find(|(pattern, _)| api::fits(pattern, path).is_some())?;
    Some((pattern, methods))
}

/// The value of the `Allow` header (RFC 9110, section 10.2.1). Every path takes `OPTIONS`.
#[must_use]
pub fn allow(methods: &[&str]) -> String {
    methods.iter().chain(&["OPTIONS"]).copied().collect::<Vec<_>>().join(", ")
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
