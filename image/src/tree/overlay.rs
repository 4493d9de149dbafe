//! What in a tree acts when the tree is a layer of an overlay mount.

use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, Stat};
use rustix::io::Errno;

use crate::archive::Ownership;
use crate::archive::entry::{Type, Xattrs};
use crate::error::printable;

/// Attributes of overlay mounts: of root's, and of those that an ordinary user makes.
const PREFIXES: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// The attribute that makes a directory hide what is below it.
pub(crate) const OPAQUE: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];

/// The one of them that a process which makes files in this way can set, and that acts in the overlays it can mount.
pub(crate) fn opaque_name(ownership: Ownership) -> &'static str {
    OPAQUE[usize::from(ownership != Ownership::AsRecorded)]
}

/// Whether an attribute is one of overlay mounts, which they neither show nor let be set.
pub(crate) fn is_attribute(name: &[u8]) -> bool {
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Takes such attributes off a file's and returns their names.
pub(crate) fn take_attributes(xattrs: &mut Xattrs) -> Vec<Vec<u8>> {
    xattrs.extract_if(.., |(name, _)| is_attribute(name)).map(|(name, _)| name).collect()
}

/// How it is said that one was left out.
pub(crate) fn would_act(name: &[u8]) -> String {
    format!("attribute {}, which would act in an overlay", printable(name))
}

/// How it is said that a whiteout was.
pub(crate) const WHITEOUT: &str = "device 0:0, which would hide other files";

/// The name of an attribute by which a file's content or name is found in another layer.
pub(crate) fn elsewhere(name: &[u8]) -> Option<&str> {
    let short = PREFIXES.iter().find_map(|prefix| name.strip_prefix(*prefix))?;
    matches!(short, b"redirect" | b"metacopy").then(|| std::str::from_utf8(name).ok()).flatten()
}

/// Whether an archive's entry would be a whiteout, which hides what is of its name below it.
pub(crate) fn is_whiteout(kind: Type) -> bool {
    kind == Type::CharDevice { major: 0, minor: 0 }
}

/// Whether a file is a whiteout.
pub(crate) fn is_whiteout_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Whether the open directory `dir` hides what is below it.
pub(crate) fn is_opaque(dir: BorrowedFd<'_>) -> Result<bool, Errno> {
    for name in OPAQUE {
        let mut value = [0];
        match rustix::fs::fgetxattr(dir, name, &mut value) {
            Ok(1) if value == *b"y" => return Ok(true),
            // Not there, not for this user's eyes, or nothing that a file system here could have.
            Ok(_) | Err(Errno::NODATA | Errno::PERM | Errno::ACCESS | Errno::NOTSUP | Errno::RANGE) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(false)
}
