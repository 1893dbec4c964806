//! Texts for clients that only this service can make: sealed tokens and cursors, and command ids with a MAC.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::{hkdf, hmac};
use subtle::ConstantTimeEq;

use crate::ids::{CommandId, Tenant};

/// The longest sealed text that the service opens, in bytes. It refuses a longer one.
pub const SEALED_BYTES_MAX: usize = 2_048;

/// Bytes of a secret, the key size of the ciphers.
const SECRET_BYTES: usize = 32;

/// Bytes of a command id's MAC. A guess succeeds once in 2^64, and only shows that a command is pending.
const MAC_BYTES: usize = 8;

/// Encodes bytes as URL-safe base64 without padding.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The service's secrets. The first key signs and seals; all keys verify and open. An environment keeps the keys that it has
/// started with. So a rotation takes three deployments, and each lasts until all environments of the one before have ended:
///
/// 1. Add the new key at the end. Every environment accepts it before any environment uses it.
/// 2. Move the new key to the front. It signs and seals from now on.
/// 3. Remove the old key 63 days later. By then no record of a command whose id it signed is left. A command spends up to 4 days in
///    the queue and 14 as a dead letter, and its record is kept for 45 days. Tokens and cursors expire after a day.
///
/// ```
/// use kernel::seal::{KeyRing, SealedFor};
///
/// # let old = "k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
/// # let new = "k2:ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=";
/// # let tenant = "acme".parse()?;
/// let token = SealedFor { purpose: "token", tenant: &tenant, scope: "" };
/// let during: KeyRing = format!("{old},{new}").parse()?;
/// let after: KeyRing = format!("{new},{old}").parse()?;
/// // Environments of two deployments run at the same time. Each opens the texts of the other.
/// assert_eq!(after.open(&token, &during.seal(&token, b"text"))?, b"text");
/// assert_eq!(during.open(&token, &after.seal(&token, b"text"))?, b"text");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct KeyRing(Vec<Key>);

struct Key {
    id: String,
    seal: LessSafeKey,
    mac: hmac::Key,
}

/// The error of a text that is not a key ring. It never contains a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be `id:secret[,id:secret…]`: ids of 1 to 16 letters or digits, secrets of {SECRET_BYTES} bytes in base64"
)]
pub struct KeyRingError;

impl FromStr for KeyRing {
    type Err = KeyRingError;

    fn from_str(text: &str) -> Result<Self, KeyRingError> {
        text.split(',').map(Key::parse).collect::<Option<Vec<_>>>().map(Self).ok_or(KeyRingError)
    }
}

/// Prints the ids of the keys, never the secrets.
impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

impl Key {
    fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.split_once(':')?;
        let is_id = (1..=16).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
        let secret = STANDARD.decode(secret).ok().filter(|secret| is_id && secret.len() == SECRET_BYTES)?;
        // One secret makes two independent keys: HKDF (RFC 5869) with a label for each use.
        let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"watershed").extract(&secret);
        let seal: UnboundKey = root.expand(&[b"seal"], &CHACHA20_POLY1305).ok()?.into();
        let mac: hmac::Key = root.expand(&[b"mac"], hmac::HMAC_SHA256).ok()?.into();
        Some(Self { id: id.to_owned(), seal: LessSafeKey::new(seal), mac })
    }
}

/// The error of a text that this service did not seal for this use: forged, damaged, cut off, or sealed for another use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not made by this service for this use")]
pub struct UnsealError;

