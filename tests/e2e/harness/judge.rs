//! Compares the clients' logs with the stores.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use chaos_checker::{Command, History, Kind, Outcome, Report};
use serde_json::Value;

use super::client::kind_of;
use super::clients::Recorder;
use super::stores::Stores;
use super::{Api, Stack};
use crate::sample::{self, Sample};

/// The number of violations to print. The stored history has all.
const VIOLATIONS_SHOWN: usize = 20;

/// How long an action waits for the commands before it, with the queue of the stack.
pub static REORDER_WINDOW: LazyLock<Duration> =
    LazyLock::new(|| service::assembly::reorder_window(local::queue::VISIBILITY_TIMEOUT));

/// Returns the checker's name for a resource's state machine.
pub fn name_of(sample: &Sample) -> String {
    sample.resource.collection.to_owned()
}

/// Returns the time from a command's acceptance to its judgement; `None` if it is pending.
pub fn judged_after(document: &Value) -> Option<Duration> {
    let time = |name: &str| document[name].as_str()?.parse::<jiff::Timestamp>().ok();
    let waited = time("completed_at")?.duration_since(time("accepted_at")?);
    // A session's stamp may be ahead of the clock.
    Some(waited.try_into().unwrap_or_default())
}

/// Checks the clients' logs against the stores. If a rule is violated, stores the history in a file and panics.
pub async fn judge(stack: &Stack, recorder: &Recorder, name: &str) -> Report {
    let content = Stores::of(stack).await.content().await;
    let machines =
        sample::all().iter().filter_map(|sample| Some((name_of(sample), sample.machine.as_ref()?.data.clone())));
    let mut history = History {
        events: recorder.take_events(),
        rest: content.rest(),
        machines: machines.collect(),
        reorder_window_us: Some(REORDER_WINDOW.as_micros().try_into().unwrap()),
    };
    name_commands(&mut history);
    ask_for_outcomes(&stack.api(), &mut history).await;
    let report = chaos_checker::check(&history);
    let contradictions = content.contradictions();
    if !report.violations.is_empty() || !contradictions.is_empty() {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.json"));
        std::fs::write(&file, history.to_json().unwrap()).unwrap();
        let shown: Vec<_> = report.violations.iter().take(VIOLATIONS_SHOWN).map(ToString::to_string).collect();
        let count = report.violations.len();
        panic!(
            "{}\n{count} violations, the history is in {}:\n{}\n{contradictions:#?}",
            report.summary,
            file.display(),
            shown.join("\n")
        );
    }
    report
}

/// Replaces the outcomes of acknowledged commands by those that the service returns.
async fn ask_for_outcomes(api: &Api, history: &mut History) {
    let acknowledged = history.events.iter().filter(|event| event.request.kind.is_write());
    let acknowledged: BTreeSet<_> = acknowledged.filter_map(|event| event.answer.command.clone()).collect();
    // The table has only the first part of a command's identity. So does an event whose command was named by its version.
    let reported: BTreeSet<_> = acknowledged.iter().filter_map(|id| Some(id.split_once('.')?.0)).collect();
    history.rest.commands.retain(|command| !reported.contains(command.id.as_str()));
    for id in acknowledged.iter().filter(|id| id.contains('.')) {
        let answer = api.get(&format!("/commands/{id}")).send().await;
        // A command that the service does not know is missing; the checker reports it.
        if answer.status != 404 {
            history.rest.commands.push(command(id, &answer.expect(200).json()));
        }
    }
}

/// Names the command of each answer with a result, by the version that it made. Such an answer does not name its command.
fn name_commands(history: &mut History) {
    let History { events, rest, .. } = history;
    let reported: Vec<_> = events.iter().filter_map(|event| event.answer.command.clone()).collect();
    let public = |id: &str| {
        reported.iter().find(|reported| reported.split_once('.').is_some_and(|(first, _)| first == id)).cloned()
    };
    let last =
        |user: &str| rest.users.iter().find(|known| known.id == user)?.written.as_ref().map(|stored| stored.version);
    let results = events
        .iter_mut()
        .filter(|event| event.request.kind.is_write() && event.answer.is_success() && event.answer.command.is_none());
    for event in results {
        let Some(user) = event.user().map(str::to_owned) else { continue };
        let version = match event.request.kind {
            // A delete makes the last version.
            Kind::Delete => last(&user),
            // If the answer shows another write's name, this write was superseded. An action sets no name, so it stays unnamed.
            _ if event.answer.fields.as_ref().map(|fields| &fields.name) == Some(&event.request.fields.name) => {
                event.answer.version
            }
            _ => continue,
        };
        let made = |command: &&Command| {
            command.outcome == Outcome::Applied && command.user.as_ref() == Some(&user) && command.version == version
        };
        let id = rest.commands.iter().find(made).map(|command| command.id.as_str());
        // A write without a command in the table was lost. The checker reports this made-up command.
        let lost = || format!("{user} at {version:?}");
        event.answer.command = Some(id.map_or_else(lost, |id| public(id).unwrap_or_else(|| id.to_owned())));
    }
}

/// Returns the outcome in a status document.
fn command(id: &str, document: &Value) -> Command {
    Command {
        id: id.to_owned(),
        user: sample::all().iter().find_map(|sample| document[&sample.id].as_str()).map(str::to_owned),
        outcome: serde_json::from_value(document["status"].clone()).unwrap(),
        version: document["version"].as_u64(),
        judged_after_us: judged_after(document).map(|waited| waited.as_micros().try_into().unwrap()),
        problem: document.get("problem").map(kind_of),
    }
}
