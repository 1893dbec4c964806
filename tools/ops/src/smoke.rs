//! The smoke test: it tries a service through its front door, as clients do.
//!
//! It creates a user, reads, lists and changes it by every route, and deletes it. It also deletes the user after a failure.

mod fault;
mod sample;
mod service;

use std::time::Duration;

use ::service::api;
use http::Method;
use resource::Description;
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};
use users::User;
use uuid::Uuid;

use self::fault::Fault;
use self::service::{Answer, Call, Service};
use crate::cli::SmokeOptions;
use crate::outcome::{Failure, Outcome};

/// The resource that is tried.
const RESOURCE: Description = Description::of::<User>();
/// The variable that holds the access token: an argument would show it in the list of processes.
const TOKEN_VARIABLE: &str = "WATERSHED_TOKEN";
/// The checks that need a token.
const NEEDS_TOKEN: [&str; 7] = ["write", "command", "read", "list", "change", "replace", "delete"];
/// The time for the deletion of a user after a failure.
const CLEAN_UP_MAX: Duration = Duration::from_secs(10);
/// The first pause before a check is repeated. Each pause is twice the one before.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest pause before a check is repeated.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A check that passed.
#[derive(Debug, Serialize)]
struct Passed {
    check: &'static str,
    call: String,
    found: String,
    milliseconds: u64,
}

/// The check that failed.
#[derive(Debug, Serialize)]
struct Failed {
    check: &'static str,
    #[serde(flatten)]
    fault: Fault,
}

/// The result for scripts.
#[derive(Debug, Serialize)]
struct Document<'a> {
    url: &'a str,
    passed: &'a [Passed],
    failed: Option<&'a Failed>,
    /// The checks that were skipped.
    unchecked: &'a [&'static str],
    /// The path of a user that may still exist, because the deletion failed.
    left: Option<&'a str>,
}

/// Tries the service.
pub(crate) async fn run(options: &SmokeOptions) -> Result<Outcome, Failure> {
    let token = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.trim().is_empty());
    let service = Service::new(&options.url, token.as_deref().map(str::trim), options.timeout)?;
    let mut smoke =
        Run { service, word: Uuid::now_v7().simple().to_string(), step: "", passed: Vec::new(), user: None };
    let began = Instant::now();
    let fault = smoke.all(options.public).await.err();
    let failed = fault.map(|fault| Failed { check: smoke.step, fault });
    let left = if failed.is_some() { smoke.clean_up().await } else { None };
    let unchecked: &[_] = if options.public { &NEEDS_TOKEN } else { &[] };
    let document = Document {
        url: &options.url,
        passed: &smoke.passed,
        failed: failed.as_ref(),
        unchecked,
        left: left.as_deref(),
    };
    Ok(Outcome::new(failed.is_none(), &document, told(&document, began.elapsed())))
}

fn told(document: &Document<'_>, took: Duration) -> Vec<String> {
    let Document { url, passed, failed, unchecked, left } = document;
    let mut lines: Vec<String> = passed.iter().map(Passed::told).collect();
    if !unchecked.is_empty() {
        lines.push(format!("skipped  {}: they need a token in {TOKEN_VARIABLE}", unchecked.join(", ")));
    }
    if let Some(path) = left {
        lines.push(format!("left     {path}: it may still exist: delete it"));
    }
    lines.push(match failed {
        None => format!("{url} answers as it should: {} checks passed in {:.1} s", passed.len(), took.as_secs_f64()),
        Some(Failed { check, fault }) => format!("FAILED   {check:8} {fault}"),
    });
    lines
}

impl Passed {
    fn told(&self) -> String {
        let Self { check, call, found, milliseconds } = self;
        format!("ok       {check:8} {call}: {found} ({milliseconds} ms)")
    }
}

/// One run of the smoke test.
#[derive(Debug)]
struct Run {
    service: Service,
    /// Makes the user's email address unique.
    word: String,
    /// The name of the check under way.
    step: &'static str,
    passed: Vec<Passed>,
    /// The user to delete. It is set before the request that creates the user.
    user: Option<Created>,
}

/// The user of this run; the id is absent until the service has told it.
#[derive(Debug, Default)]
struct Created {
    id: Option<String>,
    token: Option<String>,
}

/// The result of a write.
#[derive(Debug)]
struct Written {
    id: String,
    version: u64,
    /// The consistency token of the answer.
    token: String,
    is_queued: bool,
}

impl Written {
    fn created(&self) -> Created {
        Created { id: Some(self.id.clone()), token: Some(self.token.clone()) }
    }
}

impl Run {
    async fn all(&mut self, public: bool) -> Result<(), Fault> {
        self.without_token(public).await?;
        if public {
            return Ok(());
        }
        let body = sample::body(&self.word, "Smoke test");
        let created = self.create(&body).await?;
        if !created.is_queued {
            self.no_command().await?;
        }
        self.read(&created, &body).await?;
        self.list(&created.id).await?;
        let changed = self.change("change", Method::PATCH, &created, &sample::change("Smoke test, changed")).await?;
        let body = sample::body(&self.word, "Smoke test, replaced");
        let replaced = self.change("replace", Method::PUT, &changed, &body).await?;
        self.read(&replaced, &body).await?;
        self.delete(&replaced).await
    }

