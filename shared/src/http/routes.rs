//! The routes of the API: a path with a method. Each function serves its own part of them, and answers 404 and 405 for all
//! of them.

use std::fmt;

use ::http::Method;
use service::api;
use service::resources::RESOURCES;

/// A method and a path pattern of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    method: &'static str,
    pattern: &'static str,
}

impl Route {
    /// Returns the collection of the resource that the route belongs to.
    #[must_use]
    pub fn resource(self) -> Option<&'static str> {
        let first = self.pattern.split('/').nth(1);
        RESOURCES.iter().map(|resource| resource.collection).find(|collection| Some(*collection) == first)
    }
}

/// For example `GET /health`. The variable part of a path stays `{id}`.
impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.pattern)
    }
}

/// Returns the route of a request. `None` if the path does not exist, or does not take this method.
#[must_use]
pub fn of(method: &Method, path: &str) -> Option<Route> {
    let (pattern, methods) = find(path)?;
    methods.iter().find(|taken| **taken == method.as_str()).map(|method| Route { method, pattern })
}

/// Returns the methods of a path. `None` if the path does not exist.
#[must_use]
pub fn allowed(path: &str) -> Option<&'static [&'static str]> {
    find(path).map(|(_, methods)| methods)
}

fn find(path: &str) -> Option<(&'static str, &'static [&'static str])> {
    let (pattern, methods) = api::PATHS.iter().find(|(pattern, _)| api::fits(pattern, path).is_some())?;
    Some((pattern, methods))
}

/// Returns the value of the `Allow` header (RFC 9110, section 10.2.1). Every path takes `OPTIONS`.
#[must_use]
pub fn allow(methods: &[&str]) -> String {
    methods.iter().chain(&["OPTIONS"]).copied().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_known_by_its_segments() {
        let all = RESOURCES[0].path();
        assert_eq!(allowed(&all).map(allow).unwrap(), "GET, HEAD, POST, OPTIONS");
        assert_eq!(allowed(&format!("{all}/7")).map(allow).unwrap(), "GET, HEAD, PUT, PATCH, DELETE, OPTIONS");
        let near =
            [format!("{all}/"), format!("{all}/7/"), format!("{all}/7/8"), format!("{all}x"), all[1..].to_owned()];
        for unknown in near.iter().map(String::as_str).chain(["", "/", "/commands"]) {
            assert_eq!(allowed(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_route_is_known_by_its_pattern_whatever_the_path_says() {
        let name = |method: &Method, path: &str| of(method, path).map(|route| route.to_string());
        let all = RESOURCES[0].path();
        assert_eq!(name(&Method::GET, &format!("{all}/ada@example.com")).unwrap(), format!("GET {all}/{{id}}"));
        assert_eq!(name(&Method::POST, &all).unwrap(), format!("POST {all}"));
        let (invented, item) = (Method::from_bytes(b"INVENTED").unwrap(), format!("{all}/7"));
        for (method, path) in [(&invented, &*all), (&Method::POST, &item), (&Method::GET, "/nowhere")] {
            assert_eq!(name(method, path), None, "{method} {path}");
        }
    }
}
