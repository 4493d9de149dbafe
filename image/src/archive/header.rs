//! One 512 byte tar header: its fields, numbers and checksum.

/// Everything in a tar is a multiple of this long.
pub(crate) const BLOCK: usize = 512;

/// A raw header block.
pub(crate) struct Header(pub(crate) [u8; BLOCK]);

/// A field: where it is in the header, and how long.
type Field = (usize, usize);

pub(crate) const NAME: Field = (0, 100);
pub(crate) const MODE: Field = (100, 8);
pub(crate) const UID: Field = (108, 8);
pub(crate) const GID: Field = (116, 8);
pub(crate) const SIZE: Field = (124, 12);
pub(crate) const MTIME: Field = (136, 12);
pub(crate) const CHECKSUM: Field = (148, 8);
const TYPE: usize = 156;
pub(crate) const LINK: Field = (157, 100);
const MAGIC: Field = (257, 8);
pub(crate) const MAJOR: Field = (329, 8);
pub(crate) const MINOR: Field = (337, 8);
pub(crate) const PREFIX: Field = (345, 155);

/// The old GNU format keeps times and sparse maps where POSIX has the prefix.
pub(crate) const GNU_ATIME: Field = (345, 12);
pub(crate) const GNU_SPARSE: usize = 386;
pub(crate) const GNU_IS_EXTENDED: usize = 482;
pub(crate) const GNU_REAL_SIZE: Field = (483, 12);

impl Header {
    pub(crate) fn field(&self, (at, len): Field) -> &[u8] {
        &self.0[at..at + len]
    }

    /// The field's bytes before the first NUL.
    pub(crate) fn text(&self, field: Field) -> &[u8] {
        until_nul(self.field(field))
    }

    /// The field as a number, refused when it is negative or not a number.
    pub(crate) fn number(&self, field: Field, what: &str) -> Result<u64, String> {
        let value = number(self.field(field)).ok_or_else(|| format!("its {what} is not a number"))?;
        u64::try_from(value).map_err(|_| format!("its {what} is negative"))
    }

    pub(crate) fn signed(&self, field: Field, what: &str) -> Result<i64, String> {
        number(self.field(field)).ok_or_else(|| format!("its {what} is not a number"))
    }

    pub(crate) fn kind(&self) -> u8 {
        self.0[TYPE]
    }

    pub(crate) fn is_zero(&self) -> bool {
        self.0.iter().all(|b| *b == 0)
    }

    pub(crate) fn is_gnu(&self) -> bool {
        self.field(MAGIC) == b"ustar  \0"
    }

    /// Checks what makes a block a header at all.
    pub(crate) fn verify(&self) -> Result<(), String> {
        let recorded = number(self.field(CHECKSUM));
        // Some old tars summed the bytes as signed.
        if recorded != Some(self.sum(|b| b.into())) && recorded != Some(self.sum(|b| (b as i8).into())) {
            return Err("this is no tar header: its checksum is wrong".into());
        }
        if !self.field(MAGIC).starts_with(b"ustar") {
            return Err("this is a pre-POSIX (v7) tar header: repack the archive with `tar --format=pax`".into());
        }
        Ok(())
    }

    fn sum(&self, byte: impl Fn(u8) -> i64) -> i64 {
        let (at, len) = CHECKSUM;
        let own = at..at + len;
        self.0.iter().enumerate().map(|(i, b)| if own.contains(&i) { 32 } else { byte(*b) }).sum()
    }

    /// A POSIX header without a name, owned by root.
    pub(crate) fn new(kind: u8) -> Header {
        let mut header = Header([0; BLOCK]);
        header.put(MAGIC, b"ustar\x0000");
        header.0[TYPE] = kind;
        for field in [MODE, UID, GID, SIZE, MTIME, MAJOR, MINOR] {
            header.put_octal(field, 0);
        }
        header
    }

    /// Stores text that fits, and tells whether it did.
    pub(crate) fn put(&mut self, (at, len): Field, text: &[u8]) -> bool {
        let fits = text.len() <= len;
        if fits {
            self.0[at..at + text.len()].copy_from_slice(text);
        }
        fits
    }

    /// Stores a number in octal when it fits, and tells whether it did.
    pub(crate) fn put_octal(&mut self, (at, len): Field, value: u64) -> bool {
        let text = format!("{value:0width$o}", width = len - 1);
        self.put((at, len - 1), text.as_bytes())
    }

    /// Seals the header.
    pub(crate) fn sealed(mut self) -> [u8; BLOCK] {
        let sum = self.sum(|b| b.into());
        self.put(CHECKSUM, format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

pub(crate) fn until_nul(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
    &field[..end]
}

/// Octal with blanks around it, or base-256 with the first bit set. Empty is 0.
pub(crate) fn number(field: &[u8]) -> Option<i64> {
    if let Some(first) = field.first()
        && first & 0x80 != 0
    {
        // Two's complement over all the bits but the first.
        let start: i64 = if first & 0x40 != 0 { -1 } else { 0 };
        let mut value = (start << 6) | i64::from(first & 0x3f);
        for byte in &field[1..] {
            value = value.checked_mul(256)? | i64::from(*byte);
        }
        return Some(value);
    }
    let text = until_nul(field).trim_ascii();
    text.iter().try_fold(0i64, |value, digit| match digit {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add((digit - b'0').into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"  644 \0\0"), Some(0o644));
        assert_eq!(number(b"77777777777\0"), Some(0o77777777777));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(b"12x\0"), None);
        assert_eq!(number(b"-1\0\0"), None);
        assert_eq!(number(b"\x80\0\0\0\x01\0\0\0"), Some(1 << 24));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(-2));
        assert_eq!(number(b"\x80\x7f\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None, "too large");
        assert_eq!(number(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"), Some(i64::MAX));
    }

    #[test]
    fn a_sealed_header_verifies() {
        let mut header = Header::new(b'0');
        assert!(header.put(NAME, b"x"));
        assert!(header.put_octal(UID, 0o7777777));
        assert!(!header.put_octal(UID, 0o10000000));
        let mut sealed = Header(header.sealed());
        sealed.verify().unwrap();
        assert_eq!(sealed.number(UID, "owner").unwrap(), 0o7777777);
        sealed.0[0] ^= 1;
        assert!(sealed.verify().is_err());
    }
}
