//! The served resources for the end-to-end tests, with a field for each role in the tests. The roles are derived from the list of
//! resources and tried with the resources' own code. So no test names a resource or a field.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex};

use resource::field::List;
pub use resource::testing::{beginning, of_value, parameter, text_of};
use resource::testing::{full_body, is_wide};
use resource::{Access, Description, Field, Resource, Visitor};
use serde_json::{Map, Value, json};
use service::resources::{self, RESOURCES};
use uuid::Uuid;

use crate::harness::unique;

/// The collections of the template's samples. Together they have all parts, so each check must find one.
const SHIPPED: [&str; 2] = ["users", "orders"];
/// The number of sample values that are tried to find one that is not the default.
const SAMPLES: u64 = 64;
/// More characters than any text field takes.
const CHARS_MAX: usize = 10_000;

/// A served resource.
#[derive(Debug)]
pub struct Sample {
    pub resource: &'static Description,
    /// The path of the collection, for example `/users`.
    pub path: String,
    /// The member with the id, in acknowledgements and status documents, for example `user_id`.
    pub id: String,
    /// The field that the checks change. If possible it takes any text and is not unique.
    pub changed: &'static Field,
    /// [`Sample::changed`], if it takes any text and is not unique.
    pub text: Option<&'static Field>,
    /// A unique field, and the code of the problem if its value is taken.
    pub unique: Option<(&'static Field, &'static str)>,
    /// A field that a create may leave out.
    pub defaulted: Option<Defaulted>,
    /// A text field that sorts the list of all items, and finds items by the beginning of their value.
    pub sorted: Option<&'static Field>,
    /// The state machine, whose state only actions change.
    pub machine: Option<Machine>,
}

/// A field with a default.
#[derive(Debug)]
pub struct Defaulted {
    pub name: &'static str,
    pub default: Value,
    pub other: Value,
}

/// A state machine.
#[derive(Debug)]
pub struct Machine {
    /// The field that shows the state.
    pub state: &'static str,
    /// A sequence of actions that a new item allows: as many as possible, each at most once.
    pub walk: Vec<&'static str>,
    /// Actions that a new item allows, and one that is rejected after them.
    pub refused: (Vec<&'static str>, &'static str),
    /// All states and transitions, for the checker.
    pub data: chaos_checker::Machine,
}

/// Returns all served resources.
pub fn all() -> &'static [Sample] {
    static ALL: LazyLock<Vec<Sample>> = LazyLock::new(|| RESOURCES.iter().map(Sample::of).collect());
    &ALL
}

/// Returns the resource with the most parts (state machines not counted), for tests that need only one resource.
pub fn main() -> &'static Sample {
    // The first one, if several have the same number.
    all().iter().rev().max_by_key(|sample| sample.parts()).unwrap_or_else(|| panic!("nothing is served"))
}

/// Returns the resource of a path.
pub fn at(path: &str) -> Option<&'static Sample> {
    all().iter().find(|sample| path.split(['/', '?']).nth(1) == Some(sample.resource.collection))
}

/// Returns all scopes for this access, for the `scope` claim of a token.
pub fn scopes(access: &[Access]) -> String {
    let of = |resource: &Description| access.iter().map(|access| resource.scope(*access)).collect::<Vec<_>>();
    RESOURCES.iter().flat_map(of).collect::<Vec<_>>().join(" ")
}

/// Returns whether the template's samples, which the documents show, are served.
pub fn are_shipped() -> bool {
    SHIPPED.iter().all(|name| RESOURCES.iter().any(|resource| resource.collection == *name))
}

/// Asserts that a check ran for at least one resource, if the template's samples are served.
pub fn assert_checked(checked: usize) {
    assert!(checked > 0 || !are_shipped(), "no resource has the parts that this check needs");
}

