//! Plain resources: structs of fields that clients set, each on its own; the later command wins. They can also have a state
//! machine that actions move. `#[derive(Resource)]` makes one from a struct, and the generated code calls this module.

use bytes::Bytes;
use kernel::clock::Timestamp;
use kernel::domain::{Context, Decision, DecodeError};
use kernel::ids::{AggregateKey, Stamp, Tenant};
use kernel::ports::{IndexEntry, Slot, UniqueKey};
use kernel::problem::Problem;
use kernel::query::ListScope;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::body::{BodyError, Fields};
use crate::field::{Field, List, SET_BY_SERVICE};
use crate::machine::StateMachine;
use crate::parameters::{FilterError, Parameters};
use crate::value::choice::listed;
use crate::value::{Choice, Value};
use crate::{Operation, Resource, text};

/// The shard of an index partition. A partition takes 1,000 writes a second, which is enough for a start.
const SHARD: u32 = 0;
/// The name of the list of all items if no field sorts it. It is sorted by id, and so by age.
const BY_ID: &str = "id";

/// A resource of plain fields. The type itself contains all fields that a client sets.
pub trait Plain: Resource + Clone + PartialEq + Serialize + DeserializeOwned {
    /// The fields of an update, each of them optional.
    type Patch: std::fmt::Debug + Clone + Default + PartialEq + Send + Sync + Serialize + DeserializeOwned;
    /// The states of the state machine.
    type Machine: StateMachine;

    /// Takes all fields from a body.
    fn read(fields: &mut Fields) -> Option<Self>;
    /// Takes the fields that a body contains.
    fn read_patch(fields: &mut Fields) -> Self::Patch;
    /// Returns a patch that sets all fields.
    fn into_patch(self) -> Self::Patch;

    /// Returns the state of a new item.
    fn into_state(self, stamp: Stamp) -> Self::State;
    /// Returns the patch without the fields that already carry this stamp or a later one.
    fn winning(patch: Self::Patch, state: &Self::State, stamp: Stamp) -> Self::Patch;
    /// Returns the state with the fields of a patch.
    fn set(state: Self::State, patch: Self::Patch, stamp: Stamp, at: Timestamp) -> Self::State;
    /// Returns the latest stamp of any field.
    fn latest_stamp(state: &Self::State) -> Stamp;
    /// Returns the state of the state machine.
    fn machine(state: &Self::State) -> Self::Machine;
    /// Returns the state after a move of the state machine.
    fn moved(state: Self::State, to: Self::Machine, at: Timestamp) -> Self::State;
    /// Returns the value of a field; `None` if the resource has no such field.
    fn value<'a>(state: &'a Self::State, field: &Field) -> Option<&'a dyn Keyed>;
}

/// A value that has forms for keys and lists.
pub trait Keyed {
    /// [`Value::search_form`].
    fn search_form(&self) -> String;
    /// [`Value::key`].
    fn key(&self) -> String;
}

impl<V: Value> Keyed for V {
    fn search_form(&self) -> String {
        Value::search_form(self)
    }

    fn key(&self) -> String {
        Value::key(self)
    }
}

/// A value with the stamp of the command that set it. The later stamp wins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamped<T> {
    /// The value.
    pub value: T,
    /// The time and the id of the command that set the value.
    pub stamp: Stamp,
}

impl<T> Stamped<T> {
    /// Returns the new value if there is one, or else the old one.
    #[must_use]
    pub fn or_set(self, value: Option<T>, stamp: Stamp) -> Self {
        value.map_or(self, |value| Self { value, stamp })
    }
}

/// The type of a plain resource's actions.
pub type ActionOf<R> = <<R as Plain>::Machine as StateMachine>::Action;

/// A command for an item of a plain resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", bound = "")]
pub enum Command<R: Plain> {
    /// Creates the item.
    Create(R),
    /// Sets all fields.
    Replace(R),
    /// Sets the given fields.
    Update(R::Patch),
    /// Deletes the item.
    Delete,
    /// Moves the state machine.
    Act(ActionOf<R>),
}

