//! The evolution report: measures the stages on this machine, with packaged functions, and writes a report with charts.

mod chart;
mod load;
mod machine;
mod measure;
mod meter;
mod monitor;
mod plan;
mod processes;
mod report;
mod sample;
mod service;
mod stats;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::machine::Machine;
use crate::plan::Scale;
use crate::report::Report;
use crate::service::Programs;

/// Measure the stages of the evolution path on this machine, and write report.md and charts/*.svg.
#[derive(Debug, Parser)]
#[command(name = "evolution-report", version)]
struct Options {
    /// Directory of the packaged functions: DIR/NAME or DIR/NAME/bootstrap
    #[arg(long, value_name = "DIR")]
    functions_dir: PathBuf,
    /// The watershed-local program, which serves the stages
    #[arg(long, value_name = "FILE")]
    watershed_local: PathBuf,
    /// Directory for the report and its charts
    #[arg(long, value_name = "DIR", default_value = "docs/evolution")]
    output: PathBuf,
    /// Seed of the requests
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Take few measurements, only to check that everything works: do not use the numbers
    #[arg(long)]
    quick: bool,
}

/// The reasons why there is no report.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error("stage {0} did not start. Its output:\n{1}")]
    NotStarting(String, String),
    #[error("no function {0} in --functions-dir: run `make evolution-report`, which builds all functions")]
    NotPackaged(String),
    #[error("cannot start the stores: {0}")]
    Stores(String),
    #[error("cannot read the response to {0}")]
    UnreadableResponse(String),
    #[error("{0} was refused: {1}")]
    Refused(String, String),
    #[error("timed out before {0}")]
    TimedOut(&'static str),
    #[error("cannot draw {}: {cause}", .path.display())]
    Chart { path: PathBuf, cause: String },
    #[error("a request failed: {0}")]
    Http(#[from] reqwest::Error),
    #[error(transparent)]
    Stage(#[from] ::service::stages::StageError),
    #[error(transparent)]
    System(#[from] std::io::Error),
}

/// Runs the command line, and returns the exit code.
pub async fn run() -> ExitCode {
    let options = Options::parse();
    match Box::pin(measure_and_write(&options)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("evolution-report: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure_and_write(options: &Options) -> Result<(), BenchError> {
    let programs = Programs {
        watershed_local: std::path::absolute(&options.watershed_local)?,
        functions_dir: std::path::absolute(&options.functions_dir)?,
    };
    let scale = if options.quick { Scale::QUICK } else { Scale::FULL };
    let results = measure::all(&programs, scale, options.seed).await?;
    let report = Report { results: &results, machine: &Machine::describe(), scale, seed: options.seed };
    write(&report, &options.output)
}

fn write(report: &Report<'_>, output: &Path) -> Result<(), BenchError> {
    let charts = output.join("charts");
    std::fs::create_dir_all(&charts)?;
    for (name, chart) in report.charts() {
        let path = charts.join(format!("{name}.svg"));
        let svg = chart.svg().map_err(|cause| BenchError::Chart { path: path.clone(), cause })?;
        std::fs::write(path, svg)?;
    }
    let path = output.join("report.md");
    std::fs::write(&path, report.markdown())?;
    eprintln!("wrote {}", path.display());
    Ok(())
}
