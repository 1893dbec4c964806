//! Logs: one JSON object a line, on stdout, where Lambda collects them.
//!
//! Levels: `error` wants an operator; `warn` says that something was repaired or put off; `info` is rare; `debug` tells
//! the way of single requests. Never logged: bodies, tokens, cursors, keys, names and email addresses. Identities are.

use tracing_subscriber::EnvFilter;

/// What is logged where `RUST_LOG` does not say.
const FILTER_DEFAULT: &str = "info";

/// Starts logging, once for a process; a second call changes nothing.
pub fn init() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(FILTER_DEFAULT));
    let subscriber = tracing_subscriber::fmt().json().flatten_event(true).with_current_span(true).with_span_list(false);
    // Another subscriber may be there already, where several functions run in one process.
    let _ = subscriber.with_env_filter(filter).with_target(false).try_init();
}
