//! The clients of the chaos tests, and their logs. They read often, write sometimes and request actions, all at random.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use chaos_checker::{Answer, Event, Fields, Kind, Request};
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use resource::Field;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::sleep;

use super::client::Call;
use super::{Api, eventually};
use crate::sample::{self, Sample, text_of};

/// The pause between two requests of a client, in milliseconds. It bounds the load.
const PAUSE_MS: std::ops::Range<u64> = 10..50;
/// The number of attempts of a write with a key. With the pauses they outlast a restart.
const TRIES: usize = 12;
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// The minimum number of items before clients use existing ones.
const USERS_MIN: usize = 16;
/// The number of unique values that several items compete for.
const COVETED: u32 = 4;
/// The maximum number of actions that a client requests in a row.
const ROW_MAX: usize = 3;
/// The share of actions that carry the session's token, if the client has one. Only tokens give a session an order.
const ACTIONS_WITH_TOKEN: (u32, u32) = (7, 8);
/// The number of commands that a client remembers.
const REMEMBERED: usize = 16;

/// The checker's name for the default status.
const DEFAULT: &str = "active";

/// The items of each collection that clients know, the oldest first. Deleted ones stay, because they must not come back.
#[derive(Debug, Default)]
pub struct Town(Mutex<BTreeMap<&'static str, Vec<String>>>);

/// The log of all requests and answers.
#[derive(Debug)]
pub struct Recorder {
    since: Instant,
    events: Mutex<Vec<Event>>,
}

impl Recorder {
    pub fn new() -> Self {
        Self { since: Instant::now(), events: Mutex::default() }
    }

    /// Removes the events from the log, and returns them.
    pub fn take_events(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }

    /// Returns the reads without an answer, or with an error, as texts.
    pub fn unanswered_reads(&self) -> Vec<String> {
        let events = self.events.lock().unwrap();
        let is_answered = |event: &&Event| matches!(event.answer.status, Some(200 | 404));
        let unanswered = events.iter().filter(|event| !event.request.kind.is_write() && !is_answered(event));
        unanswered.map(|event| format!("{event:?}")).collect()
    }

    fn now_us(&self) -> u64 {
        self.since.elapsed().as_micros().try_into().unwrap()
    }
}

/// The behavior of clients.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// The share of requests that carry the token for their item, if the client has one. Actions have their own share.
    pub tokens: (u32, u32),
    /// Whether the service may answer writes with their result. Then one write in three requests an acknowledgement instead.
    pub results: bool,
}

/// One client of one resource. It is one session, and sends one request at a time. The checker's names are those of users. It calls
/// items users, and the changed field their name. The unique value is their email address, and the field with a default their
/// status.
#[derive(Debug)]
pub struct Client<'a> {
    name: String,
    sample: &'static Sample,
    chance: SmallRng,
    manner: Manner,
    town: &'a Town,
    recorder: &'a Recorder,
    /// The session's knowledge of each user.
    known: BTreeMap<String, Known>,
    commands: Vec<String>,
    /// A counter for unique words.
    words: usize,
}

#[derive(Debug, Default)]
struct Known {
    token: Option<String>,
    /// The version that was seen last.
    version: Option<u64>,
}

impl<'a> Client<'a> {
    pub fn new(number: usize, seed: u64, manner: Manner, town: &'a Town, recorder: &'a Recorder) -> Self {
        let chance = SmallRng::seed_from_u64(seed.wrapping_add(1 + number as u64));
        let (known, commands) = (BTreeMap::new(), Vec::new());
        // The checker identifies the writer by the value, so the resource needs a text field.
        let samples: Vec<_> = sample::all().iter().filter(|sample| sample.text.is_some()).collect();
        let sample = samples.get(number % samples.len().max(1)).copied().unwrap_or_else(sample::main);
        Self { name: format!("client-{number}"), sample, chance, manner, town, recorder, known, commands, words: 0 }
    }

    /// Sends requests until it is stopped.
    pub async fn live(&mut self, api: &Api, stopped: &watch::Receiver<()>) {
        while stopped.has_changed().is_ok() {
            self.ask_for_something(api).await;
            sleep(Duration::from_millis(self.chance.random_range(PAUSE_MS))).await;
        }
    }

