//! The stages of the evolution path, and what lies between them: data, read from `stages.json` here and by the CDK app.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::functions::{FUNCTIONS, Function};

/// One row of the table: what a deployment at this stage is made of. The columns are independent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageConfig {
    /// The row's name, as `STAGE` has it.
    pub stage: String,
    /// Whether this is a stage, or lies between two.
    pub kind: StageKind,
    /// The programs that are deployed, each as the functions that run it: one, or one for each resource.
    pub binaries: Vec<String>,
    /// The caches in front of the store, in the order in which they are asked.
    pub caches: Vec<Cache>,
    /// Whether writers keep Redis up to date.
    pub writes_redis: bool,
    /// Whether writers keep the read store up to date.
    pub writes_read_store: bool,
    /// Where queries are answered from, behind the caches.
    pub reads_from: Source,
    /// Whether there is a queue, with its dead-letter queue.
    pub queue_deployed: bool,
    /// What a write is answered with, unless the client asks for something else.
    pub writes_answer: WriteAnswer,
}

/// What a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageKind {
    /// A stage: one may stay here.
    Stage,
    /// Passed on the way to the next stage, and on the way back: what the next one rests upon is there, unused.
    Expand,
    /// Passed on the way back only: what the earlier stage does without falls out of use, piece by piece.
    Contract,
}

/// A cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cache {
    /// The memory of each environment.
    Memory,
    /// Redis, shared by all environments.
    Redis,
}

/// A store that queries are answered from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The write store: views are projected on the way out.
    WriteStore,
    /// The read store.
    ReadStore,
}

/// What a write is answered with; wherever it is an acknowledgement, the command goes into the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WriteAnswer {
    /// Its result: 200, 201 or 204.
    Result,
    /// Its result; an acknowledgement where what it builds on may still be in the queue.
    ResultUnlessEarly,
    /// Its result; an acknowledgement there, and where the client prefers one with `Prefer: respond-async` (RFC 7240).
    ResultUnlessAsync,
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
    /// Two rows are no neighbouring stages.
    #[error("no single step leads from {from} to {to}: go to {neighbours}")]
    NoStep {
        /// Where one is.
        from: String,
        /// Where one would like to go.
        to: String,
        /// Where one can go.
        neighbours: String,
    },
    /// The table itself is broken.
    #[error("stages.json cannot be read")]
    Broken(#[from] serde_json::Error),
}

impl StageConfig {
    /// The whole table, in the order of the path.
    pub fn all() -> Result<Vec<Self>, StageError> {
        Ok(serde_json::from_str(include_str!("../../stages.json"))?)
    }

    /// The row of this name.
    pub fn of(name: &str) -> Result<Self, StageError> {
        let rows = Self::all()?;
        let known = || rows.iter().map(|row| row.stage.as_str()).collect::<Vec<_>>().join(", ");
        let unknown = || StageError::Unknown { name: name.to_owned(), known: known() };
        rows.iter().find(|row| row.stage == name).cloned().ok_or_else(unknown)
    }

    /// The rows to deploy, one after the other, to come from a stage to one next to it, which is the last of them.
    pub fn step(from: &str, to: &str) -> Result<Vec<Self>, StageError> {
        let (rows, first, last) = (Self::all()?, Self::of(from)?, Self::of(to)?);
        let place = |wanted: &Self| rows.iter().position(|row| row == wanted).unwrap_or_default();
        let (here, there) = (place(&first), place(&last));
        let way: Vec<_> = if here < there {
            let passed = |row: &&Self| row.kind != StageKind::Contract;
            rows.iter().take(there + 1).skip(here + 1).filter(passed).cloned().collect()
        } else {
            rows.iter().take(here).skip(there).rev().cloned().collect()
        };
        let stages = way.iter().filter(|row| row.kind == StageKind::Stage).count();
        match first.kind == StageKind::Stage && last.kind == StageKind::Stage && stages == 1 {
            true => Ok(way),
            false => Err(StageError::NoStep { from: first.stage, to: last.stage, neighbours: neighbours(&rows, here) }),
        }
    }

    /// The functions that are deployed.
    pub fn functions(&self) -> impl Iterator<Item = &'static Function> {
        FUNCTIONS.iter().filter(|function| self.binaries.iter().any(|binary| binary == function.binary))
    }

    /// Whether this cache stands in front of the store.
    #[must_use]
    pub fn has(&self, cache: Cache) -> bool {
        self.caches.contains(&cache)
    }
}

