//! Deploys another stage, or other read stores, to the functions.

use std::fmt;
use std::time::Duration;

use adapters::read_table::ReadTable;
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::output::{Failure, explain};
use crate::target::Target;

/// How long the last environment of the previous deployment may take to end. It is longer than any function may run.
const DRAIN_MAX: Duration = Duration::from_secs(60);
/// The pause between two looks at the status.
const STATUS_INTERVAL: Duration = Duration::from_millis(100);

/// The result of a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deployed {
    /// All functions use it.
    Everywhere,
    /// The operator has to make this deployment.
    NotYet(String),
}

/// A deployment. Its fields have the names of the functions' variables.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) struct Deployment {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stage: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) read_table: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) other_read_table: Option<String>,
}

impl Deployment {
    /// Describes a deployment of these read stores at the present stage.
    pub(crate) fn of(target: &Target, read: &ReadTable, other: Option<&ReadTable>) -> Self {
        Self {
            stage: target.stage().map(ToOwned::to_owned),
            read_table: Some(read.name.clone()),
            other_read_table: other.map(|table| table.name.clone()),
        }
    }
}

/// Formats the deployment as the variables that the operator sets.
impl fmt::Display for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |name, value: &Option<String>| value.as_ref().map(|value| format!("{name}={value}"));
        let set = [named("STAGE", &self.stage), named("READ_TABLE", &self.read_table)];
        let set = set.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let other = named("OTHER_READ_TABLE", &self.other_read_table);
        write!(f, "{set}, {}", other.as_deref().unwrap_or("without OTHER_READ_TABLE"))
    }
}

#[derive(Deserialize)]
struct StatusDocument {
    draining: usize,
}

/// The answer of a stack that refuses a deployment.
#[derive(Deserialize)]
struct Refusal {
    message: String,
}

/// Makes all functions use the deployment. A local stack deploys it, and this waits until no environment of the previous deployment
/// runs. Elsewhere the operator deploys, and the tool only names the settings.
pub(crate) async fn deploy(target: &Target, deployment: &Deployment) -> Result<Deployed, Failure> {
    let Some(stack) = &target.stack else {
        return Ok(Deployed::NotYet(format!("deploy all functions with {deployment}")));
    };
    let failed = |cause: &dyn std::error::Error| Failure::NoStack { url: stack.clone(), cause: explain(cause) };
    let refused = |cause| Failure::Refused { part: "deployment", cause };
    let (client, url) = (reqwest::Client::new(), stack.trim_end_matches('/'));
    let put = client.put(format!("{url}/_local/deployment")).json(deployment).send().await;
    let put = put.map_err(|error| failed(&error))?;
    if !put.status().is_success() {
        let status = put.status();
        let message = put.json::<Refusal>().await.map(|refusal| refusal.message);
        return Err(refused(message.unwrap_or_else(|_| format!("the stack answers {status}"))));
    }
    let spinner =
        ProgressBar::new_spinner().with_message("waiting until the environments of the previous deployment end");
    let deadline = Instant::now() + DRAIN_MAX;
    while Instant::now() < deadline {
        let response = client.get(format!("{url}/_local/status")).send().await.map_err(|error| failed(&error))?;
        let status: StatusDocument = response.json().await.map_err(|error| failed(&error))?;
        if status.draining == 0 {
            spinner.finish_and_clear();
            return Ok(Deployed::Everywhere);
        }
        spinner.tick();
        sleep(STATUS_INTERVAL).await;
    }
    Err(refused(format!(
        "environments of the previous deployment still run after {} s: run the command again",
        DRAIN_MAX.as_secs()
    )))
}
