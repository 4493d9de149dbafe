//! Gzip members of a known length.
//!
//! A gzip file is a row of members, each a whole gzip file of its own. Ours hold a megabyte each and say in an extra
//! field (RFC 1952, 2.3.1.1, id "AC") how long they are, so that they can be cut out and decompressed on any core.
//! Any other reader sees plain gzip.

use super::block::Block;

/// The fixed header and our extra field.
pub(super) const HEADER_LEN: usize = 24;

/// Checksum and length at the end of a member.
const TRAILER_LEN: usize = 8;

/// Magic, deflate, flags: an extra field; no time; no hints; no particular system; 12 bytes of extra; "AC"; 8 bytes.
const PREFIX: [u8; 16] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 12, 0, b'A', b'C', 8, 0];

/// Members that claim to be longer, compressed or not, are read as a stream like anyone else's.
const MOST: usize = 2 << 20;

/// A member cut out of the file.
pub(super) struct Member {
    pub(super) compressed: Block,
    pub(super) content: usize,
}

/// The lengths, compressed and not, of the member whose first bytes are these, when it is one of ours.
pub(super) fn member(start: &[u8]) -> Option<(usize, usize)> {
    let lengths = start.strip_prefix(&PREFIX)?;
    let number = |at: usize| Some(u32::from_le_bytes(lengths.get(at..at + 4)?.try_into().ok()?) as usize);
    let (len, content) = (number(0)?, number(4)?);
    (len > HEADER_LEN + TRAILER_LEN && len <= MOST && content <= MOST).then_some((len, content))
}

/// Decompresses members.
pub(super) struct Inflater(libdeflater::Decompressor);

impl Inflater {
    pub(super) fn new() -> Inflater {
        Inflater(libdeflater::Decompressor::new())
    }

    /// Puts the member's content into `out`, over what is there. The rule that it breaks otherwise.
    pub(super) fn inflate(&mut self, member: &Member, out: &mut Vec<u8>) -> Result<(), String> {
        let Member { compressed, content } = member;
        out.resize(*content, 0);
        // Compares the checksum and the length right behind the compressed data with what came out.
        let inflated = self.0.gzip_decompress(compressed, out).map_err(|_| "a member is corrupt")?;
        if inflated != *content || !ends_at_its_end(compressed) {
            return Err("a member is not as long as it says".into());
        }
        Ok(())
    }
}

/// Whether a member that decompresses well does so to its very last byte.
///
/// What is behind its compressed data does not matter to the decompressor, but another reader would see more members
/// there. The trailer behind the data is known to be right; if it were not the one at the end, it would be in the member
/// a second time. By chance that happens once in 2^64 bytes.
fn ends_at_its_end(member: &[u8]) -> bool {
    let trailer = &member[member.len() - TRAILER_LEN..];
    memchr::memmem::find(&member[HEADER_LEN..member.len() - 1], trailer).is_none()
}

/// Compresses members.
pub(super) struct Deflater(libdeflater::Compressor);

impl Deflater {
    /// `level` is 1 to 12.
    pub(super) fn new(level: u32) -> Deflater {
        let level = libdeflater::CompressionLvl::new(level as i32).unwrap_or_default();
        Deflater(libdeflater::Compressor::new(level))
    }

    /// Makes `content` a member in `out`.
    pub(super) fn deflate(&mut self, content: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        out.resize(HEADER_LEN + self.0.deflate_compress_bound(content.len()) + TRAILER_LEN, 0);
        let deflated = self.0.deflate_compress(content, &mut out[HEADER_LEN..]).map_err(|e| e.to_string())?;
        let len = HEADER_LEN + deflated + TRAILER_LEN;
        out.truncate(len);
        out[..16].copy_from_slice(&PREFIX);
        out[16..20].copy_from_slice(&(len as u32).to_le_bytes());
        out[20..24].copy_from_slice(&(content.len() as u32).to_le_bytes());
        out[len - 8..len - 4].copy_from_slice(&libdeflater::crc32(content).to_le_bytes());
        out[len - 4..].copy_from_slice(&(content.len() as u32).to_le_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::block::Pool;
    use super::*;
    use std::io::Read;

    fn made(content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Deflater::new(6).deflate(content, &mut out).unwrap();
        out
    }

    fn read(bytes: &[u8]) -> Result<Vec<u8>, String> {
        let (len, content) = member(bytes).ok_or("not ours")?;
        let mut compressed = Pool::default().take();
        compressed.data.extend_from_slice(&bytes[..len]);
        let mut out = Vec::new();
        Inflater::new().inflate(&Member { compressed, content }, &mut out).map(|()| out)
    }

    #[test]
    fn members_are_gzip() {
        let content: Vec<u8> = (0..100_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let mut bytes = made(&content);
        assert!(read(&bytes).unwrap() == content);
        bytes.extend(made(b"more"));
        let mut back = Vec::new();
        flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut back).unwrap();
        assert!(back == [&content[..], b"more"].concat());
    }

    #[test]
    fn lies_about_lengths_are_found() {
        let honest = made(b"content");
        // A member within the announced length that other readers would see.
        let mut slack = [honest.clone(), honest.clone()].concat();
        let len = slack.len() as u32;
        slack[16..20].copy_from_slice(&len.to_le_bytes());
        assert!(read(&slack).is_err());
        let mut longer = honest.clone();
        longer[20] += 1;
        assert!(read(&longer).is_err());
        let mut wrong = honest.clone();
        let at = wrong.len() - 6;
        wrong[at] ^= 1;
        assert!(read(&wrong).is_err());
        let mut huge = honest;
        huge[19] = 0x7f;
        assert!(member(&huge).is_none());
    }
}