impl KeyRing {
    /// Encrypts and authenticates `plain`, bound to `use_`. The text opens only under the same use.
    #[must_use]
    pub fn seal(&self, use_: &SealedFor<'_>, plain: &[u8]) -> String {
        let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + CHACHA20_POLY1305.tag_len());
        let nonce: [u8; NONCE_LEN] = rand::random();
        sealed.extend_from_slice(&nonce);
        let mut body = plain.to_vec();
        let Some(key) = self.0.first() else { return String::new() };
        let nonce = Nonce::assume_unique_for_key(nonce);
        if key.seal.seal_in_place_append_tag(nonce, use_.aad(), &mut body).is_err() {
            // Only a plaintext of 256 GiB gets here. No key opens the empty text.
            return String::new();
        }
        sealed.append(&mut body);
        format!("{}.{}", key.id, encode(&sealed))
    }

    /// Returns the sealed bytes.
    pub fn open(&self, use_: &SealedFor<'_>, text: &str) -> Result<Vec<u8>, UnsealError> {
        if text.len() > SEALED_BYTES_MAX {
            return Err(UnsealError);
        }
        let (id, sealed) = text.split_once('.').ok_or(UnsealError)?;
        let key = self.0.iter().find(|key| key.id == id).ok_or(UnsealError)?;
        let mut sealed = URL_SAFE_NO_PAD.decode(sealed).map_err(|_| UnsealError)?;
        let (nonce, body) = sealed.split_at_mut_checked(NONCE_LEN).ok_or(UnsealError)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| UnsealError)?;
        let plain = key.seal.open_in_place(nonce, use_.aad(), body).map_err(|_| UnsealError)?;
        Ok(plain.to_vec())
    }

    /// Returns the public form of a command id: `<uuid>.<mac>`. The MAC covers the tenant. So a tenant sees `pending` only for ids
    /// that it got from this service.
    #[must_use]
    pub fn sign_command(&self, tenant: &Tenant, command: CommandId) -> String {
        let mac = self.0.first().map(|key| key.command_mac(tenant, command)).unwrap_or_default();
        format!("{command}.{}", encode(&mac))
    }

    /// Returns the command of a public form. `None` if this service did not give this form to this tenant.
    ///
    /// Each command has one public form only: the UUID is in lower case, and the MAC is case-sensitive.
    #[must_use]
    pub fn verify_command(&self, tenant: &Tenant, text: &str) -> Option<CommandId> {
        let (uuid, mac) = text.split_once('.')?;
        let command: CommandId = uuid.parse().ok().filter(|command: &CommandId| command.to_string() == uuid)?;
        let mac = URL_SAFE_NO_PAD.decode(mac).ok()?;
        let genuine = |key: &Key| bool::from(key.command_mac(tenant, command).ct_eq(&mac));
        self.0.iter().any(genuine).then_some(command)
    }
}

impl Key {
    fn command_mac(&self, tenant: &Tenant, command: CommandId) -> Vec<u8> {
        let tag = hmac::sign(&self.mac, format!("{tenant}#{command}").as_bytes());
        tag.as_ref().iter().take(MAC_BYTES).copied().collect()
    }
}

/// The use of a sealed text. The text opens for no other use.
#[derive(Debug, Clone, Copy)]
pub struct SealedFor<'a> {
    /// The kind of text, for example `cursor`.
    pub purpose: &'static str,
    /// The tenant that the text is for.
    pub tenant: &'a Tenant,
    /// Any other binding, for example a list's filter.
    pub scope: &'a str,
}

