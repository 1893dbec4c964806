//! Tests for actions: the states that they lead to, their rejections, and their order in a session.

use super::*;

fn order(name: &str, state: &str) -> Fields {
    Fields { state: Some(state.to_owned()), ..named(name) }
}

impl Story {
    /// Starts with an order that one session created, as version 1, named `one`.
    fn of_an_order() -> Self {
        Self::of_a_user().stored(1, "one", "open")
    }

    /// Starts with that order, which the same session paid as version 2.
    fn of_a_paid_order() -> Self {
        Self::of_an_order().act("pay", "c2").ended("c2", Outcome::Applied, 2).stored(2, "one", "paid")
    }

    fn stored(self, version: u64, name: &str, state: &str) -> Self {
        let stored = Stored { version, fields: Some(order(name, state)) };
        self.user(USER, &stored, &stored)
    }

    fn saw(self, version: u64, name: &str, state: &str) -> Self {
        self.read(version, name, true).with(|event| event.answer.fields = Some(order(name, state)))
    }

    /// Adds an acknowledged action with the session's token.
    fn act(mut self, action: &str, command: &str) -> Self {
        self.request(Kind::Act, |request| {
            (request.action, request.token_sent) = (Some(action.to_owned()), true);
        });
        self.acknowledged(command);
        self
    }

    /// Ends the command as rejected, because the state of this version does not allow it.
    fn refused(self, command: &str, version: u64) -> Self {
        let mut story = self.ended(command, Outcome::Rejected, version);
        story.commands.last_mut().unwrap().problem = Some("wrong-state".to_owned());
        story
    }

    /// Sets the time from the acceptance of the last command to its judgement, in µs.
    fn judged_after(mut self, waited_us: u64) -> Self {
        self.commands.last_mut().unwrap().judged_after_us = Some(waited_us);
        self
    }

    fn with_token(self) -> Self {
        self.with(|event| event.request.token_sent = true)
    }

    fn without_token(self) -> Self {
        self.with(|event| event.request.token_sent = false)
    }

    fn by_another(self) -> Self {
        self.with(|event| event.session = "another".to_owned())
    }
}

#[test]
fn an_action_leads_from_a_state_that_allows_it_to_its_target() {
    Story::of_a_paid_order().saw(2, "one", "paid").holds();
    Story::of_a_paid_order().stored(2, "one", "shipped").breaks(Rule::Actions);
    let ship = Story::of_an_order().act("ship", "c2").ended("c2", Outcome::Applied, 2);
    ship.stored(2, "one", "shipped").breaks(Rule::Actions);
}

#[test]
fn a_state_that_nobody_has_seen_follows_from_the_commands() {
    let after_pay = |action| Story::of_a_paid_order().act(action, "c3").ended("c3", Outcome::Applied, 3);
    after_pay("ship").stored(3, "one", "shipped").holds();
    after_pay("pay").stored(3, "one", "paid").breaks(Rule::Actions);
}

#[test]
fn an_action_leads_to_its_target_also_if_the_state_before_is_unknown() {
    // The command that made version 2 is not known.
    let ship = || Story::of_an_order().lost_patch("two").act("ship", "c3").ended("c3", Outcome::Applied, 3);
    ship().stored(3, "two", "shipped").holds();
    ship().stored(3, "two", "paid").breaks(Rule::Actions);
}

#[test]
fn an_action_changes_no_other_field() {
    Story::of_a_paid_order().stored(2, "other", "paid").holds();
    Story::of_an_order()
        .saw(1, "one", "open")
        .act("pay", "c2")
        .ended("c2", Outcome::Applied, 2)
        .stored(2, "other", "paid")
        .breaks(Rule::Actions);
}

