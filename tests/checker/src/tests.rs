//! Small histories: for each rule one that breaks it, and valid ones for the subtle cases.

use std::collections::BTreeMap;

use crate::{
    Answer, Command, Event, Fields, History, Kind, Machine, Outcome, Request, Rest, Rule, Stored, Transition, User,
    check,
};

mod actions;

const USER: &str = "u";
const MACHINE: &str = "orders";
const REORDER_WINDOW_US: u64 = 1_000;

/// A builder of histories. Each request takes place after the one before.
#[derive(Default)]
struct Story {
    events: Vec<Event>,
    commands: Vec<Command>,
    users: Vec<User>,
}

fn named(name: &str) -> Fields {
    let text = |text: &str| Some(text.to_owned());
    Fields { name: text(name), email: text("e@example.com"), status: text("active"), state: None }
}

fn only_name(name: &str) -> Fields {
    Fields { name: Some(name.to_owned()), ..Fields::default() }
}

/// The state machine of orders: they are paid and shipped, or cancelled.
fn machine() -> Machine {
    let steps = [
        ("pay", "open", "paid"),
        ("ship", "paid", "shipped"),
        ("cancel", "open", "cancelled"),
        ("cancel", "paid", "cancelled"),
    ];
    let transition = |(action, from, to): (&str, &str, &str)| Transition {
        action: action.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
    };
    Machine { initial: "open".to_owned(), transitions: steps.map(transition).to_vec() }
}

impl Story {
    /// Starts with a user that one session created, as version 1, named `one`.
    fn of_a_user() -> Self {
        let mut story = Self::default();
        story.request(Kind::Create, |request| (request.user, request.fields) = (None, named("one")));
        story.acknowledged("c1");
        story.last().answer.user = Some(USER.to_owned());
        story.ended("c1", Outcome::Applied, 1).at_rest(1, Some("one"))
    }

    /// Starts with that user, and a patch of the same session that renames it to `two`, as version 2.
    fn of_two_versions() -> Self {
        Self::of_a_user().patch("two", "c2").ended("c2", Outcome::Applied, 2).at_rest(2, Some("two"))
    }

    fn last(&mut self) -> &mut Event {
        self.events.last_mut().unwrap()
    }

    fn request(&mut self, kind: Kind, change: impl FnOnce(&mut Request)) {
        let start_us = 10 * self.events.len() as u64;
        let mut request = Request {
            kind,
            user: Some(USER.to_owned()),
            action: None,
            command: None,
            fields: Fields::default(),
            if_match: None,
            token_sent: false,
            key: None,
        };
        change(&mut request);
        let session = "s".to_owned();
        self.events.push(Event { session, start_us, end_us: start_us + 5, request, answer: Answer::default() });
    }

    fn acknowledged(&mut self, command: &str) {
        let user = Some(USER.to_owned());
        self.last().answer = Answer { status: Some(202), command: Some(command.to_owned()), user, ..Answer::default() };
    }

    /// Adds an acknowledged patch of the name.
    fn patch(mut self, name: &str, command: &str) -> Self {
        self.request(Kind::Patch, |request| request.fields = only_name(name));
        self.acknowledged(command);
        self
    }

    /// Adds a patch of the name whose answer is lost.
    fn lost_patch(mut self, name: &str) -> Self {
        self.request(Kind::Patch, |request| request.fields = only_name(name));
        self
    }

    fn delete(mut self, command: &str) -> Self {
        self.request(Kind::Delete, |_| {});
        self.acknowledged(command);
        self
    }

    /// Changes the last request.
    fn with(mut self, change: impl FnOnce(&mut Event)) -> Self {
        change(self.last());
        self
    }

    fn with_key(self, key: &str) -> Self {
        self.with(|event| event.request.key = Some(key.to_owned()))
    }

    fn read(mut self, version: u64, name: &str, token_sent: bool) -> Self {
        self.request(Kind::Read, |request| request.token_sent = token_sent);
        let (version, fields) = (Some(version), Some(named(name)));
        self.last().answer = Answer { status: Some(200), version, fields, ..Answer::default() };
        self
    }

    fn read_nothing(mut self, status: u16, token_sent: bool) -> Self {
        self.request(Kind::Read, |request| request.token_sent = token_sent);
        self.last().answer.status = Some(status);
        self
    }

    fn reported(mut self, command: &str, outcome: Outcome, version: u64) -> Self {
        self.request(Kind::Status, |request| request.command = Some(command.to_owned()));
        let (outcome, version) = (Some(outcome), Some(version));
        self.last().answer = Answer { status: Some(200), outcome, version, ..Answer::default() };
        self
    }

