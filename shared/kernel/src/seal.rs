//! Texts handed to clients that only this service can make.
use base64::Engine as _;
/// URL-safe base64 without padding.
#[must_use]
pub fn encode(bytes: &[u8]) -> String { base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes) }
