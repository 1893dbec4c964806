//! The routes of the HTTP API at one stage, resolved to functions, as API Gateway has them.

use std::collections::BTreeMap;

use http::Method;
use percent_encoding::percent_decode_str;
use service::api::{self, Routes};

/// The key of the route that takes everything else.
const DEFAULT_KEY: &str = "$default";

/// The routes of one stage; `T` is whatever answers.
#[derive(Debug)]
pub struct RouteTable<T> {
    routes: Vec<Resolved<T>>,
    default: T,
}

#[derive(Debug)]
struct Resolved<T> {
    method: &'static str,
    key: String,
    routes: &'static Routes,
    target: T,
}

/// The route of a request.
#[derive(Debug)]
pub struct Match<'a, T> {
    /// As in the event: `GET /users/{id}`.
    pub key: &'a str,
    /// A token must have one of these; no token is needed if there are none.
    pub scopes: &'a [String],
    /// What answers.
    pub target: &'a T,
    /// The decoded values of the path's parameters.
    pub path_parameters: BTreeMap<&'static str, String>,
}

impl<T: Clone> RouteTable<T> {
    /// The routes of a stage; `deployed` finds a function of that stage. `None` if the stage has nothing that answers by
    /// default.
    pub fn new(deployed: impl Fn(&str) -> Option<T>) -> Option<Self> {
        let first = |functions: &[&str]| functions.iter().find_map(|function| deployed(function));
        let resolve = |routes: &'static Routes| {
            let target = first(&routes.functions.each_ref().map(String::as_str));
            let methods = routes.methods.iter().chain(routes.refused);
            let keyed = methods.map(|method| (*method, format!("{method} {}", routes.path)));
            target.into_iter().flat_map(move |target| {
                keyed.clone().map(move |(method, key)| Resolved { method, key, routes, target: target.clone() })
            })
        };
        let routes = api::ROUTES.iter().flat_map(resolve).collect();
        Some(Self { routes, default: first(&api::DEFAULT)? })
    }

    /// Finds the route of a request; `path` is as the client wrote it.
    pub fn find(&self, method: &Method, path: &str) -> Match<'_, T> {
        let candidates = self.routes.iter().filter(|route| route.method == method.as_str());
        for route in candidates {
            if let Some(id) = api::fits(&route.routes.path, path) {
                let decoded = || ("id", percent_decode_str(id).decode_utf8_lossy().into_owned());
                let path_parameters = (!id.is_empty()).then(decoded).into_iter().collect();
                return Match { key: &route.key, scopes: &route.routes.scopes, target: &route.target, path_parameters };
            }
        }
        Match { key: DEFAULT_KEY, scopes: &[], target: &self.default, path_parameters: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(functions: &'static [&'static str]) -> RouteTable<&'static str> {
        RouteTable::new(|name| functions.iter().copied().find(|function| *function == name)).unwrap()
    }

    #[test]
    fn reads_and_writes_go_to_functions_of_their_own() {
        let table = table(&["read-fn", "write-fn", "ingest-fn"]);
        for (method, path, key, function, scope) in [
            (Method::GET, "/users/7", "GET /users/{id}", "read-fn", &["users:read"][..]),
            (Method::HEAD, "/users", "HEAD /users", "read-fn", &["users:read"][..]),
            (Method::GET, "/commands/c", "GET /commands/{id}", "read-fn", &["users:read", "orders:read"][..]),
            (Method::POST, "/orders/7/pay", "POST /orders/{id}/pay", "write-fn", &["orders:write"]),
            (Method::PUT, "/orders/7/pay", "PUT /orders/{id}/pay", "write-fn", &["orders:write"]),
            (Method::POST, "/users", "POST /users", "write-fn", &["users:write"]),
            (Method::PATCH, "/users/7", "PATCH /users/{id}", "write-fn", &["users:write"]),
            (Method::DELETE, "/users", "DELETE /users", "write-fn", &["users:write"]),
            (Method::GET, "/health", "$default", "read-fn", &[]),
            (Method::OPTIONS, "/users", "$default", "read-fn", &[]),
            (Method::POST, "/nothing", "$default", "read-fn", &[]),
            (Method::GET, "/users/", "$default", "read-fn", &[]),
            (Method::GET, "/users/7/friends", "$default", "read-fn", &[]),
        ] {
            let found = table.find(&method, path);
            let scopes: Vec<_> = found.scopes.iter().map(String::as_str).collect();
            assert_eq!((found.key, *found.target, &scopes[..]), (key, function, scope), "{method} {path}");
        }
    }

    #[test]
    fn one_function_may_answer_everything() {
        let table = table(&["lith-fn"]);
        assert_eq!(*table.find(&Method::POST, "/users").target, "lith-fn");
        assert_eq!(*table.find(&Method::GET, "/users/7").target, "lith-fn");
        assert_eq!(*table.find(&Method::GET, "/").target, "lith-fn");
    }

    #[test]
    fn one_function_per_operation_is_a_matter_of_data() {
        let table = table(&["create-user-fn", "update-user-fn", "get-user-fn", "list-users-fn", "get-command-fn"]);
        assert_eq!(*table.find(&Method::POST, "/users").target, "create-user-fn");
        assert_eq!(*table.find(&Method::PATCH, "/users/7").target, "update-user-fn");
        assert_eq!(*table.find(&Method::GET, "/users").target, "list-users-fn");
    }

    #[test]
    fn a_stage_that_answers_nothing_is_refused() {
        assert!(RouteTable::new(|name| (name == "ingest-fn").then_some(())).is_none());
    }

    #[test]
    fn parameters_are_decoded() {
        let table = table(&["lith-fn"]);
        let found = table.find(&Method::GET, "/users/a%20b");
        assert_eq!(found.path_parameters.get("id").map(String::as_str), Some("a b"));
    }
}
