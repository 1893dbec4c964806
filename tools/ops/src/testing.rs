//! The shared parts of the unit tests: a service in this process. Its tables are real; its stack and its queues answer as a test
//! says. Each page of a scan reads one item. Most pages have no item of a resource, because an item has many unique keys. The scan
//! continues after such a page.

use std::sync::{Arc, Mutex};

use adapters::clients;
use adapters::dynamo::{DynamoRecords, DynamoViewStore, DynamoWriteStore};
use adapters::tables::{TableNames, create, create_all};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::IntoResponse;
use clap::Parser as _;
use dynoxide::{Database, server};
use kernel::clock::{Clock as _, SystemClock, Timestamp};
use kernel::domain::{Context, Decision};
use kernel::ids::{AggregateId, AggregateKey, Stamp};
use kernel::ports::{Snapshot, StateChange, Transaction, UniqueKey, ViewWriter as _, WriteStore as _};
use kernel::projection::Projection;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::cli::Arguments;
use crate::output::{CommandOutput, Failure};
use resource::field::full_body;
use resource::{Operation, Resource, Visitor};
use service::resources::{self, RESOURCES};

/// The path of a deployment to a stack.
pub(crate) const DEPLOYMENT: &str = "/_local/deployment";
/// How many environments of the previous deployment still run, in consecutive statuses of a stack.
const DRAINING: [usize; 3] = [2, 1, 0];

/// The unique keys of each item. There are so many that a scan rarely reads an item first.
const UNIQUE_KEYS: usize = 20;

/// The answer of a test to an operation of AWS with this body. If it returns `None`, the service itself answers.
type Script = dyn Fn(&str, &Value) -> Option<(u16, Value)> + Send + Sync;

/// A service for tests.
pub(crate) struct Service {
    url: String,
    shared: Arc<Shared>,
    pub(crate) states: DynamoWriteStore,
    pub(crate) records: DynamoRecords,
    database: clients::DynamoDb,
}

struct Shared {
    /// The URL of the tables.
    database: String,
    variables: Mutex<Value>,
    draining: Mutex<Vec<usize>>,
    script: Box<Script>,
    requests: Mutex<Vec<(String, Value)>>,
}

fn names() -> TableNames {
    TableNames { write: "write".to_owned(), commands: "commands".to_owned(), read: "read-v1".to_owned() }
}

/// Starts a server for the lifetime of the test's runtime, and returns its URL.
async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

impl Service {
    /// Starts a service at this stage, with an empty read store of the first projection and one of the second.
    pub(crate) async fn at(
        stage: &str,
        script: impl Fn(&str, &Value) -> Option<(u16, Value)> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let database = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(server::serve_with_shutdown(listener, Database::memory().unwrap(), std::future::pending()));
        let client = clients::dynamodb(&clients::local(&database));
        create_all(&client, &names()).await.unwrap();
        create(&client, "read-v2").await.unwrap();
        let shared = Arc::new(Shared {
            database,
            variables: Mutex::default(),
            draining: Mutex::default(),
            script: Box::new(script),
            requests: Mutex::default(),
        });
        let url = serve(Router::new().fallback(respond).with_state(Arc::clone(&shared))).await;
        *shared.variables.lock().unwrap() = json!({
            "STAGE": stage, "AWS_ENDPOINT_URL_DYNAMODB": url, "AWS_ENDPOINT_URL_SQS": url,
            "WRITE_TABLE": names().write, "COMMANDS_TABLE": names().commands, "READ_TABLE": names().read,
            "QUEUE_URL": format!("{url}/0/commands"), "DEAD_LETTER_QUEUE_URL": format!("{url}/0/dead"),
        });
        Self {
            url,
            shared,
            states: DynamoWriteStore::new(&client, &names()),
            records: DynamoRecords::new(client.clone(), names().commands),
            database: client,
        }
    }

    /// Adds a second read store that is written too.
    pub(crate) fn with_other_read_table(self) -> Self {
        self.shared.variables.lock().unwrap()["OTHER_READ_TABLE"] = json!("read-v2");
        self
    }

    /// Stores an item with its unique keys, and returns its key.
    pub(crate) async fn item(&self) -> AggregateKey {
        let tenant: kernel::ids::Tenant = "acme".parse().unwrap();
        let id = AggregateId::generate(SystemClock.now());
        let kind = RESOURCES[0].kind;
        let key = AggregateKey { kind, tenant: tenant.clone(), id };
        let unique_key =
            |number| UniqueKey { kind, tenant: tenant.clone(), field: "name", value: format!("{number} of {id}") };
        let transaction = Transaction {
            key: key.clone(),
            state: Some(StateChange { expected: 0, next: state(&key) }),
            records: Vec::new(),
            unique_keys_taken: (0..UNIQUE_KEYS).map(unique_key).collect(),
            unique_keys_released: Vec::new(),
            view: None,
        };
        self.states.commit(&transaction).await.unwrap();
        key
    }

