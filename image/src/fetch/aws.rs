//! Requests to Amazon's S3, and to servers that do as it does, signed with version 4 of its signatures.
//!
//! What is signed is the request in a canonical form: the method, the path, the query, some headers and the digest of the
//! body, which is always empty here ("Authenticating Requests: Using the Authorization Header", API reference of S3).

use std::fmt::Write;

use jiff::Timestamp;
use ring::hmac::{HMAC_SHA256, Key, sign};
use ureq::http::Uri;

use super::http::Request;
use crate::oci::Digest;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SERVICE: &str = "s3";

/// The region of those that name none.
const FIRST_REGION: &str = "us-east-1";

/// Whom a server of this kind knows us as.
#[derive(Clone, PartialEq)]
pub(super) struct Login {
    pub(super) access_key: String,
    pub(super) secret_key: String,
    /// Where the server is; told by its name without it.
    pub(super) region: Option<String>,
}

impl Login {
    /// Signs a request for `url`.
    pub(super) fn apply<'c>(&self, request: Request<'c>, url: &str) -> Request<'c> {
        let Ok(uri) = url.parse::<Uri>() else { return request };
        let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let empty = Digest::of(b"").hex().to_owned();
        let host = uri.authority().map_or("", |authority| authority.as_str());
        let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
        let headers = [("host", host), ("x-amz-content-sha256", &*empty), ("x-amz-date", &*time)];
        let value = self.authorization(request.method().as_str(), &uri, &headers, &time);
        let request = request.header("x-amz-content-sha256", &empty).header("x-amz-date", &time);
        request.secret("Authorization", &value)
    }

    /// The `Authorization` header of a request with an empty body and these headers, in the order of their names.
    fn authorization(&self, method: &str, uri: &Uri, headers: &[(&str, &str)], time: &str) -> String {
        let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
        let mut lines = String::new();
        for (name, value) in headers {
            // Writing to a string cannot fail.
            let _ = writeln!(lines, "{name}:{}", value.trim());
        }
        let (path, query) = (encoded(uri.path(), "/"), canonical_query(uri.query().unwrap_or_default()));
        let empty = Digest::of(b"").hex().to_owned();
        let canonical = format!("{method}\n{path}\n{query}\n{lines}\n{names}\n{empty}");
        let date = time.split('T').next().unwrap_or_default();
        let region = self.region.as_deref().unwrap_or_else(|| region_of(uri.host().unwrap_or_default()));
        let scope = format!("{date}/{region}/{SERVICE}/aws4_request");
        let canonical = Digest::of(canonical.as_bytes());
        let signed = format!("{ALGORITHM}\n{time}\n{scope}\n{}", canonical.hex());
        let mut key = format!("AWS4{}", self.secret_key).into_bytes();
        for part in scope.split('/') {
            key = hmac(&key, part);
        }
        let signature: String = hmac(&key, &signed).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{ALGORITHM} Credential={}/{scope},SignedHeaders={names},Signature={signature}", self.access_key)
    }
}

/// `s3-eu-west-1.amazonaws.com`, `bucket.s3.eu-west-1.amazonaws.com` and `….s3.dualstack.eu-west-1.amazonaws.com` are
/// in `eu-west-1`.
fn region_of(host: &str) -> &str {
    let Some(rest) = host.strip_suffix(".amazonaws.com") else { return FIRST_REGION };
    match rest.rsplit_once('.') {
        Some((above, region)) if above.split('.').any(|part| part == "s3") => region,
        _ => {
            let last = rest.rsplit('.').next().unwrap_or(rest);
            last.strip_prefix("s3-").filter(|region| !region.starts_with("external")).unwrap_or(FIRST_REGION)
        }
    }
}

/// The parameters in the order of their names, each with its value.
fn canonical_query(query: &str) -> String {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (encoded(name, ""), encoded(value, ""))
    };
    let mut pairs: Vec<(String, String)> = pairs.map(pair).collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// A part of an address with all that must be, and nothing else, in the form `%20`, whatever form it has. `kept` stays, too.
fn encoded(part: &str, kept: &str) -> String {
    let mut out = String::new();
    let bytes = part.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escape = part.get(at + 1..at + 3).filter(|_| byte == b'%').and_then(|two| u8::from_str_radix(two, 16).ok());
        at += if escape.is_some() { 3 } else { 1 };
        match escape.unwrap_or(byte) {
            plain @ (b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~') => out.push(plain.into()),
            other if escape.is_none() && kept.as_bytes().contains(&other) => out.push(other.into()),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    sign(&Key::new(HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of "Authenticating Requests: Using the Authorization Header".
    #[test]
    fn examples_of_the_reference() {
        let login = Login {
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            region: None,
        };
        let empty = Digest::of(b"").hex().to_owned();
        let time = "20130524T000000Z";
        let host = ("host", "examplebucket.s3.amazonaws.com");
        let (content, date) = (("x-amz-content-sha256", &*empty), ("x-amz-date", time));
        let ranged = [host, ("range", "bytes=0-9"), content, date];
        for (target, headers, signature) in [
            ("test.txt", &ranged[..], "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
            ("?lifecycle", &[host, content, date], "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
            (
                "?prefix=J&max-keys=2",
                &[host, content, date],
                "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            ),
        ] {
            let uri = format!("https://{}/{target}", host.1).parse().unwrap();
            let value = login.authorization("GET", &uri, headers, time);
            let start = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=host;";
            assert!(
                value.starts_with(start) && value.ends_with(&format!(",Signature={signature}")),
                "{target}: {value}"
            );
        }
    }

    #[test]
    fn regions_are_told_by_names() {
        for (host, region) in [
            ("s3.amazonaws.com", "us-east-1"),
            ("bucket.s3.amazonaws.com", "us-east-1"),
            ("s3-eu-west-1.amazonaws.com", "eu-west-1"),
            ("my.bucket.s3-eu-west-1.amazonaws.com", "eu-west-1"),
            ("bucket.s3.eu-central-1.amazonaws.com", "eu-central-1"),
            ("bucket.s3.dualstack.us-west-2.amazonaws.com", "us-west-2"),
            ("s3-external-1.amazonaws.com", "us-east-1"),
            ("minio.example.com", "us-east-1"),
        ] {
            assert_eq!(region_of(host), region, "{host}");
        }
    }

    #[test]
    fn one_form_for_every_spelling() {
        assert_eq!(encoded("/a b/%7e+(1)%2f%zz", "/"), "/a%20b/~%2B%281%29%2F%25zz");
        assert_eq!(canonical_query("b=2&a&c=%2f"), "a=&b=2&c=%2F");
    }
}
