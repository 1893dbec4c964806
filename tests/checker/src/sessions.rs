//! Rules for sessions: the versions of each user that each session saw, in its own order.

use std::collections::BTreeMap;

use crate::history::{Event, Kind, Outcome};
use crate::index::Index;
use crate::report::{Report, Rule};

/// The knowledge of a session about one user.
#[derive(Debug, Default)]
struct Session<'a> {
    /// Whether the session has a token for this user.
    has_token: bool,
    /// The highest version that the session has seen, with the answer that showed it.
    floor: (u64, Option<&'a Event>),
    /// The latest acknowledged write, if its outcome is not known yet.
    written: Option<&'a Event>,
    /// The read that showed that the user is deleted.
    gone: Option<&'a Event>,
}

pub(crate) fn check(index: &Index<'_>, report: &mut Report) {
    let mut sessions: BTreeMap<(&str, &str), Session<'_>> = BTreeMap::new();
    for &event in &index.events {
        let Some(user) = event.user() else { continue };
        let session = sessions.entry((&event.session, user)).or_default();
        match event.request.kind {
            // A read without a token may be stale, so it does not count. Only the first answer of a session counts: it brings the
            // token.
            Kind::Read if event.request.token_sent || !session.has_token => session.read(index, report, user, event),
            Kind::Read | Kind::Status => {}
            Kind::Create | Kind::Replace | Kind::Patch | Kind::Delete | Kind::Act => {
                if event.answer.is_success() && event.answer.command.is_some() {
                    (session.written, session.has_token) = (Some(event), true);
                }
            }
        }
    }
    nothing_is_done_after_a_delete(index, report);
}

impl<'a> Session<'a> {
    fn read(&mut self, index: &Index<'a>, report: &mut Report, user: &str, event: &'a Event) {
        // A failed read shows nothing, not even the outcome of the write.
        if !matches!(event.answer.status, Some(200 | 404)) {
            return;
        }
        self.learn_outcome(index);
        self.has_token = true;
        match event.answer.status {
            Some(200) => self.saw(report, user, event),
            Some(404) if self.floor.0 > 0 => self.missed(index, report, user, event),
            _ => {}
        }
    }

    /// Raises the floor to the version that the session's write made, or was judged against.
    fn learn_outcome(&mut self, index: &Index<'a>) {
        let Some(write) = self.written.take() else { return };
        let outcome = write.answer.command.as_deref().and_then(|id| index.outcome(id));
        let version = outcome.filter(|command| command.outcome.is_final()).and_then(|command| command.version);
        if let Some(version) = version.filter(|version| *version > self.floor.0) {
            self.floor = (version, Some(write));
        }
    }

    fn saw(&mut self, report: &mut Report, user: &str, event: &'a Event) {
        let version = event.answer.version.unwrap_or_default();
        let (floor, since) = self.floor;
        if version < floor {
            let events: Vec<_> = since.into_iter().chain([event]).collect();
            let detail = format!("{} reads version {version} of {user} after {floor}", event.session);
            report.violated(Rule::SessionOrder, detail, &events);
        }
        if let Some(gone) = self.gone {
            let detail = format!("{} sees {user}, which it had seen to be gone", event.session);
            report.violated(Rule::NoResurrection, detail, &[gone, event]);
        }
        if version >= floor {
            self.floor = (version, Some(event));
        }
    }

    /// Checks a 404 after the session has seen the user. It is valid only after a delete, and every later read must be a 404 too.
    fn missed(&mut self, index: &Index<'a>, report: &mut Report, user: &str, event: &'a Event) {
        let (floor, since) = self.floor;
        if index.written(user).is_none_or(|stored| stored.fields.is_some()) {
            let events: Vec<_> = since.into_iter().chain([event]).collect();
            let detail = format!("{} finds no {user} after version {floor}, and nobody deleted it", event.session);
            report.violated(Rule::SessionOrder, detail, &events);
        }
        self.gone = self.gone.or(Some(event));
    }
}

fn nothing_is_done_after_a_delete(index: &Index<'_>, report: &mut Report) {
    for (event, command) in index.outcomes() {
        if event.request.kind != Kind::Delete || command.outcome != Outcome::Applied {
            continue;
        }
        let stored = event.user().and_then(|user| index.written(user));
        if stored.is_some_and(|stored| Some(stored.version) > command.version) {
            let detail = format!("{} was the end of {:?}, which is {stored:?}", command.id, event.user());
            report.violated(Rule::NoResurrection, detail, &[event]);
        }
    }
}
