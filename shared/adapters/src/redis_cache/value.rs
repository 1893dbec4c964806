//! The form of an entry.

use bytes::Bytes;
use kernel::clock::Timestamp;
use kernel::ports::{CachedView, Lease};

/// Says that a body follows.
const WITH_BODY: &str = "b";
/// Says that there is none: a tombstone, or nothing at all.
const WITHOUT_BODY: &str = "t";

pub(super) fn placeholder(lease: &Lease) -> String {
    format!("L{}", lease.0)
}

pub(super) fn is_placeholder(entry: &[u8]) -> bool {
    entry.first() == Some(&b'L')
}

pub(super) fn encode(view: &CachedView) -> Vec<u8> {
    let flag = if view.body.is_some() { WITH_BODY } else { WITHOUT_BODY };
    let mut entry = format!("V{:020}|{flag}|{}|", view.version, view.fetched_at.as_millis()).into_bytes();
    entry.extend_from_slice(view.body.as_deref().unwrap_or_default());
    entry
}

/// Reads an entry; `None` where it is none of ours.
pub(super) fn decode(entry: &[u8]) -> Option<CachedView> {
    let mut parts = entry.strip_prefix(b"V")?.splitn(4, |byte| *byte == b'|');
    let version = std::str::from_utf8(parts.next()?).ok().filter(|digits| digits.len() == 20)?.parse().ok()?;
    let flag = std::str::from_utf8(parts.next()?).ok()?;
    let fetched_ms: u64 = std::str::from_utf8(parts.next()?).ok()?.parse().ok()?;
    let body = parts.next()?;
    let body = match flag {
        WITH_BODY => Some(Bytes::copy_from_slice(body)),
        WITHOUT_BODY if body.is_empty() => None,
        _ => return None,
    };
    Some(CachedView { version, body, fetched_at: Timestamp::from_micros(fetched_ms.checked_mul(1_000)?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_back_as_it_was_stored_with_its_time_in_milliseconds() {
        let at = Timestamp::from_micros(1_790_000_000_123_000);
        for body in [None, Some(Bytes::new()), Some(Bytes::from_static(b"a|b|\xff\0|"))] {
            let view = CachedView { version: u64::MAX, body, fetched_at: at };
            assert_eq!(decode(&encode(&view)), Some(view));
        }
    }

    #[test]
    fn what_is_not_an_entry_is_refused() {
        let entries: [&[u8]; 7] = [
            b"",
            b"V",
            b"Lnonce",
            b"V1|b|1|x",
            b"V00000000000000000001|z|1|x",
            b"V00000000000000000001|t|1|x",
            b"V00000000000000000001|b|99999999999999999999|x",
        ];
        for entry in entries {
            assert_eq!(decode(entry), None, "{entry:?}");
        }
    }
}