    fn ended(mut self, id: &str, outcome: Outcome, version: u64) -> Self {
        let (id, user) = (id.to_owned(), Some(USER.to_owned()));
        let version = Some(version);
        self.commands.push(Command { id, user, outcome, version, judged_after_us: None, problem: None });
        self
    }

    fn user(mut self, id: &str, written: &Stored, shown: &Stored) -> Self {
        self.users.retain(|user| user.id != id);
        let (tenant, id) = ("t".to_owned(), id.to_owned());
        let machine = written.fields.as_ref().and_then(|fields| fields.state.as_ref()).map(|_| MACHINE.to_owned());
        self.users.push(User { tenant, id, machine, written: Some(written.clone()), shown: Some(shown.clone()) });
        self
    }

    /// Sets the stored user at rest. Without a name it is a tombstone.
    fn at_rest(self, version: u64, name: Option<&str>) -> Self {
        let stored = Stored { version, fields: name.map(named) };
        self.user(USER, &stored, &stored)
    }

    fn history(self) -> History {
        let machines = BTreeMap::from([(MACHINE.to_owned(), machine())]);
        let rest = Rest { commands: self.commands, users: self.users };
        History { events: self.events, rest, machines, reorder_window_us: Some(REORDER_WINDOW_US) }
    }

    #[track_caller]
    fn holds(self) {
        let report = check(&self.history());
        assert_eq!(report.violations, []);
        assert_eq!((report.summary.lost, report.summary.doubled), (0, 0));
    }

    /// Asserts that the history breaks this rule and no other. Returns the numbers of lost and of doubled commands.
    #[track_caller]
    fn breaks(self, rule: Rule) -> (usize, usize) {
        let report = check(&self.history());
        let mut broken: Vec<_> = report.violations.iter().map(|violation| violation.rule).collect();
        broken.dedup();
        assert_eq!(broken, [rule], "{:#?}", report.violations);
        (report.summary.lost, report.summary.doubled)
    }
}

#[test]
fn a_quiet_life_is_good_and_counted() {
    let story = Story::of_two_versions().read(2, "two", true).read_nothing(503, true).delete("c3");
    let history = story.ended("c3", Outcome::Applied, 3).at_rest(3, None).read_nothing(404, true).history();
    let report = check(&history);
    assert_eq!(report.violations, []);
    let counts =
        "requests 6 (answered 5, unknown 1), commands 3 (applied 3, rejected 0, superseded 0), lost 0, doubled 0";
    assert_eq!(report.summary.to_string(), counts);
    assert_eq!(History::from_json(&history.to_json().unwrap()).unwrap(), history);
    assert!(History::from_json("[]").is_err());
}

#[test]
fn a_history_of_an_earlier_time_can_be_read() {
    let text = r#"{"events": [{"session": "s", "start_us": 0, "end_us": 1, "request": {"kind": "delete", "user": "u"},
        "answer": {}}], "rest": {"commands": [{"id": "c", "outcome": "applied"}], "users": [{"tenant": "t", "id": "u"}]}}"#;
    let history = History::from_json(text).unwrap();
    assert_eq!((history.events.len(), history.machines.len(), history.reorder_window_us), (1, 0, None));
}

#[test]
fn an_acknowledged_command_without_a_trace_is_lost() {
    assert_eq!(Story::of_a_user().patch("two", "c2").breaks(Rule::EndsOnce), (1, 0));
}

#[test]
fn an_acknowledged_command_that_is_pending_or_has_failed_at_rest_is_lost() {
    for outcome in [Outcome::Pending, Outcome::Failed] {
        let story = Story::of_a_user().patch("two", "c2").ended("c2", outcome, 1);
        assert_eq!(story.breaks(Rule::EndsOnce), (1, 0));
    }
}

#[test]
fn a_command_ends_in_one_way_only() {
    Story::of_two_versions().ended("c2", Outcome::Rejected, 1).breaks(Rule::EndsOnce);
    Story::of_two_versions().reported("c2", Outcome::Superseded, 1).breaks(Rule::EndsOnce);
    Story::of_two_versions().reported("c2", Outcome::Applied, 3).breaks(Rule::EndsOnce);
    Story::of_two_versions().reported("c2", Outcome::Pending, 0).reported("c2", Outcome::Applied, 2).holds();
}

#[test]
fn a_command_whose_answer_was_lost_may_be_pending_for_ever() {
    Story::of_a_user().lost_patch("two").with_key("k").ended("x", Outcome::Pending, 0).holds();
}