    /// Reads all known users, with their tokens, when no command is pending any more.
    pub async fn read_back(&mut self, api: &Api) {
        for user in self.known.keys().cloned().collect::<Vec<_>>() {
            let read = Request { user: Some(user.clone()), token_sent: self.has_token(&user), ..request(Kind::Read) };
            eventually(&format!("{user} can be read"), async || {
                let answer = self.send(api, read.clone()).await;
                (!answer.is_unknown() && answer.status != Some(429)).then_some(())
            })
            .await;
        }
    }

    async fn ask_for_something(&mut self, api: &Api) {
        let Some(user) = self.any_user() else { return self.create(api).await };
        match self.chance.random_range(0..100) {
            0..90 => {
                let token_sent = self.takes_token(&user);
                self.send(api, Request { user: Some(user), token_sent, ..request(Kind::Read) }).await;
            }
            90..92 => self.create(api).await,
            92..95 if self.sample.machine.is_some() => self.act_in_a_row(api, user).await,
            92..98 => self.change(api, user).await,
            98 => self.delete(api, user).await,
            _ => self.ask(api).await,
        }
    }

    /// Returns a user, if there are enough. Older ones are more likely, so that clients share them.
    fn any_user(&mut self) -> Option<String> {
        let mut town = self.town.0.lock().unwrap();
        let users = town.entry(self.sample.resource.collection).or_default();
        if users.len() < USERS_MIN {
            return None;
        }
        let mut draw = || self.chance.random_range(0..users.len());
        let place = draw().min(draw());
        Some(users[place].clone())
    }

    fn has_token(&self, user: &str) -> bool {
        self.known.get(user).is_some_and(|known| known.token.is_some())
    }

    fn takes_token(&mut self, user: &str) -> bool {
        let (some, of) = self.manner.tokens;
        self.has_token(user) && self.chance.random_ratio(some, of)
    }

    async fn create(&mut self, api: &Api) {
        let fields = Fields { name: Some(self.text()), email: self.unique(), ..Fields::default() };
        let created = self.write(api, Request { fields, ..request(Kind::Create) }).await;
        let Some(user) = created.user else { return };
        let read = Request { user: Some(user.clone()), token_sent: true, ..request(Kind::Read) };
        if self.send(api, read).await.status == Some(200) {
            self.town.0.lock().unwrap().entry(self.sample.resource.collection).or_default().push(user.clone());
            // A new item allows most actions.
            if self.sample.machine.is_some() && self.chance.random_bool(0.5) {
                self.act_in_a_row(api, user).await;
            }
        }
    }

    /// Requests some actions one after another, without waiting for outcomes. Half of the sequences follow the state machine, the
    /// others are random. Sometimes a change of fields comes in between.
    async fn act_in_a_row(&mut self, api: &Api, user: String) {
        let Some(machine) = &self.sample.machine else { return };
        let count = self.chance.random_range(1..=ROW_MAX);
        let mut actions: Vec<_> = machine.walk.iter().copied().take(count).collect();
        if self.chance.random_bool(0.5) {
            actions =
                (0..count).filter_map(|_| self.sample.resource.actions.choose(&mut self.chance).copied()).collect();
        }
        for (number, action) in actions.into_iter().enumerate() {
            if number > 0 && self.chance.random_ratio(1, 6) {
                self.change(api, user.clone()).await;
            }
            // The first action changes the version, so only the first can have a condition.
            let version = self.known.get(&user).and_then(|known| known.version).filter(|_| number == 0);
            let if_match = version.filter(|_| self.chance.random_ratio(1, 5));
            let (some, of) = ACTIONS_WITH_TOKEN;
            let token_sent = self.has_token(&user) && self.chance.random_ratio(some, of);
            let action = Some(action.to_owned());
            self.write(api, Request { user: Some(user.clone()), action, if_match, token_sent, ..request(Kind::Act) })
                .await;
        }
    }

