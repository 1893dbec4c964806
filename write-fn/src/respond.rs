//! Responses of the write side.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use kernel::ids::AggregateId;
use kernel::ports::CachedView;
use kernel::projection::Projection;
use kernel::record::CommandStatus;
use kernel::submit::{SubmitAnswer, WriteResult};
use resource::{Description, Operation};
use serde_json::json;
use shared::http::conditional::etag;
use shared::http::path::BasePath;
use shared::http::prefer::Preferences;
use shared::http::problem::{self, HttpProblem};
use shared::http::{CONSISTENCY_TOKEN, IDEMPOTENCY_REPLAYED, PREFERENCE_APPLIED, set};

/// Returns the response with the result of a command or, if that is not known yet, an acknowledgement.
pub(crate) fn answer(
    resource: &Description,
    operation: Operation,
    answer: SubmitAnswer,
    preferences: Preferences,
    base: &BasePath,
) -> Response {
    let SubmitAnswer { command, aggregate, token, replayed, result } = answer;
    let link = base.link(resource.item(aggregate));
    let known = result.is_some();
    let mut response = match result {
        None => accepted(resource, &command, aggregate, base),
        Some(WriteResult { status: CommandStatus::Rejected { problem, .. }, .. }) => {
            HttpProblem::from(problem).into_response()
        }
        Some(WriteResult { projection, current, .. }) => done(operation, &link, projection, current),
    };
    set(&mut response, CONSISTENCY_TOKEN, token);
    if replayed {
        response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    match preferences.wait_seconds {
        Some(seconds) => set(&mut response, PREFERENCE_APPLIED, format!("wait={seconds}")),
        None if preferences.respond_async && !known => set(&mut response, PREFERENCE_APPLIED, "respond-async"),
        None => {}
    }
    response
}

fn accepted(resource: &Description, command: &str, id: AggregateId, base: &BasePath) -> Response {
    let body = json!({ "command_id": command, (format!("{}_id", resource.name)): id, "status": "pending" });
    let mut response = problem::json(StatusCode::ACCEPTED, body.to_string());
    set(&mut response, header::LOCATION, base.link(format_args!("/commands/{command}")));
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// Returns the response to an applied or superseded command.
fn done(operation: Operation, link: &str, projection: Projection, current: Option<CachedView>) -> Response {
    let status = if operation == Operation::Create { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = match current.map(|view| (view.version, view.body)) {
        Some((version, Some(body))) if operation != Operation::Delete => {
            let mut response = problem::json(status, body);
            set(&mut response, header::ETAG, etag(version, projection));
            response
        }
        // The answer to a repeated create keeps its status, even if the item is deleted by now.
        _ if operation == Operation::Create => status.into_response(),
        _ => StatusCode::NO_CONTENT.into_response(),
    };
    if operation == Operation::Create {
        set(&mut response, header::LOCATION, link);
    }
    response
}

#[cfg(test)]
mod tests {
    use service::resources::RESOURCES;

    use super::*;

    #[test]
    fn links_begin_with_the_base_path() {
        let base: BasePath = "/prod/v1".parse().unwrap();
        let answer_with = |result| SubmitAnswer {
            command: "c".to_owned(),
            aggregate: "019a0b5e-6c7b-7000-8000-000000000001".parse().unwrap(),
            token: "t".to_owned(),
            replayed: false,
            result,
        };
        let location = |result| {
            let response = answer(&RESOURCES[0], Operation::Create, answer_with(result), Preferences::default(), &base);
            response.headers()[header::LOCATION].to_str().unwrap().to_owned()
        };
        assert_eq!(location(None), "/prod/v1/commands/c");
        let applied = CommandStatus::Applied { version: 1 };
        let applied = WriteResult { status: applied, projection: Projection::FIRST, current: None };
        let item = RESOURCES[0].item("019a0b5e-6c7b-7000-8000-000000000001");
        assert_eq!(location(Some(applied)), format!("/prod/v1{item}"));
    }
}
