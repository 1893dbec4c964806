//! The rules for judging commands, and the content of their transactions.

use std::time::Duration;

use crate::projection::Projection;

/// The rules for judging commands, and the content of their transactions.
#[derive(Debug, Clone)]
pub struct Policy {
    /// How long after its acceptance a command may wait for its predecessor. Zero if commands are never queued.
    pub reorder_window: Duration,
    /// Whether a command that builds on a later version waits for it. Otherwise it is rejected at once. A writer that cannot queue it
    /// has no better answer: nothing shows that such a version is on its way.
    pub awaits_versions: bool,
    /// `Strict` if a waiting command holds back the later commands of its aggregate.
    pub order: Order,
    /// The projection that readers see.
    pub projection: Projection,
    /// Whether the transaction writes the view too. It must if no message would repeat the projection.
    pub view_in_transaction: bool,
}

/// The order in which commands arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Any order.
    Loose,
    /// The order of sending. Commands must be applied in this order.
    Strict,
}
