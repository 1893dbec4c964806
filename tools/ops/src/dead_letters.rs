//! Dead letters: show them, mark their commands as failed, send them back, or delete them.
//!
//! SQS has no way to look without receiving. So a look hides the messages for a while, and shows them again at its end.

use std::time::Duration;

use adapters::dynamo::DynamoRecords;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};
use kernel::clock::{Clock as _, SystemClock};
use kernel::envelope::EnvelopeHeader;
use kernel::ports::{RecordReader as _, RecordWriter as _};
use kernel::record::{CommandRecord, CommandStatus};
use serde::Serialize;
use service::resources;
use tokio::time::{MissedTickBehavior, interval};

use crate::audit::AuditLog;
use crate::cli::{Chosen, DlqCommand, Look};
use crate::output::{CommandOutput, Failure, bar, explain};
use crate::records::{in_words, path_of};
use crate::target::Target;

/// How long a look hides messages from other receivers, in seconds.
const HIDDEN_SECONDS: i32 = 120;
/// The maximum number of messages of one receive.
const BATCH_MAX: i32 = 10;
/// The next command after a list of dead letters.
const AFTER_LIST: &str =
    "run `watershed dlq sync` to mark their commands as failed; fix the cause, then run `watershed dlq redrive --all`";
/// The reason that is recorded for a command without a recorded failure.
const DEAD_LETTER_REASON: &str =
    "it became a dead letter before its failure was recorded: an operator can send it back";

pub(crate) async fn run(target: &Target, command: &DlqCommand) -> Result<CommandOutput, Failure> {
    match command {
        DlqCommand::List(look) => list(target, look).await,
        DlqCommand::Show { id, look } => show(target, id, look).await,
        DlqCommand::Sync { look, dry_run } => sync(target, look, *dry_run).await,
        DlqCommand::Redrive { chosen, rate } => redrive(target, chosen, *rate).await,
        DlqCommand::Discard { chosen } => discard(target, chosen).await,
    }
}

/// A dead letter, with the known facts about its command.
#[derive(Debug, Serialize)]
struct Letter {
    message_id: String,
    sent_at_ms: Option<u64>,
    received: Option<u32>,
    tenant: Option<String>,
    command_id: Option<String>,
    /// The path of the item that the command is for.
    item: Option<String>,
    status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<serde_json::Value>,
}

/// The dead-letter queue, with the messages that this look hides.
struct Letters<'a> {
    client: aws_sdk_sqs::Client,
    url: &'a str,
    messages: Vec<Message>,
}

fn refused<E: std::error::Error>(error: E) -> Failure {
    Failure::Refused { part: "SQS", cause: explain(&error) }
}

impl<'a> Letters<'a> {
    async fn look(target: &'a Target, look: &Look) -> Result<Self, Failure> {
        let mut letters = Self { client: target.sqs(), url: target.dead_letter_queue_url()?, messages: Vec::new() };
        loop {
            let left = look.max.saturating_sub(letters.messages.len());
            let batch = i32::try_from(left).unwrap_or(BATCH_MAX).min(BATCH_MAX);
            let received = if batch == 0 { Vec::new() } else { letters.receive(batch).await? };
            if received.is_empty() {
                return Ok(letters);
            }
            letters.messages.extend(received);
        }
    }

    async fn receive(&self, batch: i32) -> Result<Vec<Message>, Failure> {
        let received = self
            .client
            .receive_message()
            .queue_url(self.url)
            .max_number_of_messages(batch)
            .visibility_timeout(HIDDEN_SECONDS)
            .wait_time_seconds(1)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All")
            .send()
            .await;
        Ok(received.map_err(refused)?.messages.unwrap_or_default())
    }

    /// Makes the messages visible to others again. If that fails, they become visible after a while.
    async fn give_back(&self, messages: &[Message]) {
        for message in messages {
            let Some(receipt_handle) = message.receipt_handle() else { continue };
            let change = self.client.change_message_visibility().queue_url(self.url).receipt_handle(receipt_handle);
            let _ = change.visibility_timeout(0).send().await;
        }
    }

