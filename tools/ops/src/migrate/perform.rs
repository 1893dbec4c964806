//! Performs the steps of a migration, and names the reason if it has to stop.

use std::time::Duration;

use jiff::{Span, SpanRound, Timestamp, Unit};
use service::stages::{Cache, Source, StageConfig};
use tokio::time::{Instant, sleep};

use super::Report;
use super::state::{HeldMigration, Migration, later};
use crate::cache;
use crate::cli::{AdvanceOptions, TargetOptions};
use crate::compare::{Comparison, SEGMENTS};
use crate::copy::{self, Copy};
use crate::counts::{Counts, counts};
use crate::deploy::{Deployed, Deployment, deploy};
use crate::output::Failure;
use crate::stores::Stores;
use crate::target::Target;
use service::plan::{Action, Part, Step};

/// The pause between two comparisons of a soak.
const SOAK_PAUSE: Duration = Duration::from_secs(5);
/// How often in a row the queue must be empty.
const EMPTY_COUNTS: u32 = 2;
/// The pause between two counts of a local stack's queue, which counts exactly.
const COUNT_PAUSE_LOCAL: Duration = Duration::from_secs(2);
/// The pause between two counts of an SQS queue, whose counts may be wrong for a minute.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-monitoring-using-cloudwatch.html>
const COUNT_PAUSE: Duration = Duration::from_secs(65);
/// The longest wait for an empty queue. It is longer than the reorder window of the default configuration, 140 s.
const DRAIN_MAX: Duration = Duration::from_secs(300);
/// The maximum number of differences to show.
const SHOW: usize = 20;

/// One run of a migration.
pub(super) struct Run<'a> {
    /// The parts of the service, as it is deployed now.
    pub(super) target: Target,
    pub(super) target_options: &'a TargetOptions,
    /// `None` on the way back, which copies and compares nothing.
    pub(super) options: Option<&'a AdvanceOptions>,
    pub(super) held: &'a HeldMigration,
    pub(super) report: Report,
}

/// The reason why the migration stops for now, and the next action.
pub(super) struct Stop {
    pub(super) lines: Vec<String>,
    pub(super) deploy: Option<String>,
    pub(super) next_step: String,
}

impl Stop {
    fn because(line: String, next_step: impl Into<String>) -> Self {
        Self { lines: vec![line], deploy: None, next_step: next_step.into() }
    }
}