    /// Puts the expected view, after a change, into the read store of a projection.
    pub(crate) async fn view(&self, key: &AggregateKey, projection: Projection, change: impl FnOnce(&mut Snapshot)) {
        let mut view = resources::view(key, &state(key), projection).unwrap();
        change(&mut view);
        let table = format!("read-{projection}");
        let views = DynamoViewStore::new(self.database.clone(), table);
        views.snapshots().replace_up_to(key, &view).await.unwrap();
        views.put(key, &view).await.unwrap();
    }

    /// Runs a command of the operators' command line.
    pub(crate) async fn run(&self, command: &[&str]) -> Result<CommandOutput, Failure> {
        let arguments = [&["watershed", "--stack", &self.url], command].concat();
        Box::pin(crate::execute(&Arguments::parse_from(arguments))).await
    }

    /// Returns all requests since the last call, in their order: operations of AWS by their name, and deployments.
    pub(crate) fn requests(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut *self.shared.requests.lock().unwrap())
    }

    /// Returns the read tables and the stages that were deployed since the last call.
    pub(crate) fn deployed(&self) -> Vec<(String, String)> {
        let deployed = self.requests().into_iter().filter(|(what, _)| what == DEPLOYMENT);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        deployed.map(|(_, deployment)| (text(&deployment["READ_TABLE"]), text(&deployment["STAGE"]))).collect()
    }
}

/// Returns version 1 of an item, as it is stored.
fn state(key: &AggregateKey) -> Snapshot {
    struct Created<'a>(&'a AggregateKey);
    impl Visitor for Created<'_> {
        type Output = Snapshot;
        fn visit<R: Resource>(self) -> Snapshot {
            let command = self.0.id.to_string().parse().unwrap();
            let context = Context { stamp: Stamp { at: Timestamp::from_micros(1), command }, conditional: false };
            let command = R::parse(Operation::Create, full_body(R::FIELDS, 1).to_string().as_bytes()).unwrap();
            let Decision::Accept(event) = R::decide(None, &command, &context) else { panic!("{command:?}") };
            let body = R::evolve(None, event).as_ref().map(R::encode);
            Snapshot { version: 1, schema: R::SCHEMA, body, index: Vec::new(), expires_at: None }
        }
    }
    resources::visit(resources::of_key(key).unwrap(), Created(key)).unwrap()
}

async fn respond(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> impl IntoResponse {
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let (status, response) = match headers.contains_key("x-amz-target") {
        true => shared.operation(headers, body).await,
        false => (200, shared.local(&method, uri.path(), &body)),
    };
    (StatusCode::from_u16(status).unwrap(), [("content-type", "application/x-amz-json-1.0")], response.to_string())
}

impl Shared {
    fn record(&self, what: &str, body: &Value) {
        self.requests.lock().unwrap().push((what.to_owned(), body.clone()));
    }

    /// Answers as a local stack does.
    fn local(&self, method: &Method, path: &str, body: &Value) -> Value {
        if *method == Method::PUT {
            self.record(path, body);
            *self.draining.lock().unwrap() = DRAINING.into_iter().rev().collect();
            let mut variables = self.variables.lock().unwrap();
            for name in ["STAGE", "READ_TABLE", "OTHER_READ_TABLE"] {
                variables[name] = body[name].clone();
            }
            return json!({});
        }
        let draining = self.draining.lock().unwrap().pop();
        if let Some(draining) = draining {
            self.record("draining", &json!(draining));
        }
        json!({ "variables": *self.variables.lock().unwrap(), "draining": draining.unwrap_or_default() })
    }

    /// Answers as AWS does.
    async fn operation(&self, mut headers: HeaderMap, mut body: Value) -> (u16, Value) {
        let target = headers["x-amz-target"].to_str().unwrap().to_owned();
        let (service, operation) = target.split_once('.').unwrap();
        self.record(operation, &body);
        if let Some(response) = (self.script)(operation, &body) {
            return response;
        }
        if service == "AmazonSQS" {
            return (200, json!({ "MessageId": "new" }));
        }
        if operation == "Scan" {
            body["Limit"] = json!(1);
        }
        // The host is another one, and the body may have another length.
        for name in [header::HOST, header::CONTENT_LENGTH] {
            headers.remove(name);
        }
        let request = reqwest::Client::new().post(&self.database).headers(headers).body(body.to_string());
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }
}

/// Asserts that two numbers are equal, but for rounding.
pub(crate) fn close(one: f64, other: f64) {
    assert!((one - other).abs() < 1e-9 * other.abs().max(1.0), "{one} is not {other}");
}
