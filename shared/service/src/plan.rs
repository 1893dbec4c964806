//! The plan of a change from a stage to its neighbour, step by step. It depends on the columns of the stages, never on their names.

use std::fmt;
use std::time::Duration;

use kernel::record::DEAD_LETTER_RETENTION;

use crate::stages::{Cache, Source, StageConfig, StageError, WriteAnswer};

/// How long a part with data is kept before its removal: as long as a queue keeps a dead letter.
pub const RETENTION: Duration = DEAD_LETTER_RETENTION;

/// One step. You can interrupt it at any time, and repeat it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The action.
    pub action: Action,
    /// The stage that is deployed when the step begins.
    pub before: StageConfig,
    /// The stage that the step deploys or prepares. In a soak, and in a `Retain` at the end, it is the deployed stage.
    pub row: StageConfig,
}

/// The action of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Deploy the stage, and wait until the environments of the stage before it have ended.
    Deploy(Part),
    /// Fill the read store from the write store.
    Backfill,
    /// Drop the stale entries that the shared cache holds from an earlier use.
    Refresh,
    /// Compare a sample of the views that readers would get at the stage.
    Compare,
    /// Compare samples of the views that readers get, for a while.
    Soak,
    /// Keep the earlier parts for this time, so that a way back stays open.
    Retain(Duration),
    /// Wait until the queue is empty.
    Drain,
    /// Check that there are no dead letters.
    DeadLetters,
}

/// The purpose of a deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Add the parts that the next stage needs, unused.
    Expand,
    /// Serve clients as the next stage does.
    CutOver,
    /// Remove the parts that the next stage does not need.
    Contract,
    /// Return to the earlier stage.
    RollBack,
}

/// Writes the name of the step. It is unique within a plan, and begins with the phase.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (phase, row) = (self.phase(), &self.row);
        match self.action {
            Action::Deploy(_) => write!(f, "{phase}: deploy {row}"),
            Action::Soak => write!(f, "{phase}: at {row}"),
            Action::Backfill
            | Action::Refresh
            | Action::Compare
            | Action::Retain(_)
            | Action::Drain
            | Action::DeadLetters => {
                write!(f, "{phase}: before {row}")
            }
        }
    }
}

impl Step {
    /// Returns the name of the phase, as operators see it.
    #[must_use]
    pub fn phase(&self) -> &'static str {
        match self.action {
            Action::Deploy(Part::Expand) => "expand",
            Action::Deploy(Part::CutOver) => "cut over",
            Action::Deploy(Part::Contract) | Action::Retain(_) => "contract",
            Action::Deploy(Part::RollBack) => "roll back",
            Action::Backfill => "backfill",
            Action::Refresh => "refresh",
            Action::Compare => "compare",
            Action::Soak => "soak",
            Action::Drain => "drain",
            Action::DeadLetters => "dead letters",
        }
    }

    /// Returns whether the step deploys a stage.
    #[must_use]
    pub fn deploys(&self) -> bool {
        matches!(self.action, Action::Deploy(_))
    }

    /// Returns whether the step stops updates of a part. After it, the way back needs a separate migration.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.deploys() && takes_away(&self.before, &self.row).is_some()
    }
}

/// Returns all steps from a stage to a neighbour.
///
/// ```
/// let steps = service::plan::steps("read-write", "memory-cache")?;
/// let names: Vec<_> = steps.iter().map(ToString::to_string).collect();
/// assert_eq!(names, [
///     "compare: before memory-cache",
///     "cut over: deploy memory-cache",
///     "soak: at memory-cache",
///     "contract: before memory-cache",
/// ]);
/// # Ok::<(), service::stages::StageError>(())
/// ```
pub fn steps(from: &str, to: &str) -> Result<Vec<Step>, StageError> {
    let rows = StageConfig::step(from, to)?;
    // Clients notice the last stage on the way forward, and the first one on the way back.
    let cut_over = if leads_back(from, to)? { 0 } else { rows.len().saturating_sub(1) };
    let mut steps = Vec::new();
    let mut is_retained = false;
    let mut before = StageConfig::of(from)?;
    for (number, row) in rows.into_iter().enumerate() {
        let part = match number {
            _ if number < cut_over => Part::Expand,
            _ if number == cut_over => Part::CutOver,
            _ => Part::Contract,
        };
        let mut actions = gates_for_readers(&before, &row);
        actions.extend((part == Part::CutOver).then_some(Action::Compare));
        if let Some(retention) = takes_away(&before, &row).filter(|_| !is_retained) {
            is_retained = true;
            actions.push(Action::Retain(retention));
        }
        actions.extend(gates_for_the_queue(&before, &row));
        actions.push(Action::Deploy(part));
        steps.extend(actions.into_iter().map(|action| Step { action, before: before.clone(), row: row.clone() }));
        if part == Part::CutOver {
            steps.push(Step { action: Action::Soak, before: row.clone(), row: row.clone() });
        }
        before = row;
    }
    if !is_retained {
        steps.push(Step { action: Action::Retain(Duration::ZERO), before: before.clone(), row: before });
    }
    Ok(steps)
}

