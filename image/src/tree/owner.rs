//! Whose the copy of a host's file becomes when an ordinary user makes it in a user namespace.
//!
//! The user is root there, its subordinate ids are the numbers of the image, and everyone else of the host is shown as
//! nobody. An image does not want the host's users: what belongs to one of them becomes root's, as the user's own files do.
//! What a program of theirs may do when it is run is not to become what root may do: it loses its set-user-ID and set-group-ID
//! bits. The user's own programs and those of the host's root keep theirs.

use std::os::fd::BorrowedFd;

use rustix::fs::{FileType, OFlags};

use crate::archive::entry::Attributes;
use crate::caller::{self, OVERFLOW};

/// Set-user-ID and set-group-ID.
const SET_IDS: u32 = 0o6000;

/// How it is said that a file has lost these bits.
pub(crate) const LOST: &str =
    "set-user-ID or set-group-ID bit, as the file is neither yours nor root's and would act for the image's root";

/// Replaces the owner of a file of the host; `open` is a descriptor of a regular file or directory. Whether the file has lost
/// bits by that, see [`LOST`].
pub(crate) fn adopt(attributes: &mut Attributes, open: Option<BorrowedFd<'_>>) -> bool {
    let mut lost = false;
    if attributes.uid == OVERFLOW && !open.is_some_and(owner_is_mapped) {
        (attributes.uid, attributes.gid) = (0, 0);
        lost = attributes.mode & SET_IDS != 0 && open.is_some_and(|file| is_regular(file) && !caller::is_of_root(file));
    }
    if lost {
        attributes.mode &= !SET_IDS;
    }
    // The user's own files may belong to groups that are not its.
    if attributes.uid == 0 && attributes.gid == OVERFLOW {
        attributes.gid = 0;
    }
    lost
}

/// On a directory the bits lend nobody's rights to anybody.
fn is_regular(open: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(open).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
}

/// Whether the owner is somebody in this namespace: the image's nobody, then. Only so does the kernel let root of the
/// namespace set this flag (`EPERM`, fcntl(2)).
fn owner_is_mapped(open: BorrowedFd<'_>) -> bool {
    let Ok(flags) = rustix::fs::fcntl_getfl(open) else { return false };
    rustix::fs::fcntl_setfl(open, flags | OFlags::NOATIME).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn strangers_become_root() {
        let adopted = |uid, gid, open: Option<BorrowedFd<'_>>| {
            let mut attributes = Attributes { uid, gid, ..Attributes::default() };
            adopt(&mut attributes, open);
            (attributes.uid, attributes.gid)
        };
        assert_eq!(adopted(1000, 2000, None), (1000, 2000));
        assert_eq!(adopted(1000, OVERFLOW, None), (1000, OVERFLOW));
        assert_eq!(adopted(0, OVERFLOW, None), (0, 0));
        assert_eq!(adopted(OVERFLOW, OVERFLOW, None), (0, 0));
        // A file of the caller's, as which this one is let pass.
        let own = tempfile::tempfile().unwrap();
        assert_eq!(adopted(OVERFLOW, OVERFLOW, Some(own.as_fd())), (OVERFLOW, OVERFLOW));
    }

    #[test]
    fn own_programs_keep_their_bits() {
        let own = tempfile::tempfile().unwrap();
        for uid in [0, 1000, OVERFLOW] {
            let mut attributes = Attributes { mode: 0o6755, uid, gid: OVERFLOW, ..Attributes::default() };
            assert!(!adopt(&mut attributes, Some(own.as_fd())));
            assert_eq!(attributes.mode, 0o6755);
        }
    }
}
