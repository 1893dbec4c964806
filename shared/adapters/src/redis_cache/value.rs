//! The format of an entry.

use bytes::Bytes;
use kernel::clock::Timestamp;
use kernel::ports::{CachedView, Lease};

/// The digits of a version: as many as the largest version has, so that scripts can compare versions as strings.
const VERSION_DIGITS: usize = 20;
/// The flag of an entry with a body.
const WITH_BODY: &[u8] = b"b";
/// The flag of an entry without a body: a tombstone, or an item that does not exist.
const WITHOUT_BODY: &[u8] = b"t";

pub(super) fn placeholder(lease: &Lease) -> String {
    format!("L{}", lease.0)
}

pub(super) fn is_placeholder(entry: &[u8]) -> bool {
    entry.first() == Some(&b'L')
}

pub(super) fn encode(view: &CachedView) -> Vec<u8> {
    let version = format!("V{:0VERSION_DIGITS$}", view.version);
    let flag = if view.body.is_some() { WITH_BODY } else { WITHOUT_BODY };
    let fetched_ms = view.fetched_at.as_millis().to_string();
    [version.as_bytes(), flag, fetched_ms.as_bytes(), view.body.as_deref().unwrap_or_default()].join(&b'|')
}

/// Reads an entry; `None` if the value is not an entry.
pub(super) fn decode(entry: &[u8]) -> Option<CachedView> {
    let mut parts = entry.strip_prefix(b"V")?.splitn(4, |byte| *byte == b'|');
    let version = parts.next().filter(|digits| digits.len() == VERSION_DIGITS).and_then(number)?;
    let flag = parts.next()?;
    let fetched_ms = parts.next().and_then(number)?;
    let body = match (flag, parts.next()?) {
        (WITH_BODY, body) => Some(Bytes::copy_from_slice(body)),
        (WITHOUT_BODY, []) => None,
        _ => return None,
    };
    Some(CachedView { version, body, fetched_at: Timestamp::from_micros(fetched_ms.checked_mul(1_000)?) })
}

/// Parses digits only; the standard library would also accept a sign.
fn number(digits: &[u8]) -> Option<u64> {
    let digits = digits.iter().all(u8::is_ascii_digit).then_some(digits)?;
    str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_entry_comes_back_as_it_was_stored_with_its_time_in_milliseconds() {
        let at = Timestamp::from_micros(1_790_000_000_123_000);
        for body in [None, Some(Bytes::new()), Some(Bytes::from_static(b"a|b|\xff\0|"))] {
            for version in [0, 1, u64::MAX] {
                let view = CachedView { version, body: body.clone(), fetched_at: at };
                assert_eq!(decode(&encode(&view)), Some(view));
            }
        }
    }

    #[test]
    fn an_entry_has_the_form_that_scripts_read() {
        let view = CachedView {
            version: 7,
            body: Some(Bytes::from_static(b"{}")),
            fetched_at: Timestamp::from_micros(1_790_000_000_123_456),
        };
        assert_eq!(encode(&view), b"V00000000000000000007|b|1790000000123|{}");
        let nothing = CachedView { body: None, ..view };
        assert_eq!(encode(&nothing), b"V00000000000000000007|t|1790000000123|");
    }

    #[test]
    fn a_value_that_is_not_an_entry_is_refused() {
        let entries: [&[u8]; 10] = [
            b"",
            b"V",
            b"Lnonce",
            b"V00000000000000000001",
            b"V+0000000000000000001|b|1|x",
            b"V00000000000000000001|b|+1|x",
            b"V1|b|1|x",
            b"V00000000000000000001|z|1|x",
            b"V00000000000000000001|t|1|x",
            b"V00000000000000000001|b|99999999999999999999|x",
        ];
        for entry in entries {
            assert_eq!(decode(entry), None, "{entry:?}");
        }
    }

    fn any_view() -> impl Strategy<Value = CachedView> {
        let body = prop::option::of(prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from));
        (any::<u64>(), body, 0..=u64::MAX / 1_000).prop_map(|(version, body, fetched_ms)| CachedView {
            version,
            body,
            fetched_at: Timestamp::from_micros(fetched_ms * 1_000),
        })
    }

    proptest! {
        #[test]
        fn any_view_comes_back_and_entries_sort_as_their_versions_do(view in any_view(), other in any_view()) {
            let [entry, another] = [&view, &other].map(encode);
            let sorted = entry[..=VERSION_DIGITS].cmp(&another[..=VERSION_DIGITS]);
            prop_assert_eq!(sorted, view.version.cmp(&other.version));
            prop_assert!(!is_placeholder(&entry));
            prop_assert_eq!(decode(&entry), Some(view));
        }

        #[test]
        fn an_entry_that_is_cut_off_before_its_body_is_none(view in any_view(), cut in any::<prop::sample::Index>()) {
            let entry = encode(&view);
            let head = entry.len() - view.body.as_ref().map_or(0, Bytes::len);
            prop_assert_eq!(decode(&entry[..cut.index(head)]), None);
        }

        #[test]
        fn whatever_is_stored_is_the_form_of_a_view_or_none(
            view in any_view(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
            rubbish in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            prop_assert_eq!(decode(&rubbish), None);
            let mut entry = encode(&view);
            let at = at.index(entry.len());
            entry[at] = byte;
            if let Some(read) = decode(&entry) {
                prop_assert_eq!(decode(&encode(&read)), Some(read));
            }
        }

        #[test]
        fn the_placeholder_of_a_lease_is_no_view(nonce in "\\PC{0,40}") {
            let placeholder = placeholder(&Lease(nonce)).into_bytes();
            prop_assert!(is_placeholder(&placeholder));
            prop_assert_eq!(decode(&placeholder), None);
        }
    }
}
