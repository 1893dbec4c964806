//! Judges the history of a run: what clients asked and were told, and what was there in the end.
//!
//! It links nothing of the service that it judges, and so cannot share its mistakes. It is strict about what was
//! acknowledged, and lenient about nothing but answers that were lost: such a request may have been done, once.

mod actions;
mod commands;
mod history;
mod index;
mod reads;
mod report;
mod sessions;
mod stores;
#[cfg(test)]
mod tests;

pub use history::{
    Answer, Command, Event, Fields, History, HistoryError, Kind, Machine, Outcome, Request, Rest, Stored, Transition,
    User,
};
pub use report::{Report, Rule, Summary, Violation};

/// Finds all that does not hold.
#[must_use]
pub fn check(history: &History) -> Report {
    let index = index::Index::of(history);
    let mut report = Report::default();
    let unknown = history.events.iter().filter(|event| event.answer.is_unknown()).count();
    report.summary.requests = history.events.len();
    report.summary.unknown = unknown;
    report.summary.answered = history.events.len() - unknown;
    report.summary.commands = index.acknowledged.len();
    commands::check(&index, &mut report);
    reads::check(&index, &mut report);
    sessions::check(&index, &mut report);
    actions::check(&index, &mut report);
    stores::check(&index, &mut report);
    report
}
