use std::sync::{Arc, Mutex};
use std::time::Duration;

use kernel::apply::{CommandResult, PLAN_COMMANDS_MAX};
use kernel::clock::Clock as _;
use kernel::envelope::{Excluded, ExpectedVersion};
use kernel::ids::AggregateId;
use kernel::policy::Order;
use kernel::ports::{CommitError, FailedConditions, UniqueKey, WriteStore};
use kernel::record::COMMAND_AGE_MAX;
use tokio::time::Instant;

use crate::counter::CounterCommand::{Add, Close};
use crate::counter::KIND;
use crate::world::{
    Interrupted, Interruption, Remembering, Unreadable, World, apply_with, key, open, relabel, results, tenant,
};

#[tokio::test]
async fn commands_of_one_batch_make_contiguous_versions_in_one_transaction() {
    let world = World::new();
    let id = world.new_id();
    let commands = [open("a"), Add(1), Add(2), Add(0)].map(|command| world.command(id, command));
    let applied = world.apply(&commands).await;
    assert_eq!(results(&applied), ["applied 1", "applied 2", "applied 3", "rejected zero"]);
    assert_eq!(applied.current.state.unwrap().total, 3);
    assert_eq!(world.stores.all_records().len(), 4);
}

#[tokio::test]
async fn a_batch_writes_its_result_and_nothing_else() {
    let world = World::new();
    let id = world.new_id();
    let store = Remembering::over(&world);
    let applier = world.direct_applier_over(store.clone());
    let commands = [open("a"), Add(1), relabel("a"), Add(0)].map(|command| world.command(id, command));
    assert!(apply_with(&applier, &commands).await.needs_projection());
    let applied = apply_with(&applier, &[world.command(id, Add(0)), world.command(id, Add(0))]).await;
    assert_eq!(results(&applied), ["rejected zero", "rejected zero"]);
    assert!(!applied.needs_projection());

    let committed = store.committed();
    assert_eq!(store.tried(), 2);
    let [changed, refused] = committed.as_slice() else { panic!("{committed:?}") };
    let change = changed.state.as_ref().unwrap();
    assert_eq!((change.expected, change.next.version, changed.records.len()), (0, 3, 4));
    assert_eq!((changed.unique_keys_taken.len(), changed.unique_keys_released.len()), (1, 0));
    assert_eq!(changed.view.as_ref().unwrap().version, 3);
    assert_eq!((&refused.state, refused.records.len(), &refused.view), (&None, 2, &None));
    assert_eq!((refused.unique_keys_taken.len(), refused.unique_keys_released.len()), (0, 0));
}

#[tokio::test]
async fn a_view_is_left_out_of_a_transaction_only_where_a_newer_one_was_met_on_top_of_the_same_state() {
    for (state_moved, view_exists, has_view) in
        [(false, false, true), (true, false, true), (true, true, true), (false, true, false)]
    {
        let world = World::new();
        let id = world.new_id();
        let failed = FailedConditions { state_moved, view_exists, ..FailedConditions::default() };
        let interruption: Interruption =
            Box::new(move || Box::pin(async move { Some(CommitError::Conditions(failed)) }));
        let remembering = Remembering::over(&world);
        let store = Interrupted { store: remembering.clone(), interruptions: Mutex::new(vec![interruption]) };
        let applied = apply_with(&world.direct_applier_over(Arc::new(store)), &[world.command(id, open("a"))]).await;
        assert_eq!(results(&applied), ["applied 1"]);
        let views: Vec<_> = remembering.committed().iter().map(|done| done.view.is_some()).collect();
        assert_eq!(views, [has_view], "moved: {state_moved}, view exists: {view_exists}");
    }
}

