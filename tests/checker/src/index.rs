//! A history, indexed by command, key, user and version, for the rules.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::{Command, Event, Fields, History, Kind, Machine, Outcome, Stored, User};

/// The method, the path and the idempotency key. Requests that share them are one command.
pub(crate) type KeyedAs<'a> = (Kind, [Option<&'a str>; 2], &'a str);

/// The fields of a version, and the read that showed them. `None` if they come from a store.
pub(crate) type Seen<'a> = (&'a Fields, Option<&'a Event>);

#[derive(Debug)]
pub(crate) struct Index<'a> {
    pub(crate) history: &'a History,
    /// All requests, in the order of sending.
    pub(crate) events: Vec<&'a Event>,
    /// The outcomes of each command. A correct history has one for each.
    pub(crate) found: BTreeMap<&'a str, Vec<&'a Command>>,
    pub(crate) users: BTreeMap<&'a str, &'a User>,
    /// The acknowledged requests of each command, in the order of sending.
    pub(crate) acknowledged: BTreeMap<&'a str, Vec<&'a Event>>,
    /// All writes under each key, in the order of sending.
    pub(crate) keyed: BTreeMap<KeyedAs<'a>, Vec<&'a Event>>,
    /// The fields of each version of each user, in every read and store that showed it.
    pub(crate) bodies: BTreeMap<(&'a str, u64), Vec<Seen<'a>>>,
}

impl<'a> Index<'a> {
    pub(crate) fn of(history: &'a History) -> Self {
        let mut index = Self {
            history,
            events: history.events.iter().collect(),
            found: BTreeMap::new(),
            users: history.rest.users.iter().map(|user| (user.id.as_str(), user)).collect(),
            acknowledged: BTreeMap::new(),
            keyed: BTreeMap::new(),
            bodies: BTreeMap::new(),
        };
        index.events.sort_by_key(|event| (event.start_us, event.end_us));
        for command in &history.rest.commands {
            index.found.entry(&command.id).or_default().push(command);
        }
        for event in index.events.clone() {
            index.add(event);
        }
        for user in &history.rest.users {
            for stored in [&user.written, &user.shown].into_iter().flatten() {
                if let Some(fields) = &stored.fields {
                    index.bodies.entry((&user.id, stored.version)).or_default().push((fields, None));
                }
            }
        }
        index
    }

    fn add(&mut self, event: &'a Event) {
        if event.request.kind.is_write() {
            if let Some(key) = keyed_as(event) {
                self.keyed.entry(key).or_default().push(event);
            }
            if let Some(command) = event.answer.command.as_deref().filter(|_| is_acknowledged(event)) {
                self.acknowledged.entry(command).or_default().push(event);
            }
        }
        let seen = (event.user(), event.answer.version, event.answer.fields.as_ref());
        if let (Kind::Read, true, (Some(user), Some(version), Some(fields))) =
            (event.request.kind, event.answer.is_success(), seen)
        {
            self.bodies.entry((user, version)).or_default().push((fields, Some(event)));
        }
    }

    /// Returns the outcome of a command.
    pub(crate) fn outcome(&self, command: &str) -> Option<&'a Command> {
        self.found.get(command)?.first().copied()
    }

    /// Returns the outcome of each acknowledged command, with the first request that was acknowledged.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (&'a Event, &'a Command)> {
        self.acknowledged.iter().filter_map(|(id, events)| Some((*events.first()?, self.outcome(id)?)))
    }

    /// Returns the state of a user in the write store.
    pub(crate) fn written(&self, user: &str) -> Option<&'a Stored> {
        self.users.get(user)?.written.as_ref()
    }

    /// Returns the state machine of a user, if it has one.
    pub(crate) fn machine(&self, user: &str) -> Option<&'a Machine> {
        self.history.machines.get(self.users.get(user)?.machine.as_ref()?)
    }

    /// Returns all writes of one command, including unanswered ones under the same key.
    pub(crate) fn requests(&self, first: &'a Event) -> Vec<&'a Event> {
        keyed_as(first).and_then(|key| self.keyed.get(&key).cloned()).unwrap_or_else(|| vec![first])
    }

    /// Returns the writes that may have taken effect: one request for each command that they may have made.
    pub(crate) fn in_doubt(&self) -> Vec<&'a Event> {
        let mut keys_met = BTreeSet::new();
        let mut is_first_of_its_key = |event: &'a Event| match keyed_as(event) {
            None => true,
            Some(key) => {
                let is_told = self.keyed.get(&key).is_some_and(|all| all.iter().any(|event| is_acknowledged(event)));
                !is_told && keys_met.insert(key)
            }
        };
        // An answer with the result does not name its command.
        let may_be_done = |event: &Event| event.answer.is_unknown() || event.answer.is_success();
        let is_in_doubt = |event: &&'a Event| {
            event.request.kind.is_write() && !is_acknowledged(event) && may_be_done(event) && is_first_of_its_key(event)
        };
        self.events.iter().copied().filter(is_in_doubt).collect()
    }
}

fn is_acknowledged(event: &Event) -> bool {
    event.answer.is_success() && event.answer.command.is_some()
}

/// Returns what the request shares with its retries; `None` without a key.
pub(crate) fn keyed_as(event: &Event) -> Option<KeyedAs<'_>> {
    let request = &event.request;
    Some((request.kind, [request.user.as_deref(), request.action.as_deref()], request.key.as_deref()?))
}

/// Returns whether the command made that version.
pub(crate) fn made(command: &Command, version: u64) -> bool {
    command.outcome == Outcome::Applied && command.version == Some(version)
}