/// A change of an item of a plain resource.
#[derive(Debug, Clone, PartialEq)]
pub enum Event<R: Plain> {
    /// The item was created.
    Created {
        /// Its fields.
        details: R,
        /// The create's stamp.
        stamp: Stamp,
    },
    /// Fields were set.
    Changed {
        /// The fields that were set. Later commands had already set the others.
        patch: R::Patch,
        /// The new stamp of these fields.
        stamp: Stamp,
        /// The time at which the command was accepted.
        at: Timestamp,
    },
    /// An action moved the state machine.
    Moved {
        /// The new state.
        to: R::Machine,
        /// The time at which the command was accepted.
        at: Timestamp,
    },
    /// The item was deleted.
    Deleted,
}

/// Reads the body of a request.
pub fn parse<R: Plain>(operation: Operation, body: &[u8]) -> Result<Command<R>, BodyError> {
    match operation {
        Operation::Create => all_fields(body).map(Command::Create),
        Operation::Replace => all_fields(body).map(Command::Replace),
        Operation::Update => {
            let mut fields = Fields::parse(body)?;
            let patch = R::read_patch(&mut fields);
            fields.finish(Some(patch), unknown::<R>).map(Command::Update)
        }
        Operation::Delete => Ok(Command::Delete),
        Operation::Act(action) => {
            let fields = if body.is_empty() { Fields::default() } else { Fields::parse(body)? };
            fields.finish(Choice::named(action), |_| format!("is not a field of {action}")).map(Command::Act)
        }
    }
}

fn all_fields<R: Plain>(body: &[u8]) -> Result<R, BodyError> {
    let mut fields = Fields::parse(body)?;
    let read = R::read(&mut fields);
    fields.finish(read, unknown::<R>)
}

fn unknown<R: Plain>(field: &str) -> String {
    if SET_BY_SERVICE.contains(&field) {
        return "is set by the service".to_owned();
    }
    match R::FIELDS.iter().any(|known| known.name == field) {
        true => format!("is set by actions only: {}", listed(ActionOf::<R>::ALL, "or")),
        false => format!("is not a field of {}", R::COLLECTION),
    }
}

/// Returns whether the command creates an item.
pub fn creates<R: Plain>(command: &Command<R>) -> bool {
    matches!(command, Command::Create(_))
}

/// Returns whether the command is an action. Its effect depends on the commands before it.
pub fn is_ordered<R: Plain>(command: &Command<R>) -> bool {
    matches!(command, Command::Act(_))
}

/// Decides the effect of a command.
pub fn decide<R: Plain>(state: Option<&R::State>, command: &Command<R>, context: &Context) -> Decision<Event<R>> {
    match (command, state) {
        (Command::Create(details), _) => {
            Decision::Accept(Event::Created { details: details.clone(), stamp: context.stamp })
        }
        // A delete wins over any unconditional write, older or newer.
        (Command::Delete, _) => Decision::Accept(Event::Deleted),
        (Command::Replace(details), Some(state)) => change::<R>(state, &details.clone().into_patch(), context),
        (Command::Update(patch), Some(state)) => change::<R>(state, patch, context),
        (Command::Act(action), Some(state)) => act::<R>(R::machine(state), *action, context),
        // The kernel calls this only if the item exists.
        (Command::Replace(_) | Command::Update(_) | Command::Act(_), None) => Decision::Superseded,
    }
}

/// Applies the last write field by field, in the order of stamps. A write with `If-Match` is based on the current version and
/// always wins.
fn change<R: Plain>(state: &R::State, requested: &R::Patch, context: &Context) -> Decision<Event<R>> {
    let stamp = match context.conditional {
        true => context.stamp.winning_over(R::latest_stamp(state)),
        false => context.stamp,
    };
    let patch = R::winning(requested.clone(), state, stamp);
    if patch == R::Patch::default() && *requested != patch {
        return Decision::Superseded;
    }
    Decision::Accept(Event::Changed { patch, stamp, at: context.accepted_at() })
}

