//! What commands do to users.

use kernel::domain::{Context, Decision};
use kernel::ids::Stamp;

use crate::{Details, Patch, Stamped, UserCommand, UserEvent, UserState};

pub(crate) fn decide(state: Option<&UserState>, command: &UserCommand, context: &Context) -> Decision<UserEvent> {
    match (command, state) {
        (UserCommand::Create(details), _) => {
            Decision::Accept(UserEvent::UserCreated { details: details.clone(), stamp: context.stamp })
        }
        // A delete wins over any blind write, older or newer.
        (UserCommand::Delete, _) => Decision::Accept(UserEvent::UserDeleted),
        (UserCommand::Replace(details), Some(state)) => change(state, Patch::from(details.clone()), context),
        (UserCommand::Update(patch), Some(state)) => change(state, patch.clone(), context),
        // The kernel asks only where there is a user.
        (UserCommand::Replace(_) | UserCommand::Update(_), None) => Decision::Superseded,
    }
}

/// Last writer wins, field by field, by stamp. A write that names its version has seen the fields, and always wins.
fn change(state: &UserState, patch: Patch, context: &Context) -> Decision<UserEvent> {
    let stamp = match context.conditional {
        true => context.stamp.winning_over(state.latest_stamp()),
        false => context.stamp,
    };
    let asked = patch.clone();
    let patch = Patch {
        name: patch.name.filter(|_| stamp > state.name.stamp),
        email: patch.email.filter(|_| stamp > state.email.stamp),
        status: patch.status.filter(|_| stamp > state.status.stamp),
    };
    if patch == Patch::default() && asked != patch {
        return Decision::Superseded;
    }
    Decision::Accept(UserEvent::UserChanged { patch, stamp, accepted_at: context.accepted_at() })
}

pub(crate) fn evolve(state: Option<UserState>, event: UserEvent) -> Option<UserState> {
    match (event, state) {
        (UserEvent::UserCreated { details, stamp }, _) => Some(UserState {
            name: Stamped { value: details.name, stamp },
            email: Stamped { value: details.email, stamp },
            status: Stamped { value: details.status, stamp },
            created_at: stamp.at,
            updated_at: stamp.at,
        }),
        (UserEvent::UserChanged { patch, stamp, accepted_at }, Some(state)) => Some(UserState {
            name: set(state.name, patch.name, stamp),
            email: set(state.email, patch.email, stamp),
            status: set(state.status, patch.status, stamp),
            created_at: state.created_at,
            updated_at: state.updated_at.max(accepted_at),
        }),
        (UserEvent::UserDeleted, _) | (UserEvent::UserChanged { .. }, None) => None,
    }
}

fn set<T>(old: Stamped<T>, new: Option<T>, stamp: Stamp) -> Stamped<T> {
    new.map_or(old, |value| Stamped { value, stamp })
}

impl UserState {
    fn latest_stamp(&self) -> Stamp {
        self.name.stamp.max(self.email.stamp).max(self.status.stamp)
    }
}

impl From<Details> for Patch {
    fn from(details: Details) -> Self {
        Self { name: Some(details.name), email: Some(details.email), status: Some(details.status) }
    }
}

#[cfg(test)]
mod tests {
    use kernel::clock::Timestamp;
    use kernel::domain::Domain as _;
    use kernel::ids::CommandId;
    use proptest::prelude::*;

    use super::*;
    use crate::User;
    use crate::field::{Email, Name, Status};

    fn at(micros: u64) -> Stamp {
        let at = Timestamp::from_micros(micros);
        Stamp { at, command: CommandId::generate(at) }
    }

    fn blind(micros: u64) -> Context {
        Context { stamp: at(micros), conditional: false }
    }

    fn name(text: &str) -> Name {
        Name::try_from(text.to_owned()).unwrap()
    }

    fn email(text: &str) -> Email {
        Email::try_from(text.to_owned()).unwrap()
    }

    fn details() -> Details {
        Details { name: name("Ada"), email: email("ada@example.com"), status: Status::Active }
    }

    fn rename(to: &str) -> UserCommand {
        UserCommand::Update(Patch { name: Some(name(to)), ..Patch::default() })
    }

    /// Given a user, when these commands come one after the other, then this is left.
    fn run(commands: &[(UserCommand, Context)]) -> Option<UserState> {
        commands.iter().fold(None, |state, (command, context)| match User::decide(state.as_ref(), command, context) {
            Decision::Accept(event) => User::evolve(state, event),
            Decision::Superseded => state,
            Decision::Reject(problem) => panic!("{problem:?}"),
        })
    }

