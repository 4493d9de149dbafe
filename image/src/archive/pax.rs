//! The records of PAX extended headers.

use super::entry::{Segment, Time, Xattrs};

/// What a PAX header says about the entry after it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Pax {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) mtime: Option<Time>,
    pub(crate) atime: Option<Time>,
    pub(crate) xattrs: Xattrs,
    /// Says something about access that cannot be kept.
    pub(crate) acl: bool,
    pub(crate) sparse: Sparse,
}

/// The GNU.sparse.* records, in their three versions.
#[derive(Debug, Default, Clone)]
pub(crate) struct Sparse {
    pub(crate) version: (u64, u64),
    pub(crate) name: Option<Vec<u8>>,
    pub(crate) real_size: Option<u64>,
    /// Versions 0.0 and 0.1: the map as numbers, offset and length in turn.
    pub(crate) numbers: Vec<u64>,
}

/// As many segments as a sparse file may have: its map stays below a few megabytes.
pub(crate) const MAX_SEGMENTS: usize = 1 << 18;

impl Pax {
    /// Reads the records of one header over what an earlier, global one said.
    pub(crate) fn read(&mut self, mut data: &[u8]) -> Result<(), String> {
        while !data.is_empty() {
            let (key, value, rest) = record(data).ok_or("its PAX header is malformed")?;
            self.set(key, value)?;
            data = rest;
        }
        Ok(())
    }

    /// Whether it says what can be true of one entry only.
    pub(crate) fn is_about_one_entry(&self) -> bool {
        let sparse = &self.sparse;
        self.path.is_some()
            || self.link.is_some()
            || self.size.is_some()
            || sparse.name.is_some()
            || sparse.real_size.is_some()
            || !sparse.numbers.is_empty()
            || sparse.version != (0, 0)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let bad = || format!("its PAX {} is no number, or out of range", String::from_utf8_lossy(key));
        // An empty value takes back what a global header said.
        let decimal = || if value.is_empty() { Ok(None) } else { decimal(value).map(Some).ok_or_else(bad) };
        let required = || self::decimal(value).ok_or_else(bad);
        let time = || if value.is_empty() { Ok(None) } else { Time::parse(value).map(Some).ok_or_else(bad) };
        let bytes = || (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = bytes(),
            b"linkpath" => self.link = bytes(),
            b"size" => self.size = decimal()?,
            b"uid" => self.uid = decimal()?,
            b"gid" => self.gid = decimal()?,
            b"mtime" => self.mtime = time()?,
            b"atime" => self.atime = time()?,
            b"GNU.sparse.major" => self.sparse.version.0 = required()?,
            b"GNU.sparse.minor" => self.sparse.version.1 = required()?,
            b"GNU.sparse.name" => self.sparse.name = bytes(),
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => self.sparse.real_size = Some(required()?),
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.sparse.push(required()?)?,
            b"GNU.sparse.map" => {
                for number in value.split(|b| *b == b',') {
                    self.sparse.push(self::decimal(number).ok_or_else(bad)?)?;
                }
            }
            b"SCHILY.acl.access" | b"SCHILY.acl.default" => self.acl = true,
            _ => self.set_xattr(key, value)?,
        }
        Ok(())
    }

    fn set_xattr(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let (name, value) = if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            (percent_decoded(name, |byte| matches!(byte, b'=' | b'%')), value.to_vec())
        } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
            let value = base64(value).ok_or("its PAX attribute is not base64")?;
            (percent_decoded(name, |_| true), value)
        } else {
            return Ok(());
        };
        if name.is_empty() || name.contains(&0) {
            return Err("an extended attribute has a bad name".into());
        }
        // libarchive writes both spellings of each attribute.
        self.xattrs.retain(|(other, _)| *other != name);
        self.xattrs.push((name, value));
        Ok(())
    }
}

impl Sparse {
    fn push(&mut self, number: u64) -> Result<(), String> {
        if self.numbers.len() >= 2 * MAX_SEGMENTS {
            return Err("its sparse map is too long".into());
        }
        self.numbers.push(number);
        Ok(())
    }

