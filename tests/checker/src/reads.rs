//! Rules for reads, and for the fields of versions.

use std::collections::BTreeMap;

use crate::history::{Event, Fields, Kind, Outcome};
use crate::index::{Index, made};
use crate::report::{Report, Rule};

pub(crate) fn check(index: &Index<'_>, report: &mut Report) {
    reads_show_what_was_there(index, report);
    versions_look_alike_to_all(index, report);
    versions_show_their_commands(index, report);
    refused_commands_show_nowhere(index, report);
}

fn reads_show_what_was_there(index: &Index<'_>, report: &mut Report) {
    let mut made_since = BTreeMap::new();
    for (event, command) in index.outcomes() {
        let since = index.requests(event).iter().map(|request| request.start_us).min().unwrap_or_default();
        if let (Some(user), Some(version)) = (event.user(), command.version)
            && made(command, version)
        {
            made_since.insert((user, version), (since, event));
        }
    }
    for event in index.events.iter().filter(|event| event.request.kind == Kind::Read && event.answer.is_success()) {
        let (Some(user), Some(version)) = (event.user(), event.answer.version) else {
            report.violated(Rule::Reads, "a read shows no version".to_owned(), &[*event]);
            continue;
        };
        let stored = index.written(user);
        let last_shown = stored.map_or(0, |stored| stored.version.saturating_sub(u64::from(stored.fields.is_none())));
        if !(1..=last_shown).contains(&version) {
            report.violated(Rule::Reads, format!("version {version} is shown, but {user} is {stored:?}"), &[*event]);
        }
        if let Some((since, maker)) = made_since.get(&(user, version)).filter(|(since, _)| *since > event.end_us) {
            let detail = format!("version {version} of {user} was asked for at {since} µs, and seen before");
            report.violated(Rule::Reads, detail, &[*event, *maker]);
        }
    }
}

fn versions_look_alike_to_all(index: &Index<'_>, report: &mut Report) {
    for ((user, version), seen) in &index.bodies {
        let Some((first, first_event)) = seen.first() else { continue };
        if let Some((other, event)) = seen.iter().find(|(body, _)| body != first) {
            let events: Vec<_> = first_event.iter().chain(event).copied().collect();
            let detail = format!("version {version} of {user} is {first:?}, and also {other:?}");
            report.violated(Rule::Reads, detail, &events);
        }
    }
}

fn versions_show_their_commands(index: &Index<'_>, report: &mut Report) {
    for (event, command) in index.outcomes() {
        let (Outcome::Applied, Some(user), Some(version)) = (command.outcome, event.user(), command.version) else {
            continue;
        };
        // An action sets no fields.
        if event.request.kind == Kind::Act {
            continue;
        }
        if event.request.kind == Kind::Delete {
            if index.written(user).is_some_and(|stored| stored.version == version && stored.fields.is_some()) {
                report.violated(Rule::Effects, format!("{} deleted {user}, which is there", command.id), &[event]);
            }
            continue;
        }
        for (body, reader) in index.bodies.get(&(user, version)).into_iter().flatten() {
            if !shows(body, event) {
                let events: Vec<_> = std::iter::once(event).chain(*reader).collect();
                let detail = format!("{} made version {version} of {user}, which is {body:?}", command.id);
                report.violated(Rule::Effects, detail, &events);
                break;
            }
        }
    }
}

/// Returns whether a write may have made this body. A write without condition may lose some of its fields to later writes, but
/// not all.
fn shows(body: &Fields, write: &Event) -> bool {
    let asked = asked_for(write);
    let pairs = [(&asked.name, &body.name), (&asked.email, &body.email), (&asked.status, &body.status)];
    let mut given = pairs.into_iter().filter(|(asked, _)| asked.is_some());
    let is_same = |(asked, shown): (&Option<String>, &Option<String>)| asked == shown;
    match write.request.kind == Kind::Create || write.request.if_match.is_some() {
        true => given.all(is_same),
        false => given.any(is_same),
    }
}

/// Returns the fields that a write sets, including defaults.
fn asked_for(write: &Event) -> Fields {
    let mut asked = write.request.fields.clone();
    if matches!(write.request.kind, Kind::Create | Kind::Replace) {
        asked.status.get_or_insert_with(|| "active".to_owned());
    }
    asked
}

/// Checks that no version shows the fields of a rejected or superseded command. The name identifies the writer, unless another
/// write with the same name may have taken effect.
fn refused_commands_show_nowhere(index: &Index<'_>, report: &mut Report) {
    let mut writers: BTreeMap<&str, Vec<&Event>> = BTreeMap::new();
    for event in index.events.iter().copied().filter(|event| event.request.kind.is_write()) {
        if let Some(name) = &event.request.fields.name {
            writers.entry(name).or_default().push(event);
        }
    }
    for ((user, version), seen) in &index.bodies {
        let Some((body, reader)) = seen.first() else { continue };
        let Some(writers) = body.name.as_deref().and_then(|name| writers.get(name)) else { continue };
        if writers.iter().all(|event| is_without_effect(index, event)) {
            let events: Vec<_> = writers.iter().chain(reader).copied().collect();
            report.violated(Rule::Effects, format!("version {version} of {user} shows what was refused"), &events);
        }
    }
}

/// Returns whether a write certainly changed nothing: its outcome says so, or every answer to it is a 4xx.
fn is_without_effect<'a>(index: &Index<'a>, write: &'a Event) -> bool {
    let requests = index.requests(write);
    let ended = requests.iter().find_map(|event| index.outcome(event.answer.command.as_deref()?));
    let is_refused = |event: &&Event| event.answer.status.is_some_and(|status| (400..500).contains(&status));
    match ended {
        Some(command) => matches!(command.outcome, Outcome::Rejected | Outcome::Superseded),
        None => requests.iter().all(is_refused),
    }
}