fn act<R: Plain>(from: R::Machine, action: ActionOf<R>, context: &Context) -> Decision<Event<R>> {
    match from.next(action) {
        Some(to) => Decision::Accept(Event::Moved { to, at: context.accepted_at() }),
        None => Decision::Reject(wrong_state(from, action)),
    }
}

/// Returns the problem of an action that the state does not allow.
fn wrong_state<M: StateMachine>(from: M, action: M::Action) -> Problem {
    let fit: Vec<_> = M::ALL.iter().copied().filter(|state| state.next(action).is_some()).collect();
    let detail = format!("the state is `{}`: `{}` needs {}", from.name(), action.name(), listed(&fit, "or"));
    Problem::new("wrong-state", 409, "Wrong state", detail)
}

/// Returns the item after an event.
pub fn evolve<R: Plain>(state: Option<R::State>, event: Event<R>) -> Option<R::State> {
    match (event, state) {
        (Event::Created { details, stamp }, _) => Some(details.into_state(stamp)),
        (Event::Changed { patch, stamp, at }, Some(state)) => Some(R::set(state, patch, stamp, at)),
        (Event::Moved { to, at }, Some(state)) => Some(R::moved(state, to, at)),
        (Event::Deleted, _) | (Event::Changed { .. } | Event::Moved { .. }, None) => None,
    }
}

/// Returns the unique values of an item.
pub fn unique_keys<R: Plain>(tenant: &Tenant, state: &R::State) -> Vec<UniqueKey> {
    let unique = R::FIELDS.iter().filter(|field| field.taken.is_some());
    let unique_key = |field: &Field| {
        let value = R::value(state, field)?.key();
        Some(UniqueKey { kind: R::KIND, tenant: tenant.clone(), field: field.name, value })
    };
    unique.filter_map(unique_key).collect()
}

/// Returns the problem of a value that another item has.
#[must_use]
pub fn unique_key_held<R: Plain>(unique_key: &UniqueKey) -> Problem {
    let field = R::FIELDS.iter().find(|field| field.name == unique_key.field);
    field.map_or_else(Problem::already_exists, |field| field.problem(R::NAME))
}

/// Returns the field by which the list of all items is sorted, if there is one.
fn sorted<R: Plain>() -> Option<(&'static Field, Slot)> {
    R::FIELDS.iter().find_map(|field| match field.list {
        Some(List::Sorted(slot)) => Some((field, slot)),
        Some(List::OfValue(_)) | None => None,
    })
}

/// Returns the list entries of an item.
pub fn index<R: Plain>(key: &AggregateKey, state: &R::State) -> Vec<IndexEntry> {
    let id = key.id.to_string();
    let value = |field| R::value(state, field);
    let (slot, sort_key) = match sorted::<R>().and_then(|(field, slot)| Some((slot, value(field)?.search_form()))) {
        // Two items may have the same value. Values contain no control characters, so the id after `\u{1}` never affects their
        // order.
        Some((slot, form)) => (slot, format!("{form}\u{1}{id}")),
        None => (Slot::I1, id.clone()),
    };
    let mut entries = vec![IndexEntry { slot, partition: partition(""), sort: sort_key.clone() }];
    for field in R::FIELDS {
        let Some(List::OfValue(slot)) = field.list else { continue };
        let Some(value) = value(field) else { continue };
        let sort = if field.taken.is_some() { id.clone() } else { sort_key.clone() };
        entries.push(IndexEntry { slot, partition: partition(&value.key()), sort });
    }
    entries
}

fn partition(key: &str) -> String {
    format!("{SHARD}#{key}")
}

