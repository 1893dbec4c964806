//! The report: tables and charts, and sentences that claim no more than the numbers of this run show.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use cost::bill::{Bill, Part};
use cost::model::Model;
use cost::traffic::TrafficOptions;
use service::functions::FUNCTIONS;
use service::resources::RESOURCES;
use service::stages::{StageConfig, WriteAnswer};

use crate::chart::{Bar, Chart, Layout, Series, short};
use crate::machine::Machine;
use crate::measure::{IDLE_SECONDS, Measured, PACKAGINGS, Results, ShapeRound, StageRound, TOUR};
use crate::plan::{Scale, Shape};
use crate::stats::{Spread, per};

/// The command that makes the report.
const COMMAND: &str = "make evolution-report";
/// The rate of the bills, in requests per second.
const BILLED_RATE: f64 = 100.0;
const KIB_PER_MIB: f64 = 1_024.0;
const BYTES_PER_MIB: f64 = 1_024.0 * 1_024.0;

/// The input of the report.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    pub(crate) results: &'a Results,
    pub(crate) machine: &'a Machine,
    pub(crate) scale: Scale,
    pub(crate) seed: u64,
}

/// Selects a number of one round.
type Of<Round> = fn(&Round) -> f64;

impl<Round> Measured<String, Round> {
    fn spread(&self, of: Of<Round>) -> Spread {
        Spread::of(self.rounds.iter().map(of))
    }
}

