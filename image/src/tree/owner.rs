//! Whose the copy of a host's file becomes when an ordinary user makes it in a user namespace.
//!
//! The user is root there, its subordinate ids are the numbers of the image, and everyone else of the host is shown as
//! nobody. An image does not want the host's users: what belongs to one of them becomes root's, as the user's own files do.

use std::os::fd::BorrowedFd;

use rustix::fs::OFlags;

use crate::archive::entry::Attributes;

/// What the kernel shows instead of ids that the namespace has not (user_namespaces(7), `/proc/sys/kernel/overflowuid`).
const OVERFLOW: u32 = 65534;

/// Replaces the owner of a file of the host; `open` is a descriptor of a regular file or directory.
pub(crate) fn adopt(attributes: &mut Attributes, open: Option<BorrowedFd<'_>>) {
    if attributes.uid == OVERFLOW && !open.is_some_and(owner_is_mapped) {
        (attributes.uid, attributes.gid) = (0, 0);
    }
    // The user's own files may belong to groups that are not its.
    if attributes.uid == 0 && attributes.gid == OVERFLOW {
        attributes.gid = 0;
    }
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
}