    async fn delete(&self, message: &Message) -> Result<(), Failure> {
        let delete = self.client.delete_message().queue_url(self.url);
        let deleted = delete.set_receipt_handle(message.receipt_handle.clone()).send().await;
        deleted.map(|_| ()).map_err(refused)
    }

    /// Sends the message's body to the queue of commands, with a new deduplication id. A FIFO queue drops a message whose id it has
    /// seen in the last five minutes. The command's own identity keeps it from being applied twice.
    async fn send_back(&self, queue_url: &str, message: &Message) -> Result<(), Failure> {
        let group = attribute(message, &MessageSystemAttributeName::MessageGroupId).map(str::to_owned);
        let mut send = self
            .client
            .send_message()
            .queue_url(queue_url)
            .set_message_body(message.body.clone())
            .set_message_attributes(message.message_attributes.clone())
            .set_message_group_id(group);
        if attribute(message, &MessageSystemAttributeName::MessageDeduplicationId).is_some() {
            send = send.message_deduplication_id(format!("redrive-{}", uuid::Uuid::now_v7()));
        }
        send.send().await.map(|_| ()).map_err(refused)
    }

    /// Returns the chosen messages, and keeps the others. Fails if a chosen id is missing.
    fn choose(&mut self, chosen: &Chosen) -> Result<Vec<Message>, Failure> {
        let is_chosen = |message: &Message| {
            chosen.all || message.message_id().is_some_and(|id| chosen.ids.iter().any(|chosen| chosen == id))
        };
        let (taken, left) = std::mem::take(&mut self.messages).into_iter().partition(is_chosen);
        self.messages = left;
        let taken: Vec<Message> = taken;
        let missing: Vec<_> = chosen
            .ids
            .iter()
            .filter(|id| !taken.iter().any(|message| message.message_id() == Some(id.as_str())))
            .cloned()
            .collect();
        if missing.is_empty() {
            return Ok(taken);
        }
        self.messages.extend(taken);
        Err(Failure::NotFound(format!(
            "no dead letter has the id {}: list the ids with `watershed dlq list`, or raise --max above {}",
            missing.join(", "),
            self.messages.len(),
        )))
    }
}

fn attribute<'a>(message: &'a Message, name: &MessageSystemAttributeName) -> Option<&'a str> {
    message.attributes().and_then(|attributes| attributes.get(name)).map(String::as_str)
}

/// Returns the record that marks the message's command as failed now.
fn failed_record(message: &Message) -> Option<CommandRecord> {
    let header = EnvelopeHeader::parse(message.body()?)?;
    Some(header.record(CommandStatus::Failed { reason: DEAD_LETTER_REASON.to_owned() }, Some(SystemClock.now())))
}

async fn describe(target: &Target, message: &Message, with_body: bool) -> Result<Letter, Failure> {
    let record = failed_record(message);
    let status = match &record {
        None => "unreadable".to_owned(),
        Some(record) => match target.records()?.get(&record.key).await?.map(|record| record.status) {
            None => "no record".to_owned(),
            Some(status) => in_words(&status),
        },
    };
    let number = |name| attribute(message, &name).and_then(|text| text.parse().ok());
    let body = message.body().unwrap_or_default();
    let parsed = || serde_json::from_str(body).unwrap_or_else(|_| body.into());
    Ok(Letter {
        message_id: message.message_id().unwrap_or_default().to_owned(),
        sent_at_ms: number(MessageSystemAttributeName::SentTimestamp),
        received: number(MessageSystemAttributeName::ApproximateReceiveCount)
            .and_then(|count: u64| count.try_into().ok()),
        tenant: record.as_ref().map(|record| record.key.tenant.to_string()),
        command_id: record.as_ref().map(|record| record.key.command.to_string()),
        item: record.as_ref().and_then(path_of),
        status,
        body: with_body.then(parsed),
    })
}

