//! What the unit tests share.

use crate::ids::Tenant;
use crate::seal::KeyRing;

pub(crate) fn tenant() -> Tenant {
    "t".parse().unwrap()
}

pub(crate) fn keys() -> KeyRing {
    // 32 zero bytes.
    format!("k1:{}=", "A".repeat(43)).parse().unwrap()
}
