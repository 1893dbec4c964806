use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use service::functions::Function;
use service::stages::{StageConfig, StageKind};

use super::*;
use crate::load::PlanResult;
use crate::measure::{Footprint, Package, Phase};
use crate::stats::Latency;

fn phase(millis: u64, units: f64) -> Phase {
    let latency = Latency::of(&[Duration::from_millis(millis)]);
    Phase { latency, requests: 1, failures: 0, store_requests: 1.0, read_units: units, write_units: 2.0 * units }
}

fn stage_round(millis: u64) -> StageRound {
    StageRound {
        hot: phase(millis, 0.5),
        cold: phase(2 * millis, 1.0),
        single: phase(3 * millis, 4.0),
        burst: phase(4 * millis, 2.0),
        invocations_per_command: 1.0,
        queue_requests_per_command: 0.0,
    }
}

fn shape_round(cold_starts: usize) -> ShapeRound {
    let result = PlanResult { latency: Latency::of(&[Duration::from_millis(1)]), requests: 200, failures: 0 };
    ShapeRound { result, cold_starts }
}

fn results() -> Results {
    let configs: Vec<StageConfig> =
        StageConfig::all().unwrap().into_iter().filter(|config| config.kind == StageKind::Stage).collect();
    let shapes = Shape::ALL.iter().flat_map(|shape| {
        let rounds = |cold_starts| vec![shape_round(cold_starts), shape_round(cold_starts + 1)];
        [("single-responsibility", 20), ("lambda-lith", 4), ("read-write", 8)]
            .map(|(stage, cold_starts)| Measured { subject: (stage, *shape), rounds: rounds(cold_starts) })
    });
    let stages = configs.iter().map(|config| {
        let millis = if config.caches.is_empty() { 6 } else { 2 };
        Measured { subject: config.stage.clone(), rounds: vec![stage_round(millis), stage_round(millis + 1)] }
    });
    let footprint =
        Footprint { dynamodb: ["GetItem".to_owned()].into(), peak_memory_kib: 8_192, ..Footprint::default() };
    let functions =
        |config: &StageConfig| config.functions().map(|function| (function.name.clone(), footprint.clone())).collect();
    let package = Package { binary: 6 * 1_048_576, deflated: 3 * 1_048_576 };
    let names = configs.iter().flat_map(StageConfig::functions).map(|function| function.binary.to_owned());
    Results {
        packages: names.map(|name| (name, package)).collect(),
        shapes: shapes.collect(),
        stages: stages.collect(),
        tours: configs
            .iter()
            .map(|config| (config.stage.clone(), functions(config)))
            .collect::<Vec<(_, BTreeMap<_, _>)>>(),
    }
}

fn report(results: &Results) -> Report<'_> {
    static MACHINE: LazyLock<Machine> =
        LazyLock::new(|| Machine { cores: 2, kernel: "Linux".to_owned(), rustc: "rustc 1".to_owned() });
    Report { results, machine: &MACHINE, scale: Scale::FULL, seed: 1 }
}

#[test]
fn the_report_names_its_command_every_stage_every_function_and_its_charts() {
    let results = results();
    let (markdown, charts) = (report(&results).markdown(), report(&results).charts());
    assert!(markdown.contains(&format!("`{COMMAND}`")));
    for config in StageConfig::all().unwrap().iter().filter(|config| config.kind == StageKind::Stage) {
        assert!(markdown.contains(&format!("| `{config}` |")), "no {config} in:\n{markdown}");
        let is_named = |function: &Function| {
            let Function { name, binary, .. } = function;
            markdown.contains(&format!("| `{config}` | `{name}` |")) && markdown.contains(&format!("\n| `{binary}` |"))
        };
        assert!(config.functions().all(is_named), "not every function of {config} in:\n{markdown}");
    }
    assert!(!markdown.contains("NaN"), "{markdown}");
    for (name, chart) in charts {
        assert!(markdown.contains(&format!("(charts/{name}.svg)")), "no {name} in:\n{markdown}");
        assert!(chart.svg().unwrap().starts_with("<svg"));
    }
}

#[test]
fn every_row_of_a_table_has_as_many_cells_as_its_head() {
    let markdown = report(&results()).markdown();
    let tables = markdown.split("\n\n").filter(|block| block.starts_with('|'));
    for table in tables {
        let cells: BTreeSet<usize> =
            table.lines().filter(|line| line.starts_with('|')).map(|line| line.matches('|').count()).collect();
        assert_eq!(cells.len(), 1, "{table}");
    }
}

#[test]
fn a_difference_is_reported_only_if_all_rounds_agree() {
    let spread = |low, high| Spread::of([low, high]);
    let apart = [("a".to_owned(), spread(1.0, 2.0)), ("b".to_owned(), spread(3.0, 4.0))];
    assert!(fewest(&apart, "things").starts_with("`a` has the fewest things (1.50)"));
    let overlapping = [("a".to_owned(), spread(1.0, 3.0)), ("b".to_owned(), spread(3.0, 4.0))];
    assert!(fewest(&overlapping, "things").contains("The difference to `b` is within the spread"));
    assert_eq!(change("s", &spread(1.0, 3.0), &spread(3.0, 4.0)), None);
    assert_eq!(change("s", &spread(4.0, 4.0), &spread(1.0, 1.0)).unwrap(), "`s` changes it from 4.00 to 1.00 (× 0.25)");
}

#[test]
fn a_step_without_an_effect_is_not_listed() {
    let mut results = results();
    let steps = report(&results).steps(hot_p50);
    assert!(steps.contains("`memory-cache` changes it from 6.5") && !steps.contains("`cqrs`"), "{steps}");
    results.stages.truncate(2);
    assert!(report(&results).steps(hot_p50).starts_with("no stage changes it"));
}

#[test]
fn the_command_of_a_stage_gives_the_total_of_the_table() {
    let markdown = report(&results()).markdown();
    assert!(!markdown.contains("-0.00"), "{markdown}");
    let commands: Vec<_> = markdown.lines().filter_map(|line| line.strip_prefix("watershed cost --stage ")).collect();
    assert_eq!(commands.len(), 7);
    for command in commands {
        let (stage, options) = command.split_once(" --rates 100 ").unwrap();
        let traffic = TrafficOptions::of(&options.split(' ').collect::<Vec<_>>());
        let bill = Bill::of(&Model::new(&traffic, Some(stage)).unwrap(), BILLED_RATE);
        let total = format!(" {} |", dollars(bill.dollars_per_million_requests.unwrap()));
        let row = markdown.lines().rfind(|line| line.starts_with(&format!("| `{stage}` |"))).unwrap();
        assert!(row.ends_with(&total), "{row} does not end in {total}");
    }
}

#[test]
fn failed_requests_are_counted_in_the_report() {
    let mut results = results();
    assert!(!report(&results).markdown().contains("requests failed"));
    results.stages[0].rounds[0].hot.failures = 3;
    assert!(report(&results).markdown().contains("3 requests failed"));
}
