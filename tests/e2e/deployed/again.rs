//! Tests for repeated deployments: after a failed first one, and from `cqrs` back to `read-store` and forward again, with retained
//! queues.

use std::path::Path;

use serde_json::{Value, json};

use super::{NO_METRIC_MATH, alone, change, has_metric_math, leave_out_metric_math};
use crate::harness::aws::Aws;
use crate::harness::run;
use crate::harness::tokens::AUDIENCE;

const STACK: &str = "again";
/// The error with which CloudFormation refuses another type of queue.
const TYPE_STAYS: &str = "queue.fifo cannot change while a queue is deployed";

#[test]
#[ignore = "minutes, after the packages: make test-deploy"]
fn a_first_deployment_can_fail_and_a_retained_queue_keeps_its_commands_and_is_never_in_the_way() {
    let _alone = alone();
    let logs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("deployed-again");
    println!("what ministack and the CDK say is in {}", logs.display());
    let aws = run(Aws::start(logs));
    aws.bootstrap();
    a_first_deployment_that_fails_leaves_nothing_behind(&aws);
    let first = deploy(&aws, "cqrs", &config("standard"), &[]);
    let queue = first["QueueUrl"].as_str().unwrap();
    run(aws.call("sqs", "AmazonSQS.SendMessage", &json!({"QueueUrl": queue, "MessageBody": "a command"})));

    let output = try_to_deploy(&aws, "cqrs", &config("fifo"), &[]).unwrap_err();
    assert!(output.contains(TYPE_STAYS), "{output}");

    deploy(&aws, "read-store", &config("standard"), &["from=cqrs-idle"]);
    let without = deploy(&aws, "read-store", &config("standard"), &[]);
    assert_eq!(without["QueueUrl"], Value::Null);
    assert_eq!(run(held(&aws, queue)), 1);

    // The new queue has the other type. ministack would give a queue of the same type the name of the retained one; AWS would not.
    let second = deploy(&aws, "cqrs", &config("fifo"), &[]);
    let successor = second["QueueUrl"].as_str().unwrap();
    assert_ne!(successor, queue);
    assert_eq!((run(held(&aws, queue)), run(held(&aws, successor))), (1, 0));
}

/// Checks that CloudFormation deletes everything after a failed first deployment, so that no table name is taken in the next.
fn a_first_deployment_that_fails_leaves_nothing_behind(aws: &Aws) {
    let first = || aws.synthesise("cqrs", &config("standard"), &["first=true"]);
    first();
    fail_when_the_tables_are_there("cqrs");
    let output = aws.deploy_again(STACK).unwrap_err();
    assert!(output.contains(NO_METRIC_MATH) && output.contains("AWS::DynamoDB::GlobalTable"), "{output}");
    let tables = run(aws.call("dynamodb", "DynamoDB_20120810.ListTables", &json!({})));
    assert_eq!(tables["TableNames"], json!([]));
    first();
    leave_out_metric_math("cqrs");
    aws.deploy_again(STACK).unwrap_or_else(|output| panic!("{output}"));
}

/// Makes the refused alarms depend on the tables, so that the deployment fails after the tables exist.
fn fail_when_the_tables_are_there(stage: &str) {
    change(stage, |resources| {
        let tables = resources.iter().filter(|(_, resource)| resource["Type"] == "AWS::DynamoDB::GlobalTable");
        let tables: Vec<_> = tables.map(|(id, _)| id.clone()).collect();
        for (_, alarm) in resources.iter_mut().filter(|(_, resource)| has_metric_math(resource)) {
            alarm["DependsOn"] = json!(tables);
        }
    });
}

fn config(queue: &str) -> Value {
    let secret = "arn:aws:secretsmanager:us-east-1:000000000000:secret:watershed/signing-keys-AbCdEf";
    let certificate = "arn:aws:acm:us-east-1:000000000000:certificate/12345678-abcd-4ef0-9876-0123456789ab";
    json!({"base": "prod", "name": STACK, "redis": false, "canary": false, "domainEvents": true,
        "issuer": "https://issuer.example.com/", "audience": [AUDIENCE], "signingKeysSecret": secret,
        "domain": {"name": "api.example.com", "certificate": certificate},
        "queue": {"fifo": queue == "fifo", "batchSize": 10, "windowSeconds": 0, "reserved": false,
            "pollers": {"maximumConcurrency": 5}}})
}

/// Deploys a stage without the alarms that the emulator refuses.
fn try_to_deploy(aws: &Aws, stage: &str, config: &Value, context: &[&str]) -> Result<Value, String> {
    aws.synthesise(stage, config, context);
    leave_out_metric_math(stage);
    aws.deploy_again(STACK)
}

fn deploy(aws: &Aws, stage: &str, config: &Value, context: &[&str]) -> Value {
    let outputs = try_to_deploy(aws, stage, config, context).unwrap_or_else(|output| panic!("{output}"));
    assert_eq!((&outputs["Stage"], &outputs["Url"]), (&json!(stage), &json!("https://api.example.com")));
    outputs
}

/// Returns the number of messages in a queue, including received ones: ingest-fn polled it while it was deployed.
async fn held(aws: &Aws, queue: &str) -> u64 {
    let asked = json!({"QueueUrl": queue, "AttributeNames": ["All"]});
    let attributes = aws.call("sqs", "AmazonSQS.GetQueueAttributes", &asked).await;
    let number = |name: &str| attributes["Attributes"][name].as_str().unwrap().parse::<u64>().unwrap();
    ["", "NotVisible", "Delayed"].map(|state| number(&format!("ApproximateNumberOfMessages{state}"))).iter().sum()
}
