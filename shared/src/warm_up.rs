//! Opens the first connection while an environment starts: the processor is fast then, and no client waits.

use std::sync::Arc;

use kernel::clock::{Clock, SystemClock};
use kernel::domain::Domain;
use kernel::ids::{AggregateId, AggregateKey, CommandId, Tenant};
use kernel::ports::{Consistency, ListQuery, RecordReader, StateReader, ViewReader};
use kernel::record::RecordKey;

use crate::ServedDomain;

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
        let key = || AggregateKey { kind: ServedDomain::KIND, tenant: tenant.clone(), id: AggregateId::generate(at) };
        match self {
            Self::View(views) => drop(views.get(&key(), Consistency::Eventual).await),
            Self::Page(views) => {
                if let Some(page) = empty_page(tenant) {
                    drop(views.list(&page).await);
                }
            }
            Self::State(states) => drop(states.load(&[key()]).await),
            Self::Record(records) => {
                drop(records.get(&RecordKey { tenant, command: CommandId::generate(at) }).await);
            }
        }
    }
}

/// A page of an empty list, of any index: a function may query all of them.
fn empty_page(tenant: Tenant) -> Option<ListQuery> {
    Some(ListQuery {
        kind: ServedDomain::KIND,
        tenant,
        index: ServedDomain::INDEXES.first()?,
        partition: String::new(),
        sort_prefix: String::new(),
        after: None,
        limit: 1,
    })
}
