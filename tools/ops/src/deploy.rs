//! Has the functions use other read stores.

use std::time::Duration;

use adapters::read_table::ReadTable;
use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::outcome::{Failure, explain};
use crate::site::Site;

/// How long the last environment of the deployment before may take to end: longer than any function may run.
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// How often it is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Whether the functions use it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deployed {
    /// All of them do.
    Everywhere,
    /// The operator has to deploy this.
    NotYet(String),
}

#[derive(Deserialize)]
struct StatusDocument {
    draining: usize,
}

/// Has readers see one read store, and both written. On a local stack it is deployed, and done when nothing runs any
/// more that does not know it. Elsewhere the operator deploys: here it is only said what.
pub(crate) async fn deploy(site: &Site, read: &ReadTable, other: Option<&ReadTable>) -> Result<Deployed, Failure> {
    let Some(stack) = &site.stack else {
        let other =
            other.map_or("without OTHER_READ_TABLE".to_owned(), |table| format!("OTHER_READ_TABLE={}", table.name));
        return Ok(Deployed::NotYet(format!("deploy all functions with READ_TABLE={}, {other}", read.name)));
    };
    let failed = |cause: &dyn std::error::Error| Failure::NoStack { url: stack.clone(), cause: explain(cause) };
    let document = json!({"READ_TABLE": read.name, "OTHER_READ_TABLE": other.map(|table| &table.name)});
    let (client, url) = (reqwest::Client::new(), stack.trim_end_matches('/'));
    let put = client.put(format!("{url}/_local/deployment")).body(document.to_string()).send().await;
    put.and_then(reqwest::Response::error_for_status).map_err(|error| failed(&error))?;
    let spinner = ProgressBar::new_spinner().with_message("waiting for what runs with the deployment before");
    let deadline = Instant::now() + DRAIN_MAX;
    while Instant::now() < deadline {
        let answer = client.get(format!("{url}/_local/status")).send().await.map_err(|error| failed(&error))?;
        let status: StatusDocument = answer.json().await.map_err(|error| failed(&error))?;
        if status.draining == 0 {
            spinner.finish_and_clear();
            return Ok(Deployed::Everywhere);
        }
        spinner.tick();
        sleep(LOOK_INTERVAL).await;
    }
    let cause = format!("environments of the deployment before still run after {} s: try again", DRAIN_MAX.as_secs());
    Err(Failure::Refused { part: "deployment", cause })
}
