//! What others are known not to do as AWS does.

use std::collections::BTreeSet;

/// Passes if what failed is what is known to fail. A gap that closes fails as well, so that the list stays true.
pub fn assert_known(failed: &BTreeSet<&str>, gaps: &[(&str, &str)]) {
    let known: BTreeSet<_> = gaps.iter().map(|(name, _)| *name).collect();
    let (new, closed): (Vec<_>, Vec<_>) = (failed.difference(&known).collect(), known.difference(failed).collect());
    assert!(new.is_empty(), "failed: {new:?}");
    assert!(closed.is_empty(), "these gaps have closed, remove them from the list: {closed:?}");
}