impl Sample {
    fn of(resource: &'static Description) -> Self {
        let settable = || resource.fields.iter().filter(|field| field.is_settable);
        let is_sorted = |field: &&Field| matches!(field.list, Some(List::Sorted(_)));
        let mut repeatable: Vec<_> = settable().filter(|field| field.taken.is_none()).collect();
        // The best field first.
        repeatable.sort_by_key(|field| (!takes_any_text(resource, field), !is_sorted(field), !is_wide(field)));
        let changed = repeatable.first().copied().or_else(|| settable().next());
        let changed = changed.unwrap_or_else(|| panic!("{resource:?} has no field that clients set"));
        Self {
            resource,
            path: resource.path(),
            id: format!("{}_id", resource.name),
            changed,
            text: repeatable.first().copied().filter(|field| takes_any_text(resource, field)),
            unique: settable().find_map(|field| Some((field, field.taken?.0))),
            defaulted: settable().find_map(|field| defaulted(resource, field)),
            sorted: settable().find(is_sorted).filter(|field| takes_any_text(resource, field)),
            machine: machine(resource),
        }
    }

    fn parts(&self) -> usize {
        [self.text.is_some(), self.unique.is_some(), self.defaulted.is_some(), self.sorted.is_some()]
            .map(usize::from)
            .iter()
            .sum()
    }

