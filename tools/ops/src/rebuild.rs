//! Replaces the read store with another one while the service runs.
//!
//! The functions write both from before the first copy until the old one is given up. So each state is either copied or written by
//! a later command, and the higher version wins. The new table stores the progress of the copy, so a run on any machine can
//! continue it.

use adapters::read_table::ReadTable;
use kernel::projection::Projection;
use serde_json::{Value, json};

use crate::cli::{DryRun, RebuildCommand, RebuildOptions};
use crate::compare::{Comparison, SEGMENTS};
use crate::copy::{self, Copy, Progress};
use crate::deploy::{Deployed, Deployment, deploy};
use crate::migrate;
use crate::output::{CommandOutput, Failure};
use crate::target::Target;

pub(crate) async fn run(target: &Target, command: &RebuildCommand) -> Result<CommandOutput, Failure> {
    let read = target.read_table()?;
    match command {
        RebuildCommand::Build { to, segments, rate, options } => {
            let new = read.of(Projection(*to));
            build(target, &read, &new, *segments, *rate, options).await
        }
        RebuildCommand::Flip(options) => flip(target, &read, options).await,
        RebuildCommand::Rollback(DryRun { dry_run }) => swap(target, &read, &other(target)?, *dry_run).await,
        RebuildCommand::Finish(DryRun { dry_run }) => finish(target, &read, *dry_run).await,
        RebuildCommand::Status => status(target, &read).await,
    }
}

async fn build(
    target: &Target,
    read: &ReadTable,
    new: &ReadTable,
    segments: u32,
    rate: Option<u32>,
    options: &RebuildOptions,
) -> Result<CommandOutput, Failure> {
    if read == new {
        return Err(Failure::NotFound(format!("readers already use {}: give another version with --to", new.name)));
    }
    migrate::refuse_meanwhile(target).await?;
    if let Some(other) = target.other_read_table()?.filter(|other| other != new) {
        let name = other.name;
        return Err(Failure::NotFound(format!(
            "the functions also write {name}: end that rebuild with `watershed rebuild finish`"
        )));
    }
    if options.dry_run.dry_run {
        let items = target.states()?.snapshots().approximate_len().await?.unwrap_or_default();
        let what = format!(
            "would create {}, make the functions write it too, and copy about {items} items of the write table",
            new.name
        );
        return Ok(dry_run_output(what)
            .with_next_step(format!("run `watershed rebuild build --to {}` without --dry-run", new.projection.0)));
    }
    target.create(new).await?;
    if let Deployed::NotYet(what) = write_both(target, read, new).await? {
        return Ok(deployment_needed(&what, "then run this command again with the same OTHER_READ_TABLE"));
    }
    let copy = Copy::begin(target, new, None, segments, rate).await?;
    let copied = copy.run().await?;
    let comparison = target.stores(Some(new))?.compare(SEGMENTS).await?;
    let mut lines = comparison.lines(options.show);
    let is_clean = comparison.differences.is_empty();
    lines.push(match is_clean {
        true => format!("{} is complete: switch readers to it with `watershed rebuild flip`", new.name),
        false => format!("{} differs from the write store", new.name),
    });
    let document = json!({ "copied": copied, "comparison": comparison });
    let output = CommandOutput::new(is_clean, &document, lines);
    let again = format!("watershed rebuild build --to {}", new.projection.0);
    Ok(output.with_next_step_if(next_step(&comparison, new, &again)))
}

/// Returns the next command if the new read store differs. `again` is the command that compared.
fn next_step(comparison: &Comparison, new: &ReadTable, again: &str) -> Option<String> {
    let repair = || format!("run `watershed verify --repair --read-table {}`, then `{again}` again", new.name);
    comparison.next_step(again, repair)
}

/// Makes all functions write the new read store too, before anything is copied.
async fn write_both(target: &Target, read: &ReadTable, new: &ReadTable) -> Result<Deployed, Failure> {
    if target.stack.is_none() && target.other_read_table()?.as_ref() == Some(new) {
        return Ok(Deployed::Everywhere);
    }
    if target.stack.is_some() && target.queue_url().is_err() {
        let cause = "this stage has no ingest-fn to write both read stores: go to the stage cqrs first".to_owned();
        return Err(Failure::Refused { part: "deployment", cause });
    }
    deploy(target, &Deployment::of(target, read, Some(new))).await
}

async fn flip(target: &Target, read: &ReadTable, options: &RebuildOptions) -> Result<CommandOutput, Failure> {
    let other = other(target)?;
    let comparison = target.stores(Some(&other))?.compare(SEGMENTS).await?;
    let mut lines = comparison.lines(options.show);
    if !comparison.differences.is_empty() {
        lines.push(format!("readers still use {}: {} differs from the write store", read.name, other.name));
        let output = CommandOutput::new(false, &json!({ "read": read.name, "comparison": comparison }), lines);
        return Ok(output.with_next_step_if(next_step(&comparison, &other, "watershed rebuild flip")));
    }
    let mut output = swap(target, read, &other, options.dry_run.dry_run).await?;
    output.prepend(lines);
    Ok(output)
}

