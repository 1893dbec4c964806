//! Known differences between AWS and its emulators.

use std::collections::BTreeSet;

/// Asserts that exactly the known gaps failed. A closed gap fails too, so that the list stays up to date.
pub fn assert_known(failed: &BTreeSet<&str>, gaps: &[(&str, &str)]) {
    let known: BTreeSet<_> = gaps.iter().map(|(name, _)| *name).collect();
    let (new, closed): (Vec<_>, Vec<_>) = (failed.difference(&known).collect(), known.difference(failed).collect());
    assert!(new.is_empty(), "failed: {new:?}");
    assert!(closed.is_empty(), "these gaps have closed, remove them from the list: {closed:?}");
}
