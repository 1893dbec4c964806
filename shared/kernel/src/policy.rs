//! How commands are judged, and what a transaction takes along.

use std::time::Duration;

use crate::projection::Projection;

/// How commands are judged, and what their transaction writes.
#[derive(Debug, Clone)]
pub struct Policy {
    /// How long after its acceptance a command may wait for its predecessor. Zero if no command is queued.
    pub reorder_window: Duration,
    /// `Strict` if a waiting command holds back the commands behind it.
    pub order: Order,
    /// The projection that readers see.
    pub projection: Projection,
    /// Whether the transaction writes the view too. Needed if no message would repeat the projection.
    pub view_in_transaction: bool,
}

/// The order in which commands arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Any order.
    Loose,
    /// The order of sending. Commands must be applied in it.
    Strict,
}
