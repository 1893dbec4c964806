//! The stages of the evolution path, intermediate stages included. They are data: this module and the CDK app read `stages.json`.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::functions::{FUNCTIONS, Function};

/// A stage configuration: the parts of a deployment. The columns are independent of each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageConfig {
    /// The stage's name, the value of `STAGE`.
    pub stage: String,
    /// Whether this is a named stage or an intermediate one.
    pub kind: StageKind,
    /// The deployed programs. Each runs as one function, or as one function per resource or action.
    pub binaries: Vec<String>,
    /// The caches in front of the store, in the order in which they are asked.
    pub caches: Vec<Cache>,
    /// Whether writers keep Redis up to date.
    pub writes_redis: bool,
    /// Whether writers keep the read store up to date.
    pub writes_read_store: bool,
    /// The store that answers queries, behind the caches.
    pub reads_from: Source,
    /// Whether the queue and its dead-letter queue exist.
    pub queue_deployed: bool,
    /// The answer to a write, unless the client prefers another one.
    pub writes_answer: WriteAnswer,
}

/// The role of a stage on the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StageKind {
    /// A named stage. A service may stay here.
    Stage,
    /// An intermediate stage in both directions. The parts that the next stage needs are there, unused.
    Expand,
    /// An intermediate stage on the way back only. Parts that the earlier stage does not need fall out of use, one by one.
    Contract,
}

/// A cache in front of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cache {
    /// The memory of each environment.
    Memory,
    /// Redis, shared by all environments.
    Redis,
}

/// A store that answers queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// The write store. Each read projects the view.
    WriteStore,
    /// The read store.
    ReadStore,
}

/// The answer to a write. If it is an acknowledgement, the command goes into the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WriteAnswer {
    /// The result: 200, 201 or 204.
    Result,
    /// The result. An acknowledgement if the command's predecessor may still be in the queue.
    ResultUnlessEarly,
    /// The result. An acknowledgement if the predecessor may still be in the queue, or if the client sends `Prefer: respond-async`
    /// (RFC 7240).
    ResultUnlessAsync,
    /// An acknowledgement: 202.
    Accepted,
}

/// The reason why a stage or a step does not exist.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// No stage has this name.
    #[error("`{name}` is not a stage: choose one of {known}")]
    Unknown {
        /// The name.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// The two stages are not neighbours.
    #[error("no single step leads from {from} to {to}: go to {neighbours}")]
    NoStep {
        /// The stage to start from.
        from: String,
        /// The wanted stage.
        to: String,
        /// The neighbours of the first stage.
        neighbours: String,
    },
    /// The file of stages is invalid.
    #[error("stages.json cannot be read")]
    Broken(#[from] serde_json::Error),
}

impl StageConfig {
    /// Returns all stages, in the order of the path.
    pub fn all() -> Result<Vec<Self>, StageError> {
        Ok(serde_json::from_str(include_str!("../../stages.json"))?)
    }

    /// Returns the stage with this name.
    ///
    /// ```
    /// use service::stages::{Cache, Source, StageConfig};
    ///
    /// let stage = StageConfig::of("read-store")?;
    /// assert_eq!(stage.caches, [Cache::Memory, Cache::Redis]);
    /// assert_eq!(stage.reads_from, Source::ReadStore);
    /// assert!(!stage.queue_deployed);
    /// assert!(StageConfig::of("nowhere").is_err());
    /// # Ok::<(), service::stages::StageError>(())
    /// ```
    pub fn of(name: &str) -> Result<Self, StageError> {
        let rows = Self::all()?;
        let known = || rows.iter().map(|row| row.stage.as_str()).collect::<Vec<_>>().join(", ");
        let unknown = || StageError::Unknown { name: name.to_owned(), known: known() };
        rows.iter().find(|row| row.stage == name).cloned().ok_or_else(unknown)
    }

    /// Returns the stages to deploy, in order, on the way from a stage to a neighbour. The neighbour is the last of them.
    pub fn step(from: &str, to: &str) -> Result<Vec<Self>, StageError> {
        let (rows, first, last) = (Self::all()?, Self::of(from)?, Self::of(to)?);
        let index = |wanted: &Self| rows.iter().position(|row| row == wanted).unwrap_or_default();
        let (here, there) = (index(&first), index(&last));
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

    /// Returns the functions that are deployed.
    pub fn functions(&self) -> impl Iterator<Item = &'static Function> {
        FUNCTIONS.iter().filter(|function| self.binaries.iter().any(|binary| binary == function.binary))
    }

    /// Returns whether this cache is in front of the store.
    #[must_use]
    pub fn has(&self, cache: Cache) -> bool {
        self.caches.contains(&cache)
    }
}

/// Returns the named stages next to a stage.
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
        // If no resource has an action, no function runs this program.
        assert!(deployed.iter().all(|binary| runs(binary) || binary == "act-fn"), "{deployed:?}");
    }

    #[test]
    fn the_file_of_stages_is_readable_and_its_columns_fit_together() {
        let rows = StageConfig::all().unwrap();
        assert_eq!(rows.iter().filter(|row| row.kind == StageKind::Stage).count(), 7);
        for row in rows {
            assert!(row.writes_read_store || row.reads_from == Source::WriteStore, "{row} reads an unwritten store");
            assert!(row.writes_redis || !row.has(Cache::Redis), "{row} reads a cache that is not kept up to date");
            assert_eq!(row.queue_deployed, row.binaries.iter().any(|name| name == INGEST), "{row}");
            assert!(row.queue_deployed || row.writes_answer == WriteAnswer::Result, "{row} accepts without a queue");
        }
    }

    /// Writers follow the protocol of a new part before any reader uses it, and after the last reader has stopped.
    #[test]
    fn no_step_has_readers_use_what_an_earlier_deployment_does_not_keep_up_to_date() {
        let rows = StageConfig::all().unwrap();
        let stages: Vec<_> = rows.iter().filter(|row| row.kind == StageKind::Stage).collect();
        let steps = stages.windows(2).flat_map(|pair| [(pair[0], pair[1]), (pair[1], pair[0])]);
        for (from, to) in steps {
            let way = [vec![from.clone()], StageConfig::step(&from.stage, &to.stage).unwrap()].concat();
            for pair in way.windows(2) {
                let [before, after] = pair else { unreachable!() };
                // During a deployment both stages run side by side.
                for (reader, writer) in [(before, after), (after, before)] {
                    assert!(writer.writes_redis || !reader.has(Cache::Redis), "{reader} beside {writer}");
                    let reads_views = reader.reads_from == Source::ReadStore;
                    assert!(writer.writes_read_store || !reads_views, "{reader} beside {writer}");
                    // Two requests under one key must meet in one record. So both writers must register commands before one of them
                    // queues.
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
    fn a_step_that_skips_a_stage_is_refused_with_the_possible_ones() {
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