    async fn change(&mut self, api: &Api, user: String) {
        let version = self.known.get(&user).and_then(|known| known.version);
        let if_match = version.filter(|_| self.chance.random_ratio(2, 5));
        let token_sent = self.takes_token(&user);
        let kind = if self.chance.random_ratio(1, 4) { Kind::Replace } else { Kind::Patch };
        let is_other = self.chance.random_bool(0.5);
        let status = self.sample.defaulted.as_ref().map(|field| match is_other {
            true => text_of(&field.other),
            false => DEFAULT.to_owned(),
        });
        let fields = Fields {
            name: Some(self.text()),
            email: (kind == Kind::Replace || self.chance.random_ratio(1, 4)).then(|| self.unique()).flatten(),
            status: status.filter(|_| self.chance.random_ratio(1, 3)),
            state: None,
        };
        self.write(api, Request { user: Some(user), fields, if_match, token_sent, ..request(kind) }).await;
    }

    async fn delete(&mut self, api: &Api, user: String) {
        let token_sent = self.has_token(&user);
        self.write(api, Request { user: Some(user), token_sent, ..request(Kind::Delete) }).await;
    }

    async fn ask(&mut self, api: &Api) {
        if self.commands.is_empty() {
            return;
        }
        let command = Some(self.commands[self.chance.random_range(0..self.commands.len())].clone());
        self.send(api, Request { command, ..request(Kind::Status) }).await;
    }

    /// Returns a word that no other client uses.
    fn word(&mut self) -> String {
        self.words += 1;
        format!("{} {}", self.name, self.words)
    }

    fn text(&mut self) -> String {
        let word = self.word();
        text_of(&self.sample.value(self.sample.changed, &word))
    }

    fn unique(&mut self) -> Option<String> {
        let (field, _) = self.sample.unique?;
        let word = match self.chance.random_ratio(1, 10) {
            true => format!("coveted-{}-{}", self.sample.resource.collection, self.chance.random_range(0..COVETED)),
            false => self.word().replace(' ', "-"),
        };
        Some(text_of(&self.sample.value(field, &word)))
    }

    /// Sends a write. Half of the writes have a key; such a write is retried until the client knows its outcome.
    async fn write(&mut self, api: &Api, mut write: Request) -> Answer {
        write.key = self.chance.random_bool(0.5).then(|| self.word().replace(' ', "-"));
        let mut answer = self.send(api, write.clone()).await;
        for _ in 1..write.key.as_ref().map_or(1, |_| TRIES) {
            if !answer.is_unknown() && answer.status != Some(429) {
                break;
            }
            sleep(RETRY_PAUSE).await;
            answer = self.send(api, write.clone()).await;
        }
        answer
    }

    /// Sends a request, and logs it with its answer.
    async fn send(&mut self, api: &Api, request: Request) -> Answer {
        let prefers_async = self.manner.results && request.kind.is_write() && self.chance.random_ratio(1, 3);
        let mut call = self.call(api, &request);
        if prefers_async {
            call = call.prefer("respond-async");
        }
        let start_us = self.recorder.now_us();
        let received = call.try_send().await.ok();
        let end_us = self.recorder.now_us();
        let answer = received.as_ref().map(|answer| reported(self.sample, answer)).unwrap_or_default();
        let (is_done, is_refused) = match (request.kind, answer.status) {
            (Kind::Read, status) => (status == Some(200), status == Some(404)),
            (Kind::Status, status) => (status == Some(200), false),
            (_, Some(200 | 201 | 204)) => (self.manner.results, false),
            (_, Some(404 | 409 | 412)) => (false, self.manner.results),
            (_, status) => (status == Some(202), false),
        };
        let is_turned_away = answer.status == Some(429);
        assert!(is_done || is_refused || is_turned_away || answer.is_unknown(), "{request:?}: {received:?}");
        if let Some(received) = received.filter(|_| is_done || (is_refused && request.kind == Kind::Read)) {
            self.learn(&request, &answer, received.find("consistency-token"));
        }
        let event = Event { session: self.name.clone(), start_us, end_us, request, answer: answer.clone() };
        self.recorder.events.lock().unwrap().push(event);
        answer
    }

