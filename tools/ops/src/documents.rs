//! Tests that the documents show the output of the commands.

use std::path::Path;

use ::cost::traffic::TrafficOptions;
use clap::Parser as _;
use kernel::record::{DEAD_LETTER_RETENTION, QUEUE_RETENTION};
use shared::http::prefer::WAIT_SECONDS_MAX;

use crate::cli::{Action, Arguments};
use crate::quotas::{OUR_BURST, OUR_CACHE_UNITS, OUR_CONCURRENCY, OUR_THROTTLE, RECEIVES, VISIBILITY_SECONDS};
use crate::{cost, limits, ramp};

#[test]
fn the_documents_show_what_cost_limits_and_ramp_print() {
    let shows = |document: &str, command: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(document);
        let text = std::fs::read_to_string(path).unwrap();
        let printed = printed(command);
        let block = format!("```console\n$ {command}\n{printed}\n```");
        assert!(text.contains(&block), "docs/{document} should have\n{block}");
    };
    shows("scale.md", "watershed limits");
    shows("scale.md", "watershed limits --explain");
    shows("scale.md", "watershed ramp");
    shows("scale.md", "watershed ramp --raised");
    shows("scale.md", "watershed ramp --raised --warm --tenants 1000 --pollers 200 --climb 1800");
    shows("scale.md", "watershed ramp --raised --no-splits --rates 10,6000 --hold 3600");
    shows("cost.md", "watershed cost");
    shows("cost.md", "watershed cost --stage lambda-lith");
}

#[test]
fn our_own_limits_are_those_of_the_cdk_app() {
    let says = |file: &str, what: String| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../cdk/lib").join(file);
        let text = std::fs::read_to_string(path).unwrap().replace('_', "");
        assert!(text.contains(&what), "cdk/lib/{file} does not say {what}");
    };
    says("config.ts", format!("throttle: {{ rate: {OUR_THROTTLE}, burst: {OUR_BURST} }}"));
    says("config.ts", format!("maximumConcurrency: {OUR_CONCURRENCY} }}"));
    says("cache.ts", format!("maximum: {OUR_CACHE_UNITS} }}"));
    says("command-queue.ts", format!("MAXRECEIVECOUNT = {RECEIVES};"));
    says("command-queue.ts", "Duration.seconds(6 * INGESTTIMEOUT.toSeconds() + windowSeconds)".to_owned());
    says("command-queue.ts", format!("INGESTTIMEOUT = Duration.seconds({});", VISIBILITY_SECONDS / 6));
    for retention in [QUEUE_RETENTION, DEAD_LETTER_RETENTION] {
        let days = retention.as_secs() / (24 * 60 * 60);
        says("command-queue.ts", format!("retentionPeriod: Duration.days({days}),"));
    }
    // A client may wait for the result as long as the function runs.
    says("functions.ts", format!("HTTPTIMEOUT = Duration.seconds({WAIT_SECONDS_MAX});"));
    let TrafficOptions { memory, ingest_memory, batch, .. } = TrafficOptions::default();
    says("functions.ts", format!("\nconst MEMORYMB = {memory};"));
    says("functions.ts", format!("INGESTMEMORYMB = {ingest_memory};"));
    says("config.ts", format!("batchSize: {batch},"));
}

fn printed(command: &str) -> String {
    let arguments = Arguments::parse_from(command.split(' '));
    let stage = arguments.target.stage.as_deref();
    let output = match &arguments.action {
        Action::Cost(options) => cost::run(options, stage),
        Action::Limits(options) => limits::run(options, stage),
        Action::Ramp(options) => ramp::run(options, stage),
        action => panic!("{action:?} asks others"),
    };
    output.unwrap().lines().join("\n")
}