#[tokio::test]
async fn a_unique_key_that_was_held_while_the_state_moved_is_tried_again() {
    for (state_moved, result) in [(true, "applied 1"), (false, "rejected label-taken")] {
        let world = World::new();
        let held = UniqueKey { kind: KIND, tenant: tenant(), field: "label", value: "a".to_owned() };
        let failed = FailedConditions { state_moved, unique_keys_held: vec![held], ..FailedConditions::default() };
        let interruption: Interruption =
            Box::new(move || Box::pin(async move { Some(CommitError::Conditions(failed)) }));
        let applier = interrupted(&world, vec![interruption]);
        let applied = apply_with(&applier, &[world.command(world.new_id(), open("a"))]).await;
        assert_eq!(results(&applied), [result]);
    }
}

#[tokio::test]
async fn a_duplicate_is_applied_once_and_still_asks_for_projection() {
    let world = World::new();
    let id = world.new_id();
    let commands = [world.command(id, open("a")), world.command(id, Add(5))];
    world.apply(&commands).await;
    let again = world.apply(&commands).await;
    assert_eq!(results(&again), ["applied 1", "applied 2"]);
    assert!(again.results.iter().all(|result| matches!(result, CommandResult::Final { duplicate: true, .. })));
    assert!(again.needs_projection());
    assert_eq!((again.current.version, again.current.state.unwrap().total), (2, 5));
}

#[tokio::test]
async fn a_duplicate_of_a_delete_is_a_duplicate_and_not_a_rejection() {
    let world = World::new();
    let id = world.new_id();
    let close = world.command(id, Close);
    world.apply(&[world.command(id, open("a")), close.clone()]).await;
    assert_eq!(results(&world.apply(&[close]).await), ["applied 2"]);
    assert_eq!(results(&world.apply(&[world.command(id, Add(1))]).await), ["rejected not-found"]);
}

#[tokio::test]
async fn commands_that_arrive_before_their_predecessors_are_applied_after_them() {
    let world = World::new();
    let id = world.new_id();
    let mut third = world.command(id, Add(1));
    third.expected = ExpectedVersion::Version(2);
    let second = world.command(id, Add(2));
    let first = world.command(id, open("a"));
    let store = Remembering::over(&world);
    let applier = world.applier_over(store.clone(), Duration::from_secs(60), Order::Loose);
    let applied = apply_with(&applier, &[third, second, first]).await;
    assert_eq!(results(&applied), ["applied 3", "applied 2", "applied 1"]);
    assert_eq!(store.committed().len(), 1);
}

#[tokio::test]
async fn an_early_command_is_deferred_within_the_reorder_window_and_rejected_after_it() {
    let world = World::new();
    let id = world.new_id();
    let early = world.command(id, Add(1));
    assert_eq!(results(&world.apply(std::slice::from_ref(&early)).await), ["deferred"]);
    world.clock.pass(Duration::from_secs(61));
    assert_eq!(results(&world.apply(&[early]).await), ["rejected not-found"]);
}

#[tokio::test]
async fn the_reorder_window_ends_for_the_command_and_for_its_aggregate_alike() {
    let world = World::new();
    let reorder_window = Duration::from_secs(60);
    // An old aggregate with a young command, then a young aggregate with an old command. In both cases only the old one has reached
    // the reorder window.
    let old = world.new_id();
    world.clock.pass(Duration::from_millis(5));
    let young_command = world.command(old, Add(1));
    let old_command = world.command(AggregateId::generate(world.clock.now().plus(reorder_window)), Add(1));
    world.clock.pass(reorder_window.saturating_sub(world.clock.now().since(old.made_at().unwrap()).unwrap()));
    assert_eq!(results(&world.apply(&[young_command]).await), ["rejected not-found"]);
    world.clock.pass(reorder_window.saturating_sub(world.clock.now().since(old_command.stamp.at).unwrap()));
    assert_eq!(results(&world.apply(&[old_command]).await), ["rejected not-found"]);
}

#[tokio::test]
async fn a_create_never_brings_back_what_was_deleted() {
    let world = World::new();
    let id = world.new_id();
    world.apply(&[world.command(id, open("a")), world.command(id, Close)]).await;
    assert_eq!(results(&world.apply(&[world.command(id, open("a"))]).await), ["rejected already-exists"]);
}