    fn call(&self, api: &Api, request: &Request) -> Call {
        let path = self.sample.resource.item(request.user.as_deref().unwrap_or_default());
        let body = body(self.sample, &request.fields);
        let mut call = match request.kind {
            Kind::Create => api.post(&self.sample.path, &body),
            Kind::Replace => api.put(&path, &body),
            Kind::Patch => api.patch(&path, &body),
            Kind::Delete => api.delete(&path),
            Kind::Act => api.call(Method::POST, &format!("{path}/{}", request.action.as_deref().unwrap())),
            Kind::Read => api.get(&path),
            Kind::Status => api.get(&format!("/commands/{}", request.command.as_deref().unwrap())),
        };
        if let Some(version) = request.if_match {
            call = call.if_match(&format!("\"{version}\""));
        }
        if let Some(key) = &request.key {
            call = call.idempotency_key(key);
        }
        match request.token_sent {
            true => call.token(self.known[request.user.as_deref().unwrap()].token.as_deref().unwrap()),
            false => call,
        }
    }

    /// Remembers the token, by the rule of [`Request::token_sent`], the version and the command.
    fn learn(&mut self, request: &Request, answer: &Answer, token: Option<&str>) {
        let Some(user) = request.user.as_ref().or(answer.user.as_ref()).filter(|_| request.kind != Kind::Status) else {
            return;
        };
        let known = self.known.entry(user.clone()).or_default();
        if request.kind.is_write() || request.token_sent || known.token.is_none() {
            known.token = Some(token.unwrap_or_else(|| panic!("no token for {request:?}")).to_owned());
        }
        known.version = answer.version.or(known.version);
        if let Some(command) = &answer.command {
            self.commands.push(command.clone());
            self.commands.drain(..self.commands.len().saturating_sub(REMEMBERED));
        }
    }
}

fn request(kind: Kind) -> Request {
    let fields = Fields::default();
    Request { kind, user: None, action: None, command: None, fields, if_match: None, token_sent: false, key: None }
}

/// Returns the value that a text represents.
fn value_of(field: &Field, text: &str) -> Value {
    if (field.sample)(1).is_string() { text.into() } else { serde_json::from_str(text).unwrap() }
}

fn body(sample: &Sample, fields: &Fields) -> Value {
    let (unique, name) = (sample.unique.map(|(field, _)| field), sample.changed);
    let mut body = if fields.email.is_some() { sample.body("all") } else { json!({}) };
    if unique.is_none() && fields.name.is_some() {
        body = sample.body("all");
    }
    for (field, text) in [(Some(name), &fields.name), (unique, &fields.email)] {
        if let (Some(field), Some(text)) = (field, text) {
            body[field.name] = value_of(field, text);
        }
    }
    if let (Some(field), Some(status)) = (&sample.defaulted, &fields.status) {
        body[field.name] = if status == DEFAULT { field.default.clone() } else { field.other.clone() };
    }
    body
}

/// Returns the fields of an item, by the checker's names.
pub fn fields<'a>(sample: &Sample, value: impl Fn(&str) -> &'a Value) -> Fields {
    let status = sample.defaulted.as_ref().map(|field| (value(field.name), &field.default));
    Fields {
        name: Some(text_of(value(sample.changed.name))),
        email: sample.unique.map(|(field, _)| text_of(value(field.name))),
        status: Some(match status {
            Some((status, default)) if status != default => text_of(status),
            _ => DEFAULT.to_owned(),
        }),
        state: sample.machine.as_ref().map(|machine| text_of(value(machine.state))),
    }
}

/// Returns the facts of an answer that the checker uses.
fn reported(sample: &Sample, answer: &super::Answer) -> Answer {
    let status = Some(answer.status);
    if !(200..300).contains(&answer.status) {
        return Answer { status, ..Answer::default() };
    }
    if answer.body.is_empty() {
        return Answer { status, ..Answer::default() };
    }
    let body = answer.json();
    let text = |name: &str| body[name].as_str().map(str::to_owned);
    let version = body["version"].as_u64();
    let user = text(&sample.id);
    let mut reported = Answer { status, version, command: text("command_id"), user, ..Answer::default() };
    match body.get(sample.changed.name) {
        Some(_) => {
            assert!(answer.header("etag").starts_with(&format!("\"{}-v", version.unwrap())), "{answer}");
            reported.user = text("id");
            reported.fields = Some(fields(sample, |field| &body[field]));
        }
        None if answer.status == 200 => {
            reported.outcome = Some(serde_json::from_value(body["status"].clone()).unwrap());
        }
        None => {}
    }
    reported
}