impl Report<'_> {
    /// Returns the charts, by name.
    pub(crate) fn charts(&self) -> Vec<(&'static str, Chart)> {
        let beside = |title, unit, series: &[(&str, Of<StageRound>)]| self.chart_of_stages(title, unit, series);
        vec![
            ("cold-starts", self.cold_starts_chart()),
            ("reads", beside("A read, in milliseconds (p50)", "ms", &[("hot", hot_p50), ("cold", cold_p50)])),
            ("read-units", beside("A read, in read units", "units", &[("hot", hot_units), ("cold", cold_units)])),
            (
                "writes",
                beside("Until a write is acknowledged, in milliseconds", "ms", &[("p50", ack_p50), ("p99", ack_p99)]),
            ),
            (
                "write-units",
                beside(
                    "A command, in write units",
                    "units",
                    &[("one per item", single_units), ("burst on one item", burst_units)],
                ),
            ),
            ("cost", self.cost_chart()),
        ]
    }

    /// Returns the document, as Markdown.
    pub(crate) fn markdown(&self) -> String {
        [self.head(), self.packaging(), self.packages(), self.permissions(), self.reads(), self.writes(), self.cost()]
            .join("\n")
    }

    fn head(&self) -> String {
        let Machine { cores, kernel, rustc } = self.machine;
        let Scale { rounds, shape, requests, .. } = self.scale;
        let seconds = shape.as_secs_f64();
        let seed = self.seed;
        let resources = resources();
        let warning = match rounds {
            1 => "**This is a quick run, which only checks that everything works: do not use the numbers.** ",
            _ => "",
        };
        format!(
            "# Measurements of the stages\n\n\
             {warning}`{COMMAND}` writes this page: do not edit it by hand. Machine: {cores} cores, {kernel}, {rustc}. \
             Seed: {seed}. Rounds: {rounds}; each round measures every stage. A number is the median of the rounds, with the \
             lowest and the highest in brackets. Absolute times depend on the machine: compare the stages with each other, \
             not with another machine.\n\n\
             ## How it is measured\n\n\
             - `tools/local` runs each stage with packaged release binaries (fat LTO, one codegen unit, stripped): one \
             process per environment, at most 8 per function. The stack itself, the proxies and the load generator are \
             built with the profile `fast`, and share the cores with the functions.\n\
             - The load generator sends each request at its planned time, even if earlier ones have no answer yet. Latency \
             counts from the planned time. Each stage gets the same requests.\n\
             - The items are of {resources}, in equal parts. Each number is for this mix.\n\
             - Time is compressed: an environment ends after {IDLE_SECONDS} idle second instead of Lambda's minutes, and a \
             traffic shape lasts {seconds} s. The number of cold starts depends on the ratio of pauses to that time.\n\
             - The stack counts a cold start for each environment that gets ready. It starts a process, not a microVM: that \
             takes milliseconds here and far longer on Lambda. The counts apply to Lambda too, the durations do not.\n\
             - DynamoDB is an emulator on the same machine, behind a proxy that counts requests. The emulator reports the units \
             that DynamoDB would bill (`ReturnConsumedCapacity`), but none for failed conditions, which DynamoDB bills too. \
             SQS is an emulator too. Redis is real.\n\
             - There is no network, no TLS, no eventual consistency and no throttling by the stores. On AWS, every request to a \
             store adds about a millisecond, so saved requests matter more there than here.\n\
             - Hot reads repeat one item of each resource. Cold reads fetch {requests} items once each, after a restart that \
             empties memory and Redis. The environments are warm.\n"
        )
    }

    fn packaging(&self) -> String {
        let mut text = String::from(
            "## One function per operation, one for all, or two\n\n\
             | traffic | stage | requests | cold starts per 1,000 | p50 ms | p99 ms | failed |\n\
             | --- | --- | --- | --- | --- | --- | --- |\n",
        );
        for Measured { subject: (stage, shape), rounds } in &self.results.shapes {
            let requests: usize = rounds.iter().map(|round| round.result.requests).sum();
            let failures: usize = rounds.iter().map(|round| round.result.failures).sum();
            let row = [
                shape.name().to_owned(),
                format!("`{stage}`"),
                requests.to_string(),
                cell(Spread::of(rounds.iter().map(cold_starts))),
                cell(Spread::of(rounds.iter().map(|round| round.result.latency.p50))),
                cell(Spread::of(rounds.iter().map(|round| round.result.latency.p99))),
                failures.to_string(),
            ];
            table_row(&mut text, &row);
        }
        text.push('\n');
        for shape in Shape::ALL {
            let candidates = PACKAGINGS.map(|stage| (stage.to_owned(), self.cold_starts(stage, shape)));
            let sentence = fewest(&candidates, "cold starts per 1,000 requests");
            let _ = writeln!(text, "- With {} traffic: {sentence}", shape.name());
        }
        let rate = Shape::RATE;
        let (spike, period) = (Shape::SPIKE, Shape::PERIOD.as_secs_f64());
        let _ = writeln!(
            text,
            "\nSteady traffic has {rate} requests a second. Spiky traffic has {spike} requests within 0.2 s, every {period} s. \
             Sporadic-write traffic has {rate} reads a second, and a delete, a create or an action every {period} s. At least \
             nine of ten requests are reads. Each traffic shape starts without environments.\n\n\
             ![Cold starts](charts/cold-starts.svg)"
        );
        text
    }

    fn packages(&self) -> String {
        let mut text = String::from(
            "## Package and memory\n\n\
             | program | binary MiB | zipped MiB | peak memory MiB |\n| --- | --- | --- | --- |\n",
        );
        for (program, package) in &self.results.packages {
            let memory = cell(self.peak_memory(program));
            table_row(
                &mut text,
                &[format!("`{program}`"), mebibytes(package.binary), mebibytes(package.deflated), memory],
            );
        }
        let _ = writeln!(
            text,
            "\nPeak memory is the highest use of RAM by a process (`VmHWM`), after every operation of the contract was used on \
             {TOUR} items of each resource, with its actions in turn. Several functions can run the same program: one for \
             each resource or action, at several stages. The number is the median of all of them."
        );
        text
    }

    /// Returns the peak memory of all functions that run a program, at all stages, in MiB.
    fn peak_memory(&self, program: &str) -> Spread {
        let runs = |name: &str| FUNCTIONS.iter().any(|function| function.name == name && function.binary == program);
        let functions = self.results.tours.iter().flat_map(|(_, functions)| functions);
        let footprints = functions.filter(|(name, _)| runs(name)).map(|(_, footprint)| footprint);
        Spread::of(footprints.map(|footprint| f64::from(footprint.peak_memory_kib) / KIB_PER_MIB))
    }

    fn permissions(&self) -> String {
        let mut text = format!(
            "## Permissions per function\n\n\
             Each run used every operation of the contract on {TOUR} items of each resource. The table lists the requests that each \
             function sent, so its role must allow at least these. No run had a failure, and a failure may need more. The table leaves \
             out the event source mapping. It polls the queue with the role of ingest-fn (`ReceiveMessage`, `DeleteMessage`, \
             `GetQueueAttributes`).\n\n\
             | stage | function | DynamoDB | SQS | Redis |\n| --- | --- | --- | --- | --- |\n",
        );
        for (stage, functions) in &self.results.tours {
            for (function, footprint) in functions {
                let cells = [&footprint.dynamodb, &footprint.sqs, &footprint.redis].map(list);
                table_row(&mut text, &[&[format!("`{stage}`"), format!("`{function}`")], cells.as_slice()].concat());
            }
        }
        text
    }

    fn reads(&self) -> String {
        let columns: [(&str, Of<StageRound>); 8] = [
            ("hot p50 ms", hot_p50),
            ("hot p99 ms", |round| round.hot.latency.p99),
            ("cold p50 ms", cold_p50),
            ("cold p99 ms", |round| round.cold.latency.p99),
            ("store requests per hot read", |round| round.hot.store_requests),
            ("per cold read", |round| round.cold.store_requests),
            ("read units per hot read", hot_units),
            ("per cold read", cold_units),
        ];
        let mut text = format!("## Reads\n\n{}\n", self.table_of_stages(&columns));
        let _ = writeln!(text, "- Hot, p50: {}", self.steps(hot_p50));
        let _ = writeln!(text, "- Cold, p50: {}", self.steps(cold_p50));
        text.push_str("\n![Latency of reads](charts/reads.svg)\n\n![Units per read](charts/read-units.svg)\n");
        text
    }

    fn writes(&self) -> String {
        let burst = self.scale.burst;
        let columns: [(&str, Of<StageRound>); 10] = [
            ("acknowledged p50 ms", ack_p50),
            ("p99 ms", ack_p99),
            ("p99 ms in the burst", |round| round.burst.latency.p99),
            ("write units per command", single_units),
            ("in the burst", burst_units),
            ("read units per command", |round| round.single.read_units),
            ("store requests per command", |round| round.single.store_requests),
            ("in the burst", |round| round.burst.store_requests),
            ("queue requests per command", |round| round.queue_requests_per_command),
            ("invocations per command", |round| round.invocations_per_command),
        ];
        let mut text = format!(
            "## Writes\n\nEach command changes one item: an update, or an action of its resource, in turn. An update moves the item \
             in an index if a list shows items by the field that it changes. There are {} items, and each gets one command. A \
             burst is {burst} simultaneous updates of one item, and each resource has a burst. Units and requests include the \
             work behind the queue.\n\n{}\n",
            self.scale.requests,
            self.table_of_stages(&columns)
        );
        let _ = writeln!(text, "- Acknowledgement, p50: {}", self.steps(ack_p50));
        let _ = writeln!(text, "- Write units per command: {}", self.steps(single_units));
        let _ = writeln!(text, "- Write units per command of the burst: {}", self.steps(burst_units));
        text.push_str(
            "\n![Acknowledgement of writes](charts/writes.svg)\n\n![Units per command](charts/write-units.svg)\n",
        );
        text
    }

    fn cost(&self) -> String {
        let mut text = format!(
            "## Cost per million requests\n\nIn dollars, at {BILLED_RATE} requests a second. `watershed cost` calculates it, with the \
             durations measured here: the p50 of hot reads for reads from a cache, that of cold reads for reads from a store, and \
             that of writes. They include the way through the gateway, and leave out the time of a network. For ingest-fn it is \
             the duration of a write in `read-store`, which does the same work. [cost.md](../cost.md) has the prices, the formulae \
             and the other assumptions.\n\n"
        );
        let heads = Part::ALL.map(|part| part.name().to_owned());
        table_row(&mut text, &[&["stage".to_owned()], heads.as_slice(), &["total".to_owned()]].concat());
        table_row(&mut text, &vec!["---".to_owned(); heads.len() + 2]);
        for (stage, _, bill) in self.bills() {
            let parts = Part::ALL.map(|part| dollars(bill.per_million(part)));
            let total = dollars(bill.dollars_per_million_requests.unwrap_or_default());
            table_row(&mut text, &[&[format!("`{stage}`")], parts.as_slice(), &[total]].concat());
        }
        text.push_str("\nThe commands:\n\n```sh\n");
        for (stage, traffic, _) in self.bills() {
            let TrafficOptions { cached_ms, store_ms, queue_ms, apply_ms, .. } = traffic;
            let _ = writeln!(
                text,
                "watershed cost --stage {stage} --rates {BILLED_RATE} --cached-ms {cached_ms} --store-ms {store_ms} \
                 --queue-ms {queue_ms} --apply-ms {apply_ms}"
            );
        }
        text.push_str("```\n\n![Cost per million requests](charts/cost.svg)\n");
        text
    }

    /// Returns each stage, its traffic and its bill.
    fn bills(&self) -> impl Iterator<Item = (&str, TrafficOptions, Bill)> {
        self.results.stages.iter().filter_map(|measured| {
            let (stage, traffic) = (measured.subject.as_str(), self.traffic(measured));
            let bill = Bill::of(&Model::new(&traffic, Some(stage)).ok()?, BILLED_RATE);
            Some((stage, traffic, bill))
        })
    }

    /// Returns the traffic with the durations that were measured at a stage.
    fn traffic(&self, measured: &Measured<String, StageRound>) -> TrafficOptions {
        let median = |of: Of<StageRound>| hundredths(measured.spread(of).median);
        let acknowledged = median(ack_p50);
        // Behind a queue, ingest-fn does the work of a write in `read-store`.
        let is_queued =
            StageConfig::of(&measured.subject).is_ok_and(|stage| stage.writes_answer == WriteAnswer::Accepted);
        let synchronous = self.results.stages.iter().find(|other| other.subject == "read-store" && is_queued);
        let apply_ms = synchronous.map_or(acknowledged, |stage| hundredths(stage.spread(ack_p50).median));
        TrafficOptions {
            cached_ms: median(hot_p50),
            store_ms: median(cold_p50),
            queue_ms: acknowledged,
            apply_ms,
            ..TrafficOptions::default()
        }
    }

    fn table_of_stages(&self, columns: &[(&str, Of<StageRound>)]) -> String {
        let mut text = String::new();
        let names = columns.iter().map(|(name, _)| (*name).to_owned());
        table_row(&mut text, &[&["stage".to_owned()], names.collect::<Vec<_>>().as_slice()].concat());
        table_row(&mut text, &vec!["---".to_owned(); columns.len() + 1]);
        for measured in &self.results.stages {
            let cells: Vec<_> = columns.iter().map(|(_, of)| cell(measured.spread(*of))).collect();
            table_row(&mut text, &[&[format!("`{}`", measured.subject)], cells.as_slice()].concat());
        }
        let failures =
            |round: &StageRound| [round.hot, round.cold, round.single, round.burst].map(|phase| phase.failures);
        let failed: usize = self.results.stages.iter().flat_map(|it| &it.rounds).flat_map(failures).sum();
        if failed > 0 {
            let _ = writeln!(text, "\n{failed} requests failed. The table includes their latencies.");
        }
        text
    }

    /// Names the changes from each stage to the next on which all rounds agree.
    fn steps(&self, of: Of<StageRound>) -> String {
        let spreads: Vec<(&str, Spread)> =
            self.results.stages.iter().map(|measured| (measured.subject.as_str(), measured.spread(of))).collect();
        let steps = spreads.iter().zip(spreads.iter().skip(1));
        let changes: Vec<String> =
            steps.filter_map(|((_, before), (stage, after))| change(stage, before, after)).collect();
        match changes.as_slice() {
            [] => "no stage changes it by more than the spread of the rounds.".to_owned(),
            changes => format!("{}. All other changes are within the spread of the rounds.", changes.join("; ")),
        }
    }

    fn cold_starts(&self, stage: &str, shape: Shape) -> Spread {
        let wanted = |measured: &&Measured<(&'static str, Shape), ShapeRound>| measured.subject == (stage, shape);
        let rounds = self.results.shapes.iter().filter(wanted).flat_map(|measured| &measured.rounds);
        Spread::of(rounds.map(cold_starts))
    }

    fn cold_starts_chart(&self) -> Chart {
        let series = PACKAGINGS.map(|stage| Series {
            name: stage.to_owned(),
            bars: Shape::ALL.iter().map(|shape| bar(self.cold_starts(stage, *shape))).collect(),
        });
        Chart {
            title: "Cold starts per 1,000 requests",
            unit: "cold starts",
            groups: Shape::ALL.map(|shape| shape.name().to_owned()).to_vec(),
            series: series.into(),
            layout: Layout::Beside,
        }
    }

    fn chart_of_stages(&self, title: &'static str, unit: &'static str, series: &[(&str, Of<StageRound>)]) -> Chart {
        let series = series.iter().map(|(name, of)| Series {
            name: (*name).to_owned(),
            bars: self.results.stages.iter().map(|measured| bar(measured.spread(*of))).collect(),
        });
        Chart { title, unit, groups: self.stages(), series: series.collect(), layout: Layout::Beside }
    }

    fn cost_chart(&self) -> Chart {
        let bills: Vec<_> = self.bills().collect();
        let series = Part::ALL.map(|part| Series {
            name: part.name().to_owned(),
            bars: bills.iter().map(|(_, _, bill)| Bar { value: bill.per_million(part), range: (0.0, 0.0) }).collect(),
        });
        let (title, series) = ("Dollars per million requests, at list prices", series.into());
        Chart { title, unit: "$", groups: self.stages(), series, layout: Layout::Stacked }
    }

    fn stages(&self) -> Vec<String> {
        self.results.stages.iter().map(|measured| measured.subject.clone()).collect()
    }
}

