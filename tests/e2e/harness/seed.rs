//! Writes thousands of items directly into the stores.

use adapters::dynamo::{DynamoViewStore, DynamoWriteStore};
use adapters::tables::TableNames;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kernel::clock::{Clock as _, SystemClock};
use kernel::domain::{Context, Decision};
use kernel::ids::{AggregateId, AggregateKey, CommandId, Stamp};
use kernel::ports::Snapshot;
use kernel::projection::Projection;
use resource::{Operation, Resource, Visitor};
use serde_json::Value;
use service::resources;

use super::{Stack, unique};
use crate::sample;

/// The number of parallel writes.
const PUTS_MAX: usize = 32;

/// Writes this number of items of the local tenant into the write store and the read store. Returns their ids.
pub async fn items(stack: &Stack, count: usize) -> Vec<String> {
    let variables = stack.status().await["variables"].clone();
    let text = |name: &str| variables[name].as_str().unwrap().to_owned();
    let client = adapters::clients::dynamodb(&adapters::clients::local(&text("AWS_ENDPOINT_URL_DYNAMODB")));
    let names = TableNames { write: text("WRITE_TABLE"), commands: text("COMMANDS_TABLE"), read: text("READ_TABLE") };
    let states = DynamoWriteStore::new(&client, &names).snapshots();
    let views = DynamoViewStore::new(client, names.read).snapshots();
    let (sample, word) = (sample::main(), unique("seed"));
    let puts = (0..count).map(|number| {
        let (states, views, body) = (&states, &views, sample.body(&format!("{word}-{number}")));
        async move {
            let (key, state) = resources::visit(sample.resource, Created(&body)).unwrap();
            let view = resources::view(&key, &state, Projection::FIRST).unwrap();
            states.replace_up_to(&key, &state).await?;
            views.replace_up_to(&key, &view).await?;
            Ok::<_, kernel::ports::PortError>(key.id.to_string())
        }
    });
    stream::iter(puts).buffer_unordered(PUTS_MAX).try_collect().await.unwrap()
}

/// Calculates the state that a create makes, with the service's own rules.
struct Created<'a>(&'a Value);

impl Visitor for Created<'_> {
    type Output = (AggregateKey, Snapshot);

    fn visit<R: Resource>(self) -> (AggregateKey, Snapshot) {
        let now = SystemClock.now();
        let key = AggregateKey { kind: R::KIND, tenant: "local".parse().unwrap(), id: AggregateId::generate(now) };
        let stamp = Stamp { at: now, command: CommandId::generate(now) };
        let context = Context { stamp, conditional: false };
        let command = R::parse(Operation::Create, self.0.to_string().as_bytes()).unwrap();
        let Decision::Accept(event) = R::decide(None, &command, &context) else { panic!("{} is refused", self.0) };
        let state = R::evolve(None, event).unwrap();
        let index = R::index(Projection::FIRST, &key, &state);
        let body = Some(R::encode(&state));
        (key, Snapshot { version: 1, schema: R::SCHEMA, body, index, expires_at: None })
    }
}
