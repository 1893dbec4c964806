//! Direct access to the stores and the queue: to write test data, and to check the rules at rest.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use chaos_checker::{Command, Rest, User};
use kernel::ids::Tenant;
use kernel::ports::UniqueKey;
use serde_json::Value;

use super::clients::fields;
use super::judge::name_of;
use super::poll::eventually_within;
use super::stack::Stack;
use super::{client, unique};
use crate::sample::{self, Sample, text_of};

type Item = std::collections::HashMap<String, AttributeValue>;

/// Clients of a stack's own stores.
#[derive(Debug)]
pub struct Stores {
    dynamodb: aws_sdk_dynamodb::Client,
    sqs: aws_sdk_sqs::Client,
    status: Value,
    is_fifo: bool,
}

/// The content of the tables.
#[derive(Debug)]
pub struct Content {
    states: BTreeMap<String, Stored>,
    views: BTreeMap<String, Stored>,
    /// The holder of each unique key.
    unique_keys: BTreeMap<String, String>,
    /// The versions that the applied commands of each item made.
    applied: BTreeMap<String, Vec<u64>>,
    /// The commands that have not ended.
    open: Vec<String>,
    /// All commands.
    commands: Vec<Command>,
}

#[derive(Debug)]
struct Stored {
    version: u64,
    /// The body; absent in a tombstone.
    body: Option<Value>,
}

impl Stores {
    pub async fn of(stack: &Stack) -> Self {
        let status = stack.status().await;
        let config = |part: &str| adapters::clients::local(&stack.endpoint(part));
        Self {
            dynamodb: adapters::clients::dynamodb(&config("dynamodb")),
            sqs: adapters::clients::sqs(&config("sqs")),
            is_fifo: stack.service.variant.queue() == "fifo",
            status,
        }
    }

    /// Sends a raw message to the queue between write-fn and ingest-fn.
    pub async fn try_send(&self, body: &str) -> Result<(), aws_sdk_sqs::Error> {
        let mut send = self.sqs.send_message().queue_url(text(&self.status["queue"]["url"])).message_body(body);
        if self.is_fifo {
            send = send.message_group_id(unique("group")).message_deduplication_id(unique("deduplication"));
        }
        send.send().await?;
        Ok(())
    }

    /// Sends a message like [`Stores::try_send`]; panics if that fails.
    pub async fn send(&self, body: &str) {
        self.try_send(body).await.unwrap();
    }

    /// Reads the content of all tables.
    pub async fn content(&self) -> Content {
        let mut content = Content {
            states: BTreeMap::new(),
            views: BTreeMap::new(),
            unique_keys: BTreeMap::new(),
            applied: BTreeMap::new(),
            open: Vec::new(),
            commands: Vec::new(),
        };
        for item in self.scan("-write").await {
            let key = string(&item, "pk").to_owned();
            if key.starts_with("Q#") {
                content.unique_keys.insert(key, string(&item, "holder").to_owned());
            } else if sample_of(&key).is_some() {
                content.states.insert(key, stored(&item));
            } // Any other entry is progress of a long operation.
        }
        for item in self.scan("-read-").await {
            let key = string(&item, "pk").to_owned();
            if sample_of(&key).is_some() {
                content.views.insert(key, stored(&item));
            }
        }
        for item in self.scan("-commands").await {
            content.add_command(&item);
        }
        content
    }

    /// Returns all items of the table whose name contains this text.
    async fn scan(&self, table: &str) -> Vec<Item> {
        let name = self.status["tables"].as_object().unwrap().keys().find(|name| name.contains(table)).unwrap();
        let pages = self.dynamodb.scan().table_name(name).consistent_read(true).into_paginator().items().send();
        pages.collect::<Result<_, _>>().await.unwrap()
    }
}

/// Waits until the queue is empty. Asserts that there are no dead letters.
pub async fn drained(stack: &Stack) {
    eventually_within(client::OUTCOME_MAX, "the queue is empty", async || {
        let queue = stack.status().await["queue"].take();
        assert_eq!(queue["dead_lettered"], 0, "{queue}");
        (queue["visible"] == 0 && queue["in_flight"] == 0).then_some(())
    })
    .await;
}

impl Content {
    fn add_command(&mut self, item: &Item) {
        let command = string(item, "pk").to_owned();
        let outcome = Value::from(string(item, "status"));
        self.commands.push(Command {
            id: command.rsplit_once('#').unwrap().1.to_owned(),
            user: Some(string(item, "aggregate").to_owned()),
            outcome: serde_json::from_value(outcome).unwrap(),
            version: item.contains_key("version").then(|| number(item, "version")),
            judged_after_us: None,
            problem: None,
        });
        match string(item, "status") {
            "applied" => {
                let version = number(item, "version");
                self.applied.entry(string(item, "aggregate").to_owned()).or_default().push(version);
            }
            "rejected" | "superseded" => {}
            _ => self.open.push(command),
        }
    }

    /// Returns the numbers of live and of deleted items.
    pub fn live_and_deleted(&self) -> (usize, usize) {
        let live = self.states.values().filter(|state| state.body.is_some()).count();
        (live, self.states.len() - live)
    }