/// Returns the steps back to `from`, from a stage on the way to `to`. Until a part is taken away, the service keeps all that `from`
/// needs up to date. So no step fills it again.
pub fn steps_back(from: &str, to: &str, at: &str) -> Result<Vec<Step>, StageError> {
    let rows = StageConfig::step(to, from)?;
    let passed = rows.iter().position(|row| row.stage == at).map_or(0, |index| index + 1);
    let mut before = StageConfig::of(at)?;
    let mut steps = Vec::new();
    // If `from` is still deployed, no stage needs a rollback.
    for row in rows.into_iter().skip(passed).filter(|_| at != from) {
        let mut actions = gates_for_the_queue(&before, &row);
        actions.push(Action::Deploy(Part::RollBack));
        steps.extend(actions.into_iter().map(|action| Step { action, before: before.clone(), row: row.clone() }));
        before = row;
    }
    Ok(steps)
}

fn leads_back(from: &str, to: &str) -> Result<bool, StageError> {
    let rows = StageConfig::all()?;
    let index = |name| rows.iter().position(|row| row.stage == name);
    Ok(index(to) < index(from))
}

/// Returns the actions that must come before readers use the second stage.
fn gates_for_readers(before: &StageConfig, after: &StageConfig) -> Vec<Action> {
    let reads_views = |row: &StageConfig| row.reads_from == Source::ReadStore;
    let backfill = reads_views(after) && !reads_views(before);
    let refresh = after.has(Cache::Redis) && !before.has(Cache::Redis);
    [backfill.then_some(Action::Backfill), refresh.then_some(Action::Refresh)].into_iter().flatten().collect()
}

/// Returns the actions that must come before the queue falls out of use, and before its removal.
fn gates_for_the_queue(before: &StageConfig, after: &StageConfig) -> Vec<Action> {
    let sends = |row: &StageConfig| row.writes_answer != WriteAnswer::Result;
    match (before.queue_deployed, after.queue_deployed) {
        // Once the queue is out of use, no command waits for a dead letter. So dead letters are redriven before that.
        (true, true) if sends(before) && !sends(after) => vec![Action::Drain, Action::DeadLetters],
        (true, false) => vec![Action::Drain, Action::DeadLetters],
        _ => Vec::new(),
    }
}