async fn swap(target: &Target, read: &ReadTable, other: &ReadTable, dry_run: bool) -> Result<CommandOutput, Failure> {
    if dry_run {
        return Ok(dry_run_output(format!("would switch readers to {}, and still write {}", other.name, read.name))
            .with_next_step("run the same command without --dry-run"));
    }
    match deploy(target, &Deployment::of(target, other, Some(read))).await? {
        Deployed::NotYet(what) => Ok(deployment_needed(&what, "readers then use the other read store")),
        Deployed::Everywhere => {
            let line =
                format!("readers use {}; the functions still write {}, so you can go back", other.name, read.name);
            let output = CommandOutput::new(true, &json!({ "read": other.name, "other": read.name }), vec![line]);
            Ok(output.with_next_step(
                "run `watershed rebuild finish` to stop writing it, or `watershed rebuild rollback` to go back",
            ))
        }
    }
}

async fn finish(target: &Target, read: &ReadTable, dry_run: bool) -> Result<CommandOutput, Failure> {
    let other = other(target)?;
    if dry_run {
        return Ok(dry_run_output(format!("would stop writing {}", other.name))
            .with_next_step("run the same command without --dry-run"));
    }
    // A table that is no longer written would have to be filled again.
    copy::forget(&target.views(&other).snapshots()).await?;
    match deploy(target, &Deployment::of(target, read, None)).await? {
        Deployed::NotYet(what) => Ok(deployment_needed(&what, &format!("then you can delete {}", other.name))),
        Deployed::Everywhere => {
            let line = format!("{} is no longer written: you can delete it", other.name);
            Ok(CommandOutput::new(true, &json!({ "read": read.name, "given_up": other.name }), vec![line]))
        }
    }
}

async fn status(target: &Target, read: &ReadTable) -> Result<CommandOutput, Failure> {
    let mut lines = vec![format!("readers use   {}", read.name)];
    let Some(other) = target.other_read_table()? else {
        lines.push("also written  none".to_owned());
        return Ok(CommandOutput::new(true, &json!({ "read": read.name, "other": Value::Null }), lines));
    };
    lines.push(format!("also written  {}", other.name));
    let progress = Progress::of(&target.views(&other).snapshots()).await?.unwrap_or_default();
    let Progress { copied, segments, segments_done } = progress;
    lines.push(format!("copied        {copied} items, {segments_done} of {segments} segments done"));
    let document = json!({
        "read": read.name, "other": other.name, "copied": copied, "segments": segments, "segments_done": segments_done,
    });
    let next_step = match segments > 0 && segments_done == segments {
        true => "`watershed rebuild flip`, or `watershed rebuild finish` if readers already use the new one".to_owned(),
        false => format!("`watershed rebuild build --to {}`", other.projection.0),
    };
    Ok(CommandOutput::new(true, &document, lines).with_next_step(next_step))
}

fn other(target: &Target) -> Result<ReadTable, Failure> {
    let missing = "no rebuild is under way: begin one with `watershed rebuild build`";
    target.other_read_table()?.ok_or_else(|| Failure::NotFound(missing.to_owned()))
}

/// Reports the effect that the command would have, in a dry run.
fn dry_run_output(what: String) -> CommandOutput {
    CommandOutput::new(true, &json!({ "dry_run": what }), vec![what])
}

/// Reports the deployment that the operator has to make.
fn deployment_needed(what: &str, afterwards: &str) -> CommandOutput {
    CommandOutput::new(false, &json!({ "deploy": what }), vec![what.to_owned()])
        .with_next_step(format!("deploy this; {afterwards}"))
}

#[cfg(test)]
mod tests {
    use kernel::ports::Snapshot;

    use super::*;
    use crate::testing::{DEPLOYMENT, Service};

    const NEXT: Projection = Projection(2);

    #[tokio::test]
    async fn nothing_is_copied_before_the_last_environment_without_the_new_read_store_has_ended() {
        let service = Service::at("cqrs", |_, _| None).await;
        for _ in 0..3 {
            service.item().await;
        }
        let output = service.run(&["rebuild", "build", "--to", "2", "--segments", "2"]).await.unwrap();
        assert!(output.is_ok, "{:?}", output.lines());
        assert!(output.lines().join("\n").contains("3 items, 3 views"), "{:?}", output.lines());
        let requests: Vec<_> =
            service.requests().into_iter().map(|(what, body)| (what.clone(), body.clone())).collect();
        let index_of = |wanted: &str, body: Option<Value>| {
            requests.iter().position(|(what, sent)| what == wanted && body.as_ref().is_none_or(|body| body == sent))
        };
        let (deployed, gone) = (index_of(DEPLOYMENT, None).unwrap(), index_of("draining", Some(json!(0))).unwrap());
        assert!(deployed < gone && gone < index_of("Scan", None).unwrap(), "{requests:?}");
    }

    #[tokio::test]
    async fn readers_switch_to_the_other_read_store_only_if_its_lists_match_too() {
        let service = Service::at("cqrs", |_, _| None).await.with_other_read_table();
        let key = service.item().await;
        let moved: fn(&mut Snapshot) = |view| view.index[0].sort.push('z');
        service.view(&key, Projection::FIRST, |_| {}).await;
        service.view(&key, NEXT, moved).await;
        let output = service.run(&["rebuild", "flip"]).await.unwrap();
        assert!(!output.is_ok && output.lines().join("\n").contains("readers still use read-v1"));
        assert_eq!(service.deployed(), []);
        service.view(&key, NEXT, |_| {}).await;
        assert!(service.run(&["rebuild", "flip"]).await.unwrap().is_ok);
        assert_eq!(service.deployed(), [("read-v2".to_owned(), "cqrs".to_owned())]);
    }
}
