//! States, unique keys, records and views in DynamoDB, in the tables of [`crate::tables`].

mod cancellation;
mod item;
mod records;
mod snapshots;
mod write_store;

use kernel::ports::{Cause, PortError};

pub use records::DynamoRecords;
pub use snapshots::{DynamoViewStore, ScanPage, SnapshotTable};
pub use write_store::DynamoWriteStore;

/// The name of the write store in errors.
const WRITE_STORE: &str = "write store";

/// Returns a function for `map_err` that names the port that failed.
fn unavailable<E: Into<Cause>>(port: &'static str) -> impl Fn(E) -> PortError {
    move |cause| PortError::Unavailable { port, cause: cause.into() }
}
