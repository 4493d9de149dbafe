//! Names of images in registries: `[REGISTRY/]REPOSITORY[:TAG][@DIGEST]`.

use std::fmt;
use std::str::FromStr;

/// The registry of a name that has none.
pub const DOCKER_HUB: &str = "registry-1.docker.io";
/// What people call it.
const HUB_ALIASES: [&str; 3] = ["docker.io", "index.docker.io", DOCKER_HUB];
/// Where its images lie whose names have one component.
const HUB_LIBRARY: &str = "library/";

/// The limits are the distribution specification's.
const REPOSITORY_LONGEST: usize = 255;
const TAG_LONGEST: usize = 128;

/// An image in a registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DockerName {
    /// Host and port of the registry: `example.com`, `localhost:5000`.
    pub registry: String,
    /// The repository: `library/busybox`.
    pub repository: String,
    /// The tag; `latest` when neither tag nor digest was given.
    pub tag: Option<String>,
    /// The digest of its manifest or index, `sha256:…` or `sha512:…`. It counts, whatever the tag is.
    pub digest: Option<String>,
}

impl DockerName {
    /// What follows `/manifests/`: the digest, else the tag.
    pub fn reference(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
    }
}

impl FromStr for DockerName {
    /// The rule that the text breaks.
    type Err = String;

    fn from_str(text: &str) -> Result<DockerName, String> {
        if after_login(text).is_some() {
            return Err("a user and a password are no part of it: `docker login` or a file in auth.d keeps them".into());
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(checked(digest, is_digest, "digest")?)),
            None => (text, None),
        };
        // A registry has a dot or a port, or is this host; everything else begins a repository.
        let is_registry = |first: &str| first.contains(['.', ':']) || first == "localhost";
        let (registry, path) = match name.split_once('/') {
            Some((first, path)) if is_registry(first) => (checked(first, is_registry_host, "registry")?, path),
            _ => (DOCKER_HUB.to_owned(), name),
        };
        let (repository, tag) = match path.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(checked(tag, is_tag, "tag")?)),
            None => (path, None),
        };
        if repository.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(format!("repository {repository:?} must be in lower case"));
        }
        let mut repository = checked(repository, is_repository, "repository")?;
        let registry = if HUB_ALIASES.contains(&registry.as_str()) { DOCKER_HUB.to_owned() } else { registry };
        if registry == DOCKER_HUB && !repository.contains('/') {
            repository.insert_str(0, HUB_LIBRARY);
        }
        let latest = || digest.is_none().then(|| "latest".to_owned());
        Ok(DockerName { registry, repository, tag: tag.or_else(latest), digest })
    }
}

/// What follows `user:password@`, if that is there: a digest has no slash in it.
pub(super) fn after_login(text: &str) -> Option<&str> {
    text.rsplit_once('@').map(|(_, rest)| rest).filter(|rest| rest.contains('/'))
}

/// As people write it: without what every name of the hub has.
impl fmt::Display for DockerName {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match &self.registry {
            hub if hub == DOCKER_HUB => {
                let short = self.repository.strip_prefix(HUB_LIBRARY).filter(|short| !short.contains('/'));
                f.write_str(short.unwrap_or(&self.repository))?;
            }
            other => write!(f, "{other}/{}", self.repository)?,
        }
        self.tag.as_ref().map_or(Ok(()), |tag| write!(f, ":{tag}"))?;
        self.digest.as_ref().map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

fn checked(text: &str, fits: fn(&str) -> bool, what: &str) -> Result<String, String> {
    if fits(text) { Ok(text.to_owned()) } else { Err(format!("bad {what} {text:?}")) }
}

fn is_digest(text: &str) -> bool {
    let hex = |hex: &str, digits| hex.len() == digits && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match text.split_once(':') {
        Some(("sha256", digits)) => hex(digits, 64),
        Some(("sha512", digits)) => hex(digits, 128),
        _ => false,
    }
}

fn is_registry_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        // In an IPv6 address, which has colons, the port comes after the bracket.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let digits = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0);
    let name = |host: &str| {
        let end = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
        let inside = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
        let bytes = host.as_bytes();
        end(bytes.first()) && end(bytes.last()) && host.bytes().all(inside) && !host.contains("..")
    };
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let host = address.map_or_else(|| name(host), |address| address.parse::<std::net::Ipv6Addr>().is_ok());
    host && port.is_none_or(digits)
}

fn is_tag(text: &str) -> bool {
    let first = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let other = |b: u8| first(b) || matches!(b, b'.' | b'-');
    text.len() <= TAG_LONGEST && text.bytes().next().is_some_and(first) && text.bytes().all(other)
}

fn is_repository(text: &str) -> bool {
    text.len() <= REPOSITORY_LONGEST && text.split('/').all(is_component)
}

/// Words of lower-case letters and digits, between which are `.`, `_`, `__` or any number of `-`.
fn is_component(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separators = text.split(|c: char| c.is_ascii() && is_word(c as u8)).filter(|between| !between.is_empty());
    let fits = |between: &str| matches!(between, "." | "_" | "__") || between.bytes().all(|b| b == b'-');
    let ends = |b: Option<&u8>| b.is_some_and(|b| is_word(*b));
    ends(text.as_bytes().first()) && ends(text.as_bytes().last()) && separators.into_iter().all(fits)
}
