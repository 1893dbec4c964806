//! Rules for the actions of state machines: the state that each leads to, and the order within a session.

use std::collections::BTreeMap;

use crate::history::{Command, Event, Fields, Kind, Machine, Outcome};
use crate::index::{Index, made};
use crate::report::{Report, Rule};

/// The kind of problem with which the service rejects an action that the state does not allow.
const WRONG_STATE: &str = "wrong-state";

/// The state of each version of each user, if it was seen or can be derived from the commands.
type States<'a> = BTreeMap<(&'a str, u64), &'a str>;
/// The request that made each version, if known.
type Makers<'a> = BTreeMap<(&'a str, u64), &'a Event>;

pub(crate) fn check(index: &Index<'_>, report: &mut Report) {
    let makers = makers(index);
    let states = states(index, &makers);
    for ((user, version), maker) in &makers {
        if let Some(machine) = index.machine(user) {
            let step = Step { user, version: *version, maker, machine };
            step.leads_where_it_should(index, &states, report);
            step.changes_nothing_else(index, report);
        }
    }
    actions_are_never_superseded(index, report);
    refusals_are_for_the_state(index, &states, report);
    actions_follow_their_session(index, report);
}

fn makers<'a>(index: &Index<'a>) -> Makers<'a> {
    let maker = |(event, command): (&'a Event, &'a Command)| {
        let (user, version) = (event.user()?, command.version?);
        made(command, version).then_some(((user, version), event))
    };
    index.outcomes().filter_map(maker).collect()
}

/// Returns the state of each version. A read shows it; otherwise it follows from the command, if the state before is known. If
/// the request that made a version is unknown, so is the state.
fn states<'a>(index: &Index<'a>, makers: &Makers<'a>) -> States<'a> {
    let mut states = States::new();
    for user in index.users.keys() {
        let (Some(machine), Some(stored)) = (index.machine(user), index.written(user)) else { continue };
        let mut before = None;
        for version in 1..=stored.version {
            let maker = makers.get(&(*user, version)).map(|event| &event.request);
            let derived = match maker.map(|request| request.kind) {
                _ if version == 1 => Some(machine.initial.as_str()),
                Some(Kind::Replace | Kind::Patch) => before,
                Some(Kind::Act) => machine.next(maker.and_then(|request| request.action.as_deref()), before),
                _ => None,
            };
            before = seen(index, user, version).and_then(|fields| fields.state.as_deref()).or(derived);
            states.extend(before.map(|state| ((*user, version), state)));
        }
    }
    states
}

/// Returns the fields of a version, from the first read of it. [`Rule::Reads`] checks that all reads agree.
fn seen<'a>(index: &Index<'a>, user: &'a str, version: u64) -> Option<&'a Fields> {
    index.bodies.get(&(user, version)).and_then(|seen| seen.first()).map(|(fields, _)| *fields)
}

/// A version and the request that made it.
struct Step<'s, 'a> {
    user: &'a str,
    version: u64,
    maker: &'a Event,
    machine: &'s Machine,
}

impl<'a> Step<'_, 'a> {
    fn leads_where_it_should(&self, index: &Index<'a>, states: &States<'a>, report: &mut Report) {
        let before = states.get(&(self.user, self.version.saturating_sub(1))).copied();
        let after = seen(index, self.user, self.version).and_then(|fields| fields.state.as_deref());
        let action = self.maker.request.action.as_deref();
        let is_right = match (self.maker.request.kind, before, after) {
            (Kind::Create, _, Some(after)) => after == self.machine.initial,
            (Kind::Replace | Kind::Patch, Some(before), Some(after)) => before == after,
            (Kind::Act, Some(before), after) => {
                let target = self.machine.next(action, Some(before));
                target.is_some() && after.is_none_or(|after| Some(after) == target)
            }
            (Kind::Act, None, Some(after)) => self.machine.leads_to(action, after),
            _ => true,
        };
        if !is_right {
            self.violated(report, &format!("was made in state {before:?}, and its state is {after:?}"));
        }
    }

    /// Checks that an action changes the state and no other field.
    fn changes_nothing_else(&self, index: &Index<'a>, report: &mut Report) {
        let seen = |version| seen(index, self.user, version).map(|fields| Fields { state: None, ..fields.clone() });
        if let (Kind::Act, Some(before), Some(after)) =
            (self.maker.request.kind, seen(self.version.saturating_sub(1)), seen(self.version))
            && before != after
        {
            self.violated(report, &format!("was {before:?} before, and is {after:?}"));
        }
    }

    fn violated(&self, report: &mut Report, detail: &str) {
        let Self { user, version, maker, .. } = self;
        let by = maker.request.action.as_ref().map_or_else(|| format!("{:?}", maker.request.kind), Clone::clone);
        report.violated(Rule::Actions, format!("version {version} of {user}, made by {by}, {detail}"), &[*maker]);
    }
}

