//! Opens the first connection while an environment starts: the processor is fast then, and no client waits.

use std::sync::Arc;

use kernel::clock::{Clock, SystemClock};
use kernel::ids::{AggregateId, AggregateKey, CommandId, Kind, Tenant};
use kernel::ports::{Consistency, ListQuery, RecordReader, Slot, StateReader, ViewReader};
use kernel::record::RecordKey;

/// It does not matter which: the tenant that is asked for has nothing of any kind.
const NOTHING: Kind = Kind::new("ZZ");

/// A call that opens the first connection: one that the function makes in its work as well, because a function may do
/// nothing else.
#[derive(Debug)]
pub(crate) enum FirstCall {
    /// Reads one view, as for `GET /users/{id}`.
    View(Arc<dyn ViewReader>),
    /// Reads a page of a list, as for `GET /users`.
    Page(Arc<dyn ViewReader>),
    /// Loads a state, as for a command that is applied at once.
    State(Arc<dyn StateReader>),
    /// Reads a record, as for `GET /commands/{id}` and for a client that waits.
    Record(Arc<dyn RecordReader>),
}

impl FirstCall {
    /// Asks for something that does not exist. A failure does not matter: the first request will see it as well.
    pub(crate) async fn make(&self) {
        let Ok(tenant) = "warm-up".parse::<Tenant>() else { return };
        let at = SystemClock.now();
        let key = || AggregateKey { kind: NOTHING, tenant: tenant.clone(), id: AggregateId::generate(at) };
        match self {
            Self::View(views) => drop(views.get(&key(), Consistency::Eventual).await),
            Self::Page(views) => {
                drop(views.list(&empty_page(tenant)).await);
            }
            Self::State(states) => drop(states.load(&[key()]).await),
            Self::Record(records) => {
                drop(records.get(&RecordKey { tenant, command: CommandId::generate(at) }).await);
            }
        }
    }
}

/// A page of an empty list, of any index: a function may query all of them.
fn empty_page(tenant: Tenant) -> ListQuery {
    ListQuery {
        kind: NOTHING,
        tenant,
        slot: Slot::I1,
        partition: String::new(),
        sort_prefix: String::new(),
        after: None,
        limit: 1,
    }
}
