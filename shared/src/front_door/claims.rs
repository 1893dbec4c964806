//! The identity in the claims of a token that the front door has verified.

use kernel::ids::{Subject, Tenant};

use crate::http::incoming::Identity;

/// The claim that names the tenant.
pub(super) const TENANT: &str = "tenant_id";
/// The claim that names the sender (RFC 7519, section 4.1.2).
pub(super) const SUBJECT: &str = "sub";

/// The claims that list scopes: the standard one, and the one of some issuers. API Gateway accepts both.
pub(super) const SCOPES: [&str; 2] = ["scope", "scp"];

/// Returns the identity that the claims name. `None` if a claim is missing, or is not a name.
pub(super) fn identity<'a>(claim: impl Fn(&str) -> Option<&'a str>) -> Option<Identity> {
    let scopes = SCOPES.iter().find_map(|name| claim(name)).map(str::to_owned);
    let claim = |name| claim(name).filter(|text| is_name(text));
    let tenant: Tenant = claim(TENANT)?.parse().ok()?;
    let subject: Subject = claim(SUBJECT)?.parse().ok()?;
    Some(Identity { tenant, subject, scopes })
}

/// Returns whether the text of a claim is a name.
///
/// API Gateway passes every claim as text, also a list (`[a b]`) or a boolean. AWS does not document the text of a null.
/// All users of an issuer that sends such a claim would share one tenant, so these texts are refused. A number passes,
/// because its text looks like a name of digits.
fn is_name(claim: &str) -> bool {
    let is_other = claim.starts_with(['[', '{', '<']) || claim.starts_with("map[");
    !is_other && !["null", "nil", "undefined", "true", "false"].contains(&claim)
}
