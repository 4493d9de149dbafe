//! One entry of an archive.

use std::borrow::Cow;

use crate::Error;
use crate::error::printable;

/// A time as file systems keep it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Time {
    /// Seconds since 1970, rounded down.
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

impl Time {
    /// Reads `[-]seconds[.fraction]`, as PAX has it, and `1e-05`, as Python writes what is near 1970.
    pub(crate) fn parse(text: &[u8]) -> Option<Time> {
        let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |text| (true, text));
        let text = without_exponent(text)?;
        let (whole, fraction) = at_point(&text);
        let seconds = i64::try_from(super::pax::decimal(whole)?).ok()?;
        if !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let digit = |i: usize| fraction.get(i).map_or(0, |b| u32::from(b - b'0'));
        let nanoseconds = (0..9).fold(0, |value, i| value * 10 + digit(i));
        Some(match (negative, nanoseconds) {
            (false, _) => Time { seconds, nanoseconds },
            (true, 0) => Time { seconds: -seconds, nanoseconds },
            (true, _) => Time { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
        })
    }

    /// The text that [`Time::parse`] reads, without needless digits.
    pub(crate) fn text(self) -> String {
        let (sign, seconds, nanoseconds) = match self {
            Time { seconds, nanoseconds: 0 } if seconds < 0 => ("-", seconds.unsigned_abs(), 0),
            Time { seconds, nanoseconds } if seconds < 0 => {
                ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanoseconds)
            }
            Time { seconds, nanoseconds } => ("", seconds.unsigned_abs(), nanoseconds),
        };
        let text = format!("{sign}{seconds}.{nanoseconds:09}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }
}

/// What is left and right of the decimal point.
fn at_point(number: &[u8]) -> (&[u8], &[u8]) {
    let point = number.iter().position(|b| *b == b'.');
    point.map_or((number, &b""[..]), |point| (&number[..point], &number[point + 1..]))
}

/// The number with its point moved by the exponent that it ends in, if any.
fn without_exponent(number: &[u8]) -> Option<Cow<'_, [u8]>> {
    let Some(at) = number.iter().position(|b| matches!(b, b'e' | b'E')) else { return Some(number.into()) };
    let exponent: i32 = std::str::from_utf8(&number[at + 1..]).ok()?.parse().ok()?;
    // As far as floating-point numbers of 64 bits go.
    let zeros = usize::try_from(exponent.unsigned_abs()).ok().filter(|zeros| *zeros <= 400)?;
    let (whole, fraction) = at_point(&number[..at]);
    if whole.is_empty() {
        return None;
    }
    let (zeros, count) = (vec![b'0'; zeros], zeros);
    let (whole, fraction) = if exponent < 0 {
        let mut whole = [&zeros, whole].concat();
        let fraction = [&whole.split_off(whole.len() - count), fraction].concat();
        (whole, fraction)
    } else {
        let mut moved = [fraction, &zeros].concat();
        let fraction = moved.split_off(count);
        ([whole, &moved].concat(), fraction)
    };
    Some([&whole[..], b".", &fraction].concat().into())
}

/// A stretch of a sparse file that has content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// What an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    File,
    HardLink,
    Symlink,
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Directory,
    Fifo,
}

/// Extended attributes: names and values.
pub(crate) type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// Everything about a file but its name and content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Attributes {
    /// The permission bits, set-user-ID and so on included.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) atime: Option<Time>,
    pub(crate) xattrs: Xattrs,
}

/// One entry, its content aside.
#[derive(Debug)]
pub(crate) struct Entry {
    /// The name as the archive spells it.
    pub(crate) name: Vec<u8>,
    /// The name without `.` and doubled slashes, never absolute and never with `..`. Empty for the top itself.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Type,
    pub(crate) attributes: Attributes,
    /// The size of the file that is made.
    pub(crate) size: u64,
    /// The target of a link as the archive spells it.
    pub(crate) link: Vec<u8>,
    /// Where the content lies in a sparse file.
    pub(crate) sparse: Option<Vec<Segment>>,
    /// There were access control lists that cannot be kept.
    pub(crate) acl: bool,
    /// Where its header begins.
    pub(crate) offset: u64,
}

