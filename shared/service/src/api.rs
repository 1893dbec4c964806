//! The routes of the HTTP API, derived from the list of resources: the methods of each path, the scopes, and the functions that
//! answer.

use std::sync::LazyLock;

use resource::{Access, Description};
use serde::Serialize;

use crate::functions::{GET_COMMAND, LITH, READ, WRITE, name_of};
use crate::resources::RESOURCES;

/// The path of the status of a command.
pub const COMMAND: &str = "/commands/{id}";
/// The path of the liveness check.
pub const HEALTH: &str = "/health";
/// The variable part of a path.
pub const ID: &str = "{id}";

const QUERY: &[&str] = &["GET", "HEAD"];

/// Routes with the same path, scopes and functions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Routes {
    /// The path; `{id}` stands for any segment that is not empty.
    pub path: String,
    /// The methods that the path accepts.
    pub methods: &'static [&'static str],
    /// The methods that the function refuses. The front door passes them on, because only a function knows which methods a path
    /// accepts.
    pub refused: &'static [&'static str],
    /// The scopes, of which a token needs one.
    pub scopes: Vec<String>,
    /// The functions that can answer. The first deployed one does.
    pub functions: [String; 3],
}

/// The functions that can answer all other requests, the liveness check included, without a token. The first deployed one does.
pub const DEFAULT: [&str; 3] = [GET_COMMAND, READ, LITH];

/// All routes that need a token.
pub static ROUTES: LazyLock<Vec<Routes>> = LazyLock::new(|| {
    let statuses = Routes {
        path: COMMAND.to_owned(),
        methods: QUERY,
        refused: &[],
        scopes: RESOURCES.iter().map(|resource| resource.scope(Access::Read)).collect(),
        functions: [GET_COMMAND, READ, LITH].map(str::to_owned),
    };
    RESOURCES.iter().flat_map(of_resource).chain([statuses]).collect()
});

fn of_resource(resource: &Description) -> Vec<Routes> {
    let all = || resource.path();
    let one = || resource.item(ID);
    let query = |path, binary| Routes {
        path,
        methods: QUERY,
        refused: &[],
        scopes: vec![resource.scope(Access::Read)],
        functions: [name_of(binary, resource), READ.to_owned(), LITH.to_owned()],
    };
    let command = |path, methods, refused, binary| Routes {
        path,
        methods,
        refused,
        scopes: vec![resource.scope(Access::Write)],
        functions: [name_of(binary, resource), WRITE.to_owned(), LITH.to_owned()],
    };
    let act =
        |action: &&'static str| command(resource.action(ID, action), &["POST"], &["PUT", "PATCH", "DELETE"], action);
    let mut routes = vec![
        query(all(), "list-fn"),
        command(all(), &["POST"], &["PUT", "PATCH", "DELETE"], "create-fn"),
        query(one(), "get-fn"),
        command(one(), &["PUT"], &["POST"], "replace-fn"),
        command(one(), &["PATCH"], &[], "update-fn"),
        command(one(), &["DELETE"], &[], "delete-fn"),
    ];
    routes.extend(resource.actions.iter().map(act));
    routes
}

/// All paths, the liveness check included, with the methods that each accepts.
pub static PATHS: LazyLock<Vec<(String, Vec<&'static str>)>> = LazyLock::new(|| {
    let mut paths: Vec<(String, Vec<_>)> = vec![(HEALTH.to_owned(), QUERY.to_vec())];
    for routes in ROUTES.iter() {
        match paths.iter_mut().find(|(path, _)| *path == routes.path) {
            Some((_, methods)) => methods.extend(routes.methods),
            None => paths.push((routes.path.clone(), routes.methods.to_vec())),
        }
    }
    paths
});

/// Matches a path against a pattern. Returns the segment at `{id}`, or an empty text if the pattern has no `{id}`. `None` if the
/// path does not match.
#[must_use]
pub fn fits<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    let mut id = "";
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return Some(id),
            (Some(ID), Some(segment)) if !segment.is_empty() => id = segment,
            (Some(wanted), Some(segment)) if wanted == segment => {}
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::functions::FUNCTIONS;

    #[test]
    fn every_route_is_answered_by_functions_that_there_are() {
        let is_there = |name: &str| FUNCTIONS.iter().any(|function| function.name == name);
        for routes in ROUTES.iter() {
            assert!(routes.functions.iter().all(|name| is_there(name)), "{routes:?}");
        }
        assert!(DEFAULT.iter().all(|name| is_there(name)));
    }

    #[test]
    fn no_method_of_a_path_has_two_routes() {
        let mut met = BTreeSet::new();
        for routes in ROUTES.iter() {
            for method in routes.methods.iter().chain(routes.refused) {
                assert!(met.insert((&routes.path, method)), "{method} {}", routes.path);
            }
        }
    }

    #[test]
    fn a_path_takes_what_its_routes_take() {
        let takes = |path: &str| PATHS.iter().find(|(known, _)| known == path).map(|(_, methods)| methods.join(" "));
        for resource in RESOURCES {
            assert_eq!(takes(&resource.path()).as_deref(), Some("GET HEAD POST"));
            assert_eq!(takes(&resource.item(ID)).as_deref(), Some("GET HEAD PUT PATCH DELETE"));
            for action in resource.actions {
                assert_eq!(takes(&resource.action(ID, action)).as_deref(), Some("POST"));
            }
        }
        assert_eq!(takes("/health").as_deref(), Some("GET HEAD"));
    }

    #[test]
    fn a_path_is_known_by_its_segments() {
        assert_eq!(fits("/things/{id}", "/things/7"), Some("7"));
        assert_eq!(fits("/things", "/things"), Some(""));
        for other in ["", "/", "/things/", "/things/7/", "/things/7/8", "/thing/7", "things/7"] {
            assert_eq!(fits("/things/{id}", other), None, "{other}");
        }
    }
}
