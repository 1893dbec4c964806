//! What clients see of a user.

use bytes::Bytes;
use kernel::ids::AggregateId;
use serde::Serialize;

use crate::UserState;
use crate::field::{Email, Name, Status};

/// A user, as clients see it.
#[derive(Serialize)]
struct UserView<'a> {
    id: AggregateId,
    name: &'a Name,
    email: &'a Email,
    status: Status,
    created_at: String,
    updated_at: String,
    version: u64,
}

pub(crate) fn project(id: AggregateId, version: u64, state: &UserState) -> Bytes {
    let view = UserView {
        id,
        name: &state.name.value,
        email: &state.email.value,
        status: state.status.value,
        created_at: state.created_at.to_string(),
        updated_at: state.updated_at.to_string(),
        version,
    };
    // Texts and numbers always serialise.
    serde_json::to_vec(&view).unwrap_or_default().into()
}
