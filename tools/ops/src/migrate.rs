//! Moves a service to a neighbouring stage, and back, while it serves.
//!
//! A migration is a list of steps (`service::plan`), and each step can be repeated. The write table stores the next step, and the
//! lease of the run that performs it (`state`).

mod perform;
mod plan;
mod state;

use serde::Serialize;
use serde_json::json;
use service::stages::{StageConfig, StageKind};

use self::perform::Run;
use self::state::{HeldMigration, Migration};
use crate::cache;
use crate::cli::{AdvanceOptions, HoldOptions, MigrateCommand, TargetOptions};
use crate::copy::Progress;
use crate::output::{CommandOutput, Failure};
use crate::target::Target;
use service::plan::Action;

pub(crate) async fn run(
    target: Target,
    target_options: &TargetOptions,
    command: &MigrateCommand,
) -> Result<CommandOutput, Failure> {
    match command {
        MigrateCommand::Plan { to, from } => plan::run(&target, from.as_deref(), to).await,
        MigrateCommand::Advance { to, options } => advance(target, target_options, to.as_deref(), options).await,
        MigrateCommand::Status => status(&target).await,
        MigrateCommand::Rollback(hold) => rollback(target, target_options, hold).await,
    }
}

/// Fails if a migration is under way.
pub(crate) async fn refuse_meanwhile(target: &Target) -> Result<(), Failure> {
    match Migration::load(target).await?.filter(Migration::is_under_way) {
        None => Ok(()),
        Some(Migration { from, to, .. }) => Err(Failure::Untimely(format!(
            "a migration from {from} to {to} is under way: end it first, with `watershed migrate advance` or \
             `watershed migrate rollback`"
        ))),
    }
}

/// The result of a run.
#[derive(Debug, Default, Serialize)]
struct Report {
    from: String,
    to: String,
    /// The stages that this run has deployed, intermediate ones included.
    rows: Vec<String>,
    copied: u64,
    compared: u64,
    lag: u64,
    wrong: u64,
    is_complete: bool,
    /// The step at which it stopped.
    next: Option<String>,
    /// The deployment that the operator has to make.
    deploy: Option<String>,
    /// The reason why it stopped.
    stopped: Option<String>,
    /// The cause, if the shared cache did not answer. Comparisons then left it out.
    cache_failure: Option<String>,
}

async fn advance(
    target: Target,
    target_options: &TargetOptions,
    to: Option<&str>,
    options: &AdvanceOptions,
) -> Result<CommandOutput, Failure> {
    let deployed = deployed(&target)?;
    let is_under_way = Migration::load(&target).await?.is_some_and(|migration| migration.is_under_way());
    if to == Some(deployed.as_str()) && !is_under_way && StageConfig::of(&deployed)?.kind == StageKind::Stage {
        let report = Report { from: deployed.clone(), to: deployed.clone(), is_complete: true, ..Report::default() };
        return Ok(CommandOutput::new(true, &report, vec![format!("the service is already at {deployed}")]));
    }
    let held = take(&target, &options.hold, |stored| match (stored.filter(Migration::is_under_way), to) {
        (Some(Migration { from, turned_back_at: Some(_), .. }), _) => Err(Failure::Untimely(format!(
            "a rollback to {from} is under way: go on with `watershed migrate rollback`"
        ))),
        (Some(Migration { from, to: other, .. }), Some(to)) if other != to => Err(Failure::Untimely(format!(
            "a migration from {from} to {other} is under way: finish it with `watershed migrate advance`, or go back \
             with `watershed migrate rollback`"
        ))),
        (Some(migration), _) => migration.found_at(&deployed),
        (None, Some(to)) => Migration::new(&deployed, to),
        (None, None) => Err(Failure::Untimely("no migration is under way: begin one with --to".to_owned())),
    })
    .await?;
    go(target, target_options, Some(options), &held).await
}

async fn rollback(
    target: Target,
    target_options: &TargetOptions,
    hold: &HoldOptions,
) -> Result<CommandOutput, Failure> {
    let deployed = deployed(&target)?;
    let held = take(&target, hold, |stored| {
        let nothing = || Failure::Untimely("no migration has begun, so there is nothing to roll back".to_owned());
        let migration = stored.ok_or_else(nothing)?;
        if !migration.is_under_way() {
            let Migration { from, to, turned_back_at, .. } = &migration;
            let to = turned_back_at.as_ref().map_or(from, |_| to);
            return Err(Failure::Untimely(format!(
                "the last migration is complete: go to {to} with `watershed migrate advance --to {to}`"
            )));
        }
        migration.found_at(&deployed)?.turned_back()
    })
    .await?;
    go(target, target_options, None, &held).await
}

/// Takes the lease of the migration for this run.
async fn take(
    target: &Target,
    hold: &HoldOptions,
    choose: impl FnOnce(Option<Migration>) -> Result<Migration, Failure>,
) -> Result<HeldMigration, Failure> {
    if let Some(other) = target.other_read_table()? {
        return Err(Failure::Untimely(format!(
            "the functions also write {}: end the rebuild first, with `watershed rebuild finish`",
            other.name
        )));
    }
    let owner = format!("{}, process {}", hold.operator, std::process::id());
    HeldMigration::take(target, owner, hold.lease, choose).await
}