impl Entry {
    /// The same, without the map of a sparse file.
    pub(crate) fn but_for_content(&self) -> Entry {
        Entry {
            name: self.name.clone(),
            path: self.path.clone(),
            kind: self.kind,
            attributes: self.attributes.clone(),
            size: 0,
            link: self.link.clone(),
            sparse: None,
            acl: self.acl,
            offset: self.offset,
        }
    }

    /// The error that says that this entry breaks `rule`.
    pub(crate) fn refuse(&self, rule: impl Into<String>) -> Error {
        Error::Archive { entry: printable(&self.name), offset: self.offset, rule: rule.into() }
    }
}

/// The longest path the kernel takes, without its NUL.
pub(crate) const PATH_MAX: usize = 4095;

/// A name without `.` and doubled slashes; the rule it breaks when it could lead out of a root.
pub(crate) fn cleaned(name: &[u8]) -> Result<Vec<u8>, String> {
    if name.is_empty() {
        return Err("its name is empty".into());
    }
    if name.contains(&0) {
        return Err("its name has a NUL byte in it".into());
    }
    if name.len() > PATH_MAX {
        return Err(format!("its name is longer than {PATH_MAX} bytes"));
    }
    if name[0] == b'/' {
        return Err("its name is absolute".into());
    }
    let mut path = Vec::with_capacity(name.len());
    for component in name.split(|b| *b == b'/') {
        match component {
            b"" | b"." => continue,
            b".." => return Err("it leads out of the root by `..`".into()),
            _ if component.len() > 255 => return Err("a part of its name is longer than 255 bytes".into()),
            _ => {}
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(component);
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, seconds, nanoseconds) in [
            ("0", 0, 0),
            ("1.5", 1, 500_000_000),
            ("1700000000.123456789", 1_700_000_000, 123_456_789),
            ("-1", -1, 0),
            ("-0.25", -1, 750_000_000),
            ("-1.5", -2, 500_000_000),
        ] {
            let time = Time { seconds, nanoseconds };
            assert_eq!(Time::parse(text.as_bytes()), Some(time), "{text}");
            assert_eq!(time.text(), text);
        }
        assert_eq!(Time::parse(b"1.1234567899"), Some(Time { seconds: 1, nanoseconds: 123_456_789 }));
        for (text, plain) in [
            ("1e-05", "0.00001"),
            ("1.5e-07", "0.00000015"),
            ("-2.5e-09", "-0.000000002"),
            ("1e-300", "0"),
            ("1e+16", "10000000000000000"),
            ("17.25E1", "172.5"),
            ("1.234567e3", "1234.567"),
            ("12e0", "12"),
        ] {
            let (time, plain) = (Time::parse(text.as_bytes()), Time::parse(plain.as_bytes()));
            assert!(time.is_some() && time == plain, "{text}: {time:?}");
        }
        let bad =
            ["", "x", "1.x", "--1", "1e", "e5", ".5e3", "1e5.0", "1e1e1", "1xe2", "1e30", "1e999999999", "1e-401"];
        for bad in bad.into_iter().chain(["99999999999999999999", "."]) {
            assert_eq!(Time::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn names() {
        for (name, path) in [("./a//b/./c/", "a/b/c"), (".", ""), ("./", ""), ("a", "a"), ("..a/b..", "..a/b..")] {
            assert_eq!(cleaned(name.as_bytes()).unwrap(), path.as_bytes(), "{name}");
        }
        for bad in ["", "/", "/a", "..", "a/..", "../a", "./../a", "a/../b", "a\0b"] {
            assert!(cleaned(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(cleaned(&[b'a'; 256]).is_err());
        assert!(cleaned(&b"a/".repeat(3000)).is_err());
    }
}
