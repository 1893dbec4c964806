//! The route table of the HTTP API: which function answers what, and which scopes it takes. Derived from the list of resources.

use std::collections::BTreeMap;

use http::Method;
use percent_encoding::percent_decode_str;
use resource::{Access, Description};
use service::resources::RESOURCES;
use shared::http::routes;

const QUERY: &[&str] = &["GET", "HEAD"];
const COMMAND: &[&str] = &["POST", "PUT", "PATCH", "DELETE"];

/// What answers everything else, liveness among it, without a token: the first of these that is deployed, or what gets the first
/// resource.
const DEFAULT_FUNCTIONS: [&str; 2] = ["lith-fn", "read-fn"];
/// The key of the route that takes everything else.
const DEFAULT_KEY: &str = "$default";

/// Some routes with one path.
struct Routes {
    methods: &'static [&'static str],
    path: String,
    /// A token needs one of them.
    scopes: Vec<String>,
    /// Of these a stage deploys one.
    functions: [String; 3],
}

/// All routes. Every method that changes something goes where commands go, so that the function which knows the allowed ones
/// says 405. An earlier route wins.
fn all() -> Vec<Routes> {
    let statuses = Routes {
        methods: QUERY,
        path: routes::COMMAND.to_owned(),
        scopes: RESOURCES.iter().map(|resource| resource.scope(Access::Read)).collect(),
        functions: ["lith-fn", "read-fn", "get-command-fn"].map(str::to_owned),
    };
    RESOURCES.iter().flat_map(of_resource).chain([statuses]).collect()
}

fn of_resource(resource: &Description) -> Vec<Routes> {
    let Description { name, collection, .. } = resource;
    let queries = |path, own| Routes {
        methods: QUERY,
        path,
        scopes: vec![resource.scope(Access::Read)],
        functions: ["lith-fn".to_owned(), "read-fn".to_owned(), own],
    };
    let commands = |methods, path, own| Routes {
        methods,
        path,
        scopes: vec![resource.scope(Access::Write)],
        functions: ["lith-fn".to_owned(), "write-fn".to_owned(), own],
    };
    let item = || resource.item(routes::ID);
    vec![
        queries(resource.path(), format!("list-{collection}-fn")),
        queries(item(), format!("get-{name}-fn")),
        commands(&["PUT"], item(), format!("replace-{name}-fn")),
        commands(&["PATCH"], item(), format!("update-{name}-fn")),
        commands(&["DELETE"], item(), format!("delete-{name}-fn")),
        commands(COMMAND, resource.path(), format!("create-{name}-fn")),
        commands(COMMAND, item(), format!("replace-{name}-fn")),
    ]
}

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
    path: String,
    scopes: Vec<String>,
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
        let resolve = |route: Routes| {
            let target = route.functions.iter().find_map(|function| deployed(function));
            let Routes { methods, path, scopes, .. } = route;
            target.into_iter().flat_map(move |target| {
                let (path, scopes) = (path.clone(), scopes.clone());
                methods.iter().map(move |method| Resolved {
                    method,
                    key: format!("{method} {path}"),
                    path: path.clone(),
                    scopes: scopes.clone(),
                    target: target.clone(),
                })
            })
        };
        let of_first = RESOURCES.first().map(|resource| format!("get-{}-fn", resource.name));
        let defaults = DEFAULT_FUNCTIONS.into_iter().map(str::to_owned).chain(of_first);
        let default = defaults.into_iter().find_map(|function| deployed(&function))?;
        Some(Self { routes: all().into_iter().flat_map(resolve).collect(), default })
    }

    /// Finds the route of a request; `path` is as the client wrote it.
    pub fn find(&self, method: &Method, path: &str) -> Match<'_, T> {
        let candidates = self.routes.iter().filter(|route| route.method == method.as_str());
        for route in candidates {
            if let Some(path_parameters) = parameters(&route.path, path) {
                return Match { key: &route.key, scopes: &route.scopes, target: &route.target, path_parameters };
            }
        }
        Match { key: DEFAULT_KEY, scopes: &[], target: &self.default, path_parameters: BTreeMap::new() }
    }
}

/// The parameters of a path, if it fits the pattern.
fn parameters(pattern: &str, path: &str) -> Option<BTreeMap<&'static str, String>> {
    let mut found = BTreeMap::new();
    let mut parts = path.split('/');
    for segment in pattern.split('/') {
        let part = parts.next()?;
        match segment {
            routes::ID if !part.is_empty() => {
                found.insert("id", percent_decode_str(part).decode_utf8_lossy().into_owned());
            }
            segment if segment == part => {}
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
            (Method::GET, "/users/7", "GET /users/{id}", "read-fn", &["users:read"][..]),
            (Method::HEAD, "/users", "HEAD /users", "read-fn", &["users:read"][..]),
            (Method::GET, "/commands/c", "GET /commands/{id}", "read-fn", &["users:read"][..]),
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
