//! Meta tags out of HTML as it is found: any order of attributes, any quoting, comments and scripts around them.
//!
//! This is the tokenizer of the HTML standard as far as a head needs it. It reads each byte a bounded number of times
//! and never fails: what makes no sense is text.

use super::{Kind, MetaTag};

/// So many announcements are read of one page.
pub const MAX_TAGS: usize = 256;

/// Elements whose content is no markup.
const RAW: [&str; 7] = ["script", "style", "title", "textarea", "noframes", "iframe", "xmp"];

/// The announcements in the head of a page, in its order. What stands in the body is content, perhaps of strangers,
/// and announces nothing.
pub fn meta_tags(page: &[u8]) -> Vec<MetaTag> {
    let page = String::from_utf8_lossy(page);
    let mut rest = &page[..];
    let mut tags = Vec::new();
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = skip_comment(comment);
        } else if rest.starts_with(['!', '?']) {
            rest = after(rest, ">");
        } else if let Some(closing) = rest.strip_prefix('/') {
            if tag_name(closing).0.eq_ignore_ascii_case("head") {
                break;
            }
            rest = after(closing, ">");
        } else if rest.starts_with(|c: char| c.is_ascii_alphabetic()) {
            let (name, attributes) = tag_name(rest);
            let (found, behind) = self::attributes(attributes);
            rest = behind;
            if name.eq_ignore_ascii_case("body") {
                break;
            } else if let Some(raw) = RAW.iter().find(|raw| name.eq_ignore_ascii_case(raw)) {
                rest = skip_raw(rest, raw);
            } else if name.eq_ignore_ascii_case("meta") {
                tags.extend(announcement(&found));
            }
        }
        if tags.len() >= MAX_TAGS {
            break;
        }
    }
    tags
}

fn announcement(attributes: &[(String, String)]) -> Option<MetaTag> {
    let get = |wanted: &str| attributes.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.trim());
    let kind = match get("name")?.to_ascii_lowercase().as_str() {
        "ac-discovery" => Kind::Images,
        "ac-discovery-pubkeys" => Kind::Keys,
        _ => return None,
    };
    let (prefix, template) = get("content")?.split_once(char::is_whitespace)?;
    Some(MetaTag { kind, prefix: prefix.to_owned(), template: template.trim().to_owned() })
}

/// The rest of the text after `mark`, nothing if it is not there.
fn after<'a>(text: &'a str, mark: &str) -> &'a str {
    text.find(mark).map_or("", |at| &text[at + mark.len()..])
}

/// `<!-->` and `<!--->` are whole comments, `--!>` ends one as well.
fn skip_comment(text: &str) -> &str {
    if let Some(rest) = text.strip_prefix('>').or_else(|| text.strip_prefix("->")) {
        return rest;
    }
    let mut from = 0;
    while let Some(at) = text[from..].find("--") {
        let behind = &text[from + at + 2..];
        if let Some(rest) = behind.strip_prefix('>').or_else(|| behind.strip_prefix("!>")) {
            return rest;
        }
        from += at + 1;
    }
    ""
}

/// The text from the closing tag of `name` on.
fn skip_raw<'a>(text: &'a str, name: &str) -> &'a str {
    let mut rest = text;
    while let Some(at) = rest.find("</") {
        rest = &rest[at..];
        if tag_name(&rest[2..]).0.eq_ignore_ascii_case(name) {
            return rest;
        }
        rest = &rest[2..];
    }
    ""
}

/// The name of a tag, and what follows it. No name that matters is longer than this.
fn tag_name(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| c.is_ascii_whitespace() || c == '/' || c == '>').unwrap_or(text.len());
    text.split_at(end)
}

/// The attributes of a tag, names in lower case and values decoded, and the text behind the tag.
fn attributes(text: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        if rest.is_empty() {
            return (Vec::new(), rest); // A tag that does not end is none.
        }
        if let Some(behind) = rest.strip_prefix('>') {
            return (found, behind);
        }
        // An attribute may start with `=`, strange as it is; without this the loop would stand still.
        let ends = |c: char| c.is_ascii_whitespace() || c == '/' || c == '>' || c == '=';
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let end = rest[first..].find(ends).map_or(rest.len(), |at| first + at);
        let (name, behind) = rest.split_at(end);
        let behind = behind.trim_start_matches(|c: char| c.is_ascii_whitespace());
        let (value, behind) = match behind.strip_prefix('=') {
            Some(text) => value(text.trim_start_matches(|c: char| c.is_ascii_whitespace())),
            None => ("", behind),
        };
        rest = behind;
        if found.len() < 64 {
            found.push((name.to_ascii_lowercase(), decode(value)));
        }
    }
}

/// One value, quoted or not, and the text behind it.
fn value(text: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some(quoted) = text.strip_prefix(quote) {
            return quoted.split_once(quote).unwrap_or((quoted, ""));
        }
    }
    let end = text.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(text.len());
    text.split_at(end)
}

/// Character references: by number, and the few names that generators of attribute values use.
fn decode(value: &str) -> String {
    let mut decoded = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('&') {
        decoded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        // The longest reference understood is `#x0010FFFF`.
        let end = rest.bytes().take(12).position(|b| b == b';');
        match end.and_then(|end| Some((character(&rest[..end])?, end))) {
            Some((c, end)) => {
                decoded.push(c);
                rest = &rest[end + 1..];
            }
            None => decoded.push('&'),
        }
    }
    decoded.push_str(rest);
    decoded
}

fn character(reference: &str) -> Option<char> {
    if let Some(number) = reference.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        };
        return char::from_u32(code.ok()?).filter(|c| *c != '\0');
    }
    Some(match reference {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        "sol" => '/',
        "colon" => ':',
        "period" => '.',
        "lbrace" | "lcub" => '{',
        "rbrace" | "rcub" => '}',
        _ => return None,
    })
}
