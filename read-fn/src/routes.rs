//! The routes of the read side.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use kernel::ids::{AggregateId, AggregateKey};
use kernel::lookup::{CommandLookup, CommandState};
use kernel::query::{ListRequest, Lists, Queries, ReadRequest};
use percent_encoding::percent_decode_str;
use resource::{Access, Description, Parameters, Resource, Visitor};
use service::api;
use service::resources::{self, RESOURCES};
use shared::http::incoming::Incoming;
use shared::http::prefer::Preferences;
use shared::http::problem::{HttpProblem, json};
use shared::http::{CONSISTENCY_TOKEN, conditional};
use shared::wiring::{ListSide, ReadSide};

use crate::respond;

/// Number of items on a page, if the client does not set it.
const LIMIT_DEFAULT: usize = 20;
/// The largest number of items on a page.
const LIMIT_MAX: usize = 100;

/// Returns the routes of all queries.
pub fn router(side: &ReadSide) -> Router {
    let of_resources =
        RESOURCES.iter().map(|resource| item_of(resource, side).merge(collection_of(resource, &side.lists)));
    of_resources.fold(command(side.commands.clone()).merge(health()), Router::merge)
}

/// Returns the route of one item of a resource.
pub fn item_of(resource: &Description, side: &ReadSide) -> Router {
    struct Item<'a>(&'a ReadSide);
    impl Visitor for Item<'_> {
        type Output = Router;
        fn visit<R: Resource>(self) -> Router {
            item::<R>(self.0.queries::<R>())
        }
    }
    resources::visit(resource, Item(side)).unwrap_or_default()
}

/// Returns the route of the lists of a resource.
pub fn collection_of(resource: &Description, side: &ListSide) -> Router {
    struct Collection<'a>(&'a ListSide);
    impl Visitor for Collection<'_> {
        type Output = Router;
        fn visit<R: Resource>(self) -> Router {
            collection::<R>(self.0.lists::<R>())
        }
    }
    resources::visit(resource, Collection(side)).unwrap_or_default()
}

/// Returns the route of one item, for example `GET /users/{id}`.
pub fn item<R: Resource>(queries: Arc<Queries>) -> Router {
    Router::new().route(&Description::of::<R>().item(api::ID), get(get_item::<R>)).with_state(queries)
}

/// Returns the route of lists, for example `GET /users`.
pub fn collection<R: Resource>(lists: Arc<Lists>) -> Router {
    Router::new().route(&Description::of::<R>().path(), get(list_items::<R>)).with_state(lists)
}

/// Returns the route `GET /commands/{id}`.
pub fn command(commands: Arc<CommandLookup>) -> Router {
    Router::new().route(api::COMMAND, get(get_command)).with_state(commands)
}

/// Returns the route `GET /health`.
pub fn health() -> Router {
    Router::new().route(api::HEALTH, get(get_health))
}

async fn get_item<R: Resource>(
    State(queries): State<Arc<Queries>>,
    incoming: Incoming,
) -> Result<Response, HttpProblem> {
    let id: AggregateId = incoming.id(R::NAME)?;
    let preferences = Preferences::of(&incoming.headers);
    let if_match = conditional::if_match(&incoming.headers)?;
    let request = ReadRequest {
        key: AggregateKey { kind: R::KIND, tenant: incoming.identity.tenant.clone(), id },
        token: incoming.header(&CONSISTENCY_TOKEN)?,
        named: if_match.named(),
        lenient: preferences.lenient,
        deadline: incoming.deadline,
    };
    let answer = queries.get(&request).await?;
    Ok(respond::item(answer, if_match, &incoming.headers))
}

async fn list_items<R: Resource>(State(lists): State<Arc<Lists>>, incoming: Incoming) -> Result<Response, HttpProblem> {
    let ListQuery { mut parameters, cursor, limit } = ListQuery::parse(&incoming.query)?;
    let scope = R::filter(&mut parameters).map_err(|error| bad(error.to_string()))?;
    if let Some(name) = parameters.left_over() {
        return Err(bad(format!("`{}` is not a parameter of this list", name.escape_debug())));
    }
    let request = ListRequest { scope, tenant: &incoming.identity.tenant, cursor: cursor.as_deref(), limit };
    let page = lists.page(&request).await?;
    Ok(respond::page(&Description::of::<R>(), page, &incoming.query, &incoming.base))
}

async fn get_command(State(commands): State<Arc<CommandLookup>>, incoming: Incoming) -> Result<Response, HttpProblem> {
    let tenant = &incoming.identity.tenant;
    let known = commands.get(tenant, &incoming.param).await?.ok_or_else(HttpProblem::not_found)?;
    // Any scope to read opens this route, because only the record shows which one is needed.
    if let CommandState::Recorded(record) = &known
        && let Some(resource) = resources::of_kind(record.kind.as_deref())
    {
        let scope = resource.scope(Access::Read);
        if !incoming.identity.has_scope(&scope) {
            return Err(HttpProblem::lacks_scope(&scope));
        }
    }
    let token = |token: &_| commands.token(tenant, token);
    Ok(respond::command(&incoming.param, known, token, &incoming.base))
}

async fn get_health() -> Response {
    json(StatusCode::OK, r#"{"status":"ok"}"#).into_response()
}

/// The query string of a list.
#[derive(Debug)]
struct ListQuery {
    /// All parameters except the limit and the cursor.
    parameters: Parameters,
    cursor: Option<String>,
    limit: usize,
}

impl ListQuery {
    fn parse(query: &str) -> Result<Self, HttpProblem> {
        if percent_decode_str(query).decode_utf8().is_err() {
            return Err(bad("the query is not UTF-8".to_owned()));
        }
        let mut parameters = Parameters::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !parameters.add(name.as_ref(), value) {
                return Err(bad(format!("`{}` is given twice", name.escape_debug())));
            }
        }
        let (limit, cursor) = (parameters.take("limit"), parameters.take("cursor"));
        let limit = limit.map_or(Ok(LIMIT_DEFAULT), |limit| parse_limit(&limit))?;
        Ok(Self { parameters, cursor, limit })
    }
}

fn parse_limit(text: &str) -> Result<usize, HttpProblem> {
    let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| bad(format!("limit must be a number from 1 to {LIMIT_MAX}")))
}

fn bad(detail: String) -> HttpProblem {
    HttpProblem::bad_request(detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lists_query_is_read_and_everything_else_is_refused() {
        let mut query = ListQuery::parse("limit=5&prefix=a%20b").unwrap();
        assert_eq!((query.limit, query.cursor), (5, None));
        assert_eq!((query.parameters.take("prefix").as_deref(), query.parameters.left_over()), (Some("a b"), None));
        assert_eq!(ListQuery::parse("").unwrap().limit, LIMIT_DEFAULT);
        for wrong in ["limit=0", "limit=101", "limit=x", "limit=", "limit=1&limit=2", "prefix=a&prefix=a"] {
            assert_eq!(ListQuery::parse(wrong).unwrap_err().problem.status, 400, "{wrong}");
        }
    }
}
