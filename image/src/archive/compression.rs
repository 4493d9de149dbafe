//! The compression formats and how they are told apart.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// A compression around an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// A plain tar.
    None,
    /// What every reader of images understands.
    #[default]
    Gzip,
    /// bzip2.
    Bzip2,
    /// xz.
    Xz,
    /// zstd.
    Zstd,
}

impl Compression {
    /// All of them.
    pub const ALL: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Bzip2, Compression::Xz, Compression::Zstd];

    /// How many bytes from the start [`Compression::detect`] wants to see.
    pub const MAGIC_LEN: usize = 262;

    /// Tells the format by the first bytes of a file.
    pub fn detect(start: &[u8]) -> Option<Compression> {
        match start {
            [0x1f, 0x8b, ..] => Some(Compression::Gzip),
            [b'B', b'Z', b'h', ..] => Some(Compression::Bzip2),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Compression::Xz),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Compression::Zstd),
            // A skippable frame may come first.
            [n, 0x2a, 0x4d, 0x18, ..] if n & 0xf0 == 0x50 => Some(Compression::Zstd),
            _ if start.get(257..262) == Some(b"ustar") => Some(Compression::None),
            _ => None,
        }
    }

    /// The name as it is written on a command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Bzip2 => "bzip2",
            Compression::Xz => "xz",
            Compression::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Compression {
    type Err = Error;

    fn from_str(name: &str) -> Result<Compression, Error> {
        Compression::ALL
            .into_iter()
            .find(|c| c.as_str() == name)
            .ok_or_else(|| Error::Option(format!("unknown compression \"{name}\": use none, gzip, bzip2, xz or zstd")))
    }
}