/// Returns the cause, if ingest-fn cannot read the message. This tool reads like the ingest-fn of its own version.
fn unreadable(body: Option<&str>) -> Option<String> {
    resources::readable(body.unwrap_or_default()).err().map(|error| explain(&error))
}

fn line(letter: &Letter) -> String {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    format!(
        "{}  tenant {}  command {}  {}  {}",
        letter.message_id,
        or_none(&letter.tenant),
        or_none(&letter.command_id),
        or_none(&letter.item),
        letter.status,
    )
}

async fn list(target: &Target, look: &Look) -> Result<CommandOutput, Failure> {
    let letters = Letters::look(target, look).await?;
    let mut described = Vec::new();
    for message in &letters.messages {
        described.push(describe(target, message, false).await);
    }
    letters.give_back(&letters.messages).await;
    let described: Vec<_> = described.into_iter().collect::<Result<_, _>>()?;
    let mut lines: Vec<_> = described.iter().map(line).collect();
    lines.push(format!("{} dead letters", described.len()));
    let output = CommandOutput::new(described.is_empty(), &described, lines);
    Ok(if described.is_empty() { output } else { output.with_next_step(AFTER_LIST) })
}

async fn show(target: &Target, id: &str, look: &Look) -> Result<CommandOutput, Failure> {
    let letters = Letters::look(target, look).await?;
    let found = letters.messages.iter().find(|message| message.message_id() == Some(id));
    let described = match found {
        Some(message) => Some(describe(target, message, true).await),
        None => None,
    };
    letters.give_back(&letters.messages).await;
    let missing =
        || Failure::NotFound(format!("no dead letter has the id {id}: list the ids with `watershed dlq list`"));
    let letter = described.ok_or_else(missing)??;
    let body = letter.body.as_ref().map(|body| serde_json::to_string_pretty(body).unwrap_or_default());
    let lines = vec![line(&letter), body.unwrap_or_default()];
    let next_step = match unreadable(found.and_then(|message| message.body())) {
        None => format!("fix the cause, then run `watershed dlq redrive {id}`"),
        Some(why) => format!("{why}: deploy code that can read it, or delete it with `watershed dlq discard {id}`"),
    };
    Ok(CommandOutput::new(true, &letter, lines).with_next_step(next_step))
}

/// The result of a pass over the dead letters.
#[derive(Debug, Default, Serialize)]
struct Tally {
    looked_at: usize,
    done: usize,
    left: usize,
    /// Messages whose command cannot be identified.
    unreadable: usize,
    dry_run: bool,
    /// Messages that ingest-fn cannot read, with the cause.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
}

/// A message that becomes a dead letter again if it is sent back.
#[derive(Debug, Serialize)]
struct Warning {
    message_id: String,
    cause: String,
}

impl Tally {
    fn output(&self, verb: &str) -> CommandOutput {
        let would = if self.dry_run { "would be " } else { "" };
        let mut lines: Vec<_> = self.warnings.iter().map(Warning::line).collect();
        lines.push(format!(
            "{} dead letters read: {} {would}{verb}, {} unchanged, {} unreadable",
            self.looked_at, self.done, self.left, self.unreadable,
        ));
        let output = CommandOutput::new(self.warnings.is_empty(), self, lines);
        let unread = (!self.warnings.is_empty()).then(|| UNREADABLE_ADVICE.to_owned());
        output.with_next_step_if(unread)
    }
}

impl Warning {
    fn line(&self) -> String {
        format!(
            "{}  ingest-fn cannot read it ({}): if you send it back, it becomes a dead letter again",
            self.message_id, self.cause
        )
    }
}

/// The advice for messages that become dead letters again.
const UNREADABLE_ADVICE: &str = "deploy code that can read them, or delete them with `watershed dlq discard`";