/// Returns the names of all resources, for a sentence.
fn resources() -> String {
    let names: Vec<String> = RESOURCES.iter().map(|resource| format!("`{}`", resource.collection)).collect();
    resource::text::listed(&names, "and")
}

fn hot_p50(round: &StageRound) -> f64 {
    round.hot.latency.p50
}

fn cold_p50(round: &StageRound) -> f64 {
    round.cold.latency.p50
}

fn hot_units(round: &StageRound) -> f64 {
    round.hot.read_units
}

fn cold_units(round: &StageRound) -> f64 {
    round.cold.read_units
}

fn ack_p50(round: &StageRound) -> f64 {
    round.single.latency.p50
}

fn ack_p99(round: &StageRound) -> f64 {
    round.single.latency.p99
}

fn single_units(round: &StageRound) -> f64 {
    round.single.write_units
}

fn burst_units(round: &StageRound) -> f64 {
    round.burst.write_units
}

fn cold_starts(round: &ShapeRound) -> f64 {
    per(f64::from(u32::try_from(round.cold_starts).unwrap_or(u32::MAX)) * 1_000.0, round.result.requests)
}

fn bar(Spread { median, min, max, .. }: Spread) -> Bar {
    Bar { value: median, range: (min, max) }
}

/// Names the candidate with the fewest, or those within the spread of the lowest median.
fn fewest(candidates: &[(String, Spread)], unit: &str) -> String {
    let medians = |one: &&(String, Spread), other: &&(String, Spread)| one.1.median.total_cmp(&other.1.median);
    let Some((name, least)) = candidates.iter().min_by(medians) else { return "nothing was measured.".to_owned() };
    let overlapping = candidates.iter().filter(|(other, spread)| other != name && !least.is_below(spread));
    let overlapping: Vec<String> = overlapping.map(|(other, _)| format!("`{other}`")).collect();
    let most = candidates.iter().map(|(_, spread)| spread.median).fold(least.median, f64::max);
    let least = short(least.median);
    match overlapping.as_slice() {
        [] => format!("`{name}` has the fewest {unit} ({least}). The highest median is {}.", short(most)),
        others => format!(
            "`{name}` has the lowest median of {unit} ({least}). The difference to {} is within the spread of the rounds. \
             The highest median is {}.",
            others.join(" and "),
            short(most)
        ),
    }
}

