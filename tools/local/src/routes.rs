//! The routes of the HTTP API at one stage, resolved to functions, as in API Gateway.

use std::collections::BTreeMap;

use http::Method;
use percent_encoding::percent_decode_str;
use service::api::{self, Routes};

/// The key of the route for all other requests.
const DEFAULT_KEY: &str = "$default";

/// The routes of one stage. `T` is the type of the functions.
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
    /// The key, as in the event: `GET /users/{id}`.
    pub key: &'a str,
    /// The scopes: a token must have one of them. Without scopes, a request needs no token.
    pub scopes: &'a [String],
    /// The function that answers.
    pub target: &'a T,
    /// The decoded values of the path's parameters.
    pub path_parameters: BTreeMap<&'static str, String>,
}

impl<T: Clone> RouteTable<T> {
    /// Returns the routes of a stage. `deployed` finds a function of that stage. `None` if the stage has no function for
    /// the default route.
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

    /// Finds the route of a request. `path` is encoded, as the client sent it.
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
    use resource::{Access, Description};
    use service::functions::FUNCTIONS;
    use service::resources::RESOURCES;

    use super::*;

    /// The functions that serve more than one operation.
    const WHOLE: [&str; 4] = ["lith-fn", "read-fn", "write-fn", "ingest-fn"];

    fn table(functions: &'static [&'static str]) -> RouteTable<&'static str> {
        RouteTable::new(|name| functions.iter().copied().find(|function| *function == name)).unwrap()
    }

    /// Returns the route, the function and the scopes of a request.
    fn found<'a>(
        table: &'a RouteTable<&'static str>,
        method: &Method,
        path: &str,
    ) -> (&'a str, &'static str, Vec<String>) {
        let found = table.find(method, path);
        (found.key, *found.target, found.scopes.to_vec())
    }

    #[test]
    fn reads_and_writes_go_to_functions_of_their_own() {
        let table = table(&["read-fn", "write-fn", "ingest-fn"]);
        for resource in RESOURCES {
            let (all, read, write) = (resource.path(), resource.scope(Access::Read), resource.scope(Access::Write));
            let (item, pattern) = (format!("{all}/7"), format!("{all}/{{id}}"));
            let guarded = [
                (Method::GET, &item, &pattern, "read-fn", &read),
                (Method::HEAD, &all, &all, "read-fn", &read),
                (Method::POST, &all, &all, "write-fn", &write),
                (Method::PATCH, &item, &pattern, "write-fn", &write),
                (Method::DELETE, &all, &all, "write-fn", &write),
            ];
            for (method, path, pattern, function, scope) in guarded {
                let expected = (&*format!("{method} {pattern}"), function, vec![scope.clone()]);
                assert_eq!(found(&table, &method, path), expected);
            }
            for action in resource.actions {
                for method in [Method::POST, Method::PUT] {
                    let key = format!("{method} {pattern}/{action}");
                    let path = format!("{item}/{action}");
                    assert_eq!(found(&table, &method, &path), (&*key, "write-fn", vec![write.clone()]));
                }
            }
            let by_default =
                [(Method::OPTIONS, all.clone()), (Method::GET, format!("{all}/")), (Method::GET, format!("{item}/x"))];
            for (method, path) in by_default {
                assert_eq!(found(&table, &method, &path), ("$default", "read-fn", vec![]), "{method} {path}");
            }
        }
        let read: Vec<_> = RESOURCES.iter().map(|resource| resource.scope(Access::Read)).collect();
        assert_eq!(found(&table, &Method::GET, "/commands/c"), ("GET /commands/{id}", "read-fn", read));
        for (method, path) in [(Method::GET, "/health"), (Method::POST, "/nothing")] {
            assert_eq!(found(&table, &method, path), ("$default", "read-fn", vec![]), "{method} {path}");
        }
    }

    #[test]
    fn one_function_may_answer_everything() {
        let (table, all) = (table(&["lith-fn"]), RESOURCES[0].path());
        for (method, path) in [(Method::POST, &*all), (Method::GET, &format!("{all}/7")), (Method::GET, "/")] {
            assert_eq!(found(&table, &method, path).1, "lith-fn", "{method} {path}");
        }
    }

    #[test]
    fn each_operation_can_have_a_function_of_its_own() {
        let names: Vec<_> = FUNCTIONS.iter().map(|function| function.name.as_str()).collect();
        let of_operations = |name: &str| names.iter().copied().find(|known| *known == name && !WHOLE.contains(known));
        let table = RouteTable::new(of_operations).unwrap();
        for Description { name, collection, .. } in RESOURCES {
            let all = format!("/{collection}");
            let target = |method: Method, path: &str| *table.find(&method, path).target;
            assert_eq!(target(Method::POST, &all), format!("create-{name}-fn"));
            assert_eq!(target(Method::PATCH, &format!("{all}/7")), format!("update-{name}-fn"));
            assert_eq!(target(Method::GET, &all), format!("list-{collection}-fn"));
        }
    }

    #[test]
    fn a_stage_without_a_function_for_http_is_refused() {
        assert!(RouteTable::new(|name| (name == "ingest-fn").then_some(())).is_none());
    }

    #[test]
    fn parameters_are_decoded() {
        let table = table(&["lith-fn"]);
        let found = table.find(&Method::GET, &format!("{}/a%20b", RESOURCES[0].path()));
        assert_eq!(found.path_parameters.get("id").map(String::as_str), Some("a b"));
    }
}