    #[test]
    fn a_later_stamp_wins_field_by_field_though_it_arrives_first() {
        let suspend = UserCommand::Update(Patch { status: Some(Status::Suspended), ..Patch::default() });
        let create = (UserCommand::Create(details()), blind(1));
        let user =
            run(&[create, (rename("Later"), blind(9)), (rename("Earlier"), blind(5)), (suspend, blind(5))]).unwrap();
        assert_eq!((user.name.value, user.status.value), (name("Later"), Status::Suspended));
        assert_eq!((user.created_at.as_micros(), user.updated_at.as_micros()), (1, 9));
    }

    #[test]
    fn a_write_all_of_whose_fields_lose_is_superseded() {
        let user = run(&[(UserCommand::Create(details()), blind(1)), (rename("Later"), blind(9))]);
        assert_eq!(decide(user.as_ref(), &rename("Earlier"), &blind(5)), Decision::Superseded);
    }

    #[test]
    fn a_write_that_names_its_version_wins_over_a_later_stamp_and_over_what_is_older_than_that() {
        let conditional = Context { stamp: at(5), conditional: true };
        let create = (UserCommand::Create(details()), blind(1));
        let user =
            run(&[create, (rename("Later"), blind(9)), (rename("Seen"), conditional), (rename("Blind"), blind(8))]);
        assert_eq!(user.unwrap().name.value, name("Seen"));
    }

    #[test]
    fn an_empty_patch_is_a_change_of_nothing() {
        let create = (UserCommand::Create(details()), blind(1));
        let user = run(&[create, (UserCommand::Update(Patch::default()), blind(3))]).unwrap();
        assert_eq!((user.name.value, user.updated_at.as_micros()), (name("Ada"), 3));
    }

    #[test]
    fn a_delete_wins_over_a_later_write() {
        let create = (UserCommand::Create(details()), blind(1));
        assert_eq!(run(&[create, (rename("Later"), blind(9)), (UserCommand::Delete, blind(2))]), None);
    }

    #[test]
    fn a_create_alone_makes_a_user_and_a_repeated_write_changes_nothing() {
        let commands = [UserCommand::Create(details()), rename("Ada"), UserCommand::Delete];
        assert_eq!(commands.map(|command| User::creates(&command)), [true, false, false]);
        let all = UserCommand::Replace(Details { status: Status::Suspended, ..details() });
        let write = (all.clone(), blind(5));
        let user = run(&[(UserCommand::Create(details()), blind(1)), write.clone()]);
        assert_eq!(user.as_ref().unwrap().status.value, Status::Suspended);
        assert_eq!(User::decide(user.as_ref(), &all, &write.1), Decision::Superseded);
    }

    /// Which fields a write sets, each to a value that tells its time.
    fn write((micros, fields): &(u64, u8)) -> (UserCommand, Context) {
        let sets = |field: u8| fields & field != 0;
        let status = if micros % 2 == 0 { Status::Active } else { Status::Suspended };
        let patch = Patch {
            name: sets(1).then(|| name(&format!("n{micros}"))),
            email: sets(2).then(|| email(&format!("e{micros}@example.com"))),
            status: sets(4).then_some(status),
        };
        (UserCommand::Update(patch), blind(*micros))
    }

    proptest! {
        #[test]
        fn blind_writes_come_to_the_same_in_any_order(
            writes in prop::collection::btree_map(2_u64..1_000, 1_u8..8, 1..8), turn in 0_usize..8,
        ) {
            let writes: Vec<_> = writes.into_iter().collect();
            let mut turned = writes.clone();
            turned.rotate_left(turn % writes.len());
            let commands = turned.iter().map(write);
            let create = (UserCommand::Create(details()), blind(1));
            let user = run(&[vec![create], commands.collect()].concat()).unwrap();
            // Of each field the latest write that sets it stays.
            let last = |field: u8| writes.iter().rev().find(|(_, fields)| fields & field != 0).map_or(1, |(at, _)| *at);
            prop_assert_eq!(user.name.stamp.at.as_micros(), last(1));
            prop_assert_eq!(user.email.stamp.at.as_micros(), last(2));
            prop_assert_eq!(user.status.stamp.at.as_micros(), last(4));
            let shown = (user.email.value, user.status.value);
            let due = Patch::from(match last(2) {
                1 => details(),
                at => Details { email: email(&format!("e{at}@example.com")), ..details() },
            });
            prop_assert_eq!(Some(shown.0), due.email);
            prop_assert_eq!(shown.1 == Status::Suspended, last(4) > 1 && last(4) % 2 == 1);
        }
    }
}
