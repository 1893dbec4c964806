//! What each session saw of each user, in its own order.

use std::collections::BTreeMap;

use crate::history::{Event, Kind, Outcome};
use crate::index::Index;
use crate::report::{Report, Rule};

/// What a session's token for a user stands for.
#[derive(Debug, Default)]
struct Session<'a> {
    /// Whether it has one.
    has_token: bool,
    /// The version that it has seen, and where.
    floor: (u64, Option<&'a Event>),
    /// The acknowledged write whose outcome it waits for. A later one takes its place.
    written: Option<&'a Event>,
    /// The read that saw that the user is gone.
    gone: Option<&'a Event>,
}

pub(crate) fn check(index: &Index<'_>, report: &mut Report) {
    let mut sessions: BTreeMap<(&str, &str), Session<'_>> = BTreeMap::new();
    for &event in &index.events {
        let Some(user) = event.user() else { continue };
        let session = sessions.entry((&event.session, user)).or_default();
        match event.request.kind {
            // Without a token an answer may be old; the first one gives the session its token.
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
        // What is not answered shows nothing, not even how the write has ended.
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

    /// The token of a write stands for the version that it made, or was judged against.
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

    /// Where there was something, there is nothing only after a delete, and a delete is for ever.
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
