//! Shows everything that is known about one command or one item: an operator on call needs it first.

use adapters::dynamo::SnapshotTable;
use kernel::clock::{Clock as _, SystemClock, Timestamp};
use kernel::ids::{AggregateId, AggregateKey, CommandId};
use kernel::ports::{RecordReader as _, Snapshot};
use kernel::record::{CommandRecord, CommandStatus, RECORD_TTL, RecordKey};
use serde_json::{Value, json};
use service::resources::{self, RESOURCES};
use uuid::Uuid;

use crate::cache;
use crate::cli::{ItemCommand, ShowCommand};
use crate::output::{CommandOutput, Failure};
use crate::records::in_words;
use crate::stores::Stores;
use crate::target::Target;

/// Shows one command: its record, and its item.
pub(crate) async fn command(target: &Target, show: &ShowCommand) -> Result<CommandOutput, Failure> {
    let ShowCommand::Show { id, tenant } = show;
    // Clients see a MAC after the identity. This tool does not need the proof.
    let uuid = id.split_once('.').map_or(id.as_str(), |(uuid, _)| uuid);
    let malformed = |_| Failure::NotFound(format!("{id} is not a command id: give <uuid>, or <uuid>.<mac>"));
    let command: CommandId = uuid.parse().map_err(malformed)?;
    let key = RecordKey { tenant: tenant.clone(), command };
    let Some(record) = target.records()?.get(&key).await? else { return Ok(unrecorded(&key)) };
    let key = key_of(&record)?;
    let time = |at: Timestamp| at.to_string();
    let document = json!({
        "command_id": command,
        "accepted_at": time(record.accepted_at),
        "completed_at": record.completed_at.map(time),
        "record": serde_json::to_value(&record.status).unwrap_or_default(),
        "item": everywhere(target, &key).await?,
    });
    let mut lines = vec![
        format!("command   {command}"),
        format!("status    {}", in_words(&record.status)),
        format!("accepted  {}", record.accepted_at),
    ];
    lines.extend(record.completed_at.map(|at| format!("completed {at}")));
    let of_item = document.get("item").unwrap_or(&Value::Null);
    lines.extend(item_lines(&key, of_item));
    let next_step = match record.status {
        CommandStatus::Failed { .. } => Some("`watershed dlq list`".to_owned()),
        CommandStatus::Pending => Some("`watershed queue`".to_owned()),
        CommandStatus::Applied { .. } | CommandStatus::Rejected { .. } | CommandStatus::Superseded { .. } => None,
    };
    Ok(CommandOutput::new(is_whole(of_item), &document, lines).with_next_step_if(next_step))
}

/// Reports the facts that an identity without a record shows. Anyone can make such an identity, so it does not prove that the
/// service accepted a command. Only functions hold the keys that would check its MAC.
fn unrecorded(key: &RecordKey) -> CommandOutput {
    let RecordKey { tenant, command } = key;
    let now = SystemClock.now();
    let days = RECORD_TTL.as_secs() / (24 * 60 * 60);
    let made_at = command.accepted_at();
    let version = Uuid::parse_str(&command.to_string()).map_or(0, |uuid| uuid.get_version_num());
    let known = match (made_at, version) {
        (Some(at), _) if at > now => {
            format!("Its id contains the time {at}, which is in the future: the command was never queued.")
        }
        (Some(at), _) if at.plus(RECORD_TTL) < now => {
            format!(
                "Its id contains the time {at}. The command is pending, was never queued, or its record expired after \
                 {days} days."
            )
        }
        (Some(at), _) => format!("Its id contains the time {at}. The command is pending, or was never queued."),
        (None, 8) => format!(
            "Its id comes from an Idempotency-Key, and contains no time. The command was never queued, or its record \
             expired after {days} days: such a command is recorded before it is queued."
        ),
        (None, _) => "The service makes no ids of this kind: the command was never queued.".to_owned(),
    };
    let text = format!("tenant {tenant} has no record of the command {command}. {known}");
    let made_at = made_at.map(|at| at.to_string());
    let document = json!({ "command_id": command, "record": null, "made_at": made_at, "known": known });
    let output = CommandOutput::new(false, &document, vec![text]);
    match version {
        7 => output.with_next_step("`watershed queue` and `watershed dlq list`"),
        _ => output,
    }
}

