//! The served resources, as the end-to-end tests see them: each field by the part that it plays. All of it is derived from
//! the list of resources and tried out with their own code, so no test names a resource or a field.

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

/// The collections of the samples that come with the template. Together they have all parts, so each check must find one.
const SHIPPED: [&str; 2] = ["users", "orders"];
/// Samples of a field among which another value than its default is looked for.
const SAMPLES: u64 = 64;
/// Nobody's text is longer.
const CHARS_MAX: usize = 10_000;

/// A served resource.
#[derive(Debug)]
pub struct Sample {
    pub resource: &'static Description,
    /// The path of all, for example `/users`.
    pub path: String,
    /// The member of acknowledgements and status documents that has the identity, for example `user_id`.
    pub id: String,
    /// The field that the checks change. It takes any text and may have one value twice, if there is such a field.
    pub changed: &'static Field,
    /// [`Sample::changed`], if it takes any text and may have one value twice.
    pub text: Option<&'static Field>,
    /// A field with a value that one item of a tenant has, and the code of the problem of a second one.
    pub unique: Option<(&'static Field, &'static str)>,
    /// A field that a create may leave out.
    pub defaulted: Option<Defaulted>,
    /// A text by which the list of all is sorted, and searched by its beginning.
    pub sorted: Option<&'static Field>,
    /// A state that only actions change.
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
    /// Actions that can be done to a new item one after another, as many as possible, each at most once.
    pub walk: Vec<&'static str>,
    /// Actions that can be done to a new item, and one that is refused after them.
    pub refused: (Vec<&'static str>, &'static str),
    /// All states and transitions, for the checker.
    pub data: chaos_checker::Machine,
}

/// All served resources.
pub fn all() -> &'static [Sample] {
    static ALL: LazyLock<Vec<Sample>> = LazyLock::new(|| RESOURCES.iter().map(Sample::of).collect());
    &ALL
}

/// The resource with the most parts: for tests that need one resource only.
pub fn main() -> &'static Sample {
    // The first of those that have as many.
    all().iter().rev().max_by_key(|sample| sample.parts()).unwrap_or_else(|| panic!("nothing is served"))
}

/// The resource that has this path, or an item with this path.
pub fn at(path: &str) -> Option<&'static Sample> {
    all().iter().find(|sample| path.split(['/', '?']).nth(1) == Some(sample.resource.collection))
}

/// All scopes for this access, for the `scope` claim of a token.
pub fn scopes(access: &[Access]) -> String {
    let of = |resource: &Description| access.iter().map(|access| resource.scope(*access)).collect::<Vec<_>>();
    RESOURCES.iter().flat_map(of).collect::<Vec<_>>().join(" ")
}

/// Whether the samples that come with the template, which the documents show, are served.
pub fn are_shipped() -> bool {
    SHIPPED.iter().all(|name| RESOURCES.iter().any(|resource| resource.collection == *name))
}

/// Fails if a check found the parts that it needs in no resource, although the shipped samples have them all.
pub fn assert_checked(checked: usize) {
    assert!(checked > 0 || !are_shipped(), "no resource has the parts that this check needs");
}

impl Sample {
    fn of(resource: &'static Description) -> Self {
        let settable = || resource.fields.iter().filter(|field| field.is_settable);
        let is_sorted = |field: &&Field| matches!(field.list, Some(List::Sorted(_)));
        let mut repeatable: Vec<_> = settable().filter(|field| field.taken.is_none()).collect();
        // The best one first.
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

    /// The other resources.
    pub fn others(&self) -> impl Iterator<Item = &'static Self> {
        let kind = self.resource.kind;
        all().iter().filter(move |other| other.resource.kind != kind)
    }

