//! What clients see of an order.

use bytes::Bytes;
use kernel::ids::AggregateId;
use serde::Serialize;

use crate::OrderState;
use crate::field::{Customer, Quantity, Reference, Status};

/// An order, as clients see it.
#[derive(Serialize)]
struct OrderView<'a> {
    id: AggregateId,
    reference: &'a Reference,
    customer: &'a Customer,
    quantity: Quantity,
    status: Status,
    created_at: String,
    updated_at: String,
    version: u64,
}

pub(crate) fn project(id: AggregateId, version: u64, state: &OrderState) -> Bytes {
    let view = OrderView {
        id,
        reference: &state.reference.value,
        customer: &state.customer.value,
        quantity: state.quantity.value,
        status: state.status.value,
        created_at: state.created_at.to_string(),
        updated_at: state.updated_at.to_string(),
        version,
    };
    // Texts and numbers always serialise.
    serde_json::to_vec(&view).unwrap_or_default().into()
}