    /// Returns the other resources.
    pub fn others(&self) -> impl Iterator<Item = &'static Self> {
        let kind = self.resource.kind;
        all().iter().filter(move |other| other.resource.kind != kind)
    }

    /// Returns the fields that clients set.
    pub fn settable(&self) -> impl Iterator<Item = &'static Field> {
        self.resource.fields.iter().filter(|field| field.is_settable)
    }

    /// Returns the names of the fields that a create requires.
    pub fn required(&self) -> Vec<&'static str> {
        self.settable().filter(|field| field.is_required).map(|field| field.name).collect()
    }

    /// Returns a value for a word: the same for the same word, and, if possible, different ones for different words.
    pub fn value(&self, field: &Field, word: &str) -> Value {
        let spelt = [json!(word), json!(format!("{word}@example.com"))];
        let mut taken = spelt.into_iter().filter(|value| keeps(self.resource, field, value));
        taken.next().unwrap_or_else(|| (field.sample)(number_of(word)))
    }

    /// Returns a body for a create or a replace, with this word in the changed field, and unused unique values.
    pub fn body(&self, word: &str) -> Value {
        let required = self.settable().filter(|field| field.is_required);
        let mut body: Map<_, _> = required.map(|field| (field.name.to_owned(), (field.sample)(1))).collect();
        body.insert(self.changed.name.to_owned(), self.value(self.changed, word));
        for field in self.settable().filter(|field| field.taken.is_some()) {
            body.insert(field.name.to_owned(), self.value(field, &unique(field.name)));
        }
        Value::Object(body)
    }

    /// Returns a body like [`Sample::body`], with the unique values of another body or item.
    pub fn keeping(&self, item: &Value, word: &str) -> Value {
        let mut body = self.body(word);
        for field in self.settable().filter(|field| field.taken.is_some()) {
            body[field.name] = item[field.name].clone();
        }
        body
    }

    /// Returns a body like [`Sample::body`], with this value in a field.
    pub fn with(&self, field: &str, value: &Value) -> Value {
        let mut body = self.body(&unique("with"));
        body[field] = value.clone();
        body
    }

    /// Returns a body for an update, with this word in the changed field.
    pub fn patch(&self, word: &str) -> Value {
        let word = if self.changed.taken.is_some() { unique(word) } else { word.to_owned() };
        json!({self.changed.name: self.value(self.changed, &word)})
    }

    /// Returns two different bodies for a create or a replace.
    pub fn bodies(&self) -> [Value; 2] {
        two_different(|word| self.body(word))
    }

    /// Returns two different bodies for an update.
    pub fn patches(&self) -> [Value; 2] {
        two_different(|word| self.patch(word))
    }

    /// Returns whether a field takes a value and shows it unchanged.
    pub fn takes(&self, field: &Field, value: &Value) -> bool {
        keeps(self.resource, field, value)
    }

    /// Returns the value in upper case, if the field treats both as equal.
    pub fn respelt(&self, field: &Field, value: &Value) -> Option<Value> {
        let (text, upper) = (value.as_str()?, value.as_str()?.to_uppercase());
        let is_same = text != upper && field.key(text).is_ok_and(|key| field.key(&upper) == Ok(key));
        Some(Value::from(upper)).filter(|upper| is_same && keeps(self.resource, field, upper))
    }

    /// Returns the view of a new item after some actions; `None` if one of them is rejected.
    pub fn after(&self, body: &Value, actions: &[&'static str]) -> Option<Value> {
        lived(self.resource, body, actions)
    }

    /// Returns a command for an item, as a message of the queue.
    pub fn message(&self, id: &str, at: u64, command: &Value) -> Value {
        let stamp = json!({"at": at, "command": Uuid::now_v7()});
        let mut message = json!({"schema": 1, "tenant": "local", "subject": "local-user", "aggregate": id, "stamp": stamp,
            "expected": "unsaid", "command": command});
        if let Some(kind) = self.resource.kind.name() {
            message["schema"] = 2.into();
            message["kind"] = kind.into();
        }
        message
    }

    /// Returns the path of a list with this query.
    pub fn list(&self, query: &str) -> String {
        format!("{}?{query}", self.path)
    }

    /// Returns the fields with a list of the items that have one value.
    pub fn lists_of_value(&self) -> impl Iterator<Item = &'static Field> {
        self.resource.fields.iter().filter(|field| matches!(field.list, Some(List::OfValue(_))))
    }

    /// Returns the query for the items that hold a unique value of this body or view; `None` if there is no such list.
    pub fn held(&self, body: &Value) -> Option<String> {
        let field = self.lists_of_value().find(|field| field.taken.is_some())?;
        Some(of_value(field, &body[field.name]))
    }

    /// Returns a query of each kind, except without a filter, that finds the item with this view.
    pub fn finding(&self, view: &Value) -> Vec<String> {
        let of_values = self.lists_of_value().map(|field| of_value(field, &view[field.name]));
        let sorted = self.sorted.map(|field| beginning(field, &text_of(&view[field.name])));
        of_values.chain(sorted).collect()
    }

    /// Returns lists that show the items of one test only.
    pub fn own_lists(&self, count: usize) -> Vec<OwnList> {
        let word = unique("own");
        let by_beginning = self.sorted.map(|field| OwnList {
            query: beginning(field, &word),
            bodies: (0..count).map(|n| self.with(field.name, &self.value(field, &format!("{word}-{n:03}")))).collect(),
        });
        let of_values =
            self.lists_of_value().filter(|field| field.is_settable && field.taken.is_none() && is_wide(field));
        let by_value = of_values.map(|field| {
            let value = self.value(field, &word);
            OwnList {
                query: of_value(field, &value),
                bodies: (0..count).map(|_| self.with(field.name, &value)).collect(),
            }
        });
        by_beginning.into_iter().chain(by_value).collect()
    }

    /// Returns the maximum length of a text in this field, in characters.
    pub fn chars_max(&self, field: &Field) -> usize {
        let takes = |chars: usize| keeps(self.resource, field, &"x".repeat(chars).into());
        (1..CHARS_MAX).take_while(|chars| takes(*chars)).last().unwrap_or_default()
    }
}

/// A list, and the bodies of its items, in its order.
#[derive(Debug)]
pub struct OwnList {
    pub query: String,
    pub bodies: Vec<Value>,
}

/// Returns a different number for each word. The numbers are consecutive, because their sample values differ most.
fn number_of(word: &str) -> u64 {
    static NUMBERS: LazyLock<(u32, Mutex<BTreeMap<String, u64>>)> =
        LazyLock::new(|| (rand::random(), Mutex::default()));
    let mut numbers = NUMBERS.1.lock().unwrap();
    let next = u64::from(NUMBERS.0) + numbers.len() as u64;
    *numbers.entry(word.to_owned()).or_insert(next)
}