#[tokio::test]
async fn an_unknown_aggregate_whose_create_cannot_be_behind_is_rejected_at_once() {
    let world = World::new();
    let old = world.new_id();
    world.clock.pass(Duration::from_secs(61));
    let strange: AggregateId = "00000000-0000-4000-8000-000000000000".parse().unwrap();
    for id in [old, strange] {
        assert_eq!(results(&world.apply(&[world.command(id, Add(1))]).await), ["rejected not-found"]);
    }
}

#[tokio::test]
async fn a_version_that_is_passed_is_a_conflict_and_one_that_is_ahead_waits() {
    let world = World::new();
    let id = world.new_id();
    world.apply(&[world.command(id, open("a")), world.command(id, Add(1))]).await;
    let expecting = |version| {
        let mut command = world.command(id, Add(1));
        command.expected = ExpectedVersion::Version(version);
        command
    };
    let commands = [expecting(1), expecting(9), expecting(2)];
    assert_eq!(results(&world.apply(&commands).await), ["rejected version-conflict", "deferred", "applied 3"]);
    world.clock.pass(Duration::from_secs(60));
    assert_eq!(results(&world.apply(&commands[1..2]).await), ["rejected version-conflict"]);
}

#[tokio::test]
async fn a_command_does_nothing_on_a_version_that_it_excludes() {
    let world = World::new();
    let id = world.new_id();
    let excluding = |excluded, expected| {
        let mut command = world.command(id, Add(1));
        (command.excluded, command.expected) = (Some(excluded), expected);
        command
    };
    // A command waits for the create of its aggregate, even with `If-None-Match`.
    let any = excluding(Excluded::Any, ExpectedVersion::Any);
    assert_eq!(results(&world.apply(std::slice::from_ref(&any)).await), ["deferred"]);
    let commands = [
        world.command(id, open("a")),
        any,
        excluding(Excluded::Versions(vec![1, 9]), ExpectedVersion::Any),
        excluding(Excluded::Versions(vec![2]), ExpectedVersion::Any),
        // `If-Match` is evaluated first (RFC 9110, section 13.2.2).
        excluding(Excluded::Any, ExpectedVersion::Version(1)),
        excluding(Excluded::Any, ExpectedVersion::Version(2)),
        excluding(Excluded::Versions(vec![1]), ExpectedVersion::Version(2)),
    ];
    let expected = [
        "applied 1",
        "rejected precondition-failed",
        "rejected precondition-failed",
        "applied 2",
        "rejected version-conflict",
        "rejected precondition-failed",
        "applied 3",
    ];
    assert_eq!(results(&world.apply(&commands).await), expected);
    let gone = [world.command(id, Close), excluding(Excluded::Any, ExpectedVersion::Any)];
    assert_eq!(results(&world.apply(&gone).await), ["applied 4", "rejected not-found"]);
}

#[tokio::test]
async fn in_strict_order_what_waits_holds_back_all_behind_it() {
    let world = World::new();
    let id = world.new_id();
    world.apply(&[world.command(id, open("a"))]).await;
    let mut ahead = world.command(id, Add(1));
    ahead.expected = ExpectedVersion::Version(9);
    let commands = [world.command(id, Add(1)), ahead, world.command(id, Add(1))];
    let strict = world.applier(Duration::from_secs(60), Order::Strict);
    assert_eq!(results(&apply_with(&strict, &commands).await), ["applied 2", "deferred", "deferred"]);
}

#[tokio::test]
async fn a_taken_unique_key_rejects_the_one_command_that_wants_it() {
    let world = World::new();
    let (a, b) = (world.new_id(), world.new_id());
    world.apply(&[world.command(a, open("taken"))]).await;
    let commands = [open("free"), Add(1), relabel("taken"), Add(1), relabel("other")];
    let applied = world.apply(&commands.map(|command| world.command(b, command))).await;
    assert_eq!(results(&applied), ["applied 1", "applied 2", "rejected label-taken", "applied 3", "applied 4"]);
    let unique_keys = world.stores.all_unique_keys();
    let held: Vec<_> = unique_keys.keys().map(|unique_key| unique_key.value.as_str()).collect();
    assert_eq!(held, ["other", "taken"]);
}

