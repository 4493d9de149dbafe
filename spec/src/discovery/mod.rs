//! Discovery: from the name of an image to the addresses of its archive, its signature and the keys of its authors.
//!
//! ```text
//! example.com/a/b ── prefixes ──► example.com/a/b, example.com/a, example.com     one page each, in this order
//! a page's HTML ──── meta_tags ─► <meta name="ac-discovery" content="example.com https://…/{name}-{version}.{ext}">
//! tags and a name ── endpoints ─► the tags whose prefix is one of the name's, templates filled in
//! ```
//!
//! Getting the pages is the business of whoever has a network; nothing here does.

mod html;

use crate::{AcIdentifier, ImageName, host_arch};

pub use html::{MAX_TAGS, meta_tags};

/// What a page announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `ac-discovery`: a template for the addresses of images and their signatures.
    Images,
    /// `ac-discovery-pubkeys`: the address of a file of public keys.
    Keys,
}

/// One announcement: for names below `prefix`, look at `template`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MetaTag {
    /// What for.
    pub kind: Kind,
    /// The first components of the names it is for.
    pub prefix: String,
    /// An address, with variables in braces.
    pub template: String,
}

/// Where an image may be had.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Address of the archive.
    pub image: String,
    /// Address of its detached signature.
    pub signature: String,
}

/// The names whose pages are asked, most specific first: the name itself, then without its last component, down to
/// the host.
pub fn prefixes(name: &AcIdentifier) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name.as_str()), |prefix| Some(prefix.rsplit_once('/')?.0))
        // `a//b` is a name too, `a/` is none.
        .filter(|prefix| !prefix.ends_with('/'))
}

/// The address of the page about `prefix`: over `https` unless the caller was told otherwise, at the scheme's own
/// port unless one is given.
pub fn page(scheme: &str, prefix: &str, port: Option<u16>) -> String {
    let (host, path) = prefix.find('/').map_or((prefix, ""), |at| prefix.split_at(at));
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    format!("{scheme}://{host}{port}{path}?ac-discovery=1")
}

/// Whether `prefix` is the beginning of `name`, whole components compared: `example.co` is not one of
/// `example.com/app`.
pub fn is_prefix(prefix: &str, name: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    !prefix.is_empty() && name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The name as it is looked for: of this operating system and architecture, where it says nothing else.
///
/// An image that arrives has to have the labels that were asked for, not these.
pub fn for_this_host(name: &ImageName) -> ImageName {
    let mut name = name.clone();
    for (label, value) in [("os", "linux"), ("arch", host_arch())] {
        if name.labels.get(label).is_none()
            && let Ok(label) = label.parse()
        {
            name.labels.set(label, value);
        }
    }
    name
}

/// Where the tags of a page say that the image is, in the order of the page. A template with a variable that is no
/// label of the name gives nothing; `{version}` is `latest` when the name has none.
pub fn endpoints(tags: &[MetaTag], name: &ImageName) -> Vec<Endpoint> {
    let mut found = Vec::new();
    for tag in tags.iter().filter(|tag| tag.kind == Kind::Images && is_prefix(&tag.prefix, name.name.as_str())) {
        let rendered = (render(&tag.template, name, "aci"), render(&tag.template, name, "aci.asc"));
        let (Some(image), Some(mut signature)) = rendered else { continue };
        if signature == image {
            // A template without `{ext}` names one file: its signature lies beside it.
            signature.push_str(".asc");
        }
        let endpoint = Endpoint { image, signature };
        if !found.contains(&endpoint) {
            found.push(endpoint);
        }
    }
    found
}

/// Where the tags of a page say that the keys for `name` are, each with the prefix it is announced for.
pub fn keys<'a>(tags: &'a [MetaTag], name: &str) -> Vec<&'a MetaTag> {
    let mut found: Vec<&MetaTag> = Vec::new();
    for tag in tags.iter().filter(|tag| tag.kind == Kind::Keys && is_prefix(&tag.prefix, name)) {
        if is_web_address(&tag.template) && !found.contains(&tag) {
            found.push(tag);
        }
    }
    found
}

/// Fills in the variables in one pass, so that no value is taken for a variable; none if one has no value.
fn render(template: &str, name: &ImageName, extension: &str) -> Option<String> {
    let mut address = String::with_capacity(template.len() + name.name.as_str().len());
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        address.push_str(&rest[..open]);
        let (variable, after) = rest[open + 1..].split_once('}')?;
        match variable {
            "name" => address.push_str(name.name.as_str()),
            "ext" => address.push_str(extension),
            "version" => push_escaped(&mut address, non_empty(name.labels.get("version")).unwrap_or("latest")),
            label => push_escaped(&mut address, name.labels.get(label)?),
        }
        rest = after;
    }
    address.push_str(rest);
    is_web_address(&address).then_some(address)
}

fn non_empty(value: Option<&str>) -> Option<&str> {
    value.filter(|value| !value.is_empty())
}

/// Labels hold any text: what would end the path, or start another variable, is escaped.
fn push_escaped(address: &mut String, value: &str) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/+,=!$'()*;:".contains(&byte) {
            address.push(char::from(byte));
        } else {
            address.push_str(&format!("%{byte:02X}"));
        }
    }
}

fn is_web_address(text: &str) -> bool {
    let (scheme, rest) = text.split_once("://").unwrap_or_default();
    let web = scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http");
    web && !rest.is_empty() && !rest.starts_with('/') && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}
