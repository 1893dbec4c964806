//! Single flight: callers that want the same thing at the same time share one fetch.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::OnceCell;

/// The fetches that are under way.
#[derive(Debug)]
pub(crate) struct Flights<T> {
    going: Mutex<HashMap<String, Weak<OnceCell<T>>>>,
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self { going: Mutex::default() }
    }
}

impl<T: Clone> Flights<T> {
    /// The result of `fetch`, or of the same fetch that another caller began before. Where that caller goes away, one
    /// of those who wait takes over.
    pub(crate) async fn join<F: Future<Output = T>>(&self, key: &str, fetch: impl FnOnce() -> F) -> T {
        let flight = self.board(key);
        let value = flight.get_or_init(fetch).await.clone();
        self.land(key, &flight);
        value
    }

    fn board(&self, key: &str) -> Arc<OnceCell<T>> {
        let mut going = self.going.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = going.get(key).and_then(Weak::upgrade) {
            return flight;
        }
        // Those whose callers all went away are swept here, so that the table stays as small as the work at hand.
        going.retain(|_, flight| flight.strong_count() > 0);
        let flight = Arc::new(OnceCell::new());
        going.insert(key.to_owned(), Arc::downgrade(&flight));
        flight
    }

    /// Whoever comes next must fetch anew: sharing is for those who came in time only.
    fn land(&self, key: &str, flight: &Arc<OnceCell<T>>) {
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
        let (flights, fetches) = (Flights::default(), AtomicU32::new(0));
        let fetch = || async {
            tokio::task::yield_now().await;
            fetches.fetch_add(1, Ordering::SeqCst)
        };
        let together = tokio::join!(flights.join("k", fetch), flights.join("k", fetch), flights.join("other", fetch));
        assert_eq!(together.0, together.1);
        assert_ne!(together.0, together.2);
        assert_eq!(flights.join("k", fetch).await, 2);
        assert!(flights.going.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_fetch_for_another_key_ends_nobodys_sharing_and_sweeps_what_was_given_up() {
        let flights = Flights::default();
        let mut given_up = Box::pin(flights.join("given up", std::future::pending::<u32>));
        assert!(futures::poll!(&mut given_up).is_pending());
        drop(given_up);
        let (ready, wait) = tokio::sync::oneshot::channel();
        let mut first = Box::pin(flights.join("k", || async { wait.await.unwrap() }));
        assert!(futures::poll!(&mut first).is_pending());
        let mut other = Box::pin(flights.join("other", std::future::pending::<u32>));
        assert!(futures::poll!(&mut other).is_pending());
        assert_eq!(flights.going.lock().unwrap().len(), 2);
        let mut second = Box::pin(flights.join("k", || async { 8 }));
        assert!(futures::poll!(&mut second).is_pending());
        ready.send(7).unwrap();
        assert_eq!((first.await, second.await), (7, 7));
    }

    #[tokio::test]
    async fn a_fetch_whose_caller_goes_away_is_taken_over() {
        let flights = Flights::default();
        let mut lost = Box::pin(flights.join("k", std::future::pending::<u32>));
        assert!(futures::poll!(&mut lost).is_pending());
        let mut waiting = Box::pin(flights.join("k", || async { 7 }));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(lost);
        assert_eq!(waiting.await, 7);
    }
}
