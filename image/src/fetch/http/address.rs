//! Addresses: taken apart, joined, compared, and printed without their secrets.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ureq::http::{HeaderValue, Uri};

/// An absolute address.
#[derive(Debug, Clone)]
pub(super) struct Address {
    uri: Uri,
    /// `user:password`, which is no longer in `uri`.
    user: Option<String>,
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Address, String> {
        let uri: Uri = url.parse().map_err(|e| format!("bad address: {e}"))?;
        let Some(authority) = uri.authority().filter(|_| uri.scheme().is_some()) else {
            return Err("bad address: it has no host".into());
        };
        let Some((user, host)) = authority.as_str().rsplit_once('@') else { return Ok(Address { uri, user: None }) };
        let user = Some(decode(user));
        let mut parts = uri.clone().into_parts();
        parts.authority = Some(host.parse().map_err(|e| format!("bad address: {e}"))?);
        let uri = Uri::from_parts(parts).map_err(|e| format!("bad address: {e}"))?;
        Ok(Address { uri, user })
    }

    /// The address that `location` is from here. It never takes a user along.
    pub(super) fn join(&self, location: &str) -> Result<Address, String> {
        let location = location.trim();
        let named = location.split_once(':').map(|(scheme, _)| scheme).filter(|scheme| is_scheme(scheme));
        // Not every address of another kind would be taken for one.
        if let Some(other) = named.filter(|named| !["https", "http"].contains(&named.to_ascii_lowercase().as_str())) {
            return Err(format!("{other} addresses are refused"));
        }
        let is_absolute = named.is_some();
        let (scheme, authority) = (self.scheme(), self.authority());
        let joined = if is_absolute {
            location.to_owned()
        } else if let Some(rest) = location.strip_prefix("//") {
            format!("{scheme}://{rest}")
        } else if location.starts_with('/') {
            format!("{scheme}://{authority}{location}")
        } else if location.starts_with('?') {
            format!("{scheme}://{authority}{}{location}", self.uri.path())
        } else {
            let folder = self.uri.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            let (path, query) = location.split_at(location.find(['?', '#']).unwrap_or(location.len()));
            format!("{scheme}://{authority}{}{query}", without_dots(&format!("{folder}/{path}")))
        };
        Ok(Address { user: None, ..Address::parse(&joined)? })
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(super) fn scheme(&self) -> &str {
        self.uri.scheme_str().unwrap_or_default()
    }

    fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    fn port(&self) -> Option<u16> {
        self.uri.port_u16().or(match self.scheme() {
            "https" => Some(443),
            "http" => Some(80),
            _ => None,
        })
    }

    pub(super) fn host(&self) -> &str {
        self.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    /// Whether both are the same scheme, host and port.
    pub(super) fn same_origin(&self, other: &Address) -> bool {
        self.scheme() == other.scheme() && self.host().eq_ignore_ascii_case(other.host()) && self.port() == other.port()
    }

    /// Whether nobody on the way can read along.
    pub(super) fn is_private(&self) -> bool {
        let loopback = || self.host().parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        self.scheme() == "https" || self.host() == "localhost" || loopback()
    }

    pub(super) fn is_link_local(&self) -> bool {
        self.host().parse().is_ok_and(is_link_local)
    }

    /// The header for the user that the address names.
    pub(super) fn credentials(&self) -> Option<HeaderValue> {
        let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(self.user.as_ref()?))).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// Whether the address is one that no router passes on; in IPv6 that may be an IPv4 address in disguise.
pub(super) fn is_link_local(ip: IpAddr) -> bool {
    /// The metadata service of some clouds.
    const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => {
            ip.is_unicast_link_local() || ip == METADATA || translated(ip).is_some_and(|ip| ip.is_link_local())
        }
    }
}

/// The IPv4 address that a gateway makes of it: NAT64 (RFC 6052) and 6to4 (RFC 3056).
fn translated(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d] = match ip.octets() {
        [0, 0x64, 0xff, 0x9b, .., a, b, c, d] => [a, b, c, d],
        [0x20, 0x02, a, b, c, d, ..] => [a, b, c, d],
        _ => return None,
    };
    Some(Ipv4Addr::new(a, b, c, d))
}

/// Without user, password and query, which may be as good as a password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let query = if self.uri.query().is_some() { "?…" } else { "" };
        write!(f, "{}://{}{}{query}", self.scheme(), self.authority(), self.uri.path())
    }
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

/// `%40` as `@`.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match hex.filter(|_| *first == b'%') {
            Some(byte) => (bytes.push(byte), rest = &tail[2..]),
            None => (bytes.push(*first), rest = tail),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An absolute path without its `.` and `..`: RFC 3986, 5.2.4.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    // What is left is a folder.
    if path.ends_with("/.") || path.ends_with("/..") {
        kept.push("");
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations() {
        let base = Address::parse("https://user:p%40ss@example.com:8443/a/b?c=d").unwrap();
        assert_eq!(base.user.as_deref(), Some("user:p@ss"));
        assert_eq!(base.to_string(), "https://example.com:8443/a/b?…");
        let cases = [
            ("/x", "https://example.com:8443/x"),
            ("x?y=z", "https://example.com:8443/a/x?y=z"),
            ("../x/./y?z=../w", "https://example.com:8443/x/y?z=../w"),
            ("../../..", "https://example.com:8443/"),
            ("./", "https://example.com:8443/a/"),
            ("?q", "https://example.com:8443/a/b?q"),
            ("//other/x", "https://other/x"),
            ("http://u:p@other:1/x", "http://other:1/x"),
        ];
        for (location, expected) in cases {
            let joined = base.join(location).unwrap();
            assert_eq!((joined.uri().to_string().as_str(), &joined.user), (expected, &None), "{location}");
        }
        for bad in [
            "file:/etc/passwd",
            "file:///etc/passwd",
            "https:/x",
            "data:text/plain,x",
            "https://",
            "https:///x",
            "/a b",
            "javascript:1",
        ] {
            assert!(base.join(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn origins_and_places() {
        let address = |text| Address::parse(text).unwrap();
        assert!(address("https://a/x").same_origin(&address("https://A:443/y")));
        for other in ["http://a/x", "https://a:444/x", "https://b/x", "https://a.b/x"] {
            assert!(!address("https://a/x").same_origin(&address(other)), "{other}");
        }
        for local in [
            "http://169.254.169.254/x",
            "https://[fe80::1]/",
            "https://[::ffff:169.254.1.1]/",
            "https://[64:ff9b::a9fe:a9fe]/",
            "https://[2002:a9fe:a9fe::1]/",
        ] {
            assert!(address(local).is_link_local(), "{local}");
        }
        for other in ["https://127.0.0.1/", "https://[64:ff9b::7f00:1]/", "https://[2001:a9fe:a9fe::1]/"] {
            assert!(!address(other).is_link_local(), "{other}");
        }
        assert!(!address("http://example.com/").is_private() && address("http://[::1]:5000/").is_private());
    }
}