    /// The fields that clients set.
    pub fn settable(&self) -> impl Iterator<Item = &'static Field> {
        self.resource.fields.iter().filter(|field| field.is_settable)
    }

    /// The names of the fields that a create must give.
    pub fn required(&self) -> Vec<&'static str> {
        self.settable().filter(|field| field.is_required).map(|field| field.name).collect()
    }

    /// A value for a word: the same for the same word, and different values for different words as far as there are some.
    pub fn value(&self, field: &Field, word: &str) -> Value {
        let spelt = [json!(word), json!(format!("{word}@example.com"))];
        let mut taken = spelt.into_iter().filter(|value| keeps(self.resource, field, value));
        taken.next().unwrap_or_else(|| (field.sample)(number_of(word)))
    }

    /// The body of a create or a replace: this word in the field that the checks change, and values that no other item has.
    pub fn body(&self, word: &str) -> Value {
        let required = self.settable().filter(|field| field.is_required);
        let mut body: Map<_, _> = required.map(|field| (field.name.to_owned(), (field.sample)(1))).collect();
        body.insert(self.changed.name.to_owned(), self.value(self.changed, word));
        for field in self.settable().filter(|field| field.taken.is_some()) {
            body.insert(field.name.to_owned(), self.value(field, &unique(field.name)));
        }
        Value::Object(body)
    }

    /// As [`Sample::body`], with the unique values of another body or an item.
    pub fn keeping(&self, item: &Value, word: &str) -> Value {
        let mut body = self.body(word);
        for field in self.settable().filter(|field| field.taken.is_some()) {
            body[field.name] = item[field.name].clone();
        }
        body
    }

    /// As [`Sample::body`], with this value.
    pub fn with(&self, field: &str, value: &Value) -> Value {
        let mut body = self.body(&unique("with"));
        body[field] = value.clone();
        body
    }

    /// The body of an update: another value of the field that the checks change.
    pub fn patch(&self, word: &str) -> Value {
        let word = if self.changed.taken.is_some() { unique(word) } else { word.to_owned() };
        json!({self.changed.name: self.value(self.changed, &word)})
    }

    /// Whether a field takes a value, and shows it as it was given.
    pub fn takes(&self, field: &Field, value: &Value) -> bool {
        keeps(self.resource, field, value)
    }

    /// The same value in upper case, if the field takes it for the same.
    pub fn respelt(&self, field: &Field, value: &Value) -> Option<Value> {
        let (text, upper) = (value.as_str()?, value.as_str()?.to_uppercase());
        let is_same = text != upper && field.key(text).is_ok_and(|key| field.key(&upper) == Ok(key));
        Some(Value::from(upper)).filter(|upper| is_same && keeps(self.resource, field, upper))
    }

    /// The view of a new item after some actions; `None` if one of them is refused.
    pub fn after(&self, body: &Value, actions: &[&'static str]) -> Option<Value> {
        lived(self.resource, body, actions)
    }

    /// A command for an item, as it travels in the queue.
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

    /// The path of a list with this query.
    pub fn list(&self, query: &str) -> String {
        format!("{}?{query}", self.path)
    }

    /// The lists of the items with one value of a field.
    pub fn lists_of_value(&self) -> impl Iterator<Item = &'static Field> {
        self.resource.fields.iter().filter(|field| matches!(field.list, Some(List::OfValue(_))))
    }

    /// The query that finds the items that hold a unique value of this body or view; `None` if there is no such list.
    pub fn held(&self, body: &Value) -> Option<String> {
        let field = self.lists_of_value().find(|field| field.taken.is_some())?;
        Some(of_value(field, &body[field.name]))
    }

    /// Queries of every kind that find the item with this view, besides those without a filter.
    pub fn finding(&self, view: &Value) -> Vec<String> {
        let of_values = self.lists_of_value().map(|field| of_value(field, &view[field.name]));
        let sorted = self.sorted.map(|field| beginning(field, &text_of(&view[field.name])));
        of_values.chain(sorted).collect()
    }

    /// The lists that show some items of a test, and no other items.
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

    /// How long a text of this field may be.
    pub fn chars_max(&self, field: &Field) -> usize {
        let takes = |chars: usize| keeps(self.resource, field, &"x".repeat(chars).into());
        (1..CHARS_MAX).take_while(|chars| takes(*chars)).last().unwrap_or_default()
    }
}

/// A list, and the bodies of the items that it shows, in its order.
#[derive(Debug)]
pub struct OwnList {
    pub query: String,
    pub bodies: Vec<Value>,
}

/// A number for a word, another one for each word. Values of numbers in a row differ most.
fn number_of(word: &str) -> u64 {
    static NUMBERS: LazyLock<(u32, Mutex<BTreeMap<String, u64>>)> =
        LazyLock::new(|| (rand::random(), Mutex::default()));
    let mut numbers = NUMBERS.1.lock().unwrap();
    let next = u64::from(NUMBERS.0) + numbers.len() as u64;
    *numbers.entry(word.to_owned()).or_insert(next)
}

/// Whether a field takes a value, and shows it as it was given.
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

/// All states that actions lead to, and all transitions between them.
fn machine_data(resource: &Description, state: &str, body: &Value) -> Option<chaos_checker::Machine> {
    let state_after = |actions: &[&'static str]| Some(text_of(&lived(resource, body, actions)?[state]));
    let initial = state_after(&[])?;
    // Each state with the actions that lead to it.
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

/// What a create and actions come to without a service.
fn lived(resource: &Description, body: &Value, actions: &[&'static str]) -> Option<Value> {
    struct Lived<'a>(&'a Value, &'a [&'static str]);
    impl Visitor for Lived<'_> {
        type Output = Option<Value>;
        fn visit<R: Resource>(self) -> Option<Value> {
            resource::testing::lived::<R>(self.0, self.1)
        }
    }
    resources::visit(resource, Lived(body, actions)).flatten()
}
