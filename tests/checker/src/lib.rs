//! Checks the history of a run: the requests of the clients, the answers, and the stores at rest.
//!
//! The checker links no code of the service, so it cannot share its bugs. It is strict about acknowledged commands. It is lenient
//! only about lost answers: such a request may have taken effect, once.

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

/// Returns all violations in a history, and its summary.
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