    /// Checks the answers that everybody gets.
    async fn without_token(&mut self, public: bool) -> Result<(), Fault> {
        self.step = "health";
        let answer = self.service.send(Call::of_default_route(Method::GET, api::HEALTH)).await?;
        if answer.text(&answer.json(200)?, "status")? != "ok" {
            return Err(answer.fault("200 with the status ok"));
        }
        self.pass(&answer, "200");

        self.step = "404";
        let nowhere = format!("/smoke-test-{}", self.word);
        let answer = self.service.send(Call::of_default_route(Method::GET, nowhere)).await?;
        answer.problem(404)?;
        self.pass(&answer, "404");

        self.step = "405";
        let answer = self.service.send(Call::of_default_route(Method::POST, api::HEALTH)).await?;
        answer.problem(405)?;
        let allow = answer.header("allow")?.to_owned();
        if !allow.split(',').any(|method| method.trim() == "GET") {
            return Err(answer.fault("405 with GET among the methods of Allow"));
        }
        self.pass(&answer, &format!("405, Allow: {allow}"));

        if public || self.service.has_token() {
            self.step = "401";
            let answer = self.service.send(Call::new(Method::GET, RESOURCE.path()).anonymous()).await?;
            if answer.status() == 200 {
                return Err(answer.fault("401").with_advice(fault::UNGUARDED));
            }
            answer.expect(&[401])?;
            self.pass(&answer, "401 without a token");
        }
        Ok(())
    }

    async fn create(&mut self, body: &Value) -> Result<Written, Fault> {
        self.step = "write";
        self.user = Some(Created::default());
        let answer = self.service.send(Call::new(Method::POST, RESOURCE.path()).json(body)).await?;
        if (400..500).contains(&answer.status()) {
            // The service refused the request, so there is no user.
            self.user = None;
        }
        answer.expect(&[201, 202])?;
        let document = answer.document()?;
        let id = answer.text(&document, if answer.status() == 202 { sample::ID } else { "id" })?;
        let token = answer.header("consistency-token").ok().map(str::to_owned);
        self.user = Some(Created { id: Some(id.clone()), token });
        if answer.status() == 201 {
            answer.has("location", &self.service.link(&item(&id)))?;
        }
        let written = self.written(&answer, id).await?;
        self.user = Some(written.created());
        Ok(written)
    }

    /// Changes or replaces the user.
    async fn change(
        &mut self,
        step: &'static str,
        method: Method,
        before: &Written,
        body: &Value,
    ) -> Result<Written, Fault> {
        self.step = step;
        let call = Call::new(method, item(&before.id)).json(body).after(&before.token);
        let answer = self.service.send(call).await?;
        answer.expect(&[200, 202])?;
        let written = self.written(&answer, before.id.clone()).await?;
        self.user = Some(written.created());
        Ok(written)
    }

    /// Checks the answer to a write, and follows its command if it was queued.
    async fn written(&mut self, answer: &Answer, id: String) -> Result<Written, Fault> {
        let token = answer.header("consistency-token")?.to_owned();
        let is_queued = answer.status() == 202;
        let version = if is_queued {
            self.queued(answer).await?
        } else {
            let version = answer.number(&answer.document()?, "version")?;
            has_tag(answer, version)?;
            self.pass(answer, &format!("{}, version {version}", answer.status()));
            version
        };
        Ok(Written { id, version, token, is_queued })
    }

    /// Checks an acknowledgement, and waits until its command is applied; returns the version that it made.
    async fn queued(&mut self, answer: &Answer) -> Result<u64, Fault> {
        let document = answer.document()?;
        let path = command(&answer.text(&document, "command_id")?);
        answer.has("location", &self.service.link(&path))?;
        answer.header("retry-after")?;
        self.pass(answer, "202");
        self.step = "command";
        let mut pause = PAUSE_FIRST;
        loop {
            let answer = self.service.send(Call::new(Method::GET, path.clone())).await?;
            let document = answer.json(200)?;
            match answer.text(&document, "status")?.as_str() {
                "applied" => {
                    self.pass(&answer, "applied");
                    return answer.number(&document, "version");
                }
                "pending" if self.waits(&mut pause).await => {}
                "pending" => return Err(answer.fault("an applied command").with_advice(fault::PENDING)),
                _ => return Err(answer.fault("an applied command").with_advice(fault::NOT_APPLIED)),
            }
        }
    }

    /// Checks the route of commands at a stage that queues none.
    async fn no_command(&mut self) -> Result<(), Fault> {
        self.step = "command";
        let answer = self.service.send(Call::new(Method::GET, command(&self.word))).await?;
        answer.problem(404)?;
        self.pass(&answer, "404, because nothing was queued");
        Ok(())
    }