#[test]
fn a_version_that_two_commands_made_is_doubled() {
    let story = Story::of_two_versions().patch("three", "c3").ended("c3", Outcome::Applied, 2);
    let report = check(&story.at_rest(2, Some("two")).history());
    assert!(report.violations.iter().any(|violation| violation.rule == Rule::Versions));
    assert_eq!(report.summary.doubled, 1);
}

#[test]
fn a_version_above_the_stored_one_is_lost() {
    let story = Story::of_two_versions().at_rest(1, Some("one"));
    assert_eq!(story.breaks(Rule::Versions), (1, 0));
}

#[test]
fn a_version_that_nobody_asked_for_is_doubled() {
    assert_eq!(Story::of_a_user().at_rest(2, Some("two")).breaks(Rule::Versions), (0, 1));
    let known = Story::of_a_user().at_rest(2, Some("two")).ended("x", Outcome::Applied, 2);
    assert_eq!(known.breaks(Rule::Versions), (0, 1));
}

#[test]
fn a_lost_answer_accounts_for_one_version_and_no_more() {
    Story::of_a_user().lost_patch("two").holds();
    Story::of_a_user().lost_patch("two").at_rest(2, Some("two")).holds();
    Story::of_a_user().lost_patch("two").ended("x", Outcome::Applied, 2).at_rest(2, Some("two")).holds();
    let twice = Story::of_a_user().lost_patch("two").at_rest(3, Some("two"));
    assert_eq!(twice.breaks(Rule::Versions), (0, 1));
}

#[test]
fn a_lost_conditional_write_accounts_for_the_version_after_its_condition_only() {
    let on_top_of = |version| Story::of_a_user().lost_patch("two").with(|event| event.request.if_match = Some(version));
    on_top_of(1).at_rest(2, Some("two")).holds();
    on_top_of(7).at_rest(2, Some("two")).breaks(Rule::Versions);
    // The unconditional request may have made any version. It must account for the version that the conditional one cannot make.
    on_top_of(1).lost_patch("three").at_rest(3, Some("three")).holds();
    Story::of_a_user()
        .lost_patch("three")
        .lost_patch("two")
        .with(|event| event.request.if_match = Some(1))
        .at_rest(3, Some("three"))
        .holds();
}

#[test]
fn a_result_accounts_for_no_version_after_the_one_that_it_shows() {
    let result = |version| {
        let story = Story::of_two_versions().lost_patch("three").at_rest(3, Some("three"));
        story.with(|event| (event.answer.status, event.answer.version) = (Some(200), Some(version)))
    };
    result(3).holds();
    assert_eq!(result(2).breaks(Rule::Versions), (0, 1));
}

#[test]
fn a_lost_create_accounts_for_one_user_of_that_name() {
    let lost_create = || {
        let mut story = Story::default();
        story.request(Kind::Create, |request| (request.user, request.fields) = (None, named("one")));
        story
    };
    let stored = |name: &str| Stored { version: 1, fields: Some(named(name)) };
    lost_create().at_rest(1, Some("one")).holds();
    lost_create().at_rest(1, Some("another")).breaks(Rule::Versions);
    let mut other = stored("one");
    other.fields.as_mut().unwrap().email = Some("other@example.com".to_owned());
    let twice = lost_create().at_rest(1, Some("one")).user("v", &other, &other);
    assert_eq!(twice.breaks(Rule::Versions), (0, 1));
}

#[test]
fn retries_under_one_key_are_one_command() {
    let retried = || Story::of_a_user().lost_patch("two").with_key("k").patch("two", "c2").with_key("k");
    retried().ended("c2", Outcome::Applied, 2).at_rest(2, Some("two")).holds();
    // The retry accounts for the lost request.
    let twice = retried().ended("c2", Outcome::Applied, 3).at_rest(3, Some("two"));
    assert_eq!(twice.breaks(Rule::Versions), (0, 1));
    let other = retried().ended("c2", Outcome::Applied, 2).patch("two", "c3").with_key("k");
    let other = other.ended("c3", Outcome::Applied, 3).at_rest(3, Some("two"));
    assert_eq!(other.breaks(Rule::OneCommandPerKey), (0, 1));
}

#[test]
fn retries_that_are_all_lost_account_for_one_version() {
    let lost = || Story::of_a_user().lost_patch("two").with_key("k").lost_patch("two").with_key("k");
    lost().at_rest(2, Some("two")).holds();
    assert_eq!(lost().at_rest(3, Some("two")).breaks(Rule::Versions), (0, 1));
}