fn actions_are_never_superseded(index: &Index<'_>, report: &mut Report) {
    for (event, command) in index.outcomes() {
        if event.request.kind == Kind::Act && command.outcome == Outcome::Superseded {
            report.violated(Rule::Actions, format!("{} is an action, and was superseded", command.id), &[event]);
        }
    }
}

/// Checks each rejection for a wrong state: the version that it names must have a state that does not allow the action.
fn refusals_are_for_the_state(index: &Index<'_>, states: &States<'_>, report: &mut Report) {
    for (event, command) in index.outcomes() {
        let (Kind::Act, Outcome::Rejected, Some(WRONG_STATE), Some(user), Some(version)) =
            (event.request.kind, command.outcome, command.problem.as_deref(), event.user(), command.version)
        else {
            continue;
        };
        let (machine, state) = (index.machine(user), states.get(&(user, version)).copied());
        let action = event.request.action.as_deref();
        if machine.is_some_and(|machine| machine.next(action, state).is_some()) {
            let detail = format!("{} was refused at version {version} of {user}, whose state allows it", command.id);
            report.violated(Rule::Actions, format!("{detail}: {state:?}"), &[event]);
        }
    }
}

/// The commands that the session's token for a user covers. An action with this token waits for them.
#[derive(Debug, Default)]
struct Awaited<'a> {
    /// The latest acknowledged write.
    write: Option<&'a Event>,
    /// The latest acknowledged action, if each later write sent the token along.
    action: Option<&'a Event>,
}

fn actions_follow_their_session(index: &Index<'_>, report: &mut Report) {
    let mut sessions: BTreeMap<(&str, &str), Awaited<'_>> = BTreeMap::new();
    let writes = index.events.iter().copied().filter(|event| event.request.kind.is_write());
    for event in writes.filter(|event| event.answer.is_success()) {
        let Some(user) = event.user() else { continue };
        let awaited = sessions.entry((&event.session, user)).or_default();
        let is_action = event.request.kind == Kind::Act;
        if is_action && event.request.token_sent {
            let action = awaited.action.filter(|action| awaited.write.is_none_or(|write| write != *action));
            for earlier in awaited.write.into_iter().chain(action) {
                follows(index, report, earlier, event);
            }
        }
        // The answer's token replaces the session's token. An answer with the result leaves nothing pending.
        let pending = event.answer.command.as_ref().map(|_| event);
        let kept = awaited.action.filter(|_| event.request.token_sent);
        *awaited = Awaited { write: pending, action: if is_action { pending } else { kept } };
    }
}

/// Reports an action that was judged on top of an older version than the command before it, unless the reorder window has passed.
fn follows(index: &Index<'_>, report: &mut Report, earlier: &Event, action: &Event) {
    let outcome = |event: &Event| {
        let command = index.outcome(event.answer.command.as_deref()?)?;
        command.outcome.is_final().then_some((command, command.version?))
    };
    let (Some((before, known)), Some((judged, version))) = (outcome(earlier), outcome(action)) else { return };
    let on_top_of = version - u64::from(judged.outcome == Outcome::Applied && version > 0);
    let reorder_window = index.history.reorder_window_us;
    let has_waited =
        reorder_window.zip(judged.judged_after_us).is_some_and(|(reorder_window, waited)| waited >= reorder_window);
    if before.id != judged.id && on_top_of < known && !has_waited {
        let detail = format!("{} came before {} in its session, and made or met version {known}", before.id, judged.id);
        let detail = format!("{detail}; but {} was judged on top of version {on_top_of}", judged.id);
        report.violated(Rule::ActionOrder, detail, &[earlier, action]);
    }
}