#[tokio::test]
async fn a_deleted_aggregate_releases_its_unique_key_and_keeps_no_data() {
    let world = World::new();
    let (a, b) = (world.new_id(), world.new_id());
    world.apply(&[world.command(a, open("l")), world.command(a, Close)]).await;
    assert_eq!(results(&world.apply(&[world.command(b, open("l"))]).await), ["applied 1"]);
    let states = world.stores.all_states();
    let tombstone = &states[&key(a)];
    assert!(tombstone.body.is_none() && tombstone.index.is_empty());
    let kept = tombstone.expires_at.unwrap().since(world.clock.now()).unwrap();
    assert_eq!(kept.as_secs() / (24 * 60 * 60), 44, "45 days from the delete, a moment ago");
}

#[tokio::test]
async fn a_command_older_than_30_days_is_rejected_as_expired() {
    let world = World::new();
    let command = world.command(world.new_id(), open("a"));
    let last = world.command(world.new_id(), open("b"));
    world.clock.pass(COMMAND_AGE_MAX);
    assert_eq!(results(&world.apply(&[last]).await), ["applied 1"]);
    assert_eq!(results(&world.apply(&[command]).await), ["rejected expired"]);
}

#[tokio::test]
async fn more_commands_than_one_transaction_holds_are_all_applied() {
    let world = World::new();
    let id = world.new_id();
    let mut commands = vec![world.command(id, open("a"))];
    commands.extend((0..2 * PLAN_COMMANDS_MAX).map(|_| world.command(id, Add(1))));
    let applied = world.apply(&commands).await;
    assert_eq!(usize::try_from(applied.current.version).unwrap(), commands.len());
    assert_eq!(applied.current.state.unwrap().total as usize, 2 * PLAN_COMMANDS_MAX);
}

fn interrupting(world: &World, what: Vec<Interruption>) -> Arc<Interrupted> {
    Arc::new(Interrupted { store: Arc::new(world.stores.write()), interruptions: Mutex::new(what) })
}

fn interrupted(world: &World, what: Vec<Interruption>) -> kernel::apply::Applier<crate::counter::Counter> {
    world.applier_over(interrupting(world, what), Duration::from_secs(60), Order::Loose)
}

#[tokio::test]
async fn the_state_of_a_duplicate_is_read_before_it_is_projected_or_the_delivery_fails() {
    for readable in [true, false] {
        let world = World::new();
        let id = world.new_id();
        let (create, add) = (world.command(id, open("a")), world.command(id, Add(1)));
        world.apply(&[create]).await;
        let stale = world.stores.all_states().remove(&key(id));
        // Another invocation applies the command after the state was read. This one only sees its record.
        let record = match world.apply(std::slice::from_ref(&add)).await.results.remove(0) {
            CommandResult::Final { record, .. } => record,
            other => panic!("{other:?}"),
        };
        let failed = FailedConditions { final_records: vec![record], ..FailedConditions::default() };
        let interruption: Interruption =
            Box::new(move || Box::pin(async move { Some(CommitError::Conditions(failed)) }));
        let store = interrupting(&world, vec![interruption]);
        let store: Arc<dyn WriteStore> = if readable { store } else { Arc::new(Unreadable(store)) };
        let applier = world.applier_over(store, Duration::from_secs(60), Order::Loose);
        let applied = applier.apply(&key(id), &[add], stale).await;
        let (result, version) = if readable { ("applied 2", 2) } else { ("unfinished", 1) };
        assert_eq!((results(&applied), applied.current.version), (vec![result.to_owned()], version));
        assert_eq!(applied.stopped_by.is_none(), readable);
    }
}