/// The stages next to a row.
fn neighbours(rows: &[StageConfig], here: usize) -> String {
    let is_stage = |row: &&StageConfig| row.kind == StageKind::Stage;
    let (before, after) = (rows.iter().take(here).rfind(is_stage), rows.iter().skip(here + 1).find(is_stage));
    before.into_iter().chain(after).map(|row| row.stage.as_str()).collect::<Vec<_>>().join(" or ")
}

impl fmt::Display for StageConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.stage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use crate::functions::INGEST;

    #[test]
    fn every_program_is_deployed_by_a_row_and_every_function_runs_one() {
        let deployed: BTreeSet<_> = StageConfig::all().unwrap().into_iter().flat_map(|row| row.binaries).collect();
        assert!(FUNCTIONS.iter().all(|function| deployed.contains(function.binary)), "{deployed:?}");
        let runs = |binary: &String| FUNCTIONS.iter().any(|function| function.binary == binary);
        // A list of resources without an action leaves this one out.
        assert!(deployed.iter().all(|binary| runs(binary) || binary == "act-fn"), "{deployed:?}");
    }

    #[test]
    fn the_table_reads_and_its_columns_fit_together() {
        let rows = StageConfig::all().unwrap();
        assert_eq!(rows.iter().filter(|row| row.kind == StageKind::Stage).count(), 7);
        for row in rows {
            assert!(row.writes_read_store || row.reads_from == Source::WriteStore, "{row} reads what nobody writes");
            assert!(row.writes_redis || !row.has(Cache::Redis), "{row} reads a cache that is not kept up to date");
            assert_eq!(row.queue_deployed, row.binaries.iter().any(|name| name == INGEST), "{row}");
            assert!(row.queue_deployed || row.writes_answer == WriteAnswer::Result, "{row} accepts into no queue");
        }
    }

    /// Writers follow a new tier's protocol before any reader uses it, and for longer.
    #[test]
    fn no_step_has_readers_use_what_an_earlier_deployment_does_not_keep_up_to_date() {
        let rows = StageConfig::all().unwrap();
        let stages: Vec<_> = rows.iter().filter(|row| row.kind == StageKind::Stage).collect();
        let steps = stages.windows(2).flat_map(|pair| [(pair[0], pair[1]), (pair[1], pair[0])]);
        for (from, to) in steps {
            let way = [vec![from.clone()], StageConfig::step(&from.stage, &to.stage).unwrap()].concat();
            for pair in way.windows(2) {
                let [before, after] = pair else { unreachable!() };
                // While the one is replaced by the other, both run.
                for (reader, writer) in [(before, after), (after, before)] {
                    assert!(writer.writes_redis || !reader.has(Cache::Redis), "{reader} beside {writer}");
                    let reads_views = reader.reads_from == Source::ReadStore;
                    assert!(writer.writes_read_store || !reads_views, "{reader} beside {writer}");
                    // Two requests under one key must meet in one record, so both writers have to register before one queues.
                    let queues = reader.writes_answer != WriteAnswer::Result;
                    assert!(writer.queue_deployed || !queues, "{reader} queues what {writer} does not know of");
                }
            }
        }
    }

    #[test]
    fn a_step_leads_over_what_lies_between_two_stages() {
        let step =
            |from, to| StageConfig::step(from, to).map(|way| way.into_iter().map(|row| row.stage).collect::<Vec<_>>());
        assert_eq!(step("lambda-lith", "read-write").unwrap(), ["read-write"]);
        assert_eq!(step("read-store", "cqrs").unwrap(), ["cqrs-idle", "cqrs-expand", "cqrs"]);
        assert_eq!(step("cqrs", "read-store").unwrap(), ["cqrs-expand", "cqrs-drain", "cqrs-idle", "read-store"]);
        assert_eq!(step("read-store", "redis-cache").unwrap(), ["read-store-expand", "redis-cache"]);
    }

    #[test]
    fn a_step_that_leaves_one_out_is_refused_with_those_that_can_be_taken() {
        for (from, to, says) in [
            ("read-write", "cqrs", "lambda-lith or memory-cache"),
            ("cqrs", "redis-cache", "go to read-store"),
            ("cqrs", "cqrs", "go to read-store"),
            ("read-store", "cqrs-expand", "redis-cache or cqrs"),
            ("cqrs-drain", "read-store", "read-store or cqrs"),
            ("cqrs", "csqr", "`csqr` is not a stage"),
        ] {
            let error = StageConfig::step(from, to).unwrap_err().to_string();
            assert!(error.contains(says), "{from} to {to}: {error}");
        }
    }

    #[test]
    fn an_unknown_stage_is_refused_with_those_that_are_known() {
        let error = StageConfig::of("cqsr").unwrap_err().to_string();
        assert!(error.contains("`cqsr`") && error.contains("read-write, memory-cache"), "{error}");
    }
}