async fn go(
    target: Target,
    target_options: &TargetOptions,
    options: Option<&AdvanceOptions>,
    held: &HeldMigration,
) -> Result<CommandOutput, Failure> {
    let mut run = Run { target, target_options, options, held, report: Report::default() };
    let stopped = Box::pin(held.during(Box::pin(run.go()))).await?;
    let migration = held.migration().await;
    let (from, to) = match &migration.turned_back_at {
        None => (migration.from, migration.to),
        Some(at) => (at.clone(), migration.from),
    };
    let mut report = Report { from, to, next: migration.step, is_complete: stopped.is_none(), ..run.report };
    let (mut lines, mut next_step) = (Vec::new(), None);
    if let Some(stop) = stopped {
        report.stopped = Some(stop.lines.join("; "));
        lines.extend(stop.lines);
        report.deploy = stop.deploy;
        next_step = Some(stop.next_step);
    }
    lines.extend(report.cache_failure.as_deref().map(cache::skipped));
    let Report { from, to, rows, copied, compared, lag, wrong, is_complete, .. } = &report;
    let ending = if *is_complete { "complete" } else { "stopped" };
    let stages = if rows.len() == 1 { "stage" } else { "stages" };
    lines.push(format!(
        "migration from {from} to {to} {ending}: {} {stages} deployed, {copied} items copied, {compared} compared \
         ({wrong} different, {lag} lagging)",
        rows.len(),
    ));
    Ok(CommandOutput::new(*is_complete, &report, lines).with_next_step_if(next_step))
}

impl Migration {
    /// Returns this migration, if the deployed stage matches its next step.
    fn found_at(self, deployed: &str) -> Result<Self, Failure> {
        let left = self.left()?;
        let Some(step) = left.first() else { return Ok(self) };
        let may_be = |stage: &str| stage == step.before.stage || (step.deploys() && stage == step.row.stage);
        match may_be(deployed) {
            true => Ok(self),
            false => Err(Failure::Untimely(format!(
                "{deployed} is deployed, but the next step of the migration from {} to {} begins at {before}: deploy \
                 {before} first",
                self.from,
                self.to,
                before = step.before,
            ))),
        }
    }

    /// Returns this migration, on its way back. Fails if a step has begun that cannot be undone.
    fn turned_back(mut self) -> Result<Self, Failure> {
        if self.turned_back_at.is_some() {
            return Ok(self);
        }
        let (steps, left) = (self.steps()?, self.left()?);
        let begun = steps.len().saturating_sub(left.len()) + 1;
        if let Some(step) = steps.iter().take(begun).find(|step| step.is_final()) {
            return Err(Failure::Untimely(format!(
                "`{step}` has begun, so the parts that {from} needs are no longer kept up to date: finish with \
                 `watershed migrate advance`, then go back with `watershed migrate advance --to {from}`",
                from = self.from,
            )));
        }
        // The functions may already run the stage of the next step.
        let at = left.first().map(|step| if step.deploys() { &step.row } else { &step.before });
        self.turned_back_at = Some(at.map_or(self.to.clone(), |stage| stage.stage.clone()));
        self.begin()?;
        Ok(self)
    }
}

/// Returns the deployed stage.
fn deployed(target: &Target) -> Result<String, Failure> {
    let config = target.stage_config()?.ok_or(Failure::Unknown("the deployed stage", "--stage or STAGE"))?;
    Ok(config.stage)
}

async fn status(target: &Target) -> Result<CommandOutput, Failure> {
    let stage = target.stage().unwrap_or("unknown: give --stage");
    let mut lines = vec![format!("deployed   {stage}")];
    let Some(migration) = Migration::load(target).await? else {
        lines.push("migration  none so far".to_owned());
        return Ok(CommandOutput::new(true, &json!({ "stage": target.stage(), "migration": null }), lines));
    };
    let Migration { from, to, began_at, .. } = &migration;
    lines.push(format!("migration  from {from} to {to}, begun at {began_at}"));
    lines.extend(migration.turned_back_at.iter().map(|stage| format!("rollback   from {stage}")));
    lines.extend(migration.cut_over_at.iter().map(|at| format!("cut over   at {at}")));
    lines.extend(migration.ended_at.iter().map(|at| format!("ended      at {at}")));
    lines.extend(migration.step.iter().map(|step| format!("next       {step}")));
    let is_filling = migration.left()?.first().is_some_and(|step| step.action == Action::Backfill);
    let copied = match is_filling {
        true => Progress::of(&target.views(&target.read_table()?).snapshots()).await?.map(|progress| progress.copied),
        false => None,
    };
    lines.extend(copied.map(|copied| format!("copied     {copied} items")));
    lines.extend(
        migration.live_lease().map(|lease| format!("lease      of {}, until {} or longer", lease.owner, lease.until)),
    );
    let document = json!({ "stage": target.stage(), "migration": migration, "copied": copied });
    let next_step = match (migration.is_under_way(), &migration.turned_back_at) {
        (false, _) => None,
        (true, None) => Some("`watershed migrate advance`, or `watershed migrate rollback`".to_owned()),
        (true, Some(_)) => Some("`watershed migrate rollback`".to_owned()),
    };
    Ok(CommandOutput::new(true, &document, lines).with_next_step_if(next_step))
}
