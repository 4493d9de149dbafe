//! How an image archive is put together from the layer that was made of it, so that it can be made again bit by bit.
//!
//! The layer has the same files in the same order, so the content of all of them and most of what their headers say.
//! Recorded is, entry by entry, in what the archive's own bytes between two contents differ from the ones that
//! [`Record`] would write: nothing for archives written here, and a few bytes for others. Compressed with zstd:
//!
//! ```text
//! tag  'M' the manifest, 'E' the layer's next entry, 'S' the same of a file with holes, 'T' an entry that is not in the
//!      layer, 'D' an entry of the layer that is not in the archive, 'Z' the end
//! form  none for 'D'; else
//!       0  as predicted
//!       1  the difference to the prediction (exclusive or), checksum computed anew
//!       2  the difference to the prediction, checksum included
//!       3  length (4 bytes, little endian) and the bytes themselves
//! map   of 'S' only: the number of pieces of content (4 bytes), and each one's offset and length (8 bytes each)
//! ```

use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::archive::entry::Segment;
use crate::archive::header::{self, BLOCK};
use crate::{Error, Result};

pub(super) const MANIFEST: u8 = b'M';
pub(super) const ENTRY: u8 = b'E';
pub(super) const SPARSE: u8 = b'S';
pub(super) const TOP: u8 = b'T';
pub(super) const DIRECTORY: u8 = b'D';
pub(super) const END: u8 = b'Z';

const SAME: u8 = 0;
const DIFFERENCE_AND_SUM: u8 = 1;
const DIFFERENCE: u8 = 2;
const VERBATIM: u8 = 3;

/// The version of the format, before the record's text.
const VERSION: &str = "1:";

/// More than this between two contents, or altogether, is not recorded: the record has to fit into a manifest.
pub(super) const PIECE_MAX: usize = 4 << 20;
const TEXT_MAX: usize = 1 << 20;

/// Writes a record.
pub(super) struct Recorder {
    /// None once the archive turned out to be one that cannot be recorded.
    out: Option<zstd::stream::write::Encoder<'static, Vec<u8>>>,
}

impl Recorder {
    pub(super) fn new() -> Recorder {
        Recorder { out: zstd::stream::write::Encoder::new(Vec::new(), 9).ok() }
    }

    /// There will be no record.
    pub(super) fn give_up(&mut self) {
        self.out = None;
    }

    /// Records that `actual` stands where `predicted` would.
    pub(super) fn put(&mut self, tag: u8, actual: &[u8], predicted: &[u8]) {
        let Some(out) = &mut self.out else { return };
        if actual.len() > PIECE_MAX || out.get_ref().len() > TEXT_MAX {
            return self.give_up();
        }
        let written = if actual == predicted {
            out.write_all(&[tag, SAME])
        } else if actual.len() == predicted.len() {
            let (mut actual, mut predicted) = (actual.to_vec(), predicted.to_vec());
            let form = if has_our_sum(&actual) {
                for bytes in [&mut actual, &mut predicted] {
                    blank_sum(bytes);
                }
                DIFFERENCE_AND_SUM
            } else {
                DIFFERENCE
            };
            difference(&mut actual, &predicted);
            out.write_all(&[tag, form]).and_then(|()| out.write_all(&actual))
        } else {
            let len = (actual.len() as u32).to_le_bytes();
            out.write_all(&[tag, VERBATIM]).and_then(|()| out.write_all(&len)).and_then(|()| out.write_all(actual))
        };
        if written.is_err() {
            self.give_up();
        }
    }

    /// Records that the layer's next entry, a directory, is not in the archive.
    pub(super) fn put_directory(&mut self) {
        if self.out.as_mut().is_some_and(|out| out.write_all(&[DIRECTORY]).is_err()) {
            self.give_up();
        }
    }

    /// Records where in a file its content is.
    pub(super) fn put_map(&mut self, map: &[Segment]) {
        let Some(out) = &mut self.out else { return };
        if map.len() > PIECE_MAX / 16 {
            return self.give_up();
        }
        let mut bytes = (map.len() as u32).to_le_bytes().to_vec();
        for Segment { offset, len } in map {
            bytes.extend(offset.to_le_bytes());
            bytes.extend(len.to_le_bytes());
        }
        if out.write_all(&bytes).is_err() {
            self.give_up();
        }
    }

    /// The record as text, if there is one and it is not too long.
    pub(super) fn finish(self) -> Option<String> {
        let text = STANDARD.encode(self.out?.finish().ok()?);
        (text.len() <= TEXT_MAX).then(|| format!("{VERSION}{text}"))
    }
}

/// Reads a record.
pub(super) struct Replay<'r> {
    from: zstd::stream::read::Decoder<'r, std::io::Cursor<Vec<u8>>>,
}

