//! Rules for the outcomes of commands, and for the versions that they made.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Command, Event, Kind, Outcome};
use crate::index::Index;
use crate::report::{Report, Rule};

pub(crate) fn check(index: &Index<'_>, report: &mut Report) {
    acknowledged_commands_end_once(index, report);
    told_outcomes_stay(index, report);
    one_command_per_key(index, report);
    versions_are_contiguous(index, report);
    conditional_writes_are_on_top(index, report);
}

fn acknowledged_commands_end_once(index: &Index<'_>, report: &mut Report) {
    for (id, events) in &index.acknowledged {
        let found = index.found.get(id).map(Vec::as_slice).unwrap_or_default();
        match found {
            [] => {
                report.summary.lost += 1;
                report.violated(Rule::EndsOnce, format!("{id} was acknowledged, and there is no trace of it"), events);
            }
            [one] if !one.outcome.is_final() => {
                report.summary.lost += 1;
                report.violated(Rule::EndsOnce, format!("{id} was acknowledged, and is {:?}", one.outcome), events);
            }
            [one, others @ ..] => {
                if others.iter().any(|other| other != one) {
                    report.violated(Rule::EndsOnce, format!("{id} has ended in different ways: {found:?}"), events);
                }
                let summary = &mut report.summary;
                match one.outcome {
                    Outcome::Applied => summary.applied += 1,
                    Outcome::Rejected => summary.rejected += 1,
                    Outcome::Superseded => summary.superseded += 1,
                    Outcome::Pending | Outcome::Failed => {}
                }
            }
        }
    }
}

/// Checks that a final outcome, once shown in a status document, is also the outcome at rest.
fn told_outcomes_stay(index: &Index<'_>, report: &mut Report) {
    for event in index.events.iter().filter(|event| event.request.kind == Kind::Status) {
        let (Some(id), Some(reported)) = (event.request.command.as_deref(), event.answer.outcome) else { continue };
        let now = index.outcome(id);
        let stays = |now: &Command| now.outcome == reported && now.version == event.answer.version;
        if reported.is_final() && !now.is_some_and(stays) {
            report.violated(Rule::EndsOnce, format!("{id} was {reported:?}, and is {now:?} now"), &[*event]);
        }
    }
}

fn one_command_per_key(index: &Index<'_>, report: &mut Report) {
    for ((_, _, key), events) in &index.keyed {
        let identity = |event: &&Event| Some((event.answer.command.clone()?, event.user()?.to_owned()));
        let identities: BTreeSet<_> = events.iter().filter_map(identity).collect();
        if identities.len() > 1 {
            report.summary.doubled += identities.len() - 1;
            report.violated(Rule::OneCommandPerKey, format!("requests under {key} are {identities:?}"), events);
        }
    }
    for (event, command) in index.outcomes() {
        if command.user.as_deref().is_some_and(|user| Some(user) != event.user()) {
            let detail = format!("{} was for {:?}, and is for {:?} now", command.id, event.user(), command.user);
            report.violated(Rule::OneCommandPerKey, detail, &[event]);
        }
    }
}

/// The versions of one user, with the commands that made them.
#[derive(Debug, Default)]
struct Made<'a> {
    by: BTreeMap<u64, Vec<&'a Command>>,
}

fn versions_are_contiguous(index: &Index<'_>, report: &mut Report) {
    let mut made: BTreeMap<&str, Made<'_>> = index.users.keys().map(|user| (*user, Made::default())).collect();
    for command in index.found.values().filter_map(|found| found.first().copied()) {
        let reported = index.acknowledged.get(command.id.as_str()).and_then(|events| events.first()?.user());
        if let (Outcome::Applied, Some(user)) = (command.outcome, command.user.as_deref().or(reported)) {
            made.entry(user).or_default().by.entry(command.version.unwrap_or_default()).or_default().push(command);
        }
    }
    let mut in_doubt = index.in_doubt();
    for (user, made) in &made {
        let stored = index.written(user).map_or(0, |stored| stored.version);
        versions_are_made_once(index, report, user, made, stored);
        versions_were_asked_for(index, report, user, made, stored, &mut in_doubt);
    }
}

fn versions_are_made_once(index: &Index<'_>, report: &mut Report, user: &str, made: &Made<'_>, stored: u64) {
    for (version, commands) in &made.by {
        let ids: Vec<_> = commands.iter().map(|command| command.id.as_str()).collect();
        let events: Vec<_> =
            ids.iter().filter_map(|id| index.acknowledged.get(id)).flatten().copied().collect::<Vec<&Event>>();
        if commands.len() > 1 {
            report.summary.doubled += commands.len() - 1;
            report.violated(Rule::Versions, format!("{ids:?} all made version {version} of {user}"), &events);
        }
        if !(1..=stored).contains(version) {
            report.summary.lost += commands.len();
            let detail = format!("{ids:?} made version {version} of {user}, which is at {stored}");
            report.violated(Rule::Versions, detail, &events);
        }
    }
}

/// Checks that each version without an acknowledged command comes from a request with a lost answer. Each such request accounts
/// for at most one version.
fn versions_were_asked_for(
    index: &Index<'_>,
    report: &mut Report,
    user: &str,
    made: &Made<'_>,
    stored: u64,
    in_doubt: &mut Vec<&Event>,
) {
    for version in 1..=stored {
        let makers = made.by.get(&version).map(Vec::as_slice).unwrap_or_default();
        if makers.iter().any(|command| index.acknowledged.contains_key(command.id.as_str())) {
            continue;
        }
        let is_candidate = |event: &&Event| match version {
            1 => event.request.kind == Kind::Create && could_have_created(index, event, user),
            _ => event.request.user.as_deref() == Some(user) && could_have_made(event, version),
        };
        // Take the request with the lowest limit first. It cannot account for a later version; a request without a limit can.
        let best = (in_doubt.iter().enumerate()).filter(|(_, event)| is_candidate(event));
        let best = best.min_by_key(|(_, event)| last_made(event)).map(|(place, _)| place);
        if let Some(place) = best {
            in_doubt.remove(place);
            continue;
        }
        report.summary.doubled += 1;
        let detail = match makers.first() {
            Some(command) => format!("version {version} of {user} was made by {}, which nobody asked for", command.id),
            None => format!("version {version} of {user}, which is at {stored}, was made by no command"),
        };
        report.violated(Rule::Versions, detail, &[]);
    }
}

/// Returns whether a request may have created this user. If version 1 was seen, its name must be that of the request.
fn could_have_created(index: &Index<'_>, event: &Event, user: &str) -> bool {
    let seen = index.bodies.get(&(user, 1)).and_then(|seen| seen.first());
    event.user().is_none_or(|reported| reported == user)
        && seen.is_none_or(|(body, _)| body.name == event.request.fields.name)
}

fn could_have_made(event: &Event, version: u64) -> bool {
    version <= last_made(event) && event.request.if_match.is_none_or(|expected| expected + 1 == version)
}

/// Returns the highest version that a request may have made: from its `If-Match`, or from its result.
fn last_made(event: &Event) -> u64 {
    event.request.if_match.map(|expected| expected + 1).or(event.answer.version).unwrap_or(u64::MAX)
}

fn conditional_writes_are_on_top(index: &Index<'_>, report: &mut Report) {
    for (event, command) in index.outcomes() {
        let Some(expected) = event.request.if_match else { continue };
        if command.outcome == Outcome::Applied && command.version != Some(expected + 1) {
            let detail = format!("{} was on top of {expected}, and made {:?}", command.id, command.version);
            report.violated(Rule::NoLostUpdate, detail, &[event]);
        }
    }
}
