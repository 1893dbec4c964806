//! Opens the first connection while an environment starts: the processor is fast then, and no client waits.

use std::sync::Arc;

use kernel::clock::{Clock, SystemClock};
use kernel::ids::{AggregateId, AggregateKey, CommandId, Kind, Tenant};
use kernel::ports::{Consistency, ListQuery, RecordReader, Slot, StateReader, ViewReader};
use kernel::record::RecordKey;

/// Any kind would do: the tenant of this call has no items.
const NOTHING: Kind = Kind::new("ZZ");

/// The call that opens the first connection. The function makes the same call in its work, because its permissions may
/// allow no other.
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
    /// Requests an item that does not exist. A failure is ignored, because the first request would report it too.
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

/// Returns a query for a page of an empty list. Any index will do, because a function may query all of them.
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
