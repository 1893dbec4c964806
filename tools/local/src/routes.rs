//! The route table of the HTTP API: which function answers what, and which scope it takes.

use std::collections::BTreeMap;

use http::Method;
use percent_encoding::percent_decode_str;
use shared::http::routes;

/// A scope of the service's access tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Queries.
    Read,
    /// Commands.
    Write,
}

impl Scope {
    /// As a token spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "users:read",
            Self::Write => "users:write",
        }
    }
}

/// One route. Of the functions that may answer it, a stage deploys one.
#[derive(Debug)]
struct Route {
    methods: &'static [&'static str],
    path: &'static str,
    scope: Option<Scope>,
    functions: &'static [&'static str],
}

const QUERY: &[&str] = &["GET", "HEAD"];
const COMMAND: &[&str] = &["POST", "PUT", "PATCH", "DELETE"];

/// Every method that changes something goes where commands go, so that the function which knows the allowed ones says 405.
/// An earlier route wins.
const ROUTES: &[Route] = &[
    Route {
        methods: QUERY,
        path: routes::COLLECTION,
        scope: Some(Scope::Read),
        functions: &["lith-fn", "read-fn", "list-users-fn"],
    },
    Route {
        methods: QUERY,
        path: routes::ITEM,
        scope: Some(Scope::Read),
        functions: &["lith-fn", "read-fn", "get-user-fn"],
    },
    Route {
        methods: QUERY,
        path: routes::COMMAND,
        scope: Some(Scope::Read),
        functions: &["lith-fn", "read-fn", "get-command-fn"],
    },
    Route {
        methods: &["PUT"],
        path: routes::ITEM,
        scope: Some(Scope::Write),
        functions: &["lith-fn", "write-fn", "replace-user-fn"],
    },
    Route {
        methods: &["PATCH"],
        path: routes::ITEM,
        scope: Some(Scope::Write),
        functions: &["lith-fn", "write-fn", "update-user-fn"],
    },
    Route {
        methods: &["DELETE"],
        path: routes::ITEM,
        scope: Some(Scope::Write),
        functions: &["lith-fn", "write-fn", "delete-user-fn"],
    },
    Route {
        methods: COMMAND,
        path: routes::COLLECTION,
        scope: Some(Scope::Write),
        functions: &["lith-fn", "write-fn", "create-user-fn"],
    },
    Route {
        methods: COMMAND,
        path: routes::ITEM,
        scope: Some(Scope::Write),
        functions: &["lith-fn", "write-fn", "replace-user-fn"],
    },
];
/// What answers everything else, liveness among it, without a token.
const DEFAULT_FUNCTIONS: &[&str] = &["lith-fn", "read-fn", "get-user-fn"];
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
    segments: Vec<&'static str>,
    scope: Option<Scope>,
    target: T,
}

/// Where a request goes.
#[derive(Debug)]
pub struct Match<'a, T> {
    /// As in the event: `GET /users/{id}`.
    pub key: &'a str,
    /// What a token must have, if one is needed at all.
    pub scope: Option<Scope>,
    /// What answers.
    pub target: &'a T,
    /// The decoded values of the path's parameters.
    pub path_parameters: BTreeMap<&'static str, String>,
}

impl<T> RouteTable<T> {
    /// The routes of a stage; `deployed` finds a function of that stage. `None` if the stage has nothing that answers by
    /// default.
    pub fn new(deployed: impl Fn(&str) -> Option<T>) -> Option<Self> {
        let first = |functions: &[&str]| functions.iter().find_map(|function| deployed(function));
        let resolve = |route: &'static Route, method: &&'static str| {
            Some(Resolved {
                method,
                key: format!("{method} {}", route.path),
                segments: route.path.split('/').collect(),
                scope: route.scope,
                target: first(route.functions)?,
            })
        };
        let of_route = |route: &'static Route| route.methods.iter().filter_map(move |method| resolve(route, method));
        Some(Self { routes: ROUTES.iter().flat_map(of_route).collect(), default: first(DEFAULT_FUNCTIONS)? })
    }

    /// Finds the route of a request; `path` is as the client wrote it.
    pub fn find(&self, method: &Method, path: &str) -> Match<'_, T> {
        let candidates = self.routes.iter().filter(|route| route.method == method.as_str());
        for route in candidates {
            if let Some(path_parameters) = parameters(&route.segments, path) {
                return Match { key: &route.key, scope: route.scope, target: &route.target, path_parameters };
            }
        }
        Match { key: DEFAULT_KEY, scope: None, target: &self.default, path_parameters: BTreeMap::new() }
    }
}

/// The parameters of a path, if it has these segments.
fn parameters(segments: &[&'static str], path: &str) -> Option<BTreeMap<&'static str, String>> {
    let mut found = BTreeMap::new();
    let mut parts = path.split('/');
    for segment in segments {
        let part = parts.next()?;
        match segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}')) {
            Some(name) if !part.is_empty() => {
                found.insert(name, percent_decode_str(part).decode_utf8_lossy().into_owned());
            }
            None if *segment == part => {}
            _ => return None,
        }
    }
    parts.next().is_none().then_some(found)
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
            (Method::GET, "/users/7", "GET /users/{id}", "read-fn", Some(Scope::Read)),
            (Method::HEAD, "/users", "HEAD /users", "read-fn", Some(Scope::Read)),
            (Method::GET, "/commands/c", "GET /commands/{id}", "read-fn", Some(Scope::Read)),
            (Method::POST, "/users", "POST /users", "write-fn", Some(Scope::Write)),
            (Method::PATCH, "/users/7", "PATCH /users/{id}", "write-fn", Some(Scope::Write)),
            (Method::DELETE, "/users", "DELETE /users", "write-fn", Some(Scope::Write)),
            (Method::GET, "/health", "$default", "read-fn", None),
            (Method::OPTIONS, "/users", "$default", "read-fn", None),
            (Method::POST, "/nothing", "$default", "read-fn", None),
            (Method::GET, "/users/", "$default", "read-fn", None),
            (Method::GET, "/users/7/friends", "$default", "read-fn", None),
        ] {
            let found = table.find(&method, path);
            assert_eq!((found.key, *found.target, found.scope), (key, function, scope), "{method} {path}");
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
        let table = table(&["create-user-fn", "update-user-fn", "get-user-fn", "list-users-fn"]);
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
