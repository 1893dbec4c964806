//! The smoke test: it tests a service through its front door, as clients use it.
//!
//! It creates an item of each resource; reads, lists and changes it by every route; and deletes it. It also deletes the item after
//! a failure.

mod fault;
mod service;

use std::collections::BTreeMap;
use std::time::Duration;

use ::service::api;
use ::service::resources::RESOURCES;
use http::Method;
use resource::Description;
use resource::field::full_body;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use self::fault::Fault;
use self::service::{Call, Response, Service};
use crate::cli::SmokeOptions;
use crate::output::{CommandOutput, Failure};

/// The variable that holds the access token. An argument would appear in the list of processes.
const TOKEN_VARIABLE: &str = "WATERSHED_TOKEN";
/// The checks that need a token.
const NEEDS_TOKEN: [&str; 8] = ["write", "command", "read", "list", "change", "replace", "act", "delete"];
/// The time for the deletion of an item after a failure.
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
    /// The path of an item that may still exist, because the deletion failed.
    left: Option<&'a str>,
}

/// Runs the smoke test.
pub(crate) async fn run(options: &SmokeOptions) -> Result<CommandOutput, Failure> {
    let token = std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.trim().is_empty());
    let service = Service::new(&options.url, token.as_deref().map(str::trim), options.timeout)?;
    let mut smoke = Run { service, step: "", passed: Vec::new(), item: None };
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
    Ok(CommandOutput::new(failed.is_none(), &document, output_lines(&document, began.elapsed())))
}

fn output_lines(document: &Document<'_>, took: Duration) -> Vec<String> {
    let Document { url, passed, failed, unchecked, left } = document;
    let mut lines: Vec<String> = passed.iter().map(Passed::line).collect();
    if !unchecked.is_empty() {
        lines.push(format!("skipped  {}: they need a token in {TOKEN_VARIABLE}", unchecked.join(", ")));
    }
    if let Some(path) = left {
        lines.push(format!("left     {path}: it may still exist: delete it"));
    }
    lines.push(match failed {
        None => format!("{url}: all {} checks passed in {:.1} s", passed.len(), took.as_secs_f64()),
        Some(Failed { check, fault }) => format!("FAILED   {check:8} {fault}"),
    });
    lines
}

impl Passed {
    fn line(&self) -> String {
        let Self { check, call, found, milliseconds } = self;
        format!("ok       {check:8} {call}: {found} ({milliseconds} ms)")
    }
}

/// One run of the smoke test.
#[derive(Debug)]
struct Run {
    service: Service,
    /// The name of the check under way.
    step: &'static str,
    passed: Vec<Passed>,
    /// The item to delete. It is set before the request that creates it.
    item: Option<CreatedItem>,
}

/// An item of this run.
#[derive(Debug)]
struct CreatedItem {
    resource: &'static Description,
    /// The path of the list that has no other item; `None` if there is no such list.
    unique_list: Option<String>,
    /// `None` until the service has returned it.
    id: Option<String>,
    token: Option<String>,
}

/// The result of a write.
#[derive(Debug)]
struct Written {
    resource: &'static Description,
    id: String,
    version: u64,
    /// The consistency token of the answer.
    token: String,
    is_queued: bool,
}

impl Written {
    fn path(&self) -> String {
        self.resource.item(&self.id)
    }
}

impl Run {
    async fn all(&mut self, public: bool) -> Result<(), Fault> {
        self.without_token(public).await?;
        if !public {
            for resource in RESOURCES {
                self.lifetime(resource).await?;
            }
        }
        Ok(())
    }

    /// Creates an item, performs every operation on it, and deletes it.
    async fn lifetime(&mut self, resource: &'static Description) -> Result<(), Fault> {
        let body = some_body(resource);
        let created = self.create(resource, &body).await?;
        if !created.is_queued {
            self.no_command().await?;
        }
        self.read(&created, &body).await?;
        self.list(&created).await?;
        let changed = self.change("change", Method::PATCH, created, &some_change(resource)).await?;
        let body = some_body(resource);
        let mut last = self.change("replace", Method::PUT, changed, &body).await?;
        self.read(&last, &body).await?;
        for action in resource.actions {
            last = self.act(action, last).await?;
        }
        self.delete(&last).await?;
        self.item = None;
        Ok(())
    }

