//! Content that is checked while it is read.

use std::io::{self, Read};

use super::{Descriptor, Digest, Hasher, media_type};
use crate::Error;

/// Checks what is read against `descriptor`.
///
/// Never gives more bytes than the descriptor says, and gives the last of them only after size and digest have been
/// found right: who has read to the end has read the blob and nothing else.
pub fn verified<R: Read>(content: R, descriptor: &Descriptor) -> Verified<R> {
    Verified {
        content,
        left: descriptor.size,
        size: descriptor.size,
        hasher: Some(Hasher::new(descriptor.digest.algorithm())),
        digest: descriptor.digest.clone(),
        noun: media_type::noun(&descriptor.media_type),
        failed: false,
    }
}

/// A reader that [`verified`] makes.
pub struct Verified<R> {
    content: R,
    left: u64,
    size: u64,
    /// Until the end has been checked.
    hasher: Option<Hasher>,
    digest: Digest,
    noun: &'static str,
    /// A reader that goes on after an error must not see a clean end.
    failed: bool,
}

impl<R: Read> Verified<R> {
    fn refuse(&mut self, rule: String) -> io::Error {
        self.failed = true;
        Error::Oci { what: format!("{} {}", self.noun, self.digest), rule }.into()
    }

    /// Checks that the content ends here and is what it should be.
    fn check(&mut self) -> io::Result<()> {
        let Some(hasher) = self.hasher.take() else { return Ok(()) };
        let mut more = [0];
        let len = loop {
            match self.content.read(&mut more) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    self.failed = true;
                    return Err(e);
                }
                Ok(len) => break len,
            }
        };
        if len != 0 {
            let rule = format!("it is longer than the {} bytes it should have", self.size);
            return Err(self.refuse(rule));
        }
        let digest = hasher.finish();
        if digest != self.digest {
            return Err(self.refuse(format!("its content is another, {digest}")));
        }
        Ok(())
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.failed {
            return Err(self.refuse("it has been found to be wrong".into()));
        }
        if self.left == 0 {
            return self.check().map(|()| 0);
        }
        let most = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if most == 0 {
            return Ok(0);
        }
        let len = self.content.read(&mut into[..most])?;
        if len == 0 {
            let rule = format!("it ends after {} of {} bytes", self.size - self.left, self.size);
            return Err(self.refuse(rule));
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&into[..len]);
        }
        self.left -= len as u64;
        if self.left == 0 {
            self.check()?;
        }
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &[u8], descriptor: &Descriptor) -> Result<Vec<u8>, String> {
        let mut all = Vec::new();
        verified(content, descriptor).read_to_end(&mut all).map(|_| all).map_err(|e| e.to_string())
    }

    #[test]
    fn only_the_very_bytes_are_read_to_the_end() {
        let good = Descriptor::of(media_type::CONFIG, b"hello");
        assert_eq!(read(b"hello", &good).unwrap(), b"hello");
        for (content, rule) in [
            (&b"hello!"[..], "longer than the 5 bytes"),
            (b"hell", "ends after 4 of 5 bytes"),
            (b"", "ends after 0 of 5"),
            (b"hallo", "its content is another"),
        ] {
            let error = read(content, &good).unwrap_err();
            assert!(error.starts_with("configuration sha256:") && error.contains(rule), "{error}");
        }
        let empty = Descriptor::of("", b"");
        assert_eq!(read(b"", &empty).unwrap(), b"");
        assert!(read(b"x", &empty).is_err());
    }

    #[test]
    fn the_last_bytes_are_held_back_until_all_is_known() {
        let good = Descriptor::of("", b"hello");
        let mut buffer = [0; 5];
        assert!(verified(&b"hallo"[..], &good).read_exact(&mut buffer).is_err());
        let mut reader = verified(&b"hallo"[..], &good);
        assert!(reader.read(&mut buffer).is_err());
        assert!(reader.read(&mut buffer).is_err(), "no clean end after an error");
    }

    #[test]
    fn endless_content_is_cut_off() {
        let good = Descriptor::of("", b"hello");
        let mut all = Vec::new();
        assert!(verified(io::repeat(0), &good).read_to_end(&mut all).is_err());
        assert!(all.len() <= 5);
    }
}