#[tokio::test(start_paused = true)]
async fn a_contended_transaction_is_tried_again_and_given_up_after_a_while() {
    let world = World::new();
    let contended = || -> Interruption { Box::new(|| Box::pin(async { Some(CommitError::Contended) })) };
    let commands = [world.command(world.new_id(), open("a"))];
    let thrice = interrupted(&world, (0..3).map(|_| contended()).collect());
    let began = Instant::now();
    assert_eq!(results(&apply_with(&thrice, &commands).await), ["applied 1"]);
    // At least a fifth of 10, 20 and 40 ms.
    assert!(began.elapsed() >= Duration::from_millis(14), "rivals do not part in {:?}", began.elapsed());
    let commands = [world.command(world.new_id(), open("b"))];
    let forever = interrupted(&world, (0..99).map(|_| contended()).collect());
    let began = Instant::now();
    let applied = apply_with(&forever, &commands).await;
    assert_eq!(results(&applied), ["unfinished"]);
    assert!(applied.stopped_by.is_some());
    // At least a fifth of 10, 20, 40, 80, 160 and seven times 200 ms. A timer may take 1 ms longer.
    let took = began.elapsed().as_millis();
    assert!((342..=1_722).contains(&took), "{took} ms");
}

#[tokio::test]
async fn a_batch_plan_that_is_too_large_is_halved() {
    let world = World::new();
    let id = world.new_id();
    let commands = [open("a"), Add(1), Add(1), Add(1)].map(|command| world.command(id, command));
    let too_large = interrupted(&world, vec![Box::new(|| Box::pin(async { Some(CommitError::TooLarge) }))]);
    assert_eq!(results(&apply_with(&too_large, &commands).await), ["applied 1", "applied 2", "applied 3", "applied 4"]);
    let store = Remembering::with_records_max(&world, 2);
    let small = world.applier_over(store.clone(), Duration::from_secs(60), Order::Loose);
    let commands = [Add(1), Add(1), Add(1), Add(1)].map(|command| world.command(id, command));
    assert_eq!(results(&apply_with(&small, &commands).await), ["applied 5", "applied 6", "applied 7", "applied 8"]);
    assert_eq!(store.committed().len(), 2);
    let alone = interrupted(&world, vec![Box::new(|| Box::pin(async { Some(CommitError::TooLarge) }))]);
    assert_eq!(results(&apply_with(&alone, &[world.command(id, Add(1))]).await), ["unfinished"]);
}

#[tokio::test]
async fn a_batch_builds_on_a_rival_that_commits_first() {
    let world = World::new();
    let id = world.new_id();
    world.apply(&[world.command(id, open("a"))]).await;
    let rival = world.command(id, Add(10));
    let rivals_world = world.clone();
    let rival_first: Interruption = Box::new(move || {
        Box::pin(async move {
            let applied = rivals_world.apply(&[rival]).await;
            assert_eq!(results(&applied), ["applied 2"]);
            None
        })
    });
    let applied = apply_with(&interrupted(&world, vec![rival_first]), &[world.command(id, Add(1))]).await;
    assert_eq!(results(&applied), ["applied 3"]);
    assert_eq!(applied.current.state.unwrap().total, 11);
}

#[tokio::test]
async fn a_transaction_that_took_effect_but_whose_answer_was_lost_counts_once() {
    let world = World::new();
    let id = world.new_id();
    let commands = [world.command(id, open("a")), world.command(id, Add(1))];
    let (same, first_try) = (commands.clone(), world.clone());
    // The SDK retries on its own, and the second attempt meets the effect of the first.
    let lost_answer: Interruption = Box::new(move || {
        Box::pin(async move {
            first_try.apply(&same).await;
            None
        })
    });
    let applied = apply_with(&interrupted(&world, vec![lost_answer]), &commands).await;
    assert_eq!(results(&applied), ["applied 1", "applied 2"]);
    assert!(applied.results.iter().all(|result| matches!(result, CommandResult::Final { duplicate: false, .. })));
    assert_eq!((applied.current.version, applied.current.state.unwrap().total), (2, 1));
    assert!(world.clock.now() > commands[0].stamp.at);
}
