//! The routes of the write side.

use std::sync::Arc;

use axum::Router;
use axum::extract::{MatchedPath, State};
use axum::response::Response;
use axum::routing::{delete, patch, post, put};
use http::{HeaderName, header};
use kernel::envelope::ExpectedVersion;
use kernel::ids::AggregateId;
use kernel::submit::{Preference, Request, Submitter};
use resource::{BodyError, Description, Operation, Resource, Visitor};
use service::api::ID;
use service::resources::{self, RESOURCES};
use shared::http::incoming::Incoming;
use shared::http::prefer::Preferences;
use shared::http::problem::HttpProblem;
use shared::http::{CONSISTENCY_TOKEN, JSON_TYPE, MERGE_PATCH_TYPE, conditional};
use shared::wiring::WriteSide;
use tokio::time::Instant;

use crate::respond;

/// The state of the routes: the submitter of a resource.
type Commands<R> = Arc<Submitter<R>>;

/// Returns the routes of all commands.
pub fn router(side: &WriteSide) -> Router {
    let of_resources = RESOURCES.iter().map(|resource| of_resource(resource, &resource.operations(), side));
    of_resources.fold(Router::new(), Router::merge)
}

/// Returns the routes of these operations of a resource.
pub fn of_resource(resource: &Description, operations: &[Operation], side: &WriteSide) -> Router {
    struct Some<'a>(&'a [Operation], &'a WriteSide);
    impl Visitor for Some<'_> {
        type Output = Router;
        fn visit<R: Resource>(self) -> Router {
            of(self.0, &self.1.submitter::<R>())
        }
    }
    resources::visit(resource, Some(operations, side)).unwrap_or_default()
}

/// Returns the routes of these operations of `R`.
pub fn of<R: Resource>(operations: &[Operation], commands: &Commands<R>) -> Router {
    let resource = Description::of::<R>();
    let (all, one) = (resource.path(), resource.item(ID));
    let routes = operations.iter().map(|operation| match operation {
        Operation::Create => Router::new().route(&all, post(create_item::<R>)),
        Operation::Replace => Router::new().route(&one, put(replace_item::<R>)),
        Operation::Update => Router::new().route(&one, patch(update_item::<R>)),
        Operation::Delete => Router::new().route(&one, delete(delete_item::<R>)),
        Operation::Act(action) => Router::new().route(&resource.action(ID, action), post(act_on_item::<R>)),
    });
    routes.fold(Router::new(), Router::merge).with_state(commands.clone())
}

async fn create_item<R: Resource>(
    State(commands): State<Commands<R>>,
    incoming: Incoming,
) -> Result<Response, HttpProblem> {
    incoming.expect_content_type(JSON_TYPE, ACCEPT_POST)?;
    let command = R::parse(Operation::Create, &incoming.body).map_err(wrong_body)?;
    submit(&commands, Operation::Create, &incoming, None, command).await
}

async fn replace_item<R: Resource>(
    State(commands): State<Commands<R>>,
    incoming: Incoming,
) -> Result<Response, HttpProblem> {
    let id = incoming.id(R::NAME)?;
    incoming.expect_content_type(JSON_TYPE, header::ACCEPT)?;
    let command = R::parse(Operation::Replace, &incoming.body).map_err(wrong_body)?;
    submit(&commands, Operation::Replace, &incoming, Some(id), command).await
}

async fn update_item<R: Resource>(
    State(commands): State<Commands<R>>,
    incoming: Incoming,
) -> Result<Response, HttpProblem> {
    let id = incoming.id(R::NAME)?;
    incoming.expect_content_type(MERGE_PATCH_TYPE, ACCEPT_PATCH)?;
    let command = R::parse(Operation::Update, &incoming.body).map_err(wrong_body)?;
    submit(&commands, Operation::Update, &incoming, Some(id), command).await
}

async fn delete_item<R: Resource>(
    State(commands): State<Commands<R>>,
    incoming: Incoming,
) -> Result<Response, HttpProblem> {
    let id = incoming.id(R::NAME)?;
    let command = R::parse(Operation::Delete, &[]).map_err(wrong_body)?;
    submit(&commands, Operation::Delete, &incoming, Some(id), command).await
}

/// Handles an action, which is the last segment of the path. The body is optional.
async fn act_on_item<R: Resource>(
    State(commands): State<Commands<R>>,
    matched: MatchedPath,
    incoming: Incoming,
) -> Result<Response, HttpProblem> {
    let id = incoming.id(R::NAME)?;
    let segment = matched.as_str().rsplit('/').next().unwrap_or_default();
    let action = R::ACTIONS.iter().find(|action| **action == segment).ok_or_else(HttpProblem::no_route)?;
    if !incoming.body.is_empty() {
        incoming.expect_content_type(JSON_TYPE, ACCEPT_POST)?;
    }
    let operation = Operation::Act(action);
    let command = R::parse(operation, &incoming.body).map_err(wrong_body)?;
    submit(&commands, operation, &incoming, Some(id), command).await
}

const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

async fn submit<R: Resource>(
    commands: &Submitter<R>,
    operation: Operation,
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
    // A precondition applies to one item. A collection has no version, and a new item has no tag that could match.
    let (expected, excluded) = match aggregate {
        Some(_) => (conditional::if_match(&incoming.headers)?.expected()?, conditional::excluded(&incoming.headers)?),
        None => (ExpectedVersion::Any, None),
    };
    let request = Request {
        tenant: incoming.identity.tenant.clone(),
        subject: incoming.identity.subject.clone(),
        method: operation.method(),
        // A client may write the id in another case. The fingerprint needs one form only.
        path: resource.path_of(operation, aggregate),
        idempotency_key: incoming.idempotency_key()?,
        aggregate,
        expected,
        excluded,
        token: incoming.header(&CONSISTENCY_TOKEN)?.map(str::to_owned),
        traceparent: incoming.traceparent(),
        command,
    };
    let answer = commands.submit(request, preference).await?;
    Ok(respond::answer(&resource, operation, answer, preferences, &incoming.base))
}

fn wrong_body(error: BodyError) -> HttpProblem {
    match error {
        BodyError::Syntax(_) => HttpProblem::not_json(error.to_string()),
        BodyError::Fields(errors) => HttpProblem::invalid(errors),
    }
}
