//! Tests for the deployed service: the CDK's templates with the packages of `make package`, on an emulator of AWS. The service must
//! keep the HTTP contract, over TLS and with its own permissions only.
//!
//! The tests run `cdk deploy`, as operators do. So they also test the bootstrap, the packages, the policies and the update of a
//! failed stack. Lists name the known gaps of the emulator. A test fails if a gap closes.

mod again;

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::future::{LocalBoxFuture, join_all};
use resource::Access;
use serde_json::{Map, Value, json};

use crate::auth::{self, Guarded};
use crate::contract;
use crate::harness::aws::Aws;
use crate::harness::gaps::assert_known;
use crate::harness::poll::eventually_within;
use crate::harness::scripted::{self, Reply};
use crate::harness::tokens::{AUDIENCE, Issuer};
use crate::harness::{Service, Variant, program, run};
use crate::sample;
use crate::smoke::smoke;

/// The deployed variants: one for each kind of acknowledgement. Together they have all functions except those for one operation.
const VARIANTS: [Variant; 2] = [Variant::LambdaLith, Variant::Cqrs];
/// The key is 32 zero bytes.
const SIGNING_KEYS: &str = "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
/// The throttle: requests per second, and burst. Far above the rate of the checks.
const THROTTLE: u32 = 200;
/// How long a request may take to appear in the access log.
const LOG_MAX: Duration = Duration::from_secs(5);
/// How many checks run in parallel.
const AT_A_TIME: usize = 3;

/// The error with which ministack refuses alarms on a ratio or sum of metrics.
const NO_METRIC_MATH: &str = "Properties.Metrics (metric math) is not supported";

/// The message with which ministack refuses a pipe to an event bus.
const NO_PIPE_TO_BUS: &str = "delivers to sns and states, not to events";

/// The other known differences between ministack and AWS.
const GAPS: &[(&str, &str)] = &[
    ("what_is_not_utf_8_is_refused", "it replaces what is not UTF-8 in a body of JSON, as the function gets it"),
    ("without_a_good_token_there_is_a_401", "its 401 has no WWW-Authenticate, and it takes tokens without an expiry"),
    ("options_tells_the_methods_of_a_path", "it answers OPTIONS itself, and asks no function"),
    ("an_access_log_tells_of_every_request", "it keeps the settings of access logs, and writes none"),
    ("requests_beyond_the_throttle_are_refused", "it keeps the settings of throttling, and lets everything in"),
    ("changes_go_on_to_the_event_bus", "its pipes read the stream of the table, and deliver to other targets only"),
];

/// Locks the deployments: all tests synthesize into one folder.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A deployment.
struct Deployed<'a> {
    aws: &'a Aws,
    guarded: Guarded,
    /// The service, with a token for the checks that need one.
    service: Service,
}

/// A check, ready to run.
type Ready<'a> = (&'static str, Box<dyn Fn() + Send + 'a>);

#[test]
#[ignore = "minutes, after the packages: make test-deploy"]
fn the_service_keeps_its_contract_where_the_cdk_deploys_it() {
    let _alone = alone();
    let logs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deployed");
    println!("what ministack and the CDK say is in {}", logs.display());
    let aws = run(Aws::start(logs));
    aws.bootstrap();
    let (secret, issuer) = run(async {
        let issuer = Issuer::new(&aws.issuer());
        aws.publish(&issuer).await;
        (aws.keep_secret("watershed/signing-keys", SIGNING_KEYS).await, issuer)
    });
    // The production configuration with all options, except Redis and CodeDeploy, which the emulator cannot run. No data outlives
    // the stack.
    let config = json!({"base": "prod", "redis": false, "canary": false, "retainData": false, "domainEvents": true,
        "issuer": issuer.url, "audience": [AUDIENCE], "signingKeysSecret": secret,
        "throttle": {"rate": THROTTLE, "burst": THROTTLE}});
    let token = issuer.sign(&issuer.claims("local", "tester", &sample::scopes(&[Access::Read, Access::Write])));
    let failed = VARIANTS.map(|variant| {
        let service = deploy(&aws, variant, config.clone());
        let guarded = Guarded { service: service.clone(), issuer: issuer.clone() };
        let service = Service { bearer: Some(token.clone()), ..service };
        Deployed { aws: &aws, guarded, service }.run_all()
    });
    for failed in &failed {
        assert_known(failed, GAPS);
    }
}

/// Deploys the service, without the alarms that the emulator refuses.
fn deploy(aws: &Aws, variant: Variant, mut config: Value) -> Service {
    let stage = variant.stage();
    config["name"] = stage.into();
    match aws.deploy(stage, &config) {
        Ok(()) => panic!("ministack has learnt metric math: deploy once, with nothing left out"),
        Err(output) => assert!(output.contains(NO_METRIC_MATH), "{output}"),
    }
    leave_out_metric_math(stage);
    let outputs = aws.deploy_again(stage).unwrap_or_else(|output| panic!("{output}"));
    assert_eq!(outputs["Stage"], stage, "{outputs}");
    Service { url: aws.api_at(&outputs["Url"]), variant, bearer: None }
}

/// Removes the alarms with metric math from the latest synthesized template.
fn leave_out_metric_math(stage: &str) {
    change(stage, |resources| resources.retain(|_, resource| !has_metric_math(resource)));
}

