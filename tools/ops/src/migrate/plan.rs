//! The plan of a migration: its steps, and their costs.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use service::stages::{Cache, StageConfig};

use super::deployed;
use super::perform::friendly;
use crate::output::{CommandOutput, Failure};
use crate::target::Target;
use service::plan::{Action, Step, steps, steps_back};

/// A step, described for people.
#[derive(Debug, Serialize)]
struct Planned {
    step: String,
    does: String,
    costs: Vec<&'static str>,
}

pub(super) async fn run(target: &Target, from: Option<&str>, to: &str) -> Result<CommandOutput, Failure> {
    let from = from.map_or_else(|| deployed(target), |from| Ok(from.to_owned()))?;
    let steps = steps(&from, to)?;
    let items = target.states()?.snapshots().approximate_len().await?.unwrap_or_default();
    let planned: Vec<_> = steps.iter().map(describe).collect();
    let mut lines = vec![format!("from {from} to {to}, with about {items} items in the write table")];
    for (number, Planned { step, does, costs }) in (1..).zip(&planned) {
        lines.push(format!("{number:>2}. {step}: {does}"));
        lines.extend(costs.iter().map(|cost| format!("    costs {cost}")));
    }
    let back: Vec<_> = steps_back(&from, to, to)?.iter().map(ToString::to_string).collect();
    lines.push(match steps.iter().find(|step| step.is_final()) {
        Some(step) => format!("to go back before `{step}` begins: `watershed migrate rollback`"),
        None => {
            format!("to go back before the migration is complete: `watershed migrate rollback` ({})", back.join("; "))
        }
    });
    lines.push(format!("to go back after that: `watershed migrate advance --to {from}`"));
    let document = json!({ "from": from, "to": to, "items": items, "steps": planned, "back": back });
    Ok(CommandOutput::new(true, &document, lines).with_next_step(format!("`watershed migrate advance --to {to}`")))
}

fn describe(step: &Step) -> Planned {
    let does = match step.action {
        Action::Deploy(_) => changes(&step.before, &step.row).join(", "),
        Action::Backfill => "fill the read store from the write store".to_owned(),
        Action::Refresh => "delete the stale entries of the shared cache".to_owned(),
        Action::Compare => "compare a sample, and stop at a difference".to_owned(),
        Action::Soak => "compare samples again and again, and stop at a difference".to_owned(),
        Action::Retain(Duration::ZERO) => "no wait, because no part with data is removed".to_owned(),
        Action::Retain(kept) => {
            format!("stop until {} after the cut-over; --retention sets another time", friendly(kept))
        }
        Action::Drain => "wait until no message in the queue is waiting, in flight or delayed".to_owned(),
        Action::DeadLetters => "stop if there are dead letters".to_owned(),
    };
    Planned { step: step.to_string(), does, costs: costs(step) }
}

/// Lists the columns of the stage configuration that change.
fn changes(before: &StageConfig, after: &StageConfig) -> Vec<String> {
    let columns = |stage: &StageConfig| serde_json::to_value(stage).unwrap_or_default();
    let (before, after) = (columns(before), columns(after));
    let columns = after.as_object().into_iter().flatten();
    let columns = columns.filter(|(name, _)| !["stage", "kind"].contains(&name.as_str()));
    let changed =
        columns.filter_map(|(name, now)| Some((name, before.get(name)?, now))).filter(|(_, was, now)| was != now);
    changed.map(|(name, was, now)| format!("{name} {} → {}", plain(was), plain(now))).collect()
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "none".to_owned(),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(" "),
        _ => value.to_string(),
    }
}

fn costs(step: &Step) -> Vec<&'static str> {
    let rises = |column: fn(&StageConfig) -> bool| column(&step.row) && !column(&step.before);
    let of_deployment = [
        (rises(|stage| stage.writes_redis), "a Redis command for each command, from now on"),
        (
            rises(|stage| stage.has(Cache::Redis)),
            "a Redis command for each read that memory does not answer, from now on",
        ),
        (rises(|stage| stage.writes_read_store), "2 WRU for each command, and 1 WRU for each index entry, from now on"),
        (
            rises(|stage| stage.queue_deployed),
            "a send, and a share of a receive and of a delete, for each queued command",
        ),
    ];
    match step.action {
        Action::Deploy(_) => of_deployment.into_iter().filter_map(|(applies, cost)| applies.then_some(cost)).collect(),
        Action::Backfill => vec![
            "1 RRU for each 4 KB of the write table, and 2 RRU for each 4 KB of the read table",
            "1 WRU for each item, and 1 WRU for each index entry",
        ],
        Action::Refresh => vec!["1 RRU for each 4 KB of the write table, and a Redis command for each item"],
        Action::Compare => {
            vec!["2 RRU for each item of the sample, and 2 RRU for its view if readers use the read store"]
        }
        Action::Soak => vec!["as much as a comparison, every few seconds"],
        Action::Retain(_) | Action::Drain | Action::DeadLetters => Vec::new(),
    }
}