impl Run<'_> {
    /// Performs as many steps as possible.
    pub(super) async fn go(&mut self) -> Result<Option<Stop>, Failure> {
        loop {
            let migration = self.held.migration().await;
            let left = migration.left()?;
            let Some(step) = left.first() else { return Ok(None) };
            if let Some(stop) = self.perform(&migration, step).await? {
                return Ok(Some(stop));
            }
            let cut_over = (step.action == Action::Deploy(Part::CutOver)).then(Timestamp::now);
            self.held
                .change(|migration| {
                    migration.cut_over_at = migration.cut_over_at.or(cut_over);
                    migration.advance(&left);
                })
                .await?;
        }
    }

    async fn perform(&mut self, migration: &Migration, step: &Step) -> Result<Option<Stop>, Failure> {
        match step.action {
            Action::Deploy(_) => self.deploy(step).await,
            Action::Backfill => self.backfill(migration).await.map(|()| None),
            Action::Refresh => self.refresh(step).await,
            Action::Compare => {
                print_phase(step, format_args!("comparing the reads of {} with the stored data", step.row));
                self.compare(&step.row).await
            }
            Action::Soak => self.soak(migration, step).await,
            Action::Retain(default) => Ok(self.retain(migration, step, default)),
            Action::Drain => self.drain(step).await,
            Action::DeadLetters => self.dead_letters(step).await,
        }
    }

    /// Deploys the stage of the step. It renews the lease first, so a run that has lost the lease deploys nothing.
    async fn deploy(&mut self, step: &Step) -> Result<Option<Stop>, Failure> {
        let stage = &step.row.stage;
        print_phase(step, format_args!("deploying {stage}"));
        self.held.change(|_| {}).await?;
        let is_deployed = self.target.stack.is_none() && self.target.stage() == Some(stage);
        let read = self.target.known_read_table().map(ToOwned::to_owned);
        let deployment = Deployment { stage: Some(stage.clone()), read_table: read, other_read_table: None };
        if !is_deployed && let Deployed::NotYet(what) = deploy(&self.target, &deployment).await? {
            let deploy = format!("make deploy STAGE={stage} FROM={} CONFIG=…", step.before.stage);
            let next_step = format!(
                "run `{deploy}`; when no environment of the previous deployment is left, run \
                 `watershed migrate advance --stage {stage}`"
            );
            return Ok(Some(Stop { lines: vec![what], deploy: Some(format!("{deploy} ({deployment})")), next_step }));
        }
        self.report.rows.push(stage.clone());
        self.target = Target::find(self.target_options).await?;
        Ok(None)
    }

    /// Fills the read store. Each state is either copied, or written by functions that already write views; the higher version
    /// wins.
    async fn backfill(&mut self, migration: &Migration) -> Result<(), Failure> {
        let table = self.target.read_table()?;
        eprintln!("backfill: filling {} from the write store", table.name);
        self.target.create(&table).await?;
        let rate = self.options.and_then(|options| options.rate);
        let copy = Copy::begin(&self.target, &table, Some(&migration.id), SEGMENTS, rate).await?;
        self.report.copied += copy.run().await?;
        // Tombstones expire. If such an item has a view from an earlier use of this table, no write would ever replace the view.
        self.target.stores(Some(&table))?.remove_orphans(SEGMENTS).await?;
        copy::forget(&self.target.views(&table).snapshots()).await
    }

    /// Deletes stale entries of the shared cache, which readers of the next stage would see. It stops if the cache does not answer.
    /// If this tool has no URL of the cache, it deletes nothing: see docs/operations.md.
    async fn refresh(&self, step: &Step) -> Result<Option<Stop>, Failure> {
        print_phase(step, format_args!("deleting stale entries of the shared cache"));
        let stores = Stores { views: None, queue: None, ..self.seen_at(&step.row)? };
        for difference in stores.compare(SEGMENTS).await?.differences {
            stores.repair(&difference.of).await?;
        }
        let failure = stores.cache.as_ref().and_then(cache::Cache::failure);
        Ok(failure.map(|why| {
            let line = format!("Redis does not answer ({why}), and may hold stale entries from an earlier use");
            Stop::because(line, "check that Redis runs, then run `watershed migrate advance`")
        }))
    }

    /// Returns the stores that readers see at this stage, behind their memory caches.
    fn seen_at(&self, stage: &StageConfig) -> Result<Stores, Failure> {
        let table = (stage.reads_from == Source::ReadStore).then(|| self.target.read_table()).transpose()?;
        let stores = self.target.stores(table.as_ref())?;
        let cache = stores.cache.filter(|_| stage.has(Cache::Redis));
        Ok(Stores { cache, ..stores })
    }

    async fn compare(&mut self, stage: &StageConfig) -> Result<Option<Stop>, Failure> {
        let Some(options) = self.options else { return Ok(None) };
        let comparison = self.seen_at(stage)?.sample(options.sample).await?;
        let Comparison { items, lag, differences, .. } = &comparison;
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        self.report.compared += items;
        self.report.lag += count(*lag);
        self.report.wrong += count(differences.len());
        self.report.cache_failure =
            self.report.cache_failure.take().or(comparison.cache_failure().map(ToOwned::to_owned));
        let repair = || {
            "find the cause; then run `watershed verify --repair` and `watershed migrate advance`, or go back with \
             `watershed migrate rollback`"
                .to_owned()
        };
        let stop = |next_step| Stop { lines: comparison.lines(SHOW), deploy: None, next_step };
        Ok(comparison.next_step("watershed migrate advance", repair).map(stop))
    }

    async fn soak(&mut self, migration: &Migration, step: &Step) -> Result<Option<Stop>, Failure> {
        let Some(options) = self.options else { return Ok(None) };
        print_phase(
            step,
            format_args!("comparing reads with the stored data, until {} after the cut-over", friendly(options.soak)),
        );
        let until = later(migration.cut_over_at.unwrap_or(migration.began_at), options.soak);
        loop {
            if let Some(stop) = self.compare(&step.row).await? {
                return Ok(Some(stop));
            }
            let Ok(left) = Duration::try_from(until.duration_since(Timestamp::now())) else { return Ok(None) };
            if left.is_zero() {
                return Ok(None);
            }
            sleep(left.min(SOAK_PAUSE)).await;
        }
    }

    fn retain(&self, migration: &Migration, step: &Step, default: Duration) -> Option<Stop> {
        let retention = self.options.and_then(|options| options.retention).unwrap_or(default);
        let until = later(migration.cut_over_at.unwrap_or(migration.began_at), retention);
        if until <= Timestamp::now() {
            let parts = if step.before == step.row { "no parts" } else { "the parts that are no longer needed" };
            print_phase(step, format_args!("removing {parts}"));
            return None;
        }
        let line = format!(
            "the old parts stay until {until}, {} after the cut-over: until then `watershed migrate rollback` goes back",
            friendly(retention),
        );
        Some(Stop::because(line, "run `watershed migrate advance` then, or now with `--retention 0s`"))
    }

    async fn drain(&self, step: &Step) -> Result<Option<Stop>, Failure> {
        let url = self.target.queue_url()?;
        print_phase(step, format_args!("waiting until {url} is empty"));
        let (client, deadline) = (self.target.sqs(), Instant::now() + DRAIN_MAX);
        let pause = if self.target.stack.is_some() { COUNT_PAUSE_LOCAL } else { COUNT_PAUSE };
        let mut empty = 0;
        loop {
            let messages = counts(&client, url).await?;
            empty = if messages.all() == 0 { empty + 1 } else { 0 };
            if empty == EMPTY_COUNTS {
                return Ok(None);
            }
            if Instant::now() > deadline {
                let Counts { visible, in_flight, delayed, .. } = messages;
                let line = format!(
                    "the queue is not empty after {}: {visible} waiting, {in_flight} in flight, {delayed} delayed",
                    friendly(DRAIN_MAX),
                );
                let next_step = "find the cause with `watershed queue` and the log of ingest-fn, then run `watershed migrate \
                             advance`";
                return Ok(Some(Stop::because(line, next_step)));
            }
            sleep(pause).await;
        }
    }

    async fn dead_letters(&self, step: &Step) -> Result<Option<Stop>, Failure> {
        print_phase(step, format_args!("checking that there are none"));
        let dead = counts(&self.target.sqs(), self.target.dead_letter_queue_url()?).await?.all();
        Ok((dead > 0).then(|| {
            let line = format!("dead letters left: {dead}. Later commands may depend on them");
            Stop::because(
                line,
                "run `watershed dlq redrive` or `watershed dlq discard`, then `watershed migrate advance`",
            )
        }))
    }
}

