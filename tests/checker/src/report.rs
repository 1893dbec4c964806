//! What was found.

use std::fmt;

use crate::history::Event;

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// An acknowledged command ends in exactly one of applied, rejected and superseded.
    EndsOnce,
    /// All requests under one idempotency key are one command, for one user.
    OneCommandPerKey,
    /// The versions of a user are contiguous from 1, and each was made by one command that somebody asked for.
    Versions,
    /// A command that was applied on top of version n made version n + 1.
    NoLostUpdate,
    /// A version shows what the command that made it asked for, and nothing of a command without effect.
    Effects,
    /// A read shows a version that was there, and a version always shows the same.
    Reads,
    /// A session with tokens never goes back, and sees what it has written.
    SessionOrder,
    /// An action is done in a state that allows it, leads to its target and changes nothing else. It is refused in any other
    /// state, and never superseded. Nothing else changes the state.
    Actions,
    /// An action that was sent with a session's token is judged after the command before it and the action before it.
    ActionOrder,
    /// The read store shows what the write store holds.
    StoresAgree,
    /// A tenant has one live user per email address.
    EmailsUnique,
    /// Nothing comes back after a delete.
    NoResurrection,
}

/// Something that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What should.
    pub rule: Rule,
    /// The case, in words.
    pub detail: String,
    /// The requests that show it, as far as requests do.
    pub events: Vec<Event>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.detail)?;
        for event in &self.events {
            let json = serde_json::to_string(event).map_err(|_| fmt::Error)?;
            write!(f, "\n    {json}")?;
        }
        Ok(())
    }
}

/// A history in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Requests that were made.
    pub requests: usize,
    /// Those whose answer says what became of them.
    pub answered: usize,
    /// Those whose answer does not: a 5xx, or none.
    pub unknown: usize,
    /// Commands that were acknowledged.
    pub commands: usize,
    /// Acknowledged commands that were applied.
    pub applied: usize,
    /// Acknowledged commands that were rejected.
    pub rejected: usize,
    /// Acknowledged commands that were superseded.
    pub superseded: usize,
    /// Acknowledged commands that came to nothing, or whose version is not there.
    pub lost: usize,
    /// Versions that were made without being asked for: a second time, or under a key that had been used.
    pub doubled: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, answered, unknown, commands, applied, rejected, superseded, lost, doubled } = self;
        write!(f, "requests {requests} (answered {answered}, unknown {unknown}), commands {commands} ")?;
        write!(f, "(applied {applied}, rejected {rejected}, superseded {superseded}), lost {lost}, doubled {doubled}")
    }
}

/// The judgement of a history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// All that does not hold.
    pub violations: Vec<Violation>,
    /// The history in numbers.
    pub summary: Summary,
}

impl Report {
    pub(crate) fn violated(&mut self, rule: Rule, detail: String, events: &[&Event]) {
        self.violations.push(Violation { rule, detail, events: events.iter().copied().cloned().collect() });
    }
}