    /// Checks the answers that need no token.
    async fn without_token(&mut self, public: bool) -> Result<(), Fault> {
        self.step = "health";
        let response = self.service.send(Call::of_default_route(Method::GET, api::HEALTH)).await?;
        if response.text(&response.json(200)?, "status")? != "ok" {
            return Err(response.fault("200 with the status ok"));
        }
        self.pass(&response, "200");

        self.step = "404";
        let nowhere = format!("/smoke-test-{}", Uuid::now_v7());
        let response = self.service.send(Call::of_default_route(Method::GET, nowhere)).await?;
        response.problem(404)?;
        self.pass(&response, "404");

        self.step = "405";
        let response = self.service.send(Call::of_default_route(Method::POST, api::HEALTH)).await?;
        response.problem(405)?;
        let allow = response.header("allow")?.to_owned();
        if !allow.split(',').any(|method| method.trim() == "GET") {
            return Err(response.fault("405 with GET among the methods of Allow"));
        }
        self.pass(&response, &format!("405, Allow: {allow}"));

        if public || self.service.has_token() {
            self.step = "401";
            for resource in RESOURCES {
                let response = self.service.send(Call::new(Method::GET, resource.path()).anonymous()).await?;
                if response.status() == 200 {
                    return Err(response.fault("401").with_advice(fault::UNGUARDED));
                }
                response.expect(&[401])?;
                self.pass(&response, "401 without a token");
            }
        }
        Ok(())
    }

    async fn create(&mut self, resource: &'static Description, body: &Value) -> Result<Written, Fault> {
        self.step = "write";
        self.item = Some(CreatedItem { resource, unique_list: unique_list(resource, body), id: None, token: None });
        let response = self.service.send(Call::new(Method::POST, resource.path()).json(body)).await?;
        if (400..500).contains(&response.status()) {
            // The service refused the request, so there is no item.
            self.item = None;
        }
        response.expect(&[201, 202])?;
        let document = response.document()?;
        let id_name = if response.status() == 202 { format!("{}_id", resource.name) } else { "id".to_owned() };
        let id = response.text(&document, &id_name)?;
        self.remember(&id, response.header("consistency-token").ok());
        if response.status() == 201 {
            response.has("location", &self.service.link(&resource.item(&id)))?;
        }
        self.written(&response, resource, id).await
    }

    /// Changes or replaces an item.
    async fn change(
        &mut self,
        step: &'static str,
        method: Method,
        before: Written,
        body: &Value,
    ) -> Result<Written, Fault> {
        self.step = step;
        let call = Call::new(method, before.path()).json(body).after(&before.token);
        let response = self.service.send(call).await?;
        response.expect(&[200, 202])?;
        self.written(&response, before.resource, before.id).await
    }

    /// Sends an action. The service may reject it because of the item's state.
    async fn act(&mut self, action: &str, before: Written) -> Result<Written, Fault> {
        self.step = "act";
        let call = Call::new(Method::POST, before.resource.action(&before.id, action)).after(&before.token);
        let response = self.service.send(call).await?;
        response.expect(&[200, 202, 409])?;
        match response.status() {
            200 => return self.written(&response, before.resource, before.id).await,
            202 => {}
            _ => {
                response.problem(409)?;
                self.pass(&response, "409, the state does not allow it");
                return Ok(before);
            }
        }
        let (token, ended) = (response.header("consistency-token")?.to_owned(), self.ended(&response).await?);
        self.remember(&before.id, Some(&token));
        let document = ended.json(200)?;
        match ended.text(&document, "status")?.as_str() {
            "applied" => {
                self.pass(&ended, "applied");
                Ok(Written { version: ended.number(&document, "version")?, token, ..before })
            }
            "rejected" => {
                self.pass(&ended, "rejected, the state does not allow it");
                Ok(Written { token, ..before })
            }
            _ => Err(ended.fault("an applied or a rejected command").with_advice(fault::NOT_APPLIED)),
        }
    }

    /// Stores the id and the token, which a deletion after a failure needs.
    fn remember(&mut self, id: &str, token: Option<&str>) {
        if let Some(item) = &mut self.item {
            item.id = Some(id.to_owned());
            item.token = token.map(str::to_owned);
        }
    }