/// Prints a message at once, so that a waiting operator sees it.
fn print_phase(step: &Step, what: std::fmt::Arguments<'_>) {
    eprintln!("{}: {what}", step.phase());
}

/// Formats a duration as the command line accepts it.
pub(super) fn friendly(duration: Duration) -> String {
    let days = SpanRound::new().largest(Unit::Day).days_are_24_hours();
    let span = Span::try_from(duration).and_then(|span| span.round(days));
    span.map_or_else(|_| format!("{duration:?}"), |span| format!("{span:#}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use kernel::projection::Projection;
    use serde_json::{Value, json};

    use crate::testing::{DEPLOYMENT, Service};

    const AT_ONCE: [&str; 4] = ["--soak", "0s", "--retention", "0s"];

    fn stages(service: &Service) -> Vec<String> {
        service.deployed().into_iter().map(|(_, stage)| stage).collect()
    }

    #[tokio::test]
    async fn readers_are_cut_over_only_if_lists_match_too() {
        let service = Service::at("redis-cache", |_, _| None).await;
        let (right, wrong) = (service.item().await, service.item().await);
        service.view(&right, Projection::FIRST, |_| {}).await;
        // The backfill keeps this view, because it already has the version.
        service.view(&wrong, Projection::FIRST, |view| view.index[0].sort.push('z')).await;
        let advance = [&["migrate", "advance", "--to", "read-store"], &AT_ONCE[..]].concat();
        let output = service.run(&advance).await.unwrap();
        assert!(!output.is_ok && output.lines().join("\n").contains("2 compared (1 different"), "{:?}", output.lines());
        assert_eq!(stages(&service), ["read-store-expand"]);
        service.view(&wrong, Projection::FIRST, |_| {}).await;
        let output = service.run(&advance).await.unwrap();
        assert!(output.is_ok, "{:?}", output.lines());
        assert_eq!(stages(&service), ["read-store"]);
    }

    #[tokio::test]
    async fn a_read_store_is_filled_after_the_last_environment_that_does_not_write_it_and_compared_before_it_is_read() {
        let service = Service::at("redis-cache", |_, _| None).await;
        for _ in 0..3 {
            service.item().await;
        }
        let advance = [&["migrate", "advance", "--to", "read-store"], &AT_ONCE[..]].concat();
        let output = service.run(&advance).await.unwrap();
        // Once before the cut-over, and once after it.
        let text = output.lines().join("\n");
        assert!(output.is_ok && text.contains("3 items copied, 6 compared (0 different"), "{text}");
        let requests = service.requests();
        let positions = |wanted: &str| {
            let found = requests.iter().enumerate().filter(|(_, (what, _))| what == wanted);
            found.map(|(position, (_, body))| (position, body.clone())).collect::<Vec<_>>()
        };
        let [(expanded, _), (cut_over, _)] = positions(DEPLOYMENT).try_into().unwrap();
        let gone = positions("draining").into_iter().find(|(_, left)| *left == json!(0)).unwrap().0;
        let scans: Vec<usize> = positions("Scan").into_iter().map(|(position, _)| position).collect();
        assert!(expanded < gone && scans.iter().all(|scan| *scan > gone), "{requests:?}");
        // The comparisons load views, and the backfill never does.
        let compared =
            positions("BatchGetItem").into_iter().filter(|(_, body)| body["RequestItems"]["read-v1"].is_object());
        let compared: Vec<usize> = compared.map(|(position, _)| position).collect();
        assert!(compared.iter().any(|position| *position < cut_over), "{requests:?}");
        assert!(compared.iter().any(|position| *position > cut_over), "{requests:?}");
    }

    /// Answers with the given counts of a queue in turn, then with an empty queue. The counts are: waiting, in flight, delayed.
    fn counting(
        queue: &'static str,
        counts: impl IntoIterator<Item = [u64; 3]>,
    ) -> impl Fn(&str, &Value) -> Option<(u16, Value)> + Send + Sync {
        let counts: Mutex<Vec<_>> = Mutex::new(counts.into_iter().collect());
        move |operation, body| {
            if operation != "GetQueueAttributes" {
                return None;
            }
            let mut counts = counts.lock().unwrap();
            let is_meant = body["QueueUrl"].as_str().unwrap().ends_with(queue) && !counts.is_empty();
            let [visible, in_flight, delayed] = if is_meant { counts.remove(0) } else { [0; 3] };
            let attributes = json!({
                "ApproximateNumberOfMessages": visible.to_string(),
                "ApproximateNumberOfMessagesNotVisible": in_flight.to_string(),
                "ApproximateNumberOfMessagesDelayed": delayed.to_string(),
            });
            Some((200, json!({ "Attributes": attributes })))
        }
    }

    #[tokio::test]
    async fn a_queue_falls_out_of_use_when_it_is_empty_at_two_counts_in_a_row() {
        // Two comparisons precede the deployment that stops queueing. Each counts the messages before and after it.
        let comparisons = [[0; 3]; 4];
        let counts = [[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]];
        let service = Service::at("cqrs", counting("commands", comparisons.into_iter().chain(counts))).await;
        let advance = [&["migrate", "advance", "--to", "read-store"], &AT_ONCE[..]].concat();
        let output = service.run(&advance).await.unwrap();
        assert!(output.is_ok, "{:?}", output.lines());
        let requests = service.requests().into_iter();
        let requests = requests.filter_map(|(what, body)| match what.as_str() {
            DEPLOYMENT => Some(body["STAGE"].as_str().unwrap().to_owned()),
            "GetQueueAttributes" => Some(body["QueueUrl"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()),
            _ => None,
        });
        let compared = |stage| ["commands", "commands", stage];
        // Both are counted again before the queue is removed.
        let end = ["dead", "cqrs-idle", "commands", "commands", "dead", "read-store"];
        let expected = [&compared("cqrs-expand")[..], &compared("cqrs-drain"), &["commands"; 6], &end].concat();
        assert_eq!(requests.collect::<Vec<_>>(), expected);
    }

    #[tokio::test]
    async fn a_queue_stays_in_use_while_a_dead_letter_is_waiting_in_flight_or_delayed() {
        for (clean, deployed) in
            [(0, &["cqrs-expand", "cqrs-drain"][..]), (1, &["cqrs-expand", "cqrs-drain", "cqrs-idle"])]
        {
            stops_at_a_dead_letter(clean, deployed).await;
        }
    }

    /// Expects a stop at the first dead letter, after so many times without one, with these stages deployed.
    async fn stops_at_a_dead_letter(clean: usize, deployed: &[&str]) {
        let attempts = [[1, 0, 0], [0, 1, 0], [0, 0, 1]].map(async |dead| {
            let counts = std::iter::repeat_n([0; 3], clean).chain([dead]);
            let service = Service::at("cqrs", counting("dead", counts)).await;
            let advance = [&["migrate", "advance", "--to", "read-store"], &AT_ONCE[..]].concat();
            let output = service.run(&advance).await.unwrap();
            let text = output.lines().join("\n");
            assert!(!output.is_ok && text.contains("dead letters left: 1"), "{text}");
            assert_eq!(stages(&service), deployed);
        });
        futures::future::join_all(attempts).await;
    }
}
