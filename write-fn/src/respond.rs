//! Answers of the write side.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use kernel::ports::CachedView;
use kernel::project::Projection;
use kernel::record::CommandStatus;
use kernel::submit::{Outcome, Receipt};
use serde_json::json;
use shared::http::conditional::etag;
use shared::http::prefer::Preferences;
use shared::http::problem::{self, HttpProblem};
use shared::http::{CONSISTENCY_TOKEN, IDEMPOTENCY_REPLAYED, PREFERENCE_APPLIED, set};

/// The methods of the write side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Post,
    Put,
    Patch,
    Delete,
}

impl Method {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// The result of a command or, where that is not known yet, an acknowledgement.
pub(crate) fn receipt(method: Method, receipt: Receipt, preferences: Preferences) -> Response {
    let Receipt { command, aggregate, token, replayed, outcome } = receipt;
    let user = format!("/users/{aggregate}");
    let known = outcome.is_some();
    let mut response = match outcome {
        None => accepted(&command, &aggregate.to_string()),
        Some(Outcome { status: CommandStatus::Rejected { problem, .. }, .. }) => {
            HttpProblem::from(problem).into_response()
        }
        Some(Outcome { projection, current, .. }) => result(method, &user, projection, current),
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

fn accepted(command: &str, user: &str) -> Response {
    let body = json!({ "command_id": command, "user_id": user, "status": "pending" });
    let mut response = problem::json(StatusCode::ACCEPTED, body.to_string());
    set(&mut response, header::LOCATION, format!("/commands/{command}"));
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

/// What an applied or superseded command left.
fn result(method: Method, user: &str, projection: Projection, current: Option<CachedView>) -> Response {
    let status = if method == Method::Post { StatusCode::CREATED } else { StatusCode::OK };
    let mut response = match current.map(|view| (view.version, view.body)) {
        Some((version, Some(body))) if method != Method::Delete => {
            let mut response = problem::json(status, body);
            set(&mut response, header::ETAG, etag(version, projection));
            response
        }
        // A create that is answered again keeps its status, also when the user is gone by now.
        _ if method == Method::Post => status.into_response(),
        _ => StatusCode::NO_CONTENT.into_response(),
    };
    if method == Method::Post {
        set(&mut response, header::LOCATION, user);
    }
    response
}
