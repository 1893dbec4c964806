//! Logs: one JSON object a line, on stdout, from which Lambda collects them.
//!
//! Levels: `error` needs an operator; `warn` reports a repair or a deferral; `info` is rare; `debug` follows single
//! requests. The log contains identities. It never contains bodies, tokens, cursors, keys, names or email addresses.

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// The log filter if `RUST_LOG` is unset or malformed.
const FILTER_DEFAULT: &str = "info";

/// Starts logging, once per process. A second call has no effect.
pub fn init() {
    // If several functions run in one process, there is a subscriber already.
    let _ = subscriber(std::io::stdout).try_init();
}

fn subscriber<W: for<'a> MakeWriter<'a> + Send + Sync + 'static>(to: W) -> impl Subscriber + Send + Sync {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(FILTER_DEFAULT));
    let json = tracing_subscriber::fmt().json().flatten_event(true).with_current_span(true).with_span_list(false);
    json.with_env_filter(filter).with_target(false).with_writer(to).finish()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io;
    use std::sync::Arc;

    use kernel::ports::PortError;
    use kernel::submit::SubmitError;
    use serde_json::Value;

    use super::*;
    use crate::http::problem::HttpProblem;

    #[test]
    fn an_error_answered_with_503_is_logged_with_all_its_causes() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let to: Arc<File> = Arc::new(log.reopen().unwrap());
        let error = PortError::Unavailable { port: "write store", cause: io::Error::other("throttled").into() };
        tracing::subscriber::with_default(subscriber(to), || HttpProblem::from(SubmitError::Port(error)));
        let line: Value = serde_json::from_str(&std::fs::read_to_string(log.path()).unwrap()).unwrap();
        let output = (line["level"].as_str(), line["message"].as_str(), line["error"].as_str());
        assert_eq!(output, (Some("ERROR"), Some("answered 503"), Some("write store is unavailable: throttled")));
    }
}
