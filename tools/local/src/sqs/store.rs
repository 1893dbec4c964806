//! Queues and messages in SQLite. Sends, receives, deletions and moves of messages are one transaction each, and read only
//! the messages that they need.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, named_params, params};

use super::attributes::QueueAttributes;
use super::error::SqsError;
use super::message::Attributes;
use super::queue::{Queue, arn, name_in_arn};

/// The time that a deduplication id counts, in milliseconds.
const DEDUPLICATION_MILLIS: u64 = 5 * 60 * 1_000;

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE IF NOT EXISTS queues (name TEXT PRIMARY KEY, attributes TEXT NOT NULL, created_at INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS messages (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        queue TEXT NOT NULL,
        id TEXT NOT NULL,
        body TEXT NOT NULL,
        attributes TEXT NOT NULL,
        trace_header TEXT,
        group_id TEXT,
        deduplication_id TEXT,
        source TEXT,
        sent_at INTEGER NOT NULL,
        visible_at INTEGER NOT NULL,
        first_received_at INTEGER,
        receive_count INTEGER NOT NULL DEFAULT 0,
        receipt TEXT
    );
    CREATE INDEX IF NOT EXISTS by_visibility ON messages (queue, visible_at, seq);
    CREATE INDEX IF NOT EXISTS by_group ON messages (queue, group_id, visible_at);
    CREATE INDEX IF NOT EXISTS by_order ON messages (queue, seq);
    CREATE INDEX IF NOT EXISTS by_age ON messages (queue, sent_at);
    CREATE TABLE IF NOT EXISTS deduplications (
        queue TEXT NOT NULL, deduplication_id TEXT NOT NULL, expires_at INTEGER NOT NULL, id TEXT NOT NULL,
        seq INTEGER NOT NULL, PRIMARY KEY (queue, deduplication_id)
    );
";

/// The queues and messages.
#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
}

/// A message before it is stored.
#[derive(Debug, Clone, Default)]
pub(super) struct NewMessage {
    pub(super) body: String,
    pub(super) attributes: Attributes,
    pub(super) trace_header: Option<String>,
    pub(super) group_id: Option<String>,
    pub(super) deduplication_id: Option<String>,
    /// The ARN of the queue in which it became a dead letter.
    pub(super) source: Option<String>,
    pub(super) delay_millis: u64,
}

/// A stored message.
#[derive(Debug, Clone)]
pub(super) struct StoredMessage {
    pub(super) seq: i64,
    pub(super) id: String,
    pub(super) message: NewMessage,
    pub(super) sent_at: u64,
    pub(super) first_received_at: Option<u64>,
    pub(super) receive_count: u32,
}

/// The receipt handle of a message: each delivery has another nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReceiptHandle {
    pub(super) queue: String,
    pub(super) seq: i64,
    pub(super) nonce: String,
}

/// The numbers of messages in a queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counts {
    pub(super) visible: u64,
    pub(super) in_flight: u64,
    pub(super) delayed: u64,
}

/// Returns the time in milliseconds since 1970.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

