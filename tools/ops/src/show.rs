//! What an operator on call asks first: all that is known of one command, or of one user.

use adapters::dynamo::SnapshotTable;
use kernel::clock::Timestamp;
use kernel::domain::Domain as _;
use kernel::ids::{AggregateId, AggregateKey, CommandId};
use kernel::ports::{RecordReader as _, Snapshot};
use kernel::record::RecordKey;
use serde_json::{Value, json};
use shared::ServedDomain;

use crate::cli::ShowCommand;
use crate::compare::Stores;
use crate::dead_letters::in_words;
use crate::outcome::{Failure, Outcome};
use crate::site::Site;

/// One command: its record, and the user that it was for.
pub(crate) async fn command(site: &Site, show: &ShowCommand) -> Result<Outcome, Failure> {
    let ShowCommand::Show { id, tenant } = show;
    // Clients see a MAC behind the identity; whoever may ask here needs no proof.
    let uuid = id.split_once('.').map_or(id.as_str(), |(uuid, _)| uuid);
    let malformed = |_| Failure::NotFound(format!("{id} is not a command's identity: <uuid>, or <uuid>.<mac>"));
    let command: CommandId = uuid.parse().map_err(malformed)?;
    let key = RecordKey { tenant: tenant.clone(), command };
    let Some(record) = site.records()?.get(&key).await? else {
        let when = command.accepted_at().map(|at| format!(" It was accepted at {at}.")).unwrap_or_default();
        let text = format!(
            "tenant {tenant} has no record of {command}.{when} It is in the queue, died there (`watershed dlq list`), or never was."
        );
        return Ok(Outcome::new(false, &json!({ "command_id": command, "record": null }), vec![text]));
    };
    let user = AggregateKey { kind: ServedDomain::KIND, tenant: tenant.clone(), id: record.aggregate };
    let time = |at: Timestamp| at.to_string();
    let document = json!({
        "command_id": command,
        "user_id": record.aggregate,
        "accepted_at": time(record.accepted_at),
        "completed_at": record.completed_at.map(time),
        "record": serde_json::to_value(&record.status).unwrap_or_default(),
        "user": everywhere(site, &user).await?,
    });
    let mut lines = vec![
        format!("command   {command}"),
        format!("status    {}", in_words(&record.status)),
        format!("accepted  {}", record.accepted_at),
    ];
    lines.extend(record.completed_at.map(|at| format!("completed {at}")));
    lines.extend(user_lines(&user, document.get("user").unwrap_or(&Value::Null)));
    Ok(Outcome::new(true, &document, lines))
}

/// One user: what each store holds of it.
pub(crate) async fn user(site: &Site, show: &ShowCommand) -> Result<Outcome, Failure> {
    let ShowCommand::Show { id, tenant } = show;
    let malformed = |_| Failure::NotFound(format!("{id} is not a user's identity: a hyphenated UUID"));
    let id: AggregateId = id.parse().map_err(malformed)?;
    let key = AggregateKey { kind: ServedDomain::KIND, tenant: tenant.clone(), id };
    let document = everywhere(site, &key).await?;
    let exists = ["state", "view", "cached"].iter().any(|part| document.get(part).is_some_and(|part| !part.is_null()));
    Ok(Outcome::new(exists, &document, user_lines(&key, &document)))
}

async fn everywhere(site: &Site, key: &AggregateKey) -> Result<Value, Failure> {
    let one = async |table: SnapshotTable| {
        Ok::<_, Failure>(table.load(std::slice::from_ref(key)).await?.into_iter().next().flatten())
    };
    let table = site.known_read_table().map(|_| site.written_read_table()).transpose()?.flatten();
    let Stores { states, views, cache, projection } = site.stores(table.as_ref())?;
    let state = one(states).await?;
    let view = match views {
        Some(views) => one(views).await?,
        None => None,
    };
    let cached = match cache {
        Some(cache) => cache.peek(&[projection.cache_key(key)]).await?.into_iter().next().flatten(),
        None => None,
    };
    let cached = cached.map(|cached| {
        json!({"version": cached.version, "fetched_at": cached.fetched_at.to_string(), "body": text(cached.body.as_deref())})
    });
    Ok(
        json!({ "user_id": key.id, "state": state.as_ref().map(snapshot), "view": view.as_ref().map(snapshot), "cached": cached }),
    )
}

fn snapshot(snapshot: &Snapshot) -> Value {
    json!({
        "version": snapshot.version,
        "schema": snapshot.schema,
        "deleted": snapshot.body.is_none(),
        "body": text(snapshot.body.as_deref()),
    })
}

fn text(body: Option<&[u8]>) -> Value {
    let body = body.map(|body| serde_json::from_slice(body).unwrap_or_else(|_| String::from_utf8_lossy(body).into()));
    body.unwrap_or_default()
}

fn user_lines(key: &AggregateKey, document: &Value) -> Vec<String> {
    let line = |name: &str, part: &str| {
        let found = document.get(part).filter(|found| !found.is_null());
        found.map_or_else(
            || format!("{name} nothing"),
            |found| {
                let field = |field| found.get(field).cloned().unwrap_or_default();
                let body = field("body");
                let body = if body.is_null() { "deleted".to_owned() } else { body.to_string() };
                format!("{name} version {}, {body}", field("version"))
            },
        )
    };
    vec![format!("user      {key}"), line("state    ", "state"), line("view     ", "view"), line("cached   ", "cached")]
}