impl Replay<'_> {
    /// None if the text is no record of a version that is known.
    pub(super) fn new<'r>(text: &str) -> Option<Replay<'r>> {
        let bytes = STANDARD.decode(text.strip_prefix(VERSION)?).ok()?;
        let from = zstd::stream::read::Decoder::with_buffer(std::io::Cursor::new(bytes)).ok()?;
        Some(Replay { from })
    }

    /// What comes next.
    pub(super) fn tag(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    /// The bytes of what comes next, where `predicted` would stand.
    pub(super) fn bytes(&mut self, mut predicted: Vec<u8>) -> Result<Vec<u8>> {
        match self.array()? {
            [SAME] => Ok(predicted),
            [form @ (DIFFERENCE_AND_SUM | DIFFERENCE)] => {
                let mut bytes = self.take(predicted.len())?;
                if form == DIFFERENCE_AND_SUM {
                    blank_sum(&mut predicted);
                }
                difference(&mut bytes, &predicted);
                if form == DIFFERENCE_AND_SUM {
                    put_sum(&mut bytes);
                }
                Ok(bytes)
            }
            [VERBATIM] => {
                let len = u32::from_le_bytes(self.array()?) as usize;
                if len > PIECE_MAX {
                    return Err(broken());
                }
                self.take(len)
            }
            _ => Err(broken()),
        }
    }

    /// Where in the file its content is: in order, and no two pieces in one place.
    pub(super) fn map(&mut self) -> Result<Vec<Segment>> {
        let count = u32::from_le_bytes(self.array()?) as usize;
        if count > PIECE_MAX / 16 {
            return Err(broken());
        }
        let (mut map, mut end) = (Vec::new(), 0);
        for _ in 0..count {
            let segment = Segment { offset: u64::from_le_bytes(self.array()?), len: u64::from_le_bytes(self.array()?) };
            if segment.offset < end {
                return Err(broken());
            }
            end = segment.offset.checked_add(segment.len).ok_or_else(broken)?;
            map.push(segment);
        }
        Ok(map)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes).map_err(|_| broken())?;
        Ok(bytes)
    }

    fn take(&mut self, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.from.read_exact(&mut bytes).map_err(|_| broken())?;
        Ok(bytes)
    }
}

/// A record that does not fit the layer is no use, and no harm: the archive is then written anew.
pub(super) fn broken() -> Error {
    Error::Oci { what: "record of the image archive".into(), rule: "it does not fit the layer".into() }
}

fn difference(bytes: &mut [u8], other: &[u8]) {
    for (byte, other) in bytes.iter_mut().zip(other) {
        *byte ^= other;
    }
}

/// The header at the end.
fn last_block(bytes: &mut [u8]) -> Option<&mut [u8]> {
    let at = bytes.len().checked_sub(BLOCK)?;
    Some(&mut bytes[at..])
}

fn blank_sum(bytes: &mut [u8]) {
    if let Some(block) = last_block(bytes) {
        block[header::CHECKSUM.0..][..header::CHECKSUM.1].fill(b' ');
    }
}

fn put_sum(bytes: &mut [u8]) {
    blank_sum(bytes);
    if let Some(block) = last_block(bytes) {
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[header::CHECKSUM.0..][..header::CHECKSUM.1].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

/// Whether the last header's checksum is what [`put_sum`] would put there.
fn has_our_sum(bytes: &[u8]) -> bool {
    let mut again = bytes.to_vec();
    put_sum(&mut again);
    bytes.len() >= BLOCK && again == bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::header::Header;

    fn block(name: &[u8], owner: &[u8]) -> Vec<u8> {
        let mut header = Header::new(b'0');
        assert!(header.put(header::NAME, name) && header.put((265, 32), owner));
        header.sealed().to_vec()
    }

    #[test]
    fn what_is_recorded_is_replayed() {
        let (plain, named, long) =
            (block(b"a", b""), block(b"a", b"root"), [block(b"b", b"x"), block(b"c", b"")].concat());
        let mut odd = named.clone();
        odd[header::CHECKSUM.0] = b' ';
        let pieces = [(&plain, &plain), (&named, &plain), (&odd, &plain), (&long, &plain), (&plain, &long)];
        let mut recorder = Recorder::new();
        for (actual, predicted) in pieces {
            recorder.put(ENTRY, actual, predicted);
        }
        recorder.put(END, &[0; 1024], &[]);
        let text = recorder.finish().expect("a record");
        let mut replay = Replay::new(&text).expect("a record");
        for (actual, predicted) in pieces {
            assert_eq!(replay.tag().unwrap(), ENTRY);
            assert_eq!(&replay.bytes(predicted.clone()).unwrap(), actual);
        }
        assert_eq!(replay.tag().unwrap(), END);
        assert_eq!(replay.bytes(Vec::new()).unwrap(), [0; 1024]);
        assert!(replay.tag().is_err());
    }

    #[test]
    fn strangers_headers_take_little_room() {
        let mut recorder = Recorder::new();
        for n in 0..20_000 {
            let name = format!("rootfs/usr/share/doc/package-{n}/copyright");
            recorder.put(ENTRY, &block(name.as_bytes(), b"root"), &block(name.as_bytes(), b""));
        }
        let text = recorder.finish().expect("a record");
        assert!(text.len() < 20_000, "{}", text.len());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "1:", "2:AAAA", "1:!", "1:AAAA", "AAAA"] {
            if let Some(mut replay) = Replay::new(text) {
                assert!(replay.tag().is_err(), "{text}");
            }
        }
    }
}