    /// Reads the user with the token of the write, and compares it.
    async fn read(&mut self, written: &Written, body: &Value) -> Result<(), Fault> {
        self.step = "read";
        let call = Call::new(Method::GET, item(&written.id)).after(&written.token);
        let answer = self.service.send(call).await?;
        let document = answer.json(200)?;
        let differs = |(name, value): &(&String, &Value)| document.get(name.as_str()) != Some(*value);
        if let Some((name, value)) = body.as_object().into_iter().flatten().find(differs) {
            return Err(answer.fault(format!("200 with {name} {value}, which was written")));
        }
        if answer.number(&document, "version")? != written.version {
            return Err(answer.fault(format!("200 with version {}, which was written", written.version)));
        }
        has_tag(&answer, written.version)?;
        answer.header("consistency-token")?;
        self.pass(&answer, &format!("200, version {}", written.version));
        Ok(())
    }

    /// Waits until the list has the user: lists may be some seconds old.
    async fn list(&mut self, id: &str) -> Result<(), Fault> {
        self.step = "list";
        let mut pause = PAUSE_FIRST;
        loop {
            let answer = self.service.send(Call::new(Method::GET, self.finding())).await?;
            if listed(&answer.json(200)?).any(|listed| listed == id) {
                self.pass(&answer, "200, it is listed");
                return Ok(());
            }
            if !self.waits(&mut pause).await {
                return Err(answer.fault(format!("{id} in the list")).with_advice(fault::NOT_LISTED));
            }
        }
    }

    async fn delete(&mut self, before: &Written) -> Result<(), Fault> {
        self.step = "delete";
        let call = Call::new(Method::DELETE, item(&before.id)).after(&before.token);
        let answer = self.service.send(call).await?;
        answer.expect(&[204, 202])?;
        let token = answer.header("consistency-token")?.to_owned();
        if answer.status() == 202 {
            self.queued(&answer).await?;
        } else {
            self.pass(&answer, "204");
        }
        self.step = "read";
        let call = Call::new(Method::GET, item(&before.id)).after(&token);
        let answer = self.service.send(call).await?;
        answer.problem(404)?;
        self.pass(&answer, "404, it is deleted");
        Ok(())
    }

    /// Deletes the user of a failed run; returns its path if it may still exist.
    async fn clean_up(&mut self) -> Option<String> {
        let Created { id, token } = self.user.take()?;
        self.service.restart(CLEAN_UP_MAX);
        // Without an answer to the create, the list may know the id.
        let id = match id {
            Some(id) => Some(id),
            None => self.found().await,
        };
        let Some(id) = id else { return Some(self.finding()) };
        let call = Call::new(Method::DELETE, item(&id));
        let call = token.iter().fold(call, |call, token| call.after(token));
        let is_gone = |answer: Answer| answer.is_from_function() && [202, 204, 404].contains(&answer.status());
        let is_gone = self.service.send(call).await.is_ok_and(is_gone);
        (!is_gone).then(|| item(&id))
    }

    /// The id of the user, if the list has it.
    async fn found(&self) -> Option<String> {
        let answer = self.service.send(Call::new(Method::GET, self.finding())).await.ok()?;
        listed(&answer.json(200).ok()?).next().map(str::to_owned)
    }

    fn finding(&self) -> String {
        format!("{}?{}", RESOURCE.path(), sample::query(&self.word))
    }

    fn pass(&mut self, answer: &Answer, found: &str) {
        let milliseconds = u64::try_from(answer.took().as_millis()).unwrap_or(u64::MAX);
        let (call, found) = (answer.call().to_owned(), found.to_owned());
        self.passed.push(Passed { check: self.step, call, found, milliseconds });
    }

    /// Waits, each time longer than before; returns false if no time is left.
    async fn waits(&self, pause: &mut Duration) -> bool {
        let has_time = Instant::now() + *pause < self.service.deadline();
        if has_time {
            sleep(*pause).await;
            *pause = (*pause * 2).min(PAUSE_MAX);
        }
        has_time
    }
}

fn item(id: &str) -> String {
    RESOURCE.item(id)
}

fn command(id: &str) -> String {
    api::COMMAND.replace(api::ID, id)
}

/// Requires the entity tag of this version. The tag also carries the projection, which only the service knows.
fn has_tag(answer: &Answer, version: u64) -> Result<(), Fault> {
    let beginning = format!("\"{version}-v");
    let is_of_version = answer.header("etag")?.starts_with(&beginning);
    if is_of_version { Ok(()) } else { Err(answer.fault(format!("etag: {beginning}…\""))) }
}

/// The identities on a page.
fn listed(page: &Value) -> impl Iterator<Item = &str> {
    page.get("items").and_then(Value::as_array).into_iter().flatten().filter_map(|item| item.get("id")?.as_str())
}