    /// Checks the answer to a write, and follows its command if it was queued.
    async fn written(
        &mut self,
        response: &Response,
        resource: &'static Description,
        id: String,
    ) -> Result<Written, Fault> {
        let token = response.header("consistency-token")?.to_owned();
        let is_queued = response.status() == 202;
        let version = if is_queued {
            self.applied(response).await?
        } else {
            let version = response.number(&response.document()?, "version")?;
            has_tag(response, version)?;
            self.pass(response, &format!("{}, version {version}", response.status()));
            version
        };
        self.remember(&id, Some(&token));
        Ok(Written { resource, id, version, token, is_queued })
    }

    /// Checks an acknowledgement, waits until its command is applied, and returns the version that the command made.
    async fn applied(&mut self, response: &Response) -> Result<u64, Fault> {
        let ended = self.ended(response).await?;
        let document = ended.json(200)?;
        if ended.text(&document, "status")? != "applied" {
            return Err(ended.fault("an applied command").with_advice(fault::NOT_APPLIED));
        }
        self.pass(&ended, "applied");
        ended.number(&document, "version")
    }

    /// Checks an acknowledgement, waits until its command is no longer pending, and returns the answer that reports it.
    async fn ended(&mut self, response: &Response) -> Result<Response, Fault> {
        let path = command(&response.text(&response.document()?, "command_id")?);
        response.has("location", &self.service.link(&path))?;
        response.header("retry-after")?;
        self.pass(response, "202");
        self.step = "command";
        let mut pause = PAUSE_FIRST;
        loop {
            let response = self.service.send(Call::new(Method::GET, path.clone())).await?;
            if response.text(&response.json(200)?, "status")? != "pending" {
                return Ok(response);
            }
            if !self.waits(&mut pause).await {
                return Err(response.fault("an applied command").with_advice(fault::PENDING));
            }
        }
    }

    /// Checks the route of commands at a stage that queues none.
    async fn no_command(&mut self) -> Result<(), Fault> {
        self.step = "command";
        let response = self.service.send(Call::new(Method::GET, command(&Uuid::now_v7().to_string()))).await?;
        response.problem(404)?;
        self.pass(&response, "404, because nothing was queued");
        Ok(())
    }

    /// Reads the item with the token of the write, and compares it.
    async fn read(&mut self, written: &Written, body: &Value) -> Result<(), Fault> {
        self.step = "read";
        let call = Call::new(Method::GET, written.path()).after(&written.token);
        let response = self.service.send(call).await?;
        let document = response.json(200)?;
        let differs = |(name, value): &(&String, &Value)| document.get(name.as_str()) != Some(*value);
        if let Some((name, value)) = body.as_object().into_iter().flatten().find(differs) {
            return Err(response.fault(format!("200 with {name} {value}, which was written")));
        }
        if response.number(&document, "version")? != written.version {
            return Err(response.fault(format!("200 with version {}, which was written", written.version)));
        }
        has_tag(&response, written.version)?;
        response.header("consistency-token")?;
        self.pass(&response, &format!("200, version {}", written.version));
        Ok(())
    }

    /// Waits until a list has the item, because a list may be some seconds old. If every list may have other items too, any answer
    /// is enough.
    async fn list(&mut self, written: &Written) -> Result<(), Fault> {
        self.step = "list";
        let unique_list = self.item.as_ref().and_then(|item| item.unique_list.clone());
        let is_found = unique_list.is_some();
        let path = unique_list.unwrap_or_else(|| written.resource.path());
        let mut pause = PAUSE_FIRST;
        loop {
            let response = self.service.send(Call::new(Method::GET, path.clone())).await?;
            let page = response.json(200)?;
            if !is_found {
                self.pass(&response, "200");
                return Ok(());
            }
            if listed(&page).any(|listed| listed == written.id) {
                self.pass(&response, "200, it is listed");
                return Ok(());
            }
            if !self.waits(&mut pause).await {
                return Err(response.fault(format!("{} in the list", written.id)).with_advice(fault::NOT_LISTED));
            }
        }
    }