/// Returns two different values of a function of words. A field with few values gives several words the same value.
fn two_different(value_of: impl Fn(&str) -> Value) -> [Value; 2] {
    let one = value_of("one");
    let other = (0..SAMPLES).map(|n| value_of(&format!("other-{n}"))).find(|other| *other != one);
    let other = other.unwrap_or_else(|| panic!("{one} is the only value"));
    [one, other]
}

/// Returns whether a field takes a value and shows it unchanged.
fn keeps(resource: &Description, field: &Field, value: &Value) -> bool {
    let mut body = full_body(resource.fields, 1);
    body[field.name] = value.clone();
    lived(resource, &body, &[]).is_some_and(|view| view[field.name] == *value)
}

fn takes_any_text(resource: &Description, field: &Field) -> bool {
    ["a", "Zoë 李 🦀", &"x".repeat(40)].into_iter().all(|text| keeps(resource, field, &text.into()))
}

fn defaulted(resource: &Description, field: &Field) -> Option<Defaulted> {
    if field.is_required || field.taken.is_some() {
        return None;
    }
    let required = resource.fields.iter().filter(|field| field.is_settable && field.is_required);
    let body = required.map(|field| (field.name.to_owned(), (field.sample)(1))).collect();
    let default = lived(resource, &Value::Object(body), &[])?[field.name].take();
    let other = (0..SAMPLES).map(field.sample).find(|value| *value != default)?;
    Some(Defaulted { name: field.name, default, other })
}

fn machine(resource: &Description) -> Option<Machine> {
    struct Walks;
    impl Visitor for Walks {
        type Output = Vec<Vec<&'static str>>;
        fn visit<R: Resource>(self) -> Self::Output {
            resource::testing::walks::<R>()
        }
    }
    let state = resource.fields.iter().find(|field| !field.is_settable)?.name;
    let body = full_body(resource.fields, 1);
    let walks = resources::visit(resource, Walks)?;
    let mut tried = walks.iter().flat_map(|walk| resource.actions.iter().map(move |action| (walk, *action)));
    let is_refused = |walk: &[&'static str], action| lived(resource, &body, &[walk, &[action]].concat()).is_none();
    let (before, action) = tried.find(|(walk, action)| is_refused(walk, action))?;
    Some(Machine {
        state,
        walk: walks.last()?.clone(),
        refused: (before.clone(), action),
        data: machine_data(resource, state, &body)?,
    })
}

/// Returns all states that actions lead to, and all transitions between them.
fn machine_data(resource: &Description, state: &str, body: &Value) -> Option<chaos_checker::Machine> {
    let state_after = |actions: &[&'static str]| Some(text_of(&lived(resource, body, actions)?[state]));
    let initial = state_after(&[])?;
    // Each state, with actions that lead to it.
    let mut states = vec![(initial.clone(), Vec::new())];
    let mut transitions = Vec::new();
    let mut next = 0;
    while let Some((from, walk)) = states.get(next).cloned() {
        for action in resource.actions {
            let longer = [walk.clone(), vec![*action]].concat();
            let Some(to) = state_after(&longer) else { continue };
            if states.iter().all(|(known, _)| *known != to) {
                states.push((to.clone(), longer));
            }
            transitions.push(chaos_checker::Transition { action: (*action).to_owned(), from: from.clone(), to });
        }
        next += 1;
    }
    Some(chaos_checker::Machine { initial, transitions })
}

/// Returns the view after a create and actions, calculated without a service.
fn lived(resource: &Description, body: &Value, actions: &[&'static str]) -> Option<Value> {
    struct Lived<'a>(&'a Value, &'a [&'static str]);
    impl Visitor for Lived<'_> {
        type Output = Option<Value>;
        fn visit<R: Resource>(self) -> Option<Value> {
            resource::testing::view_after::<R>(self.0, self.1)
        }
    }
    resources::visit(resource, Lived(body, actions)).flatten()
}

#[test]
fn two_values_differ_even_if_most_words_give_the_same_one() {
    let value_of = |word: &str| Value::from(word == "other-9");
    assert_eq!(two_different(value_of), [json!(false), json!(true)]);
}
