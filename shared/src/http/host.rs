//! The `Host` header (RFC 9110, section 7.2).

use ::http::uri::Authority;
use ::http::{HeaderMap, Version, header};

/// Returns whether a request names its host as HTTP requires: once, and well-formed. Only HTTP/1.0 may omit it (RFC 9112,
/// section 3.2).
#[must_use]
pub fn is_named(version: Version, headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => version < Version::HTTP_11,
        (Some(host), None) => host.to_str().is_ok_and(is_host),
        (Some(_), Some(_)) => false,
    }
}

/// Returns whether a text is a host, with or without a port: `uri-host [ ":" port ]`. The host must not be empty (RFC 9110,
/// section 4.2.1).
#[must_use]
pub fn is_host(text: &str) -> bool {
    // The syntax allows commas in names, but no host has one. A comma means that a front door has joined two headers.
    let Some(authority) = text.parse::<Authority>().ok().filter(|_| !text.contains(',')) else { return false };
    // An authority may begin with credentials, but `Host` may not. With credentials, the text does not begin with the host.
    let Some(rest) = text.strip_prefix(authority.host()).filter(|_| !authority.host().is_empty()) else { return false };
    rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port)
}

/// Returns whether a text is a port: digits, or empty (RFC 3986, section 3.2.3).
fn is_port(text: &str) -> bool {
    text.is_empty() || (text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for host in ["x", "api.example.com", "api.example.com:443", "x:", "127.0.0.1:3000", "[::1]", "[::1]:80", "a_b"]
        {
            assert!(is_host(host), "{host}");
        }
        for wrong in [
            "", ":80", "x:99999", "x:+1", "x:y", "x:1:2", "a b", "a,b", "u@x", "u:p@x:1", "x/y", "x?y", "x#y", "[::1",
            "é",
        ] {
            assert!(!is_host(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_request_names_its_host_once_unless_it_is_of_http_1_0() {
        let named = |version, hosts: &[&str]| {
            is_named(version, &hosts.iter().map(|host| (header::HOST, host.parse().unwrap())).collect())
        };
        assert!(named(Version::HTTP_11, &["x"]) && named(Version::HTTP_10, &["x"]) && named(Version::HTTP_10, &[]));
        assert!(!named(Version::HTTP_11, &[]));
        for version in [Version::HTTP_10, Version::HTTP_11] {
            assert!(
                !named(version, &["x", "x"]) && !named(version, &["x:99999"]) && !named(version, &[""]),
                "{version:?}"
            );
        }
    }
}