/// Returns whether the shared cache has answered. If another store fails, so does the command.
fn is_whole(document: &Value) -> bool {
    document.get("cache_failure").is_none_or(Value::is_null)
}

/// Shows the content of each store for one item.
pub(crate) async fn item(target: &Target, show: &ItemCommand) -> Result<CommandOutput, Failure> {
    let ItemCommand::Show { path, tenant } = show;
    let known = || RESOURCES.iter().map(|resource| resource.item("<id>")).collect::<Vec<_>>().join(" or ");
    let malformed = || Failure::NotFound(format!("{path} is not the path of an item: give {}", known()));
    let (collection, id) = path.trim_start_matches('/').split_once('/').ok_or_else(malformed)?;
    let resource = RESOURCES.iter().find(|resource| resource.collection == collection).ok_or_else(malformed)?;
    let id: AggregateId = id.parse().map_err(|_| malformed())?;
    let key = AggregateKey { kind: resource.kind, tenant: tenant.clone(), id };
    let document = everywhere(target, &key).await?;
    let exists = ["state", "view", "cached"].iter().any(|part| document.get(part).is_some_and(|part| !part.is_null()));
    Ok(CommandOutput::new(exists && is_whole(&document), &document, item_lines(&key, &document)))
}

/// Returns the key of a command's item.
fn key_of(record: &CommandRecord) -> Result<AggregateKey, Failure> {
    let resource = resources::of_kind(record.kind.as_deref());
    let kind = record.kind.as_deref().unwrap_or_default();
    let unknown = || {
        Failure::NotFound(format!("the record has the kind {kind}, which this version of `watershed` does not know"))
    };
    let kind = resource.ok_or_else(unknown)?.kind;
    Ok(AggregateKey { kind, tenant: record.key.tenant.clone(), id: record.aggregate })
}

async fn everywhere(target: &Target, key: &AggregateKey) -> Result<Value, Failure> {
    let one = async |table: SnapshotTable| {
        Ok::<_, Failure>(table.load(std::slice::from_ref(key)).await?.into_iter().next().flatten())
    };
    let table = target.known_read_table().map(|_| target.written_read_table()).transpose()?.flatten();
    let Stores { states, views, cache, projection, .. } = target.stores(table.as_ref())?;
    let state = one(states).await?;
    let view = match views {
        Some(views) => one(views).await?,
        None => None,
    };
    let cached = match &cache {
        Some(cache) => cache.peek(&[projection.cache_key(key)]).await.into_iter().next().flatten(),
        None => None,
    };
    let cached = cached.map(|cached| {
        json!({"version": cached.version, "fetched_at": cached.fetched_at.to_string(), "body": text(cached.body.as_deref())})
    });
    Ok(json!({
        "path": resources::of_key(key).map(|resource| resource.item(key.id)),
        "state": state.as_ref().map(snapshot),
        "view": view.as_ref().map(snapshot),
        "cached": cached,
        "cache_failure": cache.as_ref().and_then(cache::Cache::failure),
    }))
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

fn item_lines(key: &AggregateKey, document: &Value) -> Vec<String> {
    let line = |name: &str, part: &str| {
        let found = document.get(part).filter(|found| !found.is_null());
        found.map_or_else(
            || format!("{name} none"),
            |found| {
                let field = |field| found.get(field).cloned().unwrap_or_default();
                let body = field("body");
                let body = if body.is_null() { "deleted".to_owned() } else { body.to_string() };
                format!("{name} version {}, {body}", field("version"))
            },
        )
    };
    let cached = match document.get("cache_failure").and_then(Value::as_str) {
        Some(why) => format!("cached    unknown: {}", cache::skipped(why)),
        None => line("cached   ", "cached"),
    };
    vec![format!("item      {key}"), line("state    ", "state"), line("view     ", "view"), cached]
}
