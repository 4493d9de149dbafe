//! The directories on the way to what is made.

use rustix::fs::{AtFlags, FileType, Mode};
use rustix::io::Errno;

use super::dirs::TOP;
use super::{Conflict, Failure, Tree, overlay};

impl Tree {
    /// The directory that `path` is made in, itself made when missing.
    pub(super) fn parent<'p>(&mut self, path: &'p [u8]) -> std::result::Result<(u32, &'p [u8]), Failure> {
        if path.is_empty() {
            return Err(Failure::Rule("it stands in the place of the root directory".into()));
        }
        let (parent, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        match self.dirs.find(parent) {
            Some(node) => Ok((node, name)),
            None => Ok((self.make_directory(parent, false)?, name)),
        }
    }

    /// Makes `path` and the directories above it that are missing. `described`: the source has `path` itself, not only
    /// something in it.
    pub(super) fn make_directory(&mut self, path: &[u8], described: bool) -> std::result::Result<u32, Failure> {
        let mut node = TOP;
        let mut names = path.split(|b| *b == b'/').peekable();
        while let Some(name) = names.next() {
            node = match self.dirs.child(node, name) {
                Some(child) => child,
                None => self.make_one(node, name, described && names.peek().is_none())?,
            };
        }
        Ok(node)
    }

    fn make_one(&mut self, parent: u32, name: &[u8], described: bool) -> std::result::Result<u32, Failure> {
        let dir = self.dirs.fd(parent)?;
        // Ours alone until it is finished.
        let make = || rustix::fs::mkdirat(dir, name, Mode::from(0o700));
        let mut made = make();
        if made == Err(Errno::EXIST) && self.conflict == Conflict::Layer {
            let there = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let hidden = overlay::is_whiteout_file(&there);
            if hidden || described && FileType::from_raw_mode(there.st_mode) != FileType::Directory {
                rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
                make()?;
                let node = self.dirs.add(parent, name, false);
                if hidden {
                    self.dirs.set_opaque(node);
                }
                return Ok(node);
            }
        }
        if made == Err(Errno::EXIST) && described && self.conflict == Conflict::Later {
            // Ours, as all that is here: a directory would be known.
            rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
            made = make();
        }
        if made == Err(Errno::EXIST) && self.conflict == Conflict::Overlay {
            let there = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(there.st_mode) == FileType::Directory {
                return Ok(self.dirs.add(parent, name, true));
            }
            rustix::fs::unlinkat(dir, name, AtFlags::empty())?;
            made = make();
        }
        if made == Err(Errno::EXIST) {
            let there = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let shown = crate::error::printable(name);
            return match FileType::from_raw_mode(there.st_mode) {
                FileType::Directory if self.conflict == Conflict::Replace => Ok(self.dirs.add(parent, name, true)),
                FileType::Symlink => {
                    Err(Failure::NoDirectory(format!("it leads through the symbolic link \"{shown}\"")))
                }
                FileType::Directory => Err(Failure::Errno(Errno::EXIST)),
                _ => Err(Failure::NoDirectory(format!("it leads through \"{shown}\", which is no directory"))),
            };
        }
        made?;
        Ok(self.dirs.add(parent, name, false))
    }
}
