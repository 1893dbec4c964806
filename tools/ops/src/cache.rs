//! The shared cache for the operators' commands. The work continues if the cache does not answer.

use std::sync::OnceLock;

use adapters::redis_cache::RedisCache;
use kernel::ports::{CachedView, PortError};

use crate::output::explain;

/// The shared cache, until its first failure. It gets no requests after that, so a Redis that never answers costs one timeout.
#[derive(Debug)]
pub(crate) struct Cache {
    redis: RedisCache,
    failure: OnceLock<String>,
}

impl Cache {
    pub(crate) fn new(redis: RedisCache) -> Self {
        Self { redis, failure: OnceLock::new() }
    }

    /// Returns the entries of `keys`, in their order. Returns `None` for all of them if the cache does not answer.
    pub(crate) async fn peek(&self, keys: &[String]) -> Vec<Option<CachedView>> {
        let found = if self.failure().is_none() { self.note(self.redis.peek(keys).await) } else { None };
        found.unwrap_or_else(|| vec![None; keys.len()])
    }

    /// Deletes an entry. If the cache does not answer, the entry expires.
    pub(crate) async fn remove(&self, key: &str) {
        if self.failure().is_none() {
            self.note(self.redis.remove(key).await);
        }
    }

    /// Returns the cause, if the cache has failed.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    fn note<T>(&self, result: Result<T, PortError>) -> Option<T> {
        result.inspect_err(|error| drop(self.failure.set(explain(error)))).ok()
    }
}

/// Formats a line for people: the cache has failed, and the work continued without it.
pub(crate) fn skipped(why: &str) -> String {
    format!("Redis failed and was skipped ({why}): check that it runs; stale entries expire within 6 minutes")
}