impl Store {
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        Self::with_connection(Connection::open(path)?)
    }

    pub(super) fn in_memory() -> rusqlite::Result<Self> {
        Self::with_connection(Connection::open_in_memory()?)
    }

    fn with_connection(connection: Connection) -> rusqlite::Result<Self> {
        connection.execute_batch(SCHEMA)?;
        Ok(Self { connection })
    }

    /// Stores a queue, or replaces its attributes.
    pub(super) fn put_queue(&mut self, queue: &Queue) -> Result<(), SqsError> {
        let attributes = serde_json::to_string(&queue.attributes).map_err(SqsError::internal)?;
        self.connection.execute(
            "INSERT INTO queues VALUES (?1, ?2, ?3) ON CONFLICT (name) DO UPDATE SET attributes = ?2",
            params![queue.name, attributes, queue.created_at],
        )?;
        Ok(())
    }

    pub(super) fn find_queue(&self, name: &str) -> Result<Option<Queue>, SqsError> {
        let mut select = self.connection.prepare_cached("SELECT attributes, created_at FROM queues WHERE name = ?1")?;
        let found: Option<(String, u64)> = select.query_row([name], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let Some((attributes, created_at)) = found else { return Ok(None) };
        let attributes: QueueAttributes = serde_json::from_str(&attributes).map_err(SqsError::internal)?;
        Ok(Some(Queue { name: name.to_owned(), attributes, created_at }))
    }

    pub(super) fn queue(&self, name: &str) -> Result<Queue, SqsError> {
        let missing = || SqsError::queue_does_not_exist("The specified queue does not exist.");
        self.find_queue(name)?.ok_or_else(missing)
    }

    pub(super) fn queues(&self) -> Result<Vec<Queue>, SqsError> {
        let names: Vec<String> = {
            let mut select = self.connection.prepare("SELECT name FROM queues ORDER BY name")?;
            select.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?
        };
        names.iter().map(|name| self.queue(name)).collect()
    }

    pub(super) fn delete_queue(&mut self, name: &str) -> Result<(), SqsError> {
        self.purge(name)?;
        self.connection.execute("DELETE FROM deduplications WHERE queue = ?1", [name])?;
        self.connection.execute("DELETE FROM queues WHERE name = ?1", [name])?;
        Ok(())
    }

    pub(super) fn purge(&mut self, name: &str) -> Result<(), SqsError> {
        self.connection.execute("DELETE FROM messages WHERE queue = ?1", [name])?;
        Ok(())
    }

    /// Stores a message, and returns its id and sequence. If an earlier message has the same deduplication id, it stores
    /// nothing and returns those of the earlier one.
    pub(super) fn send(&mut self, queue: &Queue, message: &NewMessage) -> Result<(String, i64), SqsError> {
        let transaction = self.connection.transaction()?;
        let sent = send(&transaction, queue, message)?;
        transaction.commit()?;
        Ok(sent)
    }

    /// Returns up to `max` visible messages, and hides them for `hidden_millis`. Messages that used up their deliveries go
    /// to the dead-letter queue instead.
    pub(super) fn receive(
        &mut self,
        queue: &Queue,
        max: usize,
        hidden_millis: u64,
    ) -> Result<Vec<(StoredMessage, ReceiptHandle)>, SqsError> {
        let now = now();
        let transaction = self.connection.transaction()?;
        expire(&transaction, queue, now)?;
        let mut received = Vec::new();
        loop {
            let moved = move_dead_letters(&transaction, queue, now, max - received.len())?;
            if moved == 0 {
                break;
            }
        }
        for mut stored in visible(&transaction, queue, now, max)? {
            let nonce = uuid::Uuid::new_v4().simple().to_string();
            stored.receive_count += 1;
            stored.first_received_at = stored.first_received_at.or(Some(now));
            transaction.execute(
                "UPDATE messages SET visible_at = ?2, receipt = ?3, receive_count = ?4, first_received_at = ?5 WHERE seq = ?1",
                params![stored.seq, now + hidden_millis, nonce, stored.receive_count, stored.first_received_at],
            )?;
            let receipt = ReceiptHandle { queue: queue.name.clone(), seq: stored.seq, nonce };
            received.push((stored, receipt));
        }
        transaction.commit()?;
        Ok(received)
    }

    /// Deletes the message, if this is its latest receipt. Returns whether it did.
    pub(super) fn delete(&mut self, receipt: &ReceiptHandle) -> Result<bool, SqsError> {
        let ReceiptHandle { queue, seq, nonce } = receipt;
        let deleted = self.connection.execute(
            "DELETE FROM messages WHERE queue = ?1 AND seq = ?2 AND receipt = ?3",
            params![queue, seq, nonce],
        )?;
        Ok(deleted > 0)
    }

    /// Returns whether the message is hidden under this receipt. `None` if it does not exist, or has a newer receipt.
    pub(super) fn is_in_flight(&self, receipt: &ReceiptHandle) -> Result<Option<bool>, SqsError> {
        let ReceiptHandle { queue, seq, nonce } = receipt;
        let mut select = self
            .connection
            .prepare_cached("SELECT visible_at FROM messages WHERE queue = ?1 AND seq = ?2 AND receipt = ?3")?;
        let visible_at: Option<u64> = select.query_row(params![queue, seq, nonce], |row| row.get(0)).optional()?;
        Ok(visible_at.map(|at| at > now()))
    }

    pub(super) fn hide(&mut self, receipt: &ReceiptHandle, hidden_millis: u64) -> Result<(), SqsError> {
        let visible_at = now() + hidden_millis;
        self.connection
            .execute("UPDATE messages SET visible_at = ?2 WHERE seq = ?1", params![receipt.seq, visible_at])?;
        Ok(())
    }

    pub(super) fn counts(&self, queue: &Queue) -> Result<Counts, SqsError> {
        let mut select = self.connection.prepare_cached(
            "SELECT COUNT(*) FILTER (WHERE visible_at <= :now),
                    COUNT(*) FILTER (WHERE visible_at > :now AND receive_count > 0),
                    COUNT(*) FILTER (WHERE visible_at > :now AND receive_count = 0)
             FROM messages WHERE queue = :queue AND sent_at > :oldest",
        )?;
        let now = now();
        let oldest = now.saturating_sub(queue.attributes.millis("MessageRetentionPeriod"));
        let parameters = named_params! { ":now": now, ":queue": queue.name, ":oldest": oldest };
        let counts = select.query_row(parameters, |row| {
            Ok(Counts { visible: row.get(0)?, in_flight: row.get(1)?, delayed: row.get(2)? })
        })?;
        Ok(counts)
    }

    /// Returns the time at which the next hidden message of the queue becomes visible.
    pub(super) fn next_visible_at(&self, queue: &str) -> Result<Option<u64>, SqsError> {
        let mut select = self.connection.prepare_cached(
            "SELECT visible_at FROM messages WHERE queue = ?1 AND visible_at > ?2 ORDER BY visible_at LIMIT 1",
        )?;
        Ok(select.query_row(params![queue, now()], |row| row.get(0)).optional()?)
    }

    /// Moves up to `max` visible messages to `destination` or, without one, to the source queue of each. Each gets a new
    /// id. Returns the number of moved messages.
    pub(super) fn redrive(&mut self, from: &Queue, destination: Option<&Queue>, max: usize) -> Result<u64, SqsError> {
        let transaction = self.connection.transaction()?;
        let mut moved = 0;
        for stored in visible(&transaction, from, now(), max)? {
            let to = match destination {
                Some(queue) => queue.clone(),
                None => source_of(&transaction, &stored)?,
            };
            let message = NewMessage { source: None, delay_millis: 0, ..stored.message };
            insert(&transaction, &to, &message)?;
            transaction.execute("DELETE FROM messages WHERE seq = ?1", [stored.seq])?;
            moved += 1;
        }
        transaction.commit()?;
        Ok(moved)
    }
}