    /// The map of versions 0.0 and 0.1.
    pub(crate) fn segments(&self) -> Result<Vec<Segment>, String> {
        if !self.numbers.len().is_multiple_of(2) {
            return Err("its sparse map is malformed".into());
        }
        Ok(self.numbers.chunks_exact(2).map(|pair| Segment { offset: pair[0], len: pair[1] }).collect())
    }
}

/// Splits `<length> <key>=<value>\n` off.
fn record(data: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let blank = data.iter().take(20).position(|b| *b == b' ')?;
    let len = usize::try_from(decimal(&data[..blank])?).ok()?;
    let record = data.get(blank + 1..len)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|b| *b == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &data[len..])).filter(|(key, ..)| !key.is_empty())
}

/// Makes one record. The length counts itself.
pub(crate) fn write_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    out.extend_from_slice(format!("{len} ").as_bytes());
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The record's key for an extended attribute. A key ends at its first `=`; GNU tar writes the name like this too.
pub(crate) fn xattr_key(name: &[u8]) -> Vec<u8> {
    let mut key = b"SCHILY.xattr.".to_vec();
    for byte in name {
        match byte {
            b'=' => key.extend_from_slice(b"%3D"),
            b'%' => key.extend_from_slice(b"%25"),
            byte => key.push(*byte),
        }
    }
    key
}

/// Undoes `%3D`, for those bytes that the writer is known to have escaped.
fn percent_decoded(text: &[u8], escaped: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match hex.filter(|byte| *first == b'%' && escaped(*byte)) {
            Some(byte) => {
                decoded.push(byte);
                rest = &after[2..];
            }
            None => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    decoded
}

fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::new();
    let (mut bits, mut held) = (0u32, 0);
    for c in text.iter().filter(|c| **c != b'=') {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            decoded.push((bits >> held) as u8);
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_round_trip() {
        for len in [0, 1, 80, 83, 84, 85, 86, 87, 88, 89, 90, 985, 990, 995] {
            let mut data = Vec::new();
            write_record(&mut data, b"path", &vec![b'x'; len]);
            let (key, value, rest) = record(&data).unwrap();
            assert_eq!((key, value.len(), rest.len()), (&b"path"[..], len, 0));
        }
    }

    #[test]
    fn malformed_records_are_refused() {
        for data in
            ["", "x", "5", "9 path=x", "10 path=x\n ", "0 a=b\n", "6 ab\n\n", "99999999999999999999 a=b\n", "5 =b\n"]
        {
            if !data.is_empty() {
                assert!(Pax::default().read(data.as_bytes()).is_err(), "{data:?}");
            }
        }
        assert!(Pax::default().read(b"11 size=-10\n").is_err());
    }

    #[test]
    fn names_of_attributes_are_escaped_as_gnu_tar_does() {
        for name in [&b"user.a=b"[..], b"user.%", b"user.a%3Db", b"user.100%=x", b"user.a%20b"] {
            let (mut data, mut pax) = (Vec::new(), Pax::default());
            write_record(&mut data, &xattr_key(name), b"v=w");
            pax.read(&data).unwrap();
            assert_eq!(pax.xattrs, [(name.to_vec(), b"v=w".to_vec())]);
        }
        assert_eq!(xattr_key(b"user.a=b%"), b"SCHILY.xattr.user.a%3Db%25");
        // Others escape nothing.
        let mut pax = Pax::default();
        pax.read(b"29 SCHILY.xattr.user.a%20b=v\n").unwrap();
        assert_eq!(pax.xattrs, [(b"user.a%20b".to_vec(), b"v".to_vec())]);
    }

    #[test]
    fn libarchive_attributes() {
        let mut pax = Pax::default();
        pax.read(b"38 LIBARCHIVE.xattr.user%2Ex=aGVsbG8=\n").unwrap();
        assert_eq!(pax.xattrs, [(b"user.x".to_vec(), b"hello".to_vec())]);
    }
}