fn has_metric_math(resource: &Value) -> bool {
    resource["Properties"].get("Metrics").is_some()
}

/// Changes the resources of the latest synthesized template.
fn change(stage: &str, change: impl FnOnce(&mut Map<String, Value>)) {
    let template_file = synthesised(&format!("Watershed-{stage}.template.json"));
    let mut template: Value = serde_json::from_slice(&std::fs::read(&template_file).unwrap()).unwrap();
    change(template["Resources"].as_object_mut().unwrap());
    let text = template.to_string();
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    std::fs::write(template_file, text).unwrap();
    // The CDK uploads a template only if its digest is new, so the name must change.
    let assets_file = synthesised(&format!("Watershed-{stage}.assets.json"));
    let assets: Value = serde_json::from_slice(&std::fs::read(&assets_file).unwrap()).unwrap();
    let files = assets["files"].as_object().unwrap();
    let is_template = |asset: &Value| asset["source"]["path"] == format!("Watershed-{stage}.template.json");
    let (digest, _) = files.iter().find(|(_, asset)| is_template(asset)).unwrap();
    let (before, after) = (format!("{digest}.json"), format!("{digest}-{:x}.json", hasher.finish()));
    for file in [assets_file, synthesised("manifest.json")] {
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(file, text.replace(&before, &after)).unwrap();
    }
}

fn synthesised(file: &str) -> PathBuf {
    program::workspace().join("cdk/cdk.deployed").join(file)
}

fn ready<'a>(name: &'static str, check: impl Fn() -> LocalBoxFuture<'a, ()> + Send + 'a) -> Ready<'a> {
    (name, Box::new(move || run(check())))
}

impl Deployed<'_> {
    /// Runs all checks, some in parallel. Returns the failed ones.
    fn run_all(&self) -> BTreeSet<&'static str> {
        let of_contract = contract::checks().map(|(name, check)| ready(name, || check(&self.service)));
        let of_tokens = auth::CHECKS.iter().map(|(name, check)| ready(name, || check(&self.guarded)));
        let own: [Ready<'_>; 4] = [
            ready("a_smoke_test_passes", || Box::pin(self.a_smoke_test_passes())),
            ready("an_access_log_tells_of_every_request", || Box::pin(self.an_access_log_tells_of_every_request())),
            ready("requests_beyond_the_throttle_are_refused", || {
                Box::pin(self.requests_beyond_the_throttle_are_refused())
            }),
            ready("changes_go_on_to_the_event_bus", || Box::pin(async { self.changes_go_on_to_the_event_bus() })),
        ];
        let checks: Vec<_> = of_contract.chain(of_tokens).chain(own).collect();
        let (count, since) = (checks.len(), Instant::now());
        let failed = side_by_side(checks);
        let (stage, seconds) = (self.service.variant.stage(), since.elapsed().as_secs());
        println!("{stage}: {} of {count} checks passed in {seconds} s; not: {failed:?}", count - failed.len());
        failed
    }

    /// Runs the smoke test, as after every deployment. ministack serves an API below a path that the API does not know. So a server
    /// without a path forwards the requests.
    async fn a_smoke_test_passes(&self) {
        let emulator = self.service.url.clone();
        let url = scripted::serve(move |_| Reply::AsAt(emulator.clone()));
        smoke(&url, self.service.bearer.as_deref(), &["--timeout", "5m"]).await.is_well();
        smoke(&url, None, &["--public"]).await.is_well();
    }

    async fn an_access_log_tells_of_every_request(&self) {
        self.service.api().get("/health").send().await.expect(200);
        let stack = self.service.variant.stage();
        eventually_within(LOG_MAX, "the access log tells of it", async || {
            let logged = self.aws.logged(&format!("/aws/cloudformation/{stack}/ApiAccessLog")).await;
            logged.iter().any(|event| event["message"].to_string().contains("integrationLatency")).then_some(())
        })
        .await;
    }

    /// Sends the requests without a token, so that none reaches a function.
    async fn requests_beyond_the_throttle_are_refused(&self) {
        let api = self.guarded.service.api();
        let answers = join_all((0..4 * THROTTLE).map(|_| api.get(&sample::main().path).send_unchecked())).await;
        assert!(answers.iter().any(|answer| answer.status == 429), "{} requests were let in", answers.len());
    }

    /// Checks the emulator's output only. The other checks have made enough changes.
    fn changes_go_on_to_the_event_bus(&self) {
        let pipe = format!("{}-changes: ", self.service.variant.stage());
        let output = self.aws.output();
        let held = output.lines().find(|line| line.contains(&pipe) && line.contains(NO_PIPE_TO_BUS));
        assert_eq!(held, None);
    }
}

/// Runs checks, some in parallel. Returns the failed ones.
fn side_by_side(checks: Vec<Ready<'_>>) -> BTreeSet<&'static str> {
    let checks = Mutex::new(checks.into_iter());
    let next = || checks.lock().unwrap().next();
    let work = || {
        let mut failed = BTreeSet::new();
        while let Some((name, check)) = next() {
            if catch_unwind(AssertUnwindSafe(check)).is_err() {
                failed.insert(name);
            }
        }
        failed
    };
    std::thread::scope(|scope| {
        let workers = [(); AT_A_TIME].map(|()| scope.spawn(work));
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}