    async fn delete(&mut self, before: &Written) -> Result<(), Fault> {
        self.step = "delete";
        let call = Call::new(Method::DELETE, before.path()).after(&before.token);
        let response = self.service.send(call).await?;
        response.expect(&[204, 202])?;
        let token = response.header("consistency-token")?.to_owned();
        if response.status() == 202 {
            self.applied(&response).await?;
        } else {
            self.pass(&response, "204");
        }
        self.step = "read";
        let call = Call::new(Method::GET, before.path()).after(&token);
        let response = self.service.send(call).await?;
        response.problem(404)?;
        self.pass(&response, "404, it is deleted");
        Ok(())
    }

    /// Deletes the item of a failed run. Returns its path if it may still exist.
    async fn clean_up(&mut self) -> Option<String> {
        let CreatedItem { resource, unique_list, id, token } = self.item.take()?;
        self.service.restart(CLEAN_UP_MAX);
        // If the create got no answer, a list may have the id.
        let id = match (id, &unique_list) {
            (None, Some(unique_list)) => self.find_id(unique_list).await,
            (id, _) => id,
        };
        let Some(id) = id else { return Some(unique_list.unwrap_or_else(|| resource.path())) };
        let call = Call::new(Method::DELETE, resource.item(&id));
        let call = token.iter().fold(call, |call, token| call.after(token));
        let is_gone = |response: Response| response.is_from_function() && [202, 204, 404].contains(&response.status());
        let is_gone = self.service.send(call).await.is_ok_and(is_gone);
        (!is_gone).then(|| resource.item(&id))
    }

    /// Returns the id of the item, if the list has it.
    async fn find_id(&self, unique_list: &str) -> Option<String> {
        let response = self.service.send(Call::new(Method::GET, unique_list)).await.ok()?;
        listed(&response.json(200).ok()?).next().map(str::to_owned)
    }

    fn pass(&mut self, response: &Response, found: &str) {
        let milliseconds = u64::try_from(response.took().as_millis()).unwrap_or(u64::MAX);
        let (call, found) = (response.call().to_owned(), found.to_owned());
        self.passed.push(Passed { check: self.step, call, found, milliseconds });
    }

    /// Waits, each time longer than before. Returns `false` if no time is left.
    async fn waits(&self, pause: &mut Duration) -> bool {
        let has_time = Instant::now() + *pause < self.service.deadline();
        if has_time {
            sleep(*pause).await;
            *pause = (*pause * 2).min(PAUSE_MAX);
        }
        has_time
    }
}

/// Returns a valid body that has very likely never been sent before.
fn some_body(resource: &Description) -> Value {
    full_body(resource.fields, rand::random::<u32>().into())
}

/// Returns the body of an update. It prefers a field whose values need not be unique.
fn some_change(resource: &Description) -> Value {
    let settable = || resource.fields.iter().filter(|field| field.is_settable);
    let field = settable().find(|field| field.taken.is_none()).or_else(|| settable().next());
    json!(
        field
            .map(|field| (field.name, (field.sample)(rand::random::<u32>().into())))
            .into_iter()
            .collect::<BTreeMap<_, _>>()
    )
}

/// Returns the path of a list that only has the item with this body: the list of a unique field.
fn unique_list(resource: &Description, body: &Value) -> Option<String> {
    let mut unique = resource.fields.iter().filter(|field| field.taken.is_some());
    let query = unique.find_map(|field| field.query(body.get(field.name)?))?;
    Some(format!("{}?{query}", resource.path()))
}

fn command(id: &str) -> String {
    api::COMMAND.replace(api::ID, id)
}

/// Requires the entity tag of this version. The tag also contains the projection, which only the service knows.
fn has_tag(response: &Response, version: u64) -> Result<(), Fault> {
    let beginning = format!("\"{version}-v");
    let is_of_version = response.header("etag")?.starts_with(&beginning);
    if is_of_version { Ok(()) } else { Err(response.fault(format!("etag: {beginning}…\""))) }
}

/// Returns the ids of the items on a page.
fn listed(page: &Value) -> impl Iterator<Item = &str> {
    page.get("items").and_then(Value::as_array).into_iter().flatten().filter_map(|item| item.get("id")?.as_str())
}
