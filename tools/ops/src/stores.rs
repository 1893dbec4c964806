//! The stores of one projection.

use adapters::dynamo::SnapshotTable;
use kernel::projection::Projection;

use crate::cache::Cache;
use crate::counts::CommandQueue;

/// The stores of one projection.
pub(crate) struct Stores {
    pub(crate) states: SnapshotTable,
    /// `None` if no read store is compared.
    pub(crate) views: Option<SnapshotTable>,
    pub(crate) cache: Option<Cache>,
    /// The projection of the views.
    pub(crate) projection: Projection,
    /// The queue of commands. It still has a command that ingest-fn has stored and not yet projected.
    pub(crate) queue: Option<CommandQueue>,
}