fn send(transaction: &Transaction<'_>, queue: &Queue, message: &NewMessage) -> Result<(String, i64), SqsError> {
    let now = now();
    transaction
        .execute("DELETE FROM deduplications WHERE queue = ?1 AND expires_at <= ?2", params![queue.name, now])?;
    let Some(deduplication_id) = message.deduplication_id.as_ref().filter(|_| queue.is_fifo()) else {
        return insert(transaction, queue, message);
    };
    let first = transaction
        .prepare_cached("SELECT id, seq FROM deduplications WHERE queue = ?1 AND deduplication_id = ?2")?
        .query_row(params![queue.name, deduplication_id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some(first) = first {
        return Ok(first);
    }
    let (id, seq) = insert(transaction, queue, message)?;
    transaction.execute(
        "INSERT INTO deduplications VALUES (?1, ?2, ?3, ?4, ?5)",
        params![queue.name, deduplication_id, now + DEDUPLICATION_MILLIS, id, seq],
    )?;
    Ok((id, seq))
}

fn insert(transaction: &Transaction<'_>, queue: &Queue, message: &NewMessage) -> Result<(String, i64), SqsError> {
    let NewMessage { body, attributes, trace_header, group_id, deduplication_id, source, delay_millis } = message;
    let (id, now) = (uuid::Uuid::new_v4().to_string(), now());
    let attributes = serde_json::to_string(attributes).map_err(SqsError::internal)?;
    transaction
        .prepare_cached(
            "INSERT INTO messages
                 (queue, id, body, attributes, trace_header, group_id, deduplication_id, source, sent_at, visible_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            queue.name,
            id,
            body,
            attributes,
            trace_header,
            group_id,
            deduplication_id,
            source,
            now,
            now + delay_millis
        ])?;
    Ok((id, transaction.last_insert_rowid()))
}

/// Deletes messages that are older than the retention period of the queue.
fn expire(transaction: &Transaction<'_>, queue: &Queue, now: u64) -> Result<(), SqsError> {
    let oldest = now.saturating_sub(queue.attributes.millis("MessageRetentionPeriod"));
    let mut delete = transaction.prepare_cached("DELETE FROM messages WHERE queue = ?1 AND sent_at <= ?2")?;
    delete.execute(params![queue.name, oldest])?;
    Ok(())
}

/// Moves the messages that used up their deliveries to the dead-letter queue, among the next visible ones.
fn move_dead_letters(transaction: &Transaction<'_>, queue: &Queue, now: u64, max: usize) -> Result<usize, SqsError> {
    let Some(redrive) = queue.attributes.redrive() else { return Ok(0) };
    let dead_letters = name_in_arn(&redrive.dead_letter_arn)?;
    let mut moved = 0;
    for stored in visible(transaction, queue, now, max)? {
        if stored.receive_count >= redrive.receives_max {
            let mut update = transaction
                .prepare_cached("UPDATE messages SET queue = ?2, source = ?3, receipt = NULL WHERE seq = ?1")?;
            update.execute(params![stored.seq, dead_letters, arn(&queue.name)])?;
            moved += 1;
        }
    }
    Ok(moved)
}

const COLUMNS: &str = "seq, id, body, attributes, trace_header, group_id, deduplication_id, source, sent_at, \
    first_received_at, receive_count";

/// Returns the next messages that can be delivered.
fn visible(transaction: &Transaction<'_>, queue: &Queue, now: u64, max: usize) -> Result<Vec<StoredMessage>, SqsError> {
    let select = match queue.is_fifo() {
        false => format!(
            "SELECT {COLUMNS} FROM messages WHERE queue = ?1 AND visible_at <= ?2 ORDER BY visible_at, seq LIMIT ?3"
        ),
        // One message in flight or delayed blocks its group.
        true => format!(
            "SELECT {COLUMNS} FROM messages AS message WHERE queue = ?1 AND visible_at <= ?2 AND NOT EXISTS (
                 SELECT 1 FROM messages AS other WHERE other.queue = message.queue
                     AND other.group_id = message.group_id AND other.visible_at > ?2)
             ORDER BY seq LIMIT ?3"
        ),
    };
    let mut select = transaction.prepare_cached(&select)?;
    let rows = select.query_map(params![queue.name, now, max], read)?;
    rows.map(|row| row?).collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<Result<StoredMessage, SqsError>> {
    let attributes: String = row.get(3)?;
    let message = NewMessage {
        body: row.get(2)?,
        attributes: BTreeMap::new(),
        trace_header: row.get(4)?,
        group_id: row.get(5)?,
        deduplication_id: row.get(6)?,
        source: row.get(7)?,
        delay_millis: 0,
    };
    let stored = StoredMessage {
        seq: row.get(0)?,
        id: row.get(1)?,
        message,
        sent_at: row.get(8)?,
        first_received_at: row.get(9)?,
        receive_count: row.get(10)?,
    };
    let with = |attributes| StoredMessage { message: NewMessage { attributes, ..stored.message }, ..stored };
    Ok(serde_json::from_str(&attributes).map(with).map_err(SqsError::internal))
}

/// Returns the queue in which a message became a dead letter.
fn source_of(transaction: &Transaction<'_>, stored: &StoredMessage) -> Result<Queue, SqsError> {
    let source = stored.message.source.as_deref();
    let source = source.ok_or_else(|| SqsError::not_found("A message did not come from another queue."))?;
    let name = name_in_arn(source)?.to_owned();
    let known = transaction.query_row("SELECT 1 FROM queues WHERE name = ?1", [&name], |_| Ok(())).optional()?;
    known.ok_or_else(|| SqsError::not_found("The source queue no longer exists."))?;
    // Moving a message needs only the name of the queue.
    Ok(Queue { name, attributes: QueueAttributes::default(), created_at: 0 })
}
