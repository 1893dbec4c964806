//! All ports in memory, for tests and simulations: no I/O, no clock and no randomness of their own, and deterministic
//! to the last detail.

mod cache;
mod queue;
mod store;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use cache::{MemorySharedCache, UnboundedMemoryCache};
pub use queue::{MemoryQueue, Received};
pub use store::{MemoryRecords, MemoryStores, MemoryViewStore, MemoryWriteStore};

/// Locks, also after a panic elsewhere: every change here is made in one go, so nothing half done can be seen.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
