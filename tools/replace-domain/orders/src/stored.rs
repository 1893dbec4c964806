//! The stored form of an order. While there is one schema version, it is the state's own form.

use bytes::Bytes;
use kernel::domain::{DecodeError, Domain};

use crate::{Order, OrderState};

pub(crate) fn encode(state: &OrderState) -> Bytes {
    // Texts and numbers always serialise.
    serde_json::to_vec(state).unwrap_or_default().into()
}

pub(crate) fn decode(schema: u16, body: &[u8]) -> Result<OrderState, DecodeError> {
    if schema != Order::SCHEMA {
        return Err(DecodeError::UnknownSchema(schema));
    }
    Ok(serde_json::from_slice(body)?)
}
