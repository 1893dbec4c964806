//! The result of a check.

use std::fmt;

use crate::history::Event;

/// The rules that a history must keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// An acknowledged command ends in exactly one of applied, rejected and superseded.
    EndsOnce,
    /// All requests under one idempotency key are one command, for one user.
    OneCommandPerKey,
    /// The versions of a user are contiguous from 1. Each was made by one command that a client requested.
    Versions,
    /// A command that was applied on top of version n made version n + 1.
    NoLostUpdate,
    /// A version shows the fields of the command that made it, and nothing of a command without effect.
    Effects,
    /// A read shows a version that existed. A version always shows the same fields.
    Reads,
    /// In a session with tokens, versions never decrease, and reads show the session's own writes.
    SessionOrder,
    /// An action applies only in a state that allows it, leads to its target and changes nothing else. It is rejected in any other
    /// state, and never superseded. No other command changes the state.
    Actions,
    /// An action with a session's token is judged after the last command and the last action before it.
    ActionOrder,
    /// The read store shows the state of the write store.
    StoresAgree,
    /// A tenant has one live user per email address.
    EmailsUnique,
    /// A deleted user never comes back.
    NoResurrection,
}

/// A violation of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The violated rule.
    pub rule: Rule,
    /// The case, in words.
    pub detail: String,
    /// The requests that show the violation, if any do.
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

/// The counts of a history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// All requests.
    pub requests: usize,
    /// Requests whose answer shows the outcome.
    pub answered: usize,
    /// Requests without a known outcome: the answer is a 5xx or missing.
    pub unknown: usize,
    /// Acknowledged commands.
    pub commands: usize,
    /// Acknowledged commands that were applied.
    pub applied: usize,
    /// Acknowledged commands that were rejected.
    pub rejected: usize,
    /// Acknowledged commands that were superseded.
    pub superseded: usize,
    /// Acknowledged commands without an outcome, or whose version does not exist.
    pub lost: usize,
    /// Versions without a request of their own: a command was applied twice, or a used key was applied again.
    pub doubled: usize,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { requests, answered, unknown, commands, applied, rejected, superseded, lost, doubled } = self;
        write!(f, "requests {requests} (answered {answered}, unknown {unknown}), commands {commands} ")?;
        write!(f, "(applied {applied}, rejected {rejected}, superseded {superseded}), lost {lost}, doubled {doubled}")
    }
}

/// The result of a check.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// All violations.
    pub violations: Vec<Violation>,
    /// The counts of the history.
    pub summary: Summary,
}

impl Report {
    pub(crate) fn violated(&mut self, rule: Rule, detail: String, events: &[&Event]) {
        self.violations.push(Violation { rule, detail, events: events.iter().copied().cloned().collect() });
    }
}
