//! The cutover from one read store to another.

use std::sync::Arc;

use adapters::memory::MemoryViewStore;
use kernel::ports::ViewWriter as _;
use kernel::projection::Projection;
use service::stages::WriteAnswer;
use tokio::time::sleep;

use crate::deployment::{Deployment, PAUSE};
use crate::functions::behind_network;
use crate::recorded::RecordedViews;
use crate::world::World;

/// The projection that replaces the first one.
pub(crate) const NEXT: Projection = Projection(2);

impl World {
    /// Returns the read store of a projection.
    pub(crate) fn views_of(&self, projection: Projection) -> MemoryViewStore {
        if projection == NEXT { self.next.views() } else { self.stores.views() }
    }

    /// Returns all views of a read store.
    pub(crate) fn all_views_of(&self, projection: Projection) -> crate::check::Views {
        if projection == NEXT { self.next.all_views() } else { self.stores.all_views() }
    }

    /// Performs the steps of `watershed rebuild`.
    pub(crate) async fn cut_over(self: Arc<Self>, waits: bool, back: bool) {
        // Synchronous writes update only the read store that readers use. So a cutover needs a stage that queues all writes.
        if self.deployments.latest().row.writes_answer != WriteAnswer::Accepted || !self.operator_begins() {
            return;
        }
        let show = |read, other| move |deployment: &mut Deployment| (deployment.read, deployment.other) = (read, other);
        self.deploy(show(Projection::FIRST, Some(NEXT)));
        if waits {
            self.deployments.drained().await;
        }
        self.fill(NEXT).await;
        self.deploy(show(NEXT, Some(Projection::FIRST)));
        if back {
            sleep(PAUSE * 20).await;
            self.deploy(show(Projection::FIRST, Some(NEXT)));
        } else {
            self.deployments.drained().await;
            self.deploy(show(NEXT, None));
        }
    }

    /// Copies the states that exist at its start. All writers already update the new store.
    pub(crate) async fn fill(self: &Arc<Self>, projection: Projection) {
        let views = behind_network(self, Arc::new(RecordedViews::new(self, projection)));
        for (key, state) in self.stores.all_states() {
            let Some(view) = service::resources::view(&key, &state, projection) else { continue };
            while views.put(&key, &view).await.is_err() {
                sleep(PAUSE).await;
            }
        }
    }
}
