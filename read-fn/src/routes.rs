//! The routes of the read side.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use kernel::domain::Domain;
use kernel::ids::{AggregateId, AggregateKey};
use kernel::query::{ListRequest, Lists, Queries, ReadRequest};
use kernel::submit::CommandLookup;
use percent_encoding::percent_decode_str;
use shared::http::incoming::Incoming;
use shared::http::prefer::Preferences;
use shared::http::problem::{HttpProblem, json};
use shared::http::{CONSISTENCY_TOKEN, conditional, routes};
use shared::wiring::ReadSide;
use users::User;
use users::list::Filter;

use crate::respond;

/// How many users a page has where the client does not say.
const LIMIT_DEFAULT: usize = 20;
/// How many users a page may have.
const LIMIT_MAX: usize = 100;

/// The read side's part of the table.
pub fn router(side: &ReadSide) -> Router {
    user(side.queries.clone()).merge(users(side.lists.clone())).merge(command(side.commands.clone())).merge(health())
}

/// `GET /users/{id}`.
pub fn user(queries: Arc<Queries>) -> Router {
    Router::new().route(routes::ITEM, get(get_user)).with_state(queries)
}

/// `GET /users`.
pub fn users(lists: Arc<Lists>) -> Router {
    Router::new().route(routes::COLLECTION, get(list_users)).with_state(lists)
}

/// `GET /commands/{id}`.
pub fn command(commands: Arc<CommandLookup>) -> Router {
    Router::new().route(routes::COMMAND, get(get_command)).with_state(commands)
}

/// `GET /health`.
pub fn health() -> Router {
    Router::new().route(routes::HEALTH, get(get_health))
}

async fn get_user(State(queries): State<Arc<Queries>>, incoming: Incoming) -> Result<Response, HttpProblem> {
    let id: AggregateId = incoming
        .param
        .parse()
        .map_err(|error| HttpProblem::bad_request(format!("the user id {error}, as the service gave it out")))?;
    let preferences = Preferences::of(&incoming.headers);
    let if_match = conditional::if_match(&incoming.headers)?;
    let request = ReadRequest {
        key: AggregateKey { kind: User::KIND, tenant: incoming.identity.tenant.clone(), id },
        token: incoming.header(&CONSISTENCY_TOKEN)?,
        named: if_match.named(),
        lenient: preferences.lenient,
        deadline: incoming.deadline,
    };
    let answer = queries.get(&request).await?;
    Ok(respond::user(answer, if_match, &incoming.headers))
}

async fn list_users(State(lists): State<Arc<Lists>>, incoming: Incoming) -> Result<Response, HttpProblem> {
    let query = ListQuery::parse(&incoming.query)?;
    let request = ListRequest {
        scope: query.filter.scope(),
        tenant: &incoming.identity.tenant,
        cursor: query.cursor.as_deref(),
        limit: query.limit,
    };
    let page = lists.page(&request).await?;
    Ok(respond::page(page, &incoming.query, &incoming.base))
}

async fn get_command(State(commands): State<Arc<CommandLookup>>, incoming: Incoming) -> Result<Response, HttpProblem> {
    let tenant = &incoming.identity.tenant;
    let known = commands.get(tenant, &incoming.param).await?.ok_or_else(HttpProblem::not_found)?;
    let token = |token: &_| commands.token(tenant, token);
    Ok(respond::command(&incoming.param, known, token, &incoming.base))
}

async fn get_health() -> Response {
    json(StatusCode::OK, r#"{"status":"ok"}"#).into_response()
}

/// The query of a list.
#[derive(Debug)]
struct ListQuery {
    filter: Filter,
    cursor: Option<String>,
    limit: usize,
}

impl ListQuery {
    fn parse(query: &str) -> Result<Self, HttpProblem> {
        if percent_decode_str(query).decode_utf8().is_err() {
            return Err(bad("the query is not UTF-8".to_owned()));
        }
        let [mut limit, mut cursor, mut email, mut status, mut name_prefix] = [const { None }; 5];
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let parameter = match name.as_ref() {
                "limit" => &mut limit,
                "cursor" => &mut cursor,
                "email" => &mut email,
                "status" => &mut status,
                "name_prefix" => &mut name_prefix,
                other => return Err(bad(format!("`{}` is not a parameter of this list", other.escape_debug()))),
            };
            if parameter.replace(value.into_owned()).is_some() {
                return Err(bad(format!("`{name}` is given twice")));
            }
        }
        let filter = Filter::parse(email.as_deref(), status.as_deref(), name_prefix.as_deref());
        Ok(Self {
            filter: filter.map_err(|error| bad(error.to_string()))?,
            cursor,
            limit: limit.map_or(Ok(LIMIT_DEFAULT), |limit| parse_limit(&limit))?,
        })
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
        let query = ListQuery::parse("limit=5&name_prefix=a%20b").unwrap();
        assert_eq!((query.limit, query.filter), (5, Filter::NamePrefix("a b".to_owned())));
        assert_eq!(ListQuery::parse("").unwrap().limit, LIMIT_DEFAULT);
        for wrong in [
            "limit=0",
            "limit=101",
            "limit=x",
            "limit=",
            "limit=1&limit=2",
            "names=x",
            "status=x",
            "email=a@b.de&status=active",
        ] {
            assert_eq!(ListQuery::parse(wrong).unwrap_err().problem.status, 400, "{wrong}");
        }
    }
}
