//! One suite per port, which every implementation passes. The name of a check is the property that it checks. Checks use
//! separate tenants, so that all of them can share one store.

#![expect(
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::unwrap_used,
    reason = "a check fails by panicking"
)]

pub mod cache;
pub mod memory_cache;
pub mod port;
pub mod queue;
pub mod records;
pub mod sample;
pub mod time;
pub mod view_store;
pub mod write_store;

use std::sync::Arc;

use kernel::ports::{RecordWriter, ViewReader, ViewWriter, WriteStore};

use crate::dynamo::{DynamoRecords, DynamoViewStore, DynamoWriteStore};
use crate::memory::MemoryStores;
use crate::tables::TableNames;

/// The ports of three stores that belong together, with all indexes.
#[derive(Debug, Clone)]
pub struct Stores {
    /// The write store.
    pub write: Arc<dyn WriteStore>,
    /// Reads and lists the states in the write store.
    pub states: Arc<dyn ViewReader>,
    /// The records, which transactions of the write store put.
    pub records: Arc<dyn RecordWriter>,
    /// The read store, to which transactions of the write store can put views.
    pub views: Arc<dyn ViewReader>,
    /// The writer of the same read store.
    pub view_writer: Arc<dyn ViewWriter>,
}

impl Stores {
    /// Makes new stores in memory.
    #[must_use]
    pub fn memory() -> Self {
        let stores = MemoryStores::default();
        Self {
            write: Arc::new(stores.write()),
            states: Arc::new(stores.write()),
            records: Arc::new(stores.records()),
            views: Arc::new(stores.views()),
            view_writer: Arc::new(stores.views()),
        }
    }

    /// Returns the stores in existing tables.
    #[must_use]
    pub fn dynamo(client: &aws_sdk_dynamodb::Client, names: &TableNames) -> Self {
        let write = DynamoWriteStore::new(client, names);
        let views = DynamoViewStore::new(client.clone(), names.read.clone());
        Self {
            states: Arc::new(write.snapshots()),
            write: Arc::new(write),
            records: Arc::new(DynamoRecords::new(client.clone(), names.commands.clone())),
            views: Arc::new(views.clone()),
            view_writer: Arc::new(views),
        }
    }
}

/// Runs checks one after another, and prints the name of each first. The last name printed is the failed check.
macro_rules! run {
    ($subject:expr, $($check:ident),+ $(,)?) => {
        $(
            println!("{}", stringify!($check));
            $check($subject).await;
        )+
    };
}
pub(crate) use run;
