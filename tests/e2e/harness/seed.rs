//! Users by the thousand, put straight into the stores.

use adapters::dynamo::{DynamoViewStore, DynamoWriteStore};
use adapters::tables::TableNames;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use kernel::apply::Aggregate;
use kernel::clock::{Clock as _, SystemClock};
use kernel::domain::{Context, Decision, Domain as _};
use kernel::ids::{AggregateId, AggregateKey, CommandId, Stamp};
use kernel::ports::Snapshot;
use kernel::project::Projection;
use shared::ServedDomain;

use super::{Stack, unique};
use crate::sample::{create, full_body, value};

/// Items that are put at the same time.
const PUTS_MAX: usize = 32;

/// Puts so many users of the local tenant into the write store and into the read store; tells who they are.
pub async fn users(stack: &Stack, count: usize) -> Vec<String> {
    let variables = stack.status().await["variables"].clone();
    let text = |name: &str| variables[name].as_str().unwrap().to_owned();
    let client = adapters::clients::dynamodb(&adapters::clients::local(&text("AWS_ENDPOINT_URL_DYNAMODB")));
    let names = TableNames { write: text("WRITE_TABLE"), commands: text("COMMANDS_TABLE"), read: text("READ_TABLE") };
    let states = DynamoWriteStore::new(&client, &names, ServedDomain::INDEXES).snapshots();
    let views = DynamoViewStore::new(client, names.read, ServedDomain::INDEXES).snapshots();
    let word = unique("seed");
    let puts = (0..count).map(|number| {
        let (states, views, name) = (&states, &views, format!("{word}-{number}"));
        async move {
            let (key, state) = user(&name);
            let view = Aggregate::<ServedDomain>::decode(Some(&state)).unwrap().view(&key, Projection::FIRST);
            states.replace_up_to(&key, &state).await?;
            views.replace_up_to(&key, &view).await?;
            Ok::<_, kernel::ports::PortError>(key.id.to_string())
        }
    });
    stream::iter(puts).buffer_unordered(PUTS_MAX).try_collect().await.unwrap()
}

/// What a create makes, decided as the service does.
fn user(name: &str) -> (AggregateKey, Snapshot) {
    let now = SystemClock.now();
    let key =
        AggregateKey { kind: ServedDomain::KIND, tenant: "local".parse().unwrap(), id: AggregateId::generate(now) };
    let stamp = Stamp { at: now, command: CommandId::generate(now) };
    let context = Context { stamp, conditional: false };
    let Decision::Accept(event) = ServedDomain::decide(None, &create(&full_body(name, &value(name))), &context) else {
        panic!("{name} is refused")
    };
    let state = ServedDomain::evolve(None, event).unwrap();
    let index = ServedDomain::index(Projection::FIRST, &key, &state);
    let body = Some(ServedDomain::encode(&state));
    (key, Snapshot { version: 1, schema: ServedDomain::SCHEMA, body, index, expires_at: None })
}