#[test]
fn a_retry_that_is_turned_away_says_nothing_of_the_first_request() {
    let throttled = |event: &mut Event| event.answer.status = Some(429);
    let turned_away = |first: Story| first.lost_patch("two").with_key("k").with(throttled);
    turned_away(Story::of_a_user().lost_patch("two").with_key("k")).at_rest(2, Some("two")).holds();
    turned_away(Story::of_a_user())
        .patch("two", "c2")
        .with_key("k")
        .ended("c2", Outcome::Applied, 2)
        .at_rest(2, Some("two"))
        .holds();
}

#[test]
fn a_command_is_for_the_user_for_which_it_was_acknowledged() {
    let mut story = Story::of_a_user().patch("two", "c2").ended("c2", Outcome::Rejected, 1);
    story.commands.last_mut().unwrap().user = Some("v".to_owned());
    story.breaks(Rule::OneCommandPerKey);
}

#[test]
fn an_update_is_lost_where_a_condition_did_not_hold() {
    let on_top_of = |version| {
        let story = Story::of_two_versions().patch("three", "c3").ended("c3", Outcome::Applied, 3);
        story.with(|event| event.request.if_match = Some(version)).at_rest(3, Some("three"))
    };
    on_top_of(2).holds();
    on_top_of(1).breaks(Rule::NoLostUpdate);
}

#[test]
fn a_version_shows_what_its_command_asked_for() {
    Story::of_two_versions().at_rest(2, Some("one")).breaks(Rule::Effects);
    // A patch of several fields may lose some of them to later commands that arrived earlier.
    let suspended = |event: &mut Event| event.request.fields.status = Some("suspended".to_owned());
    Story::of_two_versions().with(suspended).holds();
    let conditional = |event: &mut Event| event.request.if_match = Some(1);
    Story::of_two_versions().with(suspended).with(conditional).breaks(Rule::Effects);
}

#[test]
fn a_delete_that_was_applied_leaves_nothing() {
    let story = Story::of_a_user().delete("c2").ended("c2", Outcome::Applied, 2).at_rest(2, Some("one"));
    story.breaks(Rule::Effects);
}

#[test]
fn what_was_superseded_or_rejected_shows_nowhere() {
    for outcome in [Outcome::Superseded, Outcome::Rejected] {
        let refused = || Story::of_two_versions().patch("three", "c3").ended("c3", outcome, 2);
        refused().holds();
        let shown = refused().lost_patch("four").at_rest(3, Some("three"));
        shown.breaks(Rule::Effects);
        // The lost patch of the same name may have made the version.
        refused().lost_patch("three").at_rest(3, Some("three")).holds();
    }
}

#[test]
fn a_read_shows_no_version_that_was_never_there() {
    Story::of_two_versions().read(3, "three", false).breaks(Rule::Reads);
    Story::of_two_versions().read(1, "one", false).holds();
    let mut of_nobody = Story::of_two_versions().read(1, "one", false);
    of_nobody.last().request.user = Some("nobody".to_owned());
    of_nobody.breaks(Rule::Reads);
    let deleted = || Story::of_a_user().delete("c2").ended("c2", Outcome::Applied, 2).at_rest(2, None);
    deleted().read(1, "one", false).holds();
    deleted().read(2, "one", false).breaks(Rule::Reads);
}

#[test]
fn a_read_shows_no_version_before_it_was_asked_for() {
    let early = Story::of_a_user().read(2, "two", false).patch("two", "c2");
    early.ended("c2", Outcome::Applied, 2).at_rest(2, Some("two")).breaks(Rule::Reads);
    // The request with the lost answer may have made the version.
    let retried = Story::of_a_user().lost_patch("two").with_key("k").read(2, "two", false);
    retried.patch("two", "c2").with_key("k").ended("c2", Outcome::Applied, 2).at_rest(2, Some("two")).holds();
}

#[test]
fn a_version_always_shows_the_same() {
    let lost = || Story::of_two_versions().lost_patch("three").at_rest(3, Some("three"));
    lost().read(3, "three", false).holds();
    lost().read(3, "four", false).breaks(Rule::Reads);
}

