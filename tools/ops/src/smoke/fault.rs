//! A failed check: the expectation, the answer, and advice.

use std::fmt;

use serde::Serialize;

use super::TOKEN_VARIABLE;

/// Advice if a command stays pending.
pub(super) const PENDING: &str =
    "whether ingest-fn runs: its event source mapping, its log, and the backlog (`watershed queue`)";
/// Advice if a command is rejected, superseded or failed.
pub(super) const NOT_APPLIED: &str = "the reason in the answer, and `watershed command show`";
/// Advice if a list does not show the user.
pub(super) const NOT_LISTED: &str = "the indexes of the table that lists are read from, and `watershed verify`";
/// Advice if the service returns data without a token.
pub(super) const UNGUARDED: &str =
    "the authorizer of the routes: this service requires no token; if it should not, run the smoke test without one";
/// Advice if there is no connection.
pub(super) const NO_CONNECTION: &str = "the URL, which is the stack's output Url, and whether the stack is deployed";
/// Advice if there is no answer in time.
pub(super) const NO_ANSWER: &str = "the function's log, for the cause of the delay; --timeout sets a longer time";

/// A check that failed.
#[derive(Debug, Serialize)]
pub(super) struct Fault {
    call: String,
    expected: String,
    found: String,
    /// The thing to look at.
    advice: String,
}

impl Fault {
    pub(super) fn new(
        call: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { call: call.to_owned(), expected: expected.into(), found: found.into(), advice: advice.into() }
    }

    /// Returns the same fault with other advice.
    pub(super) fn with_advice(self, advice: &str) -> Self {
        Self { advice: advice.to_owned(), ..self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { call, expected, found, advice } = self;
        write!(f, "{call}: expected {expected}, got {found}; look at {advice}")
    }
}

/// The kinds of routes of the front door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// `$default`: liveness, 404 and 405, without a token.
    Default,
    /// A route with data, which requires a token.
    Guarded,
}

/// The parts of an answer that decide the advice.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) status: u16,
    /// The id that a function gives each request. The front door's own answers have none.
    pub(super) request_id: Option<&'a str>,
    pub(super) route: Route,
    /// Whether a token was sent.
    pub(super) has_token: bool,
}

impl Seen<'_> {
    /// Returns the advice for an unexpected answer.
    pub(super) fn advice(self) -> String {
        match self.request_id {
            None => self.of_front_door(),
            Some(request) => self.of_function(request),
        }
    }

    fn of_front_door(self) -> String {
        let route = match self.route {
            Route::Default => "$default",
            Route::Guarded => "this route",
        };
        match self.status {
            401 if !self.has_token => format!("the token: none was sent, because {TOKEN_VARIABLE} is not set"),
            401 => format!(
                "the token in {TOKEN_VARIABLE}: its issuer, audience, time and signature; `WWW-Authenticate` names the \
                 invalid one"
            ),
            403 if self.has_token => {
                format!("the token in {TOKEN_VARIABLE}: it needs the scopes of reads and of writes")
            }
            403 => "the host name: its API mapping, and whether the execute-api endpoint is disabled".to_owned(),
            404 => "the URL, with its path: the front door has no such route".to_owned(),
            429 => "the throttle of the API: other clients use it up".to_owned(),
            500 => format!("the Lambda permission of {route}; or the function's log, if it ended without an answer"),
            502..=504 => "the function's log: it took too long, was throttled, or ended".to_owned(),
            _ => "whether the URL is that of this service: no function of it gave this answer".to_owned(),
        }
    }

    fn of_function(self, request: &str) -> String {
        match self.status {
            401 => format!("the claims `sub` and `tenant_id` of the token in {TOKEN_VARIABLE}"),
            503 => format!("the function's log, request {request}: a store or the queue did not answer"),
            _ => format!("the function's log, request {request}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: Seen<'_> = Seen { status: 500, request_id: None, route: Route::Default, has_token: false };

    #[test]
    fn a_failure_names_the_part_to_look_at() {
        let guarded = Seen { route: Route::Guarded, has_token: true, ..SEEN };
        for (seen, next) in [
            (SEEN, "the Lambda permission of $default"),
            (Seen { status: 403, ..SEEN }, "the host name"),
            (Seen { status: 404, ..SEEN }, "the URL"),
            (guarded, "the Lambda permission of this route"),
            (Seen { status: 401, ..guarded }, "WWW-Authenticate"),
            (Seen { status: 401, has_token: false, ..guarded }, "WATERSHED_TOKEN is not set"),
            (Seen { status: 403, ..guarded }, "the scopes"),
            (Seen { status: 401, request_id: Some("r-1"), ..guarded }, "`tenant_id`"),
            (Seen { status: 503, request_id: Some("r-1"), ..guarded }, "request r-1: a store"),
        ] {
            assert!(seen.advice().contains(next), "{seen:?}: {}", seen.advice());
        }
    }
}
