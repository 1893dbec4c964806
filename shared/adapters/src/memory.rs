//! All ports in memory, for tests and simulations. They do no I/O, use no clock and no randomness themselves, and are
//! deterministic.

mod cache;
mod queue;
mod store;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use cache::{MemorySharedCache, UnboundedMemoryCache};
pub use queue::{MemoryQueue, Received};
pub use store::{MemoryRecords, MemoryStores, MemoryViewStore, MemoryWriteStore};

/// Locks, also after a panic in another thread. Each change is complete before its lock ends, so no one sees half a change.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