#[test]
fn a_session_with_tokens_never_goes_back() {
    Story::of_two_versions().read(2, "two", true).read(1, "one", true).breaks(Rule::SessionOrder);
    Story::of_two_versions().read(2, "two", true).read(1, "one", false).holds();
    let by_another = |event: &mut Event| event.session = "another".to_owned();
    let other = || Story::of_two_versions().read(2, "two", true).read(1, "one", true).with(by_another);
    other().holds();
    // The first answer gives a session its token, whether or not the request sent one.
    let first = || Story::of_two_versions().read(2, "two", false).with(by_another);
    first().read(1, "one", false).with(by_another).holds();
    first().read(1, "one", true).with(by_another).breaks(Rule::SessionOrder);
}

#[test]
fn a_session_with_tokens_sees_what_it_has_written_or_is_told_that_it_cannot() {
    Story::of_two_versions().read(1, "one", true).breaks(Rule::SessionOrder);
    Story::of_two_versions().read_nothing(503, true).read(2, "two", true).holds();
    Story::of_two_versions().read_nothing(503, true).read(1, "one", true).breaks(Rule::SessionOrder);
}

#[test]
fn a_token_stands_for_the_last_acknowledged_write_only() {
    // "c3" is still pending when "c4" is superseded.
    let story = Story::of_two_versions().patch("three", "c3").patch("four", "c4").read(2, "two", true);
    let story = story.ended("c3", Outcome::Applied, 3).ended("c4", Outcome::Superseded, 2);
    story.at_rest(3, Some("three")).holds();
}

#[test]
fn a_read_that_is_not_answered_does_not_make_a_session_wait_for_its_write() {
    // "c3" is still pending when "c4" replaces it in the token, so no read has shown version 3.
    let story = Story::of_two_versions().patch("three", "c3").read_nothing(503, true).patch("four", "c4");
    let story = story.read(2, "two", true).ended("c3", Outcome::Applied, 3).ended("c4", Outcome::Superseded, 2);
    story.at_rest(3, Some("three")).holds();
}

#[test]
fn a_refused_write_is_as_good_as_a_read_of_what_it_was_judged_against() {
    for outcome in [Outcome::Superseded, Outcome::Rejected] {
        let story =
            |seen, name| Story::of_two_versions().patch("three", "c3").ended("c3", outcome, 2).read(seen, name, true);
        story(2, "two").holds();
        story(1, "one").breaks(Rule::SessionOrder);
    }
}

#[test]
fn a_user_that_a_session_has_seen_is_gone_only_after_a_delete() {
    Story::of_a_user().read_nothing(404, false).holds();
    Story::of_a_user().read_nothing(404, true).breaks(Rule::SessionOrder);
}

#[test]
fn the_read_store_shows_what_the_write_store_holds() {
    let stored = |version, name: Option<&str>| Stored { version, fields: name.map(named) };
    let shown = |shown: &Stored| Story::of_two_versions().user(USER, &stored(2, Some("two")), shown);
    shown(&stored(2, Some("two"))).holds();
    shown(&stored(1, Some("one"))).breaks(Rule::StoresAgree);
    shown(&stored(2, None)).breaks(Rule::StoresAgree);
    let mut missing = Story::of_two_versions();
    missing.users.first_mut().unwrap().shown = None;
    missing.breaks(Rule::StoresAgree);
}

#[test]
fn an_email_address_has_one_live_user_per_tenant() {
    let second = |email: &str| {
        let fields = Fields { email: Some(email.to_owned()), ..named("second") };
        let mut story = Story::of_a_user();
        story.request(Kind::Create, |request| (request.user, request.fields) = (None, fields.clone()));
        let stored = Stored { version: 1, fields: Some(fields) };
        story.user("v", &stored, &stored)
    };
    second("other@example.com").holds();
    second("E@example.com").breaks(Rule::EmailsUnique);
    let mut elsewhere = second("E@example.com");
    elsewhere.users.last_mut().unwrap().tenant = "another".to_owned();
    elsewhere.holds();
}

#[test]
fn nothing_comes_back_after_a_delete_that_the_session_has_seen() {
    let deleted = || {
        let story = Story::of_two_versions().delete("c3").ended("c3", Outcome::Applied, 3).at_rest(3, None);
        story.read_nothing(404, true)
    };
    deleted().read_nothing(404, true).read(1, "one", false).holds();
    let report = check(&deleted().read(2, "two", true).history());
    assert!(report.violations.iter().any(|violation| violation.rule == Rule::NoResurrection));
}

#[test]
fn nothing_is_done_after_a_delete() {
    let story = Story::of_a_user().delete("c2").ended("c2", Outcome::Applied, 2).patch("three", "c3");
    story.ended("c3", Outcome::Applied, 3).at_rest(3, Some("three")).breaks(Rule::NoResurrection);
}
