//! The output at the end of a command, for people or for scripts.

use std::io::Write as _;

use cost::model::TrafficError;
use indicatif::{ProgressBar, ProgressStyle};
use kernel::ports::PortError;
use serde::Serialize;
use serde_json::{Value, json};
use service::stages::StageError;

/// The result of a command.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    /// Whether the command has done everything and found nothing wrong. It decides the exit code.
    pub(crate) is_ok: bool,
    lines: Vec<String>,
    document: Value,
}

impl CommandOutput {
    /// Creates a result: `document` for scripts, `lines` for people.
    pub(crate) fn new(is_ok: bool, document: &impl Serialize, lines: Vec<String>) -> Self {
        Self { is_ok, lines, document: serde_json::to_value(document).unwrap_or_default() }
    }

    /// Puts these lines first, for people.
    pub(crate) fn prepend(&mut self, mut lines: Vec<String>) {
        lines.append(&mut self.lines);
        self.lines = lines;
    }

    /// Adds the operator's next action: as a last line, and for scripts as `to_do`.
    pub(crate) fn with_next_step(mut self, next_step: impl Into<String>) -> Self {
        let next_step = next_step.into();
        self.lines.push(format!("next: {next_step}"));
        if let Value::Object(document) = &mut self.document {
            document.insert("to_do".to_owned(), next_step.into());
        }
        self
    }

    /// Does the same as [`CommandOutput::with_next_step`], if there is something to do.
    pub(crate) fn with_next_step_if(self, next_step: Option<String>) -> Self {
        match next_step {
            Some(next_step) => self.with_next_step(next_step),
            None => self,
        }
    }

    /// Returns the lines for people.
    #[cfg(test)]
    pub(crate) fn lines(&self) -> &[String] {
        &self.lines
    }

    pub(crate) fn print(&self, json: bool) {
        let document = [self.document.to_string()];
        let lines = if json { document.as_slice() } else { self.lines.as_slice() };
        print(lines);
    }
}

/// Prints the reason of a failure: for people on stderr, and for scripts also on stdout, where they read every other result.
pub(crate) fn print_error(message: &str, exit_code: u8, json: bool) {
    if json {
        print(&[json!({ "error": { "message": message, "exit_code": exit_code } }).to_string()]);
    }
    eprintln!("watershed: {message}");
}

fn print(lines: &[String]) {
    let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    // A reader such as `head` may have closed the pipe.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Creates a progress bar, which shows on terminals only.
pub(crate) fn bar(of: &str, length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let template = format!("{{bar:40}} {{pos}} of about {{len}} {of}, {{per_sec}}, {{eta}} left");
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    bar
}

/// The reason of a failure, and the next action, in one line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The location of a part is unknown.
    #[error("{0} is not known: give {1}, or --stack for a local stack")]
    Unknown(&'static str, &'static str),
    /// The local stack does not answer.
    #[error("no local stack answers at {url}: start one with `make run`, or correct --stack ({cause})")]
    NoStack {
        /// The URL of the request.
        url: String,
        /// The cause.
        cause: String,
    },
    /// A part does not answer, or refuses.
    #[error("{part}: {cause}")]
    Refused {
        /// The part.
        part: &'static str,
        /// Its message, and the next action.
        cause: String,
    },
    /// The audit log cannot be written, so nothing was done.
    #[error("the audit log {path} cannot be written, so nothing was done: {cause}")]
    Audit {
        /// The file.
        path: String,
        /// The message of the operating system.
        cause: std::io::Error,
    },
    /// An option or the checkout is wrong.
    #[error("{0}")]
    Wrong(String),
    /// The stage or the step does not exist.
    #[error("{}", explain(.0))]
    Stage(#[from] StageError),
    /// The options of the traffic contradict each other, or the stage does not exist.
    #[error("{}", explain(.0))]
    Traffic(#[from] TrafficError),
    /// Another run has taken over.
    #[error("another run has taken over, so this one stops: run `watershed migrate status`")]
    Overtaken,
    /// The command does not fit the present state of the service.
    #[error("{0}")]
    Untimely(String),
    /// The options are impossible.
    #[error("{0}")]
    Impossible(&'static str),
    /// The named thing does not exist.
    #[error("{0}")]
    NotFound(String),
}

impl From<PortError> for Failure {
    fn from(error: PortError) -> Self {
        let part = match &error {
            PortError::Unavailable { port, .. } | PortError::Corrupt { port, .. } => port,
        };
        Self::Refused { part, cause: explain(&error) }
    }
}

const NO_CREDENTIALS: &str =
    "no credentials were found: set AWS_PROFILE or the AWS_* variables, or use --stack for a local stack";

/// Returns the advice for a usual error, or else the whole chain of causes.
pub(crate) fn explain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut texts: Vec<String> = Vec::new();
    for cause in causes {
        let text = cause.to_string();
        if !texts.last().is_some_and(|last| last.contains(&text)) {
            texts.push(text);
        }
    }
    let text = texts.join(": ");
    let debugged = format!("{text} {error:?}");
    let advice = [
        ("ResourceNotFoundException", "there is no such table: check the table names, the region and the account"),
        ("QueueDoesNotExist", "there is no such queue: check its URL, the region and the account"),
        ("UnrecognizedClientException", "the credentials are not accepted: check AWS_PROFILE or the AWS_* variables"),
        ("InvalidClientTokenId", "the credentials are not accepted: check AWS_PROFILE or the AWS_* variables"),
        ("AccessDenied", "the credentials do not allow this: use a role of an operator"),
        ("CredentialsNotLoaded", NO_CREDENTIALS),
        ("no providers in chain provided", NO_CREDENTIALS),
        ("an error occurred while loading credentials", NO_CREDENTIALS),
        ("ConnectorError", "no server answers: check the endpoint, and that the stack runs"),
        ("DispatchFailure", "no server answers: check the endpoint, and that the stack runs"),
    ];
    let advice = advice.iter().find(|(sign, _)| debugged.contains(sign)).map(|(_, advice)| *advice);
    advice.map_or(text, ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use service::stages::StageConfig;

    use super::*;

    #[test]
    fn a_broken_table_of_stages_is_reported_in_one_line_with_its_position() {
        for broken in ["", "[", r#"[{"stage": "cqrs"}]"#, r#"[{"stage": "cqrs", "kind": "step"}]"#] {
            let error = serde_json::from_str::<Vec<StageConfig>>(broken).unwrap_err();
            let text = Failure::from(StageError::from(error)).to_string();
            assert!(text.starts_with("stages.json cannot be read: ") && text.contains("line 1"), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
        }
    }
}
