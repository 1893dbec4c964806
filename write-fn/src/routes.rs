//! The routes of the write side.

use std::mem::take;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{self, patch, post, put};
use http::{HeaderName, header};
use kernel::envelope::Expected;
use kernel::ids::AggregateId;
use kernel::submit::{Preference, Request, Submitter};
use resource::{BodyError, Description, Operation, Resource, Visitor};
use service::resources;
use shared::http::incoming::Incoming;
use shared::http::prefer::Preferences;
use shared::http::problem::HttpProblem;
use shared::http::routes::ID;
use shared::http::{CONSISTENCY_TOKEN, JSON_TYPE, MERGE_PATCH_TYPE, conditional};
use shared::wiring::WriteSide;
use tokio::time::Instant;

use crate::respond::{self, Method};

/// Takes commands of a resource in.
type Commands<R> = Arc<Submitter<R>>;

/// The write side's part of the table.
pub fn router(side: &WriteSide) -> Router {
    let mut routes = OfAll { side, router: Router::new() };
    resources::visit(&mut routes);
    routes.router
}

/// The routes of all resources.
struct OfAll<'a> {
    side: &'a WriteSide,
    router: Router,
}

impl Visitor for OfAll<'_> {
    fn visit<R: Resource>(&mut self) {
        self.router = take(&mut self.router).merge(of_one(&self.side.submitter::<R>()));
    }
}

/// The routes of one resource.
pub fn of_one<R: Resource>(commands: &Commands<R>) -> Router {
    create(commands.clone())
        .merge(replace(commands.clone()))
        .merge(update(commands.clone()))
        .merge(delete(commands.clone()))
}

/// For example `POST /users`.
pub fn create<R: Resource>(commands: Commands<R>) -> Router {
    Router::new().route(&Description::of::<R>().path(), post(create_item::<R>)).with_state(commands)
}

/// For example `PUT /users/{id}`.
pub fn replace<R: Resource>(commands: Commands<R>) -> Router {
    Router::new().route(&Description::of::<R>().item(ID), put(replace_item::<R>)).with_state(commands)
}

/// For example `PATCH /users/{id}`.
pub fn update<R: Resource>(commands: Commands<R>) -> Router {
    Router::new().route(&Description::of::<R>().item(ID), patch(update_item::<R>)).with_state(commands)
}

/// For example `DELETE /users/{id}`.
pub fn delete<R: Resource>(commands: Commands<R>) -> Router {
    Router::new().route(&Description::of::<R>().item(ID), routing::delete(delete_item::<R>)).with_state(commands)
}

async fn create_item<R: Resource>(
    State(commands): State<Commands<R>>,
    incoming: Incoming,
) -> Result<Response, HttpProblem> {
    incoming.expect_content_type(JSON_TYPE, ACCEPT_POST)?;
    let command = R::parse(Operation::Create, &incoming.body).map_err(wrong_body)?;
    submit(&commands, Method::Post, &incoming, None, command).await
}

async fn replace_item<R: Resource>(
    State(commands): State<Commands<R>>,
    incoming: Incoming,
) -> Result<Response, HttpProblem> {
    let id = incoming.id(R::NAME)?;
    incoming.expect_content_type(JSON_TYPE, header::ACCEPT)?;
    let command = R::parse(Operation::Replace, &incoming.body).map_err(wrong_body)?;
    submit(&commands, Method::Put, &incoming, Some(id), command).await
}

async fn update_item<R: Resource>(
    State(commands): State<Commands<R>>,
    incoming: Incoming,
) -> Result<Response, HttpProblem> {
    let id = incoming.id(R::NAME)?;
    incoming.expect_content_type(MERGE_PATCH_TYPE, ACCEPT_PATCH)?;
    let command = R::parse(Operation::Update, &incoming.body).map_err(wrong_body)?;
    submit(&commands, Method::Patch, &incoming, Some(id), command).await
}

async fn delete_item<R: Resource>(
    State(commands): State<Commands<R>>,
    incoming: Incoming,
) -> Result<Response, HttpProblem> {
    let id = incoming.id(R::NAME)?;
    let command = R::parse(Operation::Delete, &[]).map_err(wrong_body)?;
    submit(&commands, Method::Delete, &incoming, Some(id), command).await
}

const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

async fn submit<R: Resource>(
    commands: &Submitter<R>,
    method: Method,
    incoming: &Incoming,
    aggregate: Option<AggregateId>,
    command: R::Command,
) -> Result<Response, HttpProblem> {
    let resource = Description::of::<R>();
    let preferences = Preferences::of(&incoming.headers);
    let preference = Preference {
        respond_async: preferences.respond_async,
        wait_until: preferences.wait().map(|wait| (Instant::now() + wait).min(incoming.deadline)),
    };
    // A precondition speaks of one item. A collection has no version, and a new item has no tag that could match.
    let (expected, excluded) = match aggregate {
        Some(_) => (conditional::if_match(&incoming.headers)?.expected()?, conditional::excluded(&incoming.headers)?),
        None => (Expected::Unsaid, None),
    };
    let request = Request {
        tenant: incoming.identity.tenant.clone(),
        subject: incoming.identity.subject.clone(),
        method: method.as_str(),
        // A client may spell the id in another case; this is the spelling that stands for the request.
        path: aggregate.map_or_else(|| resource.path(), |id| resource.item(id)),
        idempotency_key: incoming.idempotency_key()?,
        aggregate,
        expected,
        excluded,
        token: incoming.header(&CONSISTENCY_TOKEN)?.map(str::to_owned),
        traceparent: incoming.traceparent(),
        command,
    };
    let receipt = commands.submit(request, preference).await?;
    Ok(respond::receipt(&resource, method, receipt, preferences, &incoming.base))
}

fn wrong_body(error: BodyError) -> HttpProblem {
    match error {
        BodyError::Syntax(_) => HttpProblem::not_json(error.to_string()),
        BodyError::Fields(errors) => HttpProblem::invalid(errors),
    }
}