/// Returns a warning for each message that becomes a dead letter again if it is sent back.
fn warnings(messages: &[Message]) -> Vec<Warning> {
    let warning = |message: &Message| {
        let message_id = message.message_id().unwrap_or_default().to_owned();
        unreadable(message.body()).map(|cause| Warning { message_id, cause })
    };
    messages.iter().filter_map(warning).collect()
}

/// Records that a command failed, unless it has an outcome. Returns whether it did, or would in a dry run.
async fn mark_failed(records: &DynamoRecords, failed: &CommandRecord, dry_run: bool) -> Result<bool, Failure> {
    let known = records.get(&failed.key).await?.map(|known| known.status);
    let is_open = known.is_none_or(|status| status == CommandStatus::Pending);
    Ok(is_open && (dry_run || records.put_failed(failed).await?.is_none()))
}

/// Marks the commands without an outcome as failed.
async fn sync(target: &Target, look: &Look, dry_run: bool) -> Result<CommandOutput, Failure> {
    let records = target.records()?;
    let letters = Letters::look(target, look).await?;
    let mut tally = Tally { looked_at: letters.messages.len(), dry_run, ..Tally::default() };
    let bar = bar("messages", letters.messages.len() as u64);
    let mut work = async || {
        for message in &letters.messages {
            bar.inc(1);
            let Some(record) = failed_record(message) else {
                tally.unreadable += 1;
                continue;
            };
            match mark_failed(&records, &record, dry_run).await? {
                true => tally.done += 1,
                false => tally.left += 1,
            }
        }
        Ok::<_, Failure>(())
    };
    let worked = work().await;
    letters.give_back(&letters.messages).await;
    worked?;
    bar.finish_and_clear();
    let next_step = match (dry_run && tally.done > 0, tally.unreadable) {
        (true, _) => Some("run `watershed dlq sync` without --dry-run"),
        (false, 0) => None,
        (false, _) => {
            Some("find the unreadable ones with `watershed dlq list`, and delete them with `watershed dlq discard`")
        }
    };
    Ok(tally.output("marked as failed").with_next_step_if(next_step.map(ToOwned::to_owned)))
}

/// Sends each chosen message back, then deletes the dead letter. A crash in between leaves both, which is harmless: a command is
/// applied once.
async fn redrive(target: &Target, chosen: &Chosen, rate: u32) -> Result<CommandOutput, Failure> {
    let queue_url = target.queue_url()?;
    let mut ticks = interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    each_chosen(target, chosen, "redrive", "sent back", warnings, async |letters, message| {
        ticks.tick().await;
        letters.send_back(queue_url, message).await?;
        letters.delete(message).await
    })
    .await
}

/// Marks the command of each chosen message as failed, then deletes the message.
async fn discard(target: &Target, chosen: &Chosen) -> Result<CommandOutput, Failure> {
    let records = target.records()?;
    each_chosen(
        target,
        chosen,
        "discard",
        "deleted",
        |_| Vec::new(),
        async |letters, message| {
            if let Some(record) = failed_record(message) {
                mark_failed(&records, &record, false).await?;
            }
            letters.delete(message).await
        },
    )
    .await
}