/// Describes the change that a step to a stage makes. Returns `None` unless all rounds agree on it.
fn change(stage: &str, before: &Spread, after: &Spread) -> Option<String> {
    (before.is_below(after) || after.is_below(before)).then(|| {
        let ratio = match before.median {
            0.0 => String::new(),
            median => format!(" (× {})", short(after.median / median)),
        };
        format!("`{stage}` changes it from {} to {}{ratio}", short(before.median), short(after.median))
    })
}

fn table_row(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

/// Formats a median, with its range if it has one.
fn cell(Spread { median, min, max, .. }: Spread) -> String {
    let [median, min, max] = [median, min, max].map(short);
    if min == max { median } else { format!("{median} ({min} to {max})") }
}

fn list(names: &BTreeSet<String>) -> String {
    if names.is_empty() { "none".to_owned() } else { names.iter().map(String::as_str).collect::<Vec<_>>().join(", ") }
}

/// Rounds a number of milliseconds to hundredths, at least one.
fn hundredths(number: f64) -> f64 {
    (number * 100.0).round().max(1.0) / 100.0
}

fn dollars(amount: f64) -> String {
    format!("{amount:.2}")
}

#[expect(clippy::cast_precision_loss, reason = "a package is far smaller than 2^52 bytes")]
fn mebibytes(bytes: u64) -> String {
    short(bytes as f64 / BYTES_PER_MIB)
}

#[cfg(test)]
mod tests;