/// Returns how long to wait before this deployment takes a part away: long for data, not at all for a cache. `None` if it takes
/// none away.
fn takes_away(before: &StageConfig, after: &StageConfig) -> Option<Duration> {
    let falls = |column: fn(&StageConfig) -> bool| column(before) && !column(after);
    let holds_data = falls(|row| row.writes_read_store) || falls(|row| row.queue_deployed);
    match (holds_data, falls(|row| row.writes_redis)) {
        (true, _) => Some(RETENTION),
        (false, true) => Some(Duration::ZERO),
        (false, false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(steps: &[Step]) -> Vec<String> {
        steps.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_step_expands_fills_compares_cuts_over_soaks_and_contracts() {
        for (from, to, way) in [
            (
                "redis-cache",
                "read-store",
                &[
                    "expand: deploy read-store-expand",
                    "backfill: before read-store",
                    "compare: before read-store",
                    "cut over: deploy read-store",
                    "soak: at read-store",
                    "contract: before read-store",
                ][..],
            ),
            (
                "read-store",
                "redis-cache",
                &[
                    "compare: before read-store-expand",
                    "cut over: deploy read-store-expand",
                    "soak: at read-store-expand",
                    "contract: before redis-cache",
                    "contract: deploy redis-cache",
                ],
            ),
            (
                "memory-cache",
                "redis-cache",
                &[
                    "expand: deploy redis-cache-expand",
                    "refresh: before redis-cache",
                    "compare: before redis-cache",
                    "cut over: deploy redis-cache",
                    "soak: at redis-cache",
                    "contract: before redis-cache",
                ],
            ),
            (
                "cqrs",
                "read-store",
                &[
                    "compare: before cqrs-expand",
                    "cut over: deploy cqrs-expand",
                    "soak: at cqrs-expand",
                    "contract: deploy cqrs-drain",
                    "drain: before cqrs-idle",
                    "dead letters: before cqrs-idle",
                    "contract: deploy cqrs-idle",
                    "contract: before read-store",
                    "drain: before read-store",
                    "dead letters: before read-store",
                    "contract: deploy read-store",
                ],
            ),
        ] {
            assert_eq!(names(&steps(from, to).unwrap()), way, "{from} to {to}");
        }
    }

    #[test]
    fn parts_that_hold_data_are_kept_for_two_weeks_and_no_others() {
        for (from, to, kept) in [
            ("read-store", "redis-cache", RETENTION),
            ("cqrs", "read-store", RETENTION),
            ("redis-cache", "memory-cache", Duration::ZERO),
            ("redis-cache", "read-store", Duration::ZERO),
            ("read-store", "cqrs", Duration::ZERO),
        ] {
            let retained = steps(from, to).unwrap().into_iter().filter_map(|step| match step.action {
                Action::Retain(duration) => Some(duration),
                _ => None,
            });
            assert_eq!(retained.collect::<Vec<_>>(), [kept], "{from} to {to}");
        }
    }

    #[test]
    fn a_step_can_be_rolled_back_until_a_part_is_removed() {
        for (from, to, at, way) in [
            ("redis-cache", "read-store", "redis-cache", &[][..]),
            ("redis-cache", "read-store", "read-store-expand", &["roll back: deploy redis-cache"]),
            (
                "redis-cache",
                "read-store",
                "read-store",
                &["roll back: deploy read-store-expand", "roll back: deploy redis-cache"],
            ),
            ("read-store", "redis-cache", "read-store-expand", &["roll back: deploy read-store"]),
            (
                "read-store",
                "cqrs",
                "cqrs-expand",
                &[
                    "roll back: deploy cqrs-drain",
                    "drain: before cqrs-idle",
                    "dead letters: before cqrs-idle",
                    "roll back: deploy cqrs-idle",
                    "drain: before read-store",
                    "dead letters: before read-store",
                    "roll back: deploy read-store",
                ],
            ),
            ("cqrs", "read-store", "cqrs-idle", &["roll back: deploy cqrs-expand", "roll back: deploy cqrs"]),
        ] {
            assert_eq!(names(&steps_back(from, to, at).unwrap()), way, "{from} to {to} at {at}");
        }
    }

    #[test]
    fn every_way_has_steps_of_different_names_a_comparison_before_its_cut_over_and_its_final_steps_last() {
        let rows = StageConfig::all().unwrap();
        let stages: Vec<_> = rows.iter().filter(|row| row.kind == crate::stages::StageKind::Stage).collect();
        for pair in stages.windows(2) {
            for (from, to) in [(&pair[0].stage, &pair[1].stage), (&pair[1].stage, &pair[0].stage)] {
                let steps = steps(from, to).unwrap();
                let mut distinct = names(&steps);
                distinct.sort();
                distinct.dedup();
                assert_eq!(distinct.len(), steps.len(), "{from} to {to}: {:?}", names(&steps));
                let cut_over = steps.iter().position(|step| step.action == Action::Deploy(Part::CutOver)).unwrap();
                assert_eq!(steps[cut_over - 1].action, Action::Compare, "{from} to {to}");
                assert_eq!(steps[cut_over + 1].action, Action::Soak, "{from} to {to}");
                let final_at = steps.iter().position(Step::is_final).unwrap_or(steps.len() - 1);
                assert_eq!(final_at, steps.len() - 1, "{from} to {to}");
            }
        }
    }
}
