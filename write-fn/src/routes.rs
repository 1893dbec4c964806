//! The routes of the write side.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{self, patch, post, put};
use http::{HeaderName, header};
use kernel::envelope::Expected;
use kernel::ids::AggregateId;
use kernel::submit::{Preference, Request, Submitter};
use shared::http::incoming::Incoming;
use shared::http::prefer::Preferences;
use shared::http::problem::HttpProblem;
use shared::http::{CONSISTENCY_TOKEN, JSON_TYPE, MERGE_PATCH_TYPE, conditional, routes};
use tokio::time::Instant;
use users::request::{self, BodyError};
use users::{User, UserCommand};

use crate::respond::{self, Method};

/// Takes commands in.
type Commands = Arc<Submitter<User>>;

/// The write side's part of the table.
pub fn router(commands: &Commands) -> Router {
    create(commands.clone())
        .merge(replace(commands.clone()))
        .merge(update(commands.clone()))
        .merge(delete(commands.clone()))
}

/// `POST /users`.
pub fn create(commands: Commands) -> Router {
    Router::new().route(routes::COLLECTION, post(create_user)).with_state(commands)
}

/// `PUT /users/{id}`.
pub fn replace(commands: Commands) -> Router {
    Router::new().route(routes::ITEM, put(replace_user)).with_state(commands)
}

/// `PATCH /users/{id}`.
pub fn update(commands: Commands) -> Router {
    Router::new().route(routes::ITEM, patch(update_user)).with_state(commands)
}

/// `DELETE /users/{id}`.
pub fn delete(commands: Commands) -> Router {
    Router::new().route(routes::ITEM, routing::delete(delete_user)).with_state(commands)
}

async fn create_user(State(commands): State<Commands>, incoming: Incoming) -> Result<Response, HttpProblem> {
    incoming.expect_content_type(JSON_TYPE, ACCEPT_POST)?;
    let command = request::create(&incoming.body).map_err(wrong_body)?;
    submit(&commands, Method::Post, &incoming, None, command).await
}

async fn replace_user(State(commands): State<Commands>, incoming: Incoming) -> Result<Response, HttpProblem> {
    let id = user_id(&incoming)?;
    incoming.expect_content_type(JSON_TYPE, header::ACCEPT)?;
    let command = request::replace(&incoming.body).map_err(wrong_body)?;
    submit(&commands, Method::Put, &incoming, Some(id), command).await
}

async fn update_user(State(commands): State<Commands>, incoming: Incoming) -> Result<Response, HttpProblem> {
    let id = user_id(&incoming)?;
    incoming.expect_content_type(MERGE_PATCH_TYPE, ACCEPT_PATCH)?;
    let command = request::update(&incoming.body).map_err(wrong_body)?;
    submit(&commands, Method::Patch, &incoming, Some(id), command).await
}

async fn delete_user(State(commands): State<Commands>, incoming: Incoming) -> Result<Response, HttpProblem> {
    let id = user_id(&incoming)?;
    submit(&commands, Method::Delete, &incoming, Some(id), UserCommand::Delete).await
}

const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

async fn submit(
    commands: &Submitter<User>,
    method: Method,
    incoming: &Incoming,
    aggregate: Option<AggregateId>,
    command: UserCommand,
) -> Result<Response, HttpProblem> {
    let preferences = Preferences::of(&incoming.headers);
    let preference = Preference {
        respond_async: preferences.respond_async,
        wait_until: preferences.wait().map(|wait| (Instant::now() + wait).min(incoming.deadline)),
    };
    // A precondition speaks of one user. A collection has no version, and a new user has no tag that could match.
    let (expected, excluded) = match aggregate {
        Some(_) => (conditional::if_match(&incoming.headers)?.expected()?, conditional::excluded(&incoming.headers)?),
        None => (Expected::Unsaid, None),
    };
    let request = Request {
        tenant: incoming.identity.tenant.clone(),
        subject: incoming.identity.subject.clone(),
        method: method.as_str(),
        path: aggregate.map_or_else(|| routes::COLLECTION.to_owned(), routes::item),
        idempotency_key: incoming.idempotency_key()?,
        aggregate,
        expected,
        excluded,
        token: incoming.header(&CONSISTENCY_TOKEN)?.map(str::to_owned),
        traceparent: incoming.traceparent(),
        command,
    };
    let receipt = commands.submit(request, preference).await?;
    Ok(respond::receipt(method, receipt, preferences, &incoming.base))
}

fn user_id(incoming: &Incoming) -> Result<AggregateId, HttpProblem> {
    let wrong = |error| HttpProblem::bad_request(format!("the user id {error}, as the service gave it out"));
    incoming.param.parse().map_err(wrong)
}

fn wrong_body(error: BodyError) -> HttpProblem {
    match error {
        BodyError::Syntax(_) => HttpProblem::not_json(error.to_string()),
        BodyError::Fields(errors) => HttpProblem::invalid(errors),
    }
}
