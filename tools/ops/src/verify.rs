//! Compares the write store with the read store and the shared cache, and repairs the differences.

use serde::Serialize;

use crate::cli::VerifyOptions;
use crate::compare::{Comparison, Difference};
use crate::output::{CommandOutput, Failure, bar};
use crate::target::Target;

/// The advice if differences remain: only an unreadable state cannot be projected again.
const UNREPAIRED: &str = "deploy the code that wrote the unreadable states, then run `watershed verify --repair`";

#[derive(Debug, Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    comparison: &'a Comparison,
    repaired: usize,
    dry_run: bool,
    shown: &'a [Difference],
}

pub(crate) async fn run(target: &Target, options: &VerifyOptions) -> Result<CommandOutput, Failure> {
    let table = target.written_read_table()?;
    let stores = target.stores(table.as_ref())?;
    let comparison = stores.compare(options.segments).await?;
    let differences = &comparison.differences;
    let mut repaired = 0;
    if options.repair {
        let bar = bar("items", differences.len() as u64);
        for difference in bar.wrap_iter(differences.iter()) {
            repaired += usize::from(options.dry_run || stores.repair(&difference.of).await?);
        }
        bar.finish_and_clear();
    }
    let mut lines = comparison.lines(options.show);
    if repaired > 0 {
        let would = if options.dry_run { "would be " } else { "" };
        lines.push(format!("{repaired} items {would}projected again"));
    }
    let shown = differences.get(..options.show.min(differences.len())).unwrap_or_default();
    let is_repaired = options.repair && !options.dry_run && repaired == differences.len();
    let is_ok = (differences.is_empty() || is_repaired) && comparison.is_whole();
    let report = Report { comparison: &comparison, repaired, dry_run: options.dry_run, shown };
    let next_step = match options.repair && !options.dry_run {
        true if is_repaired => None,
        true => Some(UNREPAIRED.to_owned()),
        false => comparison.next_step("watershed verify", || comparison.advice()),
    };
    Ok(CommandOutput::new(is_ok, &report, lines).with_next_step_if(next_step))
}