impl SealedFor<'_> {
    fn aad(&self) -> Aad<Vec<u8>> {
        // Neither a purpose nor a tenant contains `#`, so the parts cannot shift.
        Aad::from(format!("{}#{}#{}", self.purpose, self.tenant, self.scope).into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::clock::Timestamp;
    use crate::testing::{any_command, any_tenant, damaged, keys};

    fn ring(ids: &[&str]) -> KeyRing {
        let one = |id: &&str| format!("{id}:{}", STANDARD.encode([id.as_bytes()[0]; SECRET_BYTES]));
        ids.iter().map(one).collect::<Vec<_>>().join(",").parse().unwrap()
    }

    fn tenant(name: &str) -> Tenant {
        name.parse().unwrap()
    }

    #[test]
    fn a_key_has_a_plain_id_and_a_secret_of_32_bytes() {
        let parse = |id: &str, bytes: usize| format!("{id}:{}", STANDARD.encode(vec![7; bytes])).parse::<KeyRing>();
        parse("k1", SECRET_BYTES).unwrap();
        for (id, bytes) in [("k1", SECRET_BYTES - 1), ("", SECRET_BYTES), ("k-1", SECRET_BYTES), ("k1", 0)] {
            parse(id, bytes).unwrap_err();
        }
        parse(&"k".repeat(16), SECRET_BYTES).unwrap();
        parse(&"k".repeat(17), SECRET_BYTES).unwrap_err();
    }

    #[test]
    fn a_text_that_is_too_long_is_not_opened() {
        let (keys, tenant) = (ring(&["a"]), tenant("a"));
        let here = SealedFor { purpose: "cursor", tenant: &tenant, scope: "x" };
        let sealed = |bytes: usize| keys.seal(&here, &vec![0; bytes]);
        let longest = (0..SEALED_BYTES_MAX).rev().find(|bytes| sealed(*bytes).len() <= SEALED_BYTES_MAX).unwrap();
        keys.open(&here, &sealed(longest)).unwrap();
        keys.open(&here, &sealed(longest + 1)).unwrap_err();
        keys.open(&here, &sealed(longest + 100)).unwrap_err();
    }

    #[test]
    fn a_sealed_text_opens_for_the_same_use_only() {
        let (keys, a, b) = (ring(&["a"]), tenant("a"), tenant("b"));
        let here = SealedFor { purpose: "cursor", tenant: &a, scope: "x" };
        let sealed = keys.seal(&here, b"plain");
        assert_eq!(keys.open(&here, &sealed).unwrap(), b"plain");
        for other in
            [SealedFor { purpose: "token", ..here }, SealedFor { tenant: &b, ..here }, SealedFor { scope: "y", ..here }]
        {
            assert_eq!(keys.open(&other, &sealed), Err(UnsealError));
        }
    }

    #[test]
    fn rubbish_and_every_flipped_character_are_refused() {
        let (keys, a) = (ring(&["a"]), tenant("a"));
        let here = SealedFor { purpose: "cursor", tenant: &a, scope: "" };
        let sealed = keys.seal(&here, b"plain");
        for at in 0..sealed.len() {
            let mut damaged = sealed.clone().into_bytes();
            damaged[at] = if damaged[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(keys.open(&here, &String::from_utf8(damaged).unwrap()), Err(UnsealError), "at {at}");
        }
        for rubbish in ["", ".", "a.", "a.AAAA", &format!("a.{}", "A".repeat(SEALED_BYTES_MAX)), "b.AAAA", "ä.ö"] {
            assert_eq!(keys.open(&here, rubbish), Err(UnsealError), "{rubbish}");
        }
    }

    #[test]
    fn a_rotated_key_is_accepted_until_it_is_removed() {
        let a = tenant("a");
        let here = SealedFor { purpose: "cursor", tenant: &a, scope: "" };
        let command = CommandId::generate(Timestamp::from_micros(1));
        let (old, both, new) = (ring(&["a"]), ring(&["b", "a"]), ring(&["b"]));
        let (sealed, id) = (old.seal(&here, b"plain"), old.sign_command(&a, command));
        assert!(both.open(&here, &sealed).is_ok() && new.open(&here, &sealed).is_err());
        assert_eq!(both.verify_command(&a, &id), Some(command));
        assert_eq!(new.verify_command(&a, &id), None);
    }

    #[test]
    fn the_first_key_makes_what_is_new() {
        let a = tenant("a");
        let here = SealedFor { purpose: "cursor", tenant: &a, scope: "" };
        let command = CommandId::generate(Timestamp::from_micros(1));
        let (first, last) = (ring(&["b"]), ring(&["a"]));
        for keys in [ring(&["b", "a"]), ring(&["b", "c", "a"])] {
            let (sealed, id) = (keys.seal(&here, b"plain"), keys.sign_command(&a, command));
            assert!(first.open(&here, &sealed).is_ok() && last.open(&here, &sealed).is_err());
            assert_eq!((first.verify_command(&a, &id), last.verify_command(&a, &id)), (Some(command), None));
        }
    }

    /// Two texts under one nonce expose both (RFC 8439, section 4). Two environments share the same key.
    #[test]
    fn no_nonce_is_used_twice() {
        let a = tenant("a");
        let here = SealedFor { purpose: "cursor", tenant: &a, scope: "" };
        let nonce = |keys: &KeyRing| {
            let sealed = keys.seal(&here, b"plain");
            URL_SAFE_NO_PAD.decode(sealed.split_once('.').unwrap().1).unwrap()[..NONCE_LEN].to_vec()
        };
        let environments = [ring(&["a"]), ring(&["a"])];
        let nonces: BTreeSet<_> = environments.iter().flat_map(|keys| (0..500).map(|_| nonce(keys))).collect();
        assert_eq!(nonces.len(), 1_000);
    }

    /// A guess succeeds as often as the MAC's length allows.
    #[test]
    fn a_command_id_carries_a_mac_of_64_bits() {
        let id = ring(&["a"]).sign_command(&tenant("a"), CommandId::generate(Timestamp::from_micros(1)));
        assert_eq!(URL_SAFE_NO_PAD.decode(id.split_once('.').unwrap().1).unwrap().len(), 8);
    }

    #[test]
    fn a_command_id_is_genuine_for_its_tenant_only() {
        let keys = ring(&["a"]);
        let command = CommandId::generate(Timestamp::from_micros(1));
        let id = keys.sign_command(&tenant("a"), command);
        assert_eq!(keys.verify_command(&tenant("a"), &id), Some(command));
        assert_eq!(keys.verify_command(&tenant("b"), &id), None);
        let (uuid, mac) = id.split_once('.').unwrap();
        assert_eq!(keys.verify_command(&tenant("a"), &format!("{}.{mac}", uuid.to_uppercase())), None);
        for rubbish in [command.to_string(), format!("{command}."), format!("{command}.AAAAAAAAAAA"), String::new()] {
            assert_eq!(keys.verify_command(&tenant("a"), &rubbish), None, "{rubbish}");
        }
    }

    #[test]
    fn a_bad_key_ring_is_refused_and_a_good_one_keeps_its_secret() {
        let short = STANDARD.encode([0; 16]);
        for wrong in ["", "a", "a:", ":x", &format!("a:{short}"), "a b:AAAA"] {
            assert_eq!(wrong.parse::<KeyRing>().err(), Some(KeyRingError), "{wrong}");
        }
        assert_eq!(format!("{:?}", ring(&["a", "b"])), r#"["a", "b"]"#);
    }

    proptest! {
        #[test]
        fn a_changed_or_truncated_sealed_text_does_not_open(
            plain in prop::collection::vec(any::<u8>(), 0..99), owner in any_tenant(), scope in "\\PC{0,20}",
            at in any::<Index>(), by in any::<char>(),
        ) {
            let here = SealedFor { purpose: "cursor", tenant: &owner, scope: &scope };
            let sealed = keys().seal(&here, &plain);
            prop_assert_eq!(keys().open(&here, &sealed), Ok(plain));
            for damaged in damaged(&sealed, at, by) {
                prop_assert_eq!(keys().open(&here, &damaged), Err(UnsealError));
            }
        }

        #[test]
        fn a_sealed_text_opens_only_if_tenant_and_scope_are_separated_in_the_same_way(
            whole in "[a-z]{2,8}", here in any::<Index>(), there in any::<Index>(),
        ) {
            let [here, there] = [here, there].map(|at| whole.split_at(at.index(whole.len() - 1) + 1));
            let (owner, other) = (tenant(here.0), tenant(there.0));
            let sealed = keys().seal(&SealedFor { purpose: "cursor", tenant: &owner, scope: here.1 }, b"plain");
            let opened = keys().open(&SealedFor { purpose: "cursor", tenant: &other, scope: there.1 }, &sealed);
            prop_assert_eq!(opened.is_ok(), here == there);
        }

        #[test]
        fn a_changed_or_truncated_command_id_or_one_of_another_tenant_is_refused(
            owner in any_tenant(), other in any_tenant(), command in any_command(),
            at in any::<Index>(), by in any::<char>(),
        ) {
            let id = keys().sign_command(&owner, command);
            prop_assert_eq!(keys().verify_command(&owner, &id), Some(command));
            prop_assert_eq!(keys().verify_command(&other, &id).is_some(), owner == other);
            for damaged in damaged(&id, at, by) {
                prop_assert_eq!(keys().verify_command(&owner, &damaged), None);
            }
        }

        #[test]
        fn no_other_text_is_accepted_as_sealed_or_signed(
            text in "\\PC{0,40}|k1\\.[A-Za-z0-9_-]{0,99}|[0-9a-f-]{36}\\.[A-Za-z0-9_-]{0,12}",
        ) {
            let owner = tenant("a");
            let here = SealedFor { purpose: "token", tenant: &owner, scope: "" };
            prop_assert_eq!(keys().open(&here, &text), Err(UnsealError));
            prop_assert_eq!(keys().verify_command(&owner, &text), None);
        }

        #[test]
        fn a_key_ring_has_a_key_for_every_part_of_its_text_or_is_refused(
            text in "\\PC{0,40}|([a-z:]{0,3}:[A-Za-z0-9+/]{42,43}=?,?){0,3}",
        ) {
            if let Ok(ring) = text.parse::<KeyRing>() {
                prop_assert_eq!(ring.0.len(), text.split(',').count());
            }
        }
    }
}