/// Reads the parameters of a list: at most one filter by a field that has a list.
pub fn filter<R: Plain>(parameters: &mut Parameters) -> Result<ListScope, FilterError> {
    let mut names = Vec::new();
    let mut filters = Vec::new();
    for field in R::FIELDS {
        let Some(list) = field.list else { continue };
        let name = match list {
            List::Sorted(_) => format!("{}_prefix", field.name),
            List::OfValue(_) => field.name.to_owned(),
        };
        filters.extend(parameters.take(&name).map(|text| (field, list, name.clone(), text)));
        names.push(name);
    }
    let scope = |list, slot, key: &str, sort_prefix| ListScope {
        kind: R::KIND,
        list,
        slot,
        partition: partition(key),
        sort_prefix,
    };
    match filters.as_slice() {
        [] => {
            let (list, slot) = sorted::<R>().map_or((BY_ID, Slot::I1), |(field, slot)| (field.name, slot));
            Ok(scope(list, slot, "", String::new()))
        }
        [(field, list, name, text)] => {
            let wrong = |detail| FilterError(format!("{name} {detail}"));
            match list {
                List::Sorted(slot) => Ok(scope(field.name, *slot, "", field.beginning(text).map_err(wrong)?)),
                List::OfValue(slot) => Ok(scope(field.name, *slot, &field.key(text).map_err(wrong)?, String::new())),
            }
        }
        _ => Err(FilterError(format!("send at most one of {}", text::listed(&names, "and")))),
    }
}

/// Serialises a form as JSON. Texts and numbers always serialise.
pub fn written(form: &impl Serialize) -> Bytes {
    serde_json::to_vec(form).unwrap_or_default().into()
}

/// Reads the stored form of one schema version. Any other version is an error.
pub fn decode<S: DeserializeOwned>(known: u16, schema: u16, body: &[u8]) -> Result<S, DecodeError> {
    match schema == known {
        true => Ok(serde_json::from_slice(body)?),
        false => Err(DecodeError::UnknownSchema(schema)),
    }
}

#[cfg(test)]
mod tests {
    use kernel::domain::Domain as _;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::testing::cases::{Given, act, create, delete, given, replace, update};
    use crate::value::{Email, Text};

    /// A guest of a hotel.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Resource)]
    #[resource(kind = "G", collection = "guests", machine = "stay: Stay", machine_list = "i2")]
    struct Guest {
        #[resource(sort = "i1")]
        name: Text<20>,
        #[resource(unique, list = "i3")]
        email: Email,
        #[resource(default)]
        smokes: bool,
        #[resource(default)]
        view: View,
    }

    /// The generated code also defines a type of nearly this name.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Choice)]
    enum View {
        #[default]
        Yard,
    }

    #[derive(Debug, Clone, Copy, Default, PartialEq, Choice)]
    enum Stay {
        #[default]
        Booked,
        Here,
        Gone,
    }

    #[derive(Debug, Clone, Copy, PartialEq, Choice)]
    enum Move {
        CheckIn,
        CheckOut,
    }

    impl StateMachine for Stay {
        type Action = Move;

        fn next(self, action: Move) -> Option<Self> {
            match (action, self) {
                (Move::CheckIn, Self::Booked) => Some(Self::Here),
                (Move::CheckOut, Self::Here) => Some(Self::Gone),
                _ => None,
            }
        }
    }

    fn ada() -> Given<Guest> {
        given([create(json!({"name": "Ada", "email": "ada@example.com"})).at(100)])
    }

    #[test]
    fn a_later_stamp_wins_field_by_field_though_it_arrives_first() {
        let later = ada().when(update(json!({"name": "Later"})).at(900)).then();
        let mixed = later.when(update(json!({"name": "Earlier", "smokes": true})).at(500));
        mixed.shows(&json!({"name": "Later", "smokes": true, "created_at": "1970-01-01T00:00:00.000100Z"}));
    }

    #[test]
    fn a_write_all_of_whose_fields_lose_is_superseded() {
        let later = ada().when(update(json!({"name": "Later"})).at(900)).then();
        later.when(update(json!({"name": "Earlier"})).at(500)).is_superseded();
    }

    #[test]
    fn a_write_that_names_its_version_wins_over_a_later_stamp_and_over_what_is_older_than_that() {
        let later = ada().when(update(json!({"name": "Later"})).at(900)).then();
        let seen = later.when(update(json!({"name": "Seen"})).at(500).on_top()).then();
        seen.clone().when(update(json!({"name": "Blind"})).at(800)).is_superseded();
        seen.when(update(json!({}))).shows(&json!({"name": "Seen"}));
    }

