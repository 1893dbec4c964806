//! The stages of the evolution path: data, read from `stages.json` here and by the CDK app.

use std::fmt;

use serde::Deserialize;

/// One row of the table: what a deployment at this stage is made of. The columns are independent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The stage's name, as `STAGE` has it.
    pub stage: String,
    /// The functions that are deployed.
    pub functions: Vec<String>,
    /// The caches in front of the store, in the order in which they are asked.
    pub caches: Vec<Cache>,
    /// Whether writers keep the read store up to date.
    pub writes_read_store: bool,
    /// Where queries are answered from, behind the caches.
    pub reads_from: Source,
    /// Whether there is a queue, with its dead-letter queue.
    pub queue_deployed: bool,
    /// What a write is answered with, unless the client asks for something else.
    pub writes_answer: Answer,
}

/// A cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cache {
    /// The memory of each environment.
    Memory,
    /// Redis, shared by all environments.
    Redis,
}

/// A store that queries are answered from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The write store: views are projected on the way out.
    WriteStore,
    /// The read store.
    ReadStore,
}

/// What a write is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Its result: 200, 201 or 204.
    Result,
    /// An acknowledgement: 202.
    Accepted,
}

/// Why there is no such row.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// No stage has this name.
    #[error("`{name}` is not a stage: choose one of {known}")]
    Unknown {
        /// The name.
        name: String,
        /// Those that are.
        known: String,
    },
    /// The table itself is broken.
    #[error("stages.json cannot be read")]
    Broken(#[from] serde_json::Error),
}

impl Row {
    /// The whole table, in the order of the path.
    pub fn all() -> Result<Vec<Self>, StageError> {
        Ok(serde_json::from_str(include_str!("../stages.json"))?)
    }

    /// The row of a stage.
    pub fn of(name: &str) -> Result<Self, StageError> {
        let rows = Self::all()?;
        let known = || rows.iter().map(|row| row.stage.as_str()).collect::<Vec<_>>().join(", ");
        let unknown = || StageError::Unknown { name: name.to_owned(), known: known() };
        rows.iter().find(|row| row.stage == name).cloned().ok_or_else(unknown)
    }

    /// Whether this cache stands in front of the store.
    #[must_use]
    pub fn has(&self, cache: Cache) -> bool {
        self.caches.contains(&cache)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.stage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_reads_and_its_columns_fit_together() {
        let rows = Row::all().unwrap();
        assert_eq!(rows.len(), 7);
        for row in rows {
            assert!(row.writes_read_store || row.reads_from == Source::WriteStore, "{row} reads what nobody writes");
            assert_eq!(row.queue_deployed, row.functions.iter().any(|name| name == "ingest-fn"), "{row}");
            assert!(row.queue_deployed || row.writes_answer == Answer::Result, "{row} accepts into no queue");
        }
    }

    #[test]
    fn an_unknown_stage_is_refused_with_those_that_are_known() {
        let error = Row::of("cqsr").unwrap_err().to_string();
        assert!(error.contains("`cqsr`") && error.contains("read-write, memory-cache"), "{error}");
    }
}