#[test]
fn nothing_but_an_action_changes_the_state() {
    let patched = |state| {
        let story = Story::of_an_order().patch("two", "c2").ended("c2", Outcome::Applied, 2);
        story.stored(2, "two", state)
    };
    patched("open").holds();
    patched("paid").breaks(Rule::Actions);
    Story::of_an_order().stored(1, "one", "paid").breaks(Rule::Actions);
}

#[test]
fn an_action_is_never_superseded() {
    Story::of_an_order().act("pay", "c2").ended("c2", Outcome::Superseded, 1).breaks(Rule::Actions);
}

#[test]
fn an_action_is_refused_only_if_the_state_does_not_allow_it() {
    Story::of_an_order().act("ship", "c2").refused("c2", 1).holds();
    Story::of_an_order().act("pay", "c2").refused("c2", 1).breaks(Rule::Actions);
    Story::of_a_paid_order().act("ship", "c3").refused("c3", 2).breaks(Rule::Actions);
    // The action of another session was judged first.
    let cancelled = Story::of_a_paid_order().act("cancel", "c3").by_another().ended("c3", Outcome::Applied, 3);
    cancelled.stored(3, "one", "cancelled").act("ship", "c4").refused("c4", 3).holds();
    // A rejection for another reason, such as a failed condition, names no wrong state.
    Story::of_an_order().act("pay", "c2").ended("c2", Outcome::Rejected, 1).holds();
}

#[test]
fn an_action_is_judged_after_the_one_before_it_in_its_session() {
    let overtaken = |change: fn(Story) -> Story| {
        let story = change(Story::of_a_paid_order().act("ship", "c3"));
        story.refused("c3", 1)
    };
    overtaken(|story| story).breaks(Rule::ActionOrder);
    overtaken(Story::without_token).holds();
    overtaken(Story::by_another).holds();
    overtaken(|story| story).judged_after(REORDER_WINDOW_US - 1).breaks(Rule::ActionOrder);
    overtaken(|story| story).judged_after(REORDER_WINDOW_US).holds();
}

#[test]
fn an_action_that_fits_both_states_is_judged_after_the_one_before_it_as_well() {
    let cancelled = |change: fn(Story) -> Story| {
        let story = change(Story::of_an_order().act("pay", "c2").act("cancel", "c3"));
        story.ended("c3", Outcome::Applied, 2).refused("c2", 2).stored(2, "one", "cancelled")
    };
    cancelled(|story| story).breaks(Rule::ActionOrder);
    cancelled(Story::without_token).holds();
}

#[test]
fn an_action_is_judged_after_the_action_before_it_whatever_came_in_between() {
    let cancelled = |change: fn(Story) -> Story| {
        let story = change(Story::of_an_order().act("pay", "c2").patch("two", "c3")).act("cancel", "c4");
        let story = story.ended("c3", Outcome::Applied, 2).ended("c4", Outcome::Applied, 3);
        story.refused("c2", 3).stored(3, "two", "cancelled")
    };
    cancelled(Story::with_token).breaks(Rule::ActionOrder);
    // The patch without the token starts a new order of the session, so the action before it no longer counts.
    cancelled(|story| story).holds();
    let patch_is_late = Story::of_an_order().patch("two", "c2").act("pay", "c3").ended("c3", Outcome::Applied, 2);
    patch_is_late.ended("c2", Outcome::Applied, 3).stored(3, "two", "paid").breaks(Rule::ActionOrder);
}

#[test]
fn a_lost_action_may_have_been_done_once() {
    let lost = || Story::of_an_order().act("pay", "-").with(|event| event.answer = Answer::default());
    lost().holds();
    lost().stored(2, "one", "paid").holds();
    assert_eq!(lost().stored(3, "one", "paid").breaks(Rule::Versions), (0, 1));
}

#[test]
fn two_actions_under_one_key_are_two_commands() {
    let story = Story::of_a_paid_order().with_key("k").act("ship", "c3").with_key("k");
    story.ended("c3", Outcome::Applied, 3).stored(3, "one", "shipped").holds();
}