    /// Returns the state at rest for the checker. Commands have the first part of their public id, up to the dot.
    pub fn rest(&self) -> Rest {
        let keys: BTreeSet<_> = self.states.keys().chain(self.views.keys()).collect();
        let user = |key: &String| {
            let [_, tenant, id] = key.split('#').collect::<Vec<_>>().try_into().unwrap();
            let sample = sample_of(key).unwrap();
            User {
                tenant: str::to_owned(tenant),
                id: str::to_owned(id),
                machine: sample.machine.is_some().then(|| name_of(sample)),
                written: self.states.get(key).map(|stored| stored.to_check(sample, value)),
                shown: self.views.get(key).map(|stored| stored.to_check(sample, |field| field)),
            }
        };
        Rest { commands: self.commands.clone(), users: keys.into_iter().map(user).collect() }
    }

    /// Returns the contradictions between the stores, apart from commands.
    pub fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.compare_stores(&mut found);
        self.check_unique_keys(&mut found);
        found
    }

    /// Returns all violations of the rules at rest.
    pub fn violations(&self) -> Vec<String> {
        let mut found: Vec<String> = self.open.iter().map(|command| format!("{command} has not ended")).collect();
        self.compare_stores(&mut found);
        self.check_versions(&mut found);
        self.check_unique_keys(&mut found);
        found
    }

    /// Checks that each view is the projection of its state.
    fn compare_stores(&self, found: &mut Vec<String>) {
        let keys: BTreeSet<_> = self.states.keys().chain(self.views.keys()).collect();
        for key in keys {
            match (self.states.get(key), self.views.get(key)) {
                (Some(state), Some(view)) if sample_of(key).is_some_and(|sample| projects_to(sample, state, view)) => {}
                (state, view) => found.push(format!("{key}: state {state:?}, but view {view:?}")),
            }
        }
    }

    /// Checks that exactly one command made each version.
    fn check_versions(&self, found: &mut Vec<String>) {
        let mut applied = self.applied.clone();
        for (key, state) in &self.states {
            let id = key.rsplit_once('#').unwrap().1;
            let mut versions = applied.remove(id).unwrap_or_default();
            versions.sort_unstable();
            if !versions.iter().copied().eq(1..=state.version) {
                found.push(format!("{key} is at {}, but its commands made {versions:?}", state.version));
            }
        }
        found.extend(applied.keys().map(|id| format!("commands were applied to {id}, which does not exist")));
    }

    /// Checks that the unique keys are those of the unique values of live items.
    fn check_unique_keys(&self, found: &mut Vec<String>) {
        let mut due = BTreeMap::new();
        for (key, state) in &self.states {
            let Some(body) = &state.body else { continue };
            let sample = sample_of(key).unwrap();
            let tenant: Tenant = key.split('#').nth(1).unwrap().parse().unwrap();
            for field in sample.settable().filter(|field| field.taken.is_some()) {
                let value = field.key(&text_of(&body[field.name]["value"])).unwrap();
                let unique_key =
                    UniqueKey { kind: sample.resource.kind, tenant: tenant.clone(), field: field.name, value };
                due.insert(unique_key.to_string(), key.clone());
            }
        }
        if due != self.unique_keys {
            found.push(format!("live items should hold {due:#?}, but the unique keys are {:#?}", self.unique_keys));
        }
    }
}

impl Stored {
    fn to_check(&self, sample: &Sample, value: impl Fn(&Value) -> &Value) -> chaos_checker::Stored {
        let fields = self.body.as_ref().map(|body| fields(sample, |name| value(&body[name])));
        chaos_checker::Stored { version: self.version, fields }
    }
}

/// Returns the resource of a key; `None` if the key is of another kind of entry.
fn sample_of(key: &str) -> Option<&'static Sample> {
    let (kind, _) = key.split_once('#')?;
    sample::all().iter().find(|sample| sample.resource.kind.letters() == kind)
}

fn projects_to(sample: &Sample, state: &Stored, view: &Stored) -> bool {
    let same = match (&state.body, &view.body) {
        (None, None) => true,
        (Some(state), Some(body)) => {
            let is_shown = |name: &str| *value(&state[name]) == body[name];
            let machine = sample.machine.as_ref().map(|machine| machine.state);
            let names = sample.settable().map(|field| field.name).chain(machine);
            names.into_iter().all(is_shown) && body["version"] == view.version
        }
        _ => false,
    };
    same && state.version == view.version
}

/// Returns the value of a stored field. A field that clients set also has the stamp of its write.
fn value(field: &Value) -> &Value {
    field.get("value").unwrap_or(field)
}

fn stored(item: &Item) -> Stored {
    let body = item.get("body").map(|body| serde_json::from_slice(body.as_b().unwrap().as_ref()).unwrap());
    Stored { version: number(item, "version"), body }
}

fn string<'a>(item: &'a Item, attribute: &str) -> &'a str {
    let value = item.get(attribute).unwrap_or_else(|| panic!("no {attribute} in {item:?}"));
    value.as_s().unwrap_or_else(|_| panic!("{attribute} is no string in {item:?}"))
}

fn number(item: &Item, attribute: &str) -> u64 {
    let value = item.get(attribute).unwrap_or_else(|| panic!("no {attribute} in {item:?}"));
    value.as_n().unwrap_or_else(|_| panic!("{attribute} is no number in {item:?}")).parse().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}
