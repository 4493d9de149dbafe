//! One entry on its way into an archive: its header, and an extended one for what does not fit.

use super::entry::{Attributes, PATH_MAX, Time};
use super::header::{self, BLOCK, Header};
use super::pax::{write_record, xattr_key};
use super::reader::MAX_EXTENDED;
use crate::extract::MANIFEST_MAX;
use crate::tree::walk::shown;
use crate::{Error, Result};

/// What the header of an entry says.
pub(crate) struct Record<'r> {
    /// Below the root file system, for messages.
    pub(crate) path: &'r [u8],
    pub(crate) name: &'r [u8],
    pub(crate) kind: u8,
    pub(crate) attributes: &'r Attributes,
    pub(crate) size: u64,
    pub(crate) link: &'r [u8],
    pub(crate) device: (u32, u32),
}

impl Record<'_> {
    /// The header, with an extended one before it for what does not fit.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>> {
        if self.name.len() > PATH_MAX {
            let rule = format!("its name in the archive would be longer than {PATH_MAX} bytes");
            return Err(Error::Tree { path: shown(self.path), rule });
        }
        let (header, extended) = self.headers();
        if extended.len() as u64 > MAX_EXTENDED {
            let rule = format!("its extended attributes are longer than {MAX_EXTENDED} bytes together");
            return Err(Error::Tree { path: shown(self.path), rule });
        }
        let mut bytes = Vec::with_capacity(BLOCK);
        if !extended.is_empty() {
            let mut before = Header::new(b'x');
            before.put(header::NAME, &extended_name(self.name));
            before.put_octal(header::MODE, 0o644);
            before.put_octal(header::SIZE, extended.len() as u64);
            bytes.extend_from_slice(&before.sealed());
            bytes.extend_from_slice(&extended);
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        }
        bytes.extend_from_slice(&header.sealed());
        Ok(bytes)
    }

    /// The header, and the records of what it cannot hold.
    pub(super) fn headers(&self) -> (Header, Vec<u8>) {
        let (mut header, mut extended) = (Header::new(self.kind), Vec::new());
        let Attributes { mode, uid, gid, mtime, xattrs, .. } = self.attributes;
        header.put_octal(header::MODE, (*mode).into());
        header.put_octal(header::MAJOR, self.device.0.into());
        header.put_octal(header::MINOR, self.device.1.into());
        for (field, key, number) in [
            (header::UID, "uid", u64::from(*uid)),
            (header::GID, "gid", (*gid).into()),
            (header::SIZE, "size", self.size),
        ] {
            if !header.put_octal(field, number) {
                write_record(&mut extended, key.as_bytes(), number.to_string().as_bytes());
            }
        }
        let fits = u64::try_from(mtime.seconds).is_ok_and(|seconds| header.put_octal(header::MTIME, seconds));
        if !fits || mtime.nanoseconds != 0 {
            write_record(&mut extended, b"mtime", mtime.text().as_bytes());
        }
        for (field, key, text) in [(header::NAME, &b"path"[..], self.name), (header::LINK, b"linkpath", self.link)] {
            // Only ASCII means the same to every reader of the plain header.
            let fits = header.put(field, text) || key == b"path" && split_name(&mut header, text);
            if !fits || !text.is_ascii() {
                write_record(&mut extended, key, text);
            }
        }
        for (name, value) in xattrs {
            write_record(&mut extended, &xattr_key(name), value);
        }
        (header, extended)
    }
}

/// The whole entry of an image's manifest. Its time is `epoch`, or 1970.
pub(super) fn manifest_entry(content: &[u8], epoch: Option<i64>) -> Result<Vec<u8>> {
    if content.len() as u64 > MANIFEST_MAX {
        return Err(Error::Option(format!("the image manifest is longer than {MANIFEST_MAX} bytes")));
    }
    let mtime = Time { seconds: epoch.unwrap_or(0), nanoseconds: 0 };
    let attributes = Attributes { mode: 0o644, mtime, ..Attributes::default() };
    let size = content.len() as u64;
    let (name, device) = (&b"manifest"[..], (0, 0));
    let mut entry =
        Record { path: name, name, kind: b'0', attributes: &attributes, size, link: b"", device }.bytes()?;
    entry.extend_from_slice(content);
    entry.resize(entry.len().next_multiple_of(BLOCK), 0);
    Ok(entry)
}

/// Stores a long name in its two halves, if it can be cut at a slash, and tells whether it could.
fn split_name(header: &mut Header, name: &[u8]) -> bool {
    let cut = name.iter().enumerate().skip(1).find(|(at, b)| **b == b'/' && name.len() - at - 1 <= header::NAME.1);
    cut.is_some_and(|(at, _)| {
        at <= header::PREFIX.1 && header.put(header::PREFIX, &name[..at]) && header.put(header::NAME, &name[at + 1..])
    })
}

/// What an extended header is called, for readers that do not know it and make a file of it.
pub(super) fn extended_name(name: &[u8]) -> Vec<u8> {
    let base = name.rsplit(|b| *b == b'/').next().unwrap_or_default();
    let ascii = base.iter().take(80).map(|b| if b.is_ascii_graphic() { *b } else { b'_' });
    b"PaxHeaders/".iter().copied().chain(ascii).collect()
}
