//! Single flight: callers with the same key at the same time share one fetch.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OnceCell;

/// The running fetches, by key.
#[derive(Debug)]
pub(crate) struct SingleFlight<T> {
    going: Mutex<HashMap<String, Weak<OnceCell<T>>>>,
}

impl<T> Default for SingleFlight<T> {
    fn default() -> Self {
        Self { going: Mutex::default() }
    }
}

impl<T: Clone> SingleFlight<T> {
    /// Returns the result of `fetch`, or of a running fetch under the same key. If the caller that runs it goes away, a waiting
    /// caller takes over.
    pub(crate) async fn run<F: Future<Output = T>>(&self, key: &str, fetch: impl FnOnce() -> F) -> T {
        let flight = self.enter(key);
        let value = flight.get_or_init(fetch).await.clone();
        self.leave(key, &flight);
        value
    }

    fn enter(&self, key: &str) -> Arc<OnceCell<T>> {
        let mut going = self.going.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = going.get(key).and_then(Weak::upgrade) {
            return flight;
        }
        // Abandoned fetches are removed here, so the table holds only running ones.
        going.retain(|_, flight| flight.strong_count() > 0);
        let flight = Arc::new(OnceCell::new());
        going.insert(key.to_owned(), Arc::downgrade(&flight));
        flight
    }

    /// Removes the fetch, so that the next caller fetches again. Only callers that came during the fetch share it.
    fn leave(&self, key: &str, flight: &Arc<OnceCell<T>>) {
        let mut going = self.going.lock().unwrap_or_else(PoisonError::into_inner);
        if going.get(key).is_some_and(|current| std::ptr::eq(current.as_ptr(), Arc::as_ptr(flight))) {
            going.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn callers_at_the_same_time_share_one_fetch_and_later_ones_do_not() {
        let (single_flight, fetches) = (SingleFlight::default(), AtomicU32::new(0));
        let fetch = || async {
            tokio::task::yield_now().await;
            fetches.fetch_add(1, Ordering::SeqCst)
        };
        let together = tokio::join!(
            single_flight.run("k", fetch),
            single_flight.run("k", fetch),
            single_flight.run("other", fetch)
        );
        assert_eq!(together.0, together.1);
        assert_ne!(together.0, together.2);
        assert_eq!(single_flight.run("k", fetch).await, 2);
        assert!(single_flight.going.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_fetch_for_another_key_keeps_shared_fetches_and_removes_abandoned_ones() {
        let single_flight = SingleFlight::default();
        let mut given_up = Box::pin(single_flight.run("given up", std::future::pending::<u32>));
        assert!(futures::poll!(&mut given_up).is_pending());
        drop(given_up);
        let (ready, wait) = tokio::sync::oneshot::channel();
        let mut first = Box::pin(single_flight.run("k", || async { wait.await.unwrap() }));
        assert!(futures::poll!(&mut first).is_pending());
        let mut other = Box::pin(single_flight.run("other", std::future::pending::<u32>));
        assert!(futures::poll!(&mut other).is_pending());
        assert_eq!(single_flight.going.lock().unwrap().len(), 2);
        let mut second = Box::pin(single_flight.run("k", || async { 8 }));
        assert!(futures::poll!(&mut second).is_pending());
        ready.send(7).unwrap();
        assert_eq!((first.await, second.await), (7, 7));
    }

    #[tokio::test]
    async fn a_fetch_whose_caller_goes_away_is_continued_by_another() {
        let single_flight = SingleFlight::default();
        let mut lost = Box::pin(single_flight.run("k", std::future::pending::<u32>));
        assert!(futures::poll!(&mut lost).is_pending());
        let mut waiting = Box::pin(single_flight.run("k", || async { 7 }));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(lost);
        assert_eq!(waiting.await, 7);
    }
}