    #[test]
    fn a_replace_sets_what_is_left_out_to_its_default_and_a_repeated_one_is_superseded() {
        let smoker = ada().when(update(json!({"smokes": true}))).then();
        let all = replace(json!({"name": "Bob", "email": "bob@example.com"})).at(5_000);
        let replaced = smoker.when(all.clone()).then();
        replaced.clone().when(all).is_superseded();
        replaced.when(update(json!({}))).shows(&json!({"name": "Bob", "smokes": false}));
    }

    #[test]
    fn a_delete_wins_over_a_later_write() {
        ada().when(update(json!({"name": "Later"})).at(900)).then().when(delete().at(500)).is_gone();
    }

    #[test]
    fn actions_move_the_machine_and_leave_fields_alone() {
        let here = ada().when(act("check_in")).then();
        here.clone().when(act("check_in")).is_rejected("wrong-state");
        here.clone().when(update(json!({"smokes": true}))).shows(&json!({"stay": "here"}));
        here.when(act("check_out")).shows(&json!({"name": "Ada", "stay": "gone"}));
        ada().when(act("check_out")).is_rejected("wrong-state");
    }

    fn errors(operation: Operation, body: &str) -> Vec<(String, String)> {
        match Guest::parse(operation, body.as_bytes()) {
            Err(BodyError::Fields(errors)) => errors.into_iter().map(|error| (error.pointer, error.detail)).collect(),
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn all_errors_of_a_body_are_reported_at_once_with_their_reasons() {
        let body = r#"{"name":7,"stay":"gone","version":1,"a/b~c":1,"smokes":true,"smokes":true}"#;
        let mut found = errors(Operation::Create, body);
        found.sort();
        let due = [
            ("/a~1b~0c", "is not a field of guests"),
            ("/email", "is required"),
            ("/name", "must be a string"),
            ("/smokes", "is given twice"),
            ("/stay", "is set by actions only: `check_in` or `check_out`"),
            ("/version", "is set by the service"),
        ];
        assert_eq!(found, due.map(|(pointer, detail)| (pointer.to_owned(), detail.to_owned())));
        assert_eq!(errors(Operation::Update, r#"{"name":null}"#)[0].1, "must not be null: no field can be removed");
        assert_eq!(errors(Operation::Act("check_in"), r#"{"name":"x"}"#)[0].1, "is not a field of check_in");
        assert!(Guest::parse(Operation::Act("check_in"), b"").is_ok());
    }

    #[test]
    fn no_depth_of_nesting_ends_the_process() {
        let deep = |opens: &str, closes: &str, depth: usize| {
            format!("{{\"name\":{}{}}}", opens.repeat(depth), closes.repeat(depth))
        };
        let parse = move || {
            for body in [deep("[", "]", 30_000), deep("{\"a\":", "}", 9_000), "{\"name\":".repeat(7_000)] {
                assert!(Guest::parse(Operation::Create, body.as_bytes()).is_err());
            }
        };
        // An eighth of the stack of a thread of the service.
        std::thread::Builder::new().stack_size(256 * 1024).spawn(parse).unwrap().join().unwrap();
    }

    #[test]
    fn a_body_that_names_a_switch_of_the_json_library_is_a_body_with_an_unknown_field() {
        // The library's own `Value` takes this key as an instruction to parse the text behind it.
        let hidden = r#"{"$serde_json::private::RawValue":"{\"name\":\"Ada\"}"}"#;
        assert_eq!(errors(Operation::Update, hidden)[0].0, "/$serde_json::private::RawValue");
    }

    fn listed_by(parameters: &[(&str, &str)]) -> Result<ListScope, String> {
        let mut given = Parameters::default();
        for (name, value) in parameters {
            given.add(*name, *value);
        }
        Guest::filter(&mut given).map_err(|error| error.to_string())
    }

    #[test]
    fn a_list_is_of_all_or_of_one_filter() {
        let list = |parameters: &[(&str, &str)]| listed_by(parameters).map(|scope| (scope.slot, scope.list));
        assert_eq!(list(&[]), Ok((Slot::I1, "name")));
        assert_eq!(list(&[("name_prefix", "A")]), Ok((Slot::I1, "name")));
        assert_eq!(list(&[("stay", "here")]), Ok((Slot::I2, "stay")));
        assert_eq!(list(&[("email", "Ada@Example.com")]), Ok((Slot::I3, "email")));
        assert_eq!(listed_by(&[("email", "ADA@example.com")]), listed_by(&[("email", "ada@example.com")]));
        for (wrong, why) in [
            (&[("email", "a@b.de"), ("stay", "here")][..], "send at most one of name_prefix, email and stay"),
            (&[("email", "nobody")], "email must be an email address such as ada@example.com, of at most 254 bytes"),
            (&[("stay", "away")], "stay must be `booked`, `here` or `gone`"),
            (&[("name_prefix", "")], "name_prefix must have 1 to 20 characters"),
            (&[("name_prefix", "a\n")], "name_prefix must not contain control characters"),
        ] {
            assert_eq!(listed_by(wrong).unwrap_err(), why);
        }
    }

    proptest! {
        #[test]
        fn no_body_panics_the_parser(body in prop::collection::vec(any::<u8>(), 0..200)) {
            crate::testing::command_body::<Guest>(&body);
        }

        #[test]
        fn any_body_is_a_command_or_gets_errors_that_point_into_it(
            fields in prop::collection::vec(("(name|email|smokes|stay|[a-z/~$]{0,4})", value()), 0..6),
        ) {
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            crate::testing::command_body::<Guest>(format!("{{{}}}", fields.join(",")).as_bytes());
        }

        #[test]
        fn whatever_is_stored_an_item_that_is_read_is_a_valid_one(
            at in any::<prop::sample::Index>(), byte in any::<u8>(), rubbish in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            crate::testing::stored_item::<Guest>(&rubbish);
            let mut body = Guest::encode(&ada().state().unwrap()).to_vec();
            let at = at.index(body.len());
            body[at] = byte;
            crate::testing::stored_item::<Guest>(&body);
        }

        #[test]
        fn blind_writes_come_to_the_same_in_any_order(
            writes in prop::collection::btree_map(200_u64..1_000, 1_u8..8, 1..8), turn in 0_usize..8,
        ) {
            let writes: Vec<_> = writes.into_iter().collect();
            let body = |(at, fields): &(u64, u8)| {
                let all = json!({"name": format!("n{at}"), "email": format!("e{at}@example.com"), "smokes": at % 2 == 0});
                let sets = |(index, _): &(usize, _)| fields & (1 << index) != 0;
                let some = all.as_object().unwrap().clone().into_iter().enumerate().filter(sets);
                update(serde_json::Value::Object(some.map(|(_, field)| field).collect())).at(*at)
            };
            let mut turned = writes.clone();
            turned.rotate_left(turn % writes.len());
            let run = |writes: &[(u64, u8)]| writes.iter().fold(ada(), |guest, write| guest.when(body(write)).then());
            prop_assert_eq!(run(&writes).state(), run(&turned).state());
            let last = |index: u8| writes.iter().rev().find(|(_, fields)| fields & (1 << index) != 0);
            let found = run(&turned).state().unwrap();
            // In the order of their names: email, name, smokes.
            let stamps = [found.email.stamp, found.name.stamp, found.smokes.stamp].map(|stamp| stamp.at.as_micros());
            prop_assert_eq!(stamps, [0, 1, 2].map(|index| last(index).map_or(100, |(at, _)| *at)));
        }
    }

    /// Returns values for a field, most of them valid or nearly valid.
    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            "\"(Ada|here|ada@example\\.com|)\"",
            any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
            "(null|true|-0|1e5|[1-9][0-9]{0,29}|\\[\\]|\\{\\}|\\[\\{\"a\":[1]\\}\\])",
        ]
    }
}