async fn each_chosen(
    target: &Target,
    chosen: &Chosen,
    what: &str,
    verb: &str,
    warnings: impl FnOnce(&[Message]) -> Vec<Warning>,
    mut act: impl AsyncFnMut(&Letters<'_>, &Message) -> Result<(), Failure>,
) -> Result<CommandOutput, Failure> {
    let mut letters = Letters::look(target, &chosen.look).await?;
    let taken = match letters.choose(chosen) {
        Ok(taken) => taken,
        Err(failure) => {
            letters.give_back(&letters.messages).await;
            return Err(failure);
        }
    };
    letters.give_back(&letters.messages).await;
    let (looked_at, left) = (taken.len() + letters.messages.len(), letters.messages.len());
    let unreadable = taken.iter().filter(|message| failed_record(message).is_none()).count();
    let (dry_run, warnings) = (chosen.dry_run, warnings(&taken));
    let tally = Tally { looked_at, done: taken.len(), left, unreadable, dry_run, warnings };
    if dry_run {
        letters.give_back(&taken).await;
        let next_step = (tally.warnings.is_empty() && !taken.is_empty())
            .then(|| format!("run `watershed dlq {what}` without --dry-run"));
        return Ok(tally.output(verb).with_next_step_if(next_step));
    }
    let bar = bar("messages", taken.len() as u64);
    let mut work = async |done: &mut usize| {
        let mut log = AuditLog::open(&chosen.audit_log, &chosen.operator)?;
        for message in &taken {
            log.about_to(what, message.message_id().unwrap_or_default(), message.body().unwrap_or_default())?;
            act(&letters, message).await?;
            bar.inc(1);
            *done += 1;
        }
        Ok(())
    };
    let mut done = 0;
    let worked: Result<(), Failure> = work(&mut done).await;
    letters.give_back(taken.get(done..).unwrap_or_default()).await;
    bar.finish_and_clear();
    worked?;
    Ok(tally.output(verb))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::{Arc, Mutex};

    use serde_json::{Value, json};
    use service::resources::RESOURCES;

    use super::*;
    use crate::testing::Service;

    const REDRIVE: [&str; 6] = ["dlq", "redrive", "--all", "--rate", "1000", "--audit-log"];
    const DISCARD: [&str; 4] = ["dlq", "discard", "--all", "--audit-log"];

    /// Returns a dead letter with a new command.
    fn letter(id: &str) -> Value {
        let kind = RESOURCES[0].kind.name();
        let schema = kernel::envelope::schema_of(kind, None, &[]);
        let body = json!({ "schema": schema, "kind": kind, "tenant": "acme", "subject": "ada", "aggregate": uuid::Uuid::now_v7(),
            "stamp": { "at": 1_790_000_000_000_000_u64, "command": uuid::Uuid::now_v7() }, "expected": "unsaid",
            "command_schema": 1, "command": "delete" });
        json!({ "MessageId": id, "ReceiptHandle": format!("handle of {id}"), "Body": body.to_string() })
    }

    fn letters(ids: &[&str]) -> Vec<Value> {
        ids.iter().map(|id| letter(id)).collect()
    }

    /// Returns the recorded status of a dead letter's command.
    async fn status(service: &Service, letter: &Value) -> Option<CommandStatus> {
        let header = EnvelopeHeader::parse(letter["Body"].as_str().unwrap()).unwrap();
        let key = header.record(CommandStatus::Pending, None).key;
        service.records.get(&key).await.unwrap().map(|record| record.status)
    }

    /// A dead-letter queue. It notes the number of lines in the audit log at each change to a queue.
    struct Dead {
        service: Service,
        log: PathBuf,
        _dir: tempfile::TempDir,
        written: Arc<Mutex<Vec<usize>>>,
    }

    fn lines(log: &Path) -> usize {
        std::fs::read_to_string(log).unwrap_or_default().lines().count()
    }

    impl Dead {
        /// Returns one that holds these letters, and refuses an operation.
        async fn with(letters: &[Value], refused: &'static str) -> Self {
            let (letters, written) = (Mutex::new(letters.to_vec()), Arc::<Mutex<Vec<usize>>>::default());
            let dir = tempfile::tempdir().unwrap();
            let log = dir.path().join("audit.jsonl");
            let (seen, file) = (Arc::clone(&written), log.clone());
            let service = Service::at("cqrs", move |operation, _| {
                if ["SendMessage", "DeleteMessage"].contains(&operation) {
                    seen.lock().unwrap().push(lines(&file));
                }
                match operation {
                    "ReceiveMessage" => {
                        Some((200, json!({ "Messages": std::mem::take(&mut *letters.lock().unwrap()) })))
                    }
                    _ if operation == refused => Some((400, json!({ "__type": "x#Refused", "message": "no" }))),
                    _ => None,
                }
            });
            Self { service: service.await, log, _dir: dir, written }
        }

        async fn run(&self, command: &[&str]) -> Result<CommandOutput, Failure> {
            self.service.run(&[command, &[self.log.to_str().unwrap()]].concat()).await
        }

        /// Returns the changes to queues and records in their order, each with its message.
        fn changes(&self) -> Vec<(String, String)> {
            let requests = self.service.requests().into_iter();
            let changes = requests.filter(|(what, _)| {
                ["SendMessage", "DeleteMessage", "ChangeMessageVisibility", "PutItem"].contains(&what.as_str())
            });
            let text = |value: &Value| value.as_str().map(str::to_owned);
            changes.map(|(what, body)| (what, text(&body["ReceiptHandle"]).unwrap_or_default())).collect()
        }
    }

    fn expected_changes(changes: &[(&str, &str)]) -> Vec<(String, String)> {
        let handle = |id: &str| if id.is_empty() { String::new() } else { format!("handle of {id}") };
        changes.iter().map(|(what, id)| ((*what).to_owned(), handle(id))).collect()
    }

    #[tokio::test]
    async fn a_dead_letter_is_logged_then_sent_back_then_deleted() {
        let letters = letters(&["a", "b"]);
        let dead = Dead::with(&letters, "").await;
        let output = dead.run(&REDRIVE).await.unwrap();
        assert_eq!(output.lines(), ["2 dead letters read: 2 sent back, 0 unchanged, 0 unreadable"]);
        assert_eq!(*dead.written.lock().unwrap(), [1, 1, 2, 2]);
        let requests = dead.service.requests();
        let sent: Vec<_> = requests.iter().filter(|(what, _)| what == "SendMessage").map(|(_, body)| body).collect();
        for (sent, letter) in sent.iter().zip(&letters) {
            assert_eq!(sent["MessageBody"], letter["Body"]);
            assert!(sent["QueueUrl"].as_str().unwrap().ends_with("/0/commands"));
        }
        let log = std::fs::read_to_string(&dead.log).unwrap();
        let log: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for (line, letter) in log.iter().zip(&letters) {
            assert_eq!((&line["message_id"], &line["body"]), (&letter["MessageId"], &letter["Body"]));
        }
        let order: Vec<_> =
            requests.iter().filter(|(what, _)| what.ends_with("eMessage") || what == "SendMessage").collect();
        let deleted =
            |letter: &Value| order.iter().position(|(_, body)| body["ReceiptHandle"] == letter["ReceiptHandle"]);
        let sent = |letter: &Value| order.iter().position(|(_, body)| body["MessageBody"] == letter["Body"]);
        assert!(letters.iter().all(|letter| sent(letter) < deleted(letter)), "{order:?}");
    }

    #[tokio::test]
    async fn a_dead_letter_that_cannot_be_sent_back_stays_in_its_queue() {
        let dead = Dead::with(&letters(&["a", "b"]), "SendMessage").await;
        assert!(dead.run(&REDRIVE).await.is_err());
        let given_back = [("SendMessage", ""), ("ChangeMessageVisibility", "a"), ("ChangeMessageVisibility", "b")];
        assert_eq!(dead.changes(), expected_changes(&given_back));
    }

    /// A FIFO queue drops a message whose deduplication id it has seen in the last five minutes.
    #[tokio::test]
    async fn a_dead_letter_is_sent_back_to_its_group_under_an_id_that_no_message_had() {
        let mut letters = letters(&["a", "b", "standard"]);
        for (letter, id) in letters.iter_mut().zip(["old", "old"]) {
            letter["Attributes"] = json!({ "MessageGroupId": "group", "MessageDeduplicationId": id });
        }
        letters[2]["Attributes"] = json!({ "MessageGroupId": "group" });
        letters[0]["MessageAttributes"] = json!({ "x": { "DataType": "String", "StringValue": "y" } });
        let dead = Dead::with(&letters, "").await;
        dead.run(&REDRIVE).await.unwrap();
        let sent = dead.service.requests().into_iter().filter(|(what, _)| what == "SendMessage");
        let sent: Vec<Value> = sent.map(|(_, body)| body).collect();
        assert!(sent.iter().all(|sent| sent["MessageGroupId"] == "group"), "{sent:?}");
        let ids: Vec<_> = sent.iter().map(|sent| sent["MessageDeduplicationId"].as_str()).collect();
        let [Some(first), Some(second), None] = ids[..] else { panic!("{ids:?}") };
        assert!(first != second && ![first, second].contains(&"old"), "{ids:?}");
        assert_eq!(sent[0]["MessageAttributes"], letters[0]["MessageAttributes"]);
    }

    #[tokio::test]
    async fn a_dead_letter_is_logged_then_its_command_is_marked_then_it_is_deleted() {
        let letters = [letter("a"), json!({ "MessageId": "b", "ReceiptHandle": "handle of b", "Body": "poison" })];
        let dead = Dead::with(&letters, "").await;
        dead.run(&DISCARD).await.unwrap();
        assert_eq!(
            dead.changes(),
            expected_changes(&[("PutItem", ""), ("DeleteMessage", "a"), ("DeleteMessage", "b")])
        );
        assert_eq!(*dead.written.lock().unwrap(), [1, 2]);
        assert!(matches!(status(&dead.service, &letters[0]).await, Some(CommandStatus::Failed { .. })));
    }

    #[tokio::test]
    async fn a_dead_letter_whose_command_cannot_be_marked_stays_in_its_queue() {
        let dead = Dead::with(&letters(&["a", "b"]), "PutItem").await;
        assert!(dead.run(&DISCARD).await.is_err());
        let given_back = [("PutItem", ""), ("ChangeMessageVisibility", "a"), ("ChangeMessageVisibility", "b")];
        assert_eq!(dead.changes(), expected_changes(&given_back));
    }

    #[tokio::test]
    async fn nothing_is_done_without_an_audit_log_or_in_a_dry_run() {
        for command in [&REDRIVE[..], &DISCARD] {
            let dead = Dead::with(&letters(&["a"]), "").await;
            let nowhere = [command, &["/nonexistent/log"]].concat();
            assert!(matches!(dead.service.run(&nowhere).await, Err(Failure::Audit { .. })));
            assert_eq!(dead.changes(), expected_changes(&[("ChangeMessageVisibility", "a")]));
            let dead = Dead::with(&letters(&["a"]), "").await;
            let dry_run = [&command[..3], &["--dry-run"], &command[3..]].concat();
            let text = dead.run(&dry_run).await.unwrap().lines().join("\n");
            assert!(text.contains("1 would be"), "{text}");
            assert_eq!((dead.changes(), lines(&dead.log)), (expected_changes(&[("ChangeMessageVisibility", "a")]), 0));
        }
    }

    #[tokio::test]
    async fn commands_without_an_outcome_are_marked_and_their_dead_letters_given_back() {
        let letters = letters(&["a", "b"]);
        let dead = Dead::with(&letters, "").await;
        let header = EnvelopeHeader::parse(letters[1]["Body"].as_str().unwrap()).unwrap();
        let failed = CommandStatus::Failed { reason: "known".to_owned() };
        dead.service.records.put_failed(&header.record(failed.clone(), Some(SystemClock.now()))).await.unwrap();
        dead.service.run(&["dlq", "sync"]).await.unwrap();
        let given_back = [("PutItem", ""), ("ChangeMessageVisibility", "a"), ("ChangeMessageVisibility", "b")];
        assert_eq!(dead.changes(), expected_changes(&given_back));
        assert!(
            matches!(status(&dead.service, &letters[0]).await, Some(CommandStatus::Failed { reason }) if reason == DEAD_LETTER_REASON)
        );
        assert_eq!(status(&dead.service, &letters[1]).await, Some(failed), "an outcome is never written over");
    }
}
