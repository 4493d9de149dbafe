//! Setting and reading the attributes of files.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags};
use rustix::io::Errno;

use super::Failure;
use super::overlay::opaque_name;
use crate::archive::Ownership;
use crate::archive::entry::{Attributes, Time, Xattrs};

/// Sets attributes, knowing which are right from the start.
pub(crate) struct Applier {
    pub(crate) ownership: Ownership,
    umask: u32,
    /// Who owns new files.
    owner: (u32, u32),
}

impl Applier {
    pub(super) fn new(ownership: Ownership, top: impl AsFd) -> Result<Applier, Errno> {
        let top = rustix::fs::fstat(top)?;
        // In a set-group-ID directory new files get its group.
        let gid = if top.st_mode & 0o2000 != 0 { top.st_gid } else { rustix::process::getegid().as_raw() };
        Ok(Applier { ownership, umask: umask(), owner: (rustix::process::geteuid().as_raw(), gid) })
    }

    /// The mode to create a regular file with: the final one when nothing speaks against it, saving a call.
    pub(super) fn first_mode(&self, attributes: &Attributes) -> Mode {
        let final_now =
            attributes.mode & (0o7000 | self.umask) == 0 && attributes.xattrs.is_empty() && attributes.mode != 0;
        Mode::from(if final_now { attributes.mode } else { 0o600 })
    }

    /// Sets everything on an open file or directory. Returns what could not be kept.
    ///
    /// The order matters: chown(2) clears set-user-ID and file capabilities, a read-only mode keeps an ordinary user from
    /// setting attributes, and everything but the last changes times.
    pub(super) fn apply(&self, fd: BorrowedFd<'_>, attributes: &Attributes, is: Mode) -> Result<Vec<String>, Failure> {
        let mut lost = Vec::new();
        // A directory, whose mode is not known, may have been there, with another owner.
        if self.must_chown(attributes) || is.is_empty() && self.ownership != Ownership::Mine {
            let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
            rustix::fs::fchown(fd, Some(uid), Some(gid)).map_err(|errno| self.explain_owner(errno, attributes))?;
        }
        for (name, value) in &attributes.xattrs {
            let set = rustix::fs::fsetxattr(fd, name.as_slice(), value, XattrFlags::empty());
            self.check_xattr(name, set, &mut lost)?;
        }
        let mode = self.safe_mode(attributes, &mut lost);
        if is.is_empty() || Mode::from(mode) != is {
            rustix::fs::fchmod(fd, Mode::from(mode))?;
        }
        rustix::fs::futimens(fd, &times(attributes))?;
        Ok(lost)
    }

    /// Makes an open directory hide what is in it in the layers below.
    pub(super) fn make_opaque(&self, fd: BorrowedFd<'_>) -> Result<(), Failure> {
        // Root's attribute means nothing in an overlay that an ordinary user mounts, and the other way round.
        let name = opaque_name(self.ownership);
        rustix::fs::fsetxattr(fd, name, b"y", XattrFlags::empty()).map_err(|errno| match errno {
            Errno::NOTSUP => Failure::Rule(format!("the file system here cannot keep the attribute {name}")),
            errno => Failure::Errno(errno),
        })
    }

    /// The same for what cannot be opened: links, devices, fifos.
    pub(super) fn apply_at(
        &self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        attributes: &Attributes,
        kind: FileType,
    ) -> Result<Vec<String>, Failure> {
        let mut lost = Vec::new();
        if self.must_chown(attributes) {
            let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
            rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| self.explain_owner(errno, attributes))?;
        }
        if !attributes.xattrs.is_empty() {
            let path = through_proc(dir, name);
            for (key, value) in &attributes.xattrs {
                let set = rustix::fs::lsetxattr(path.as_slice(), key.as_slice(), value, XattrFlags::empty());
                self.check_xattr(key, set, &mut lost)?;
            }
        }
        if kind != FileType::Symlink {
            // chmodat(2) follows links; a handle does not.
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(dir, name, flags, Mode::empty())?;
            let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
            rustix::fs::chmodat(rustix::fs::CWD, link, Mode::from(attributes.mode & 0o7777), AtFlags::empty())?;
        }
        rustix::fs::utimensat(dir, name, &times(attributes), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(lost)
    }

    fn must_chown(&self, attributes: &Attributes) -> bool {
        self.ownership != Ownership::Mine && (attributes.uid, attributes.gid) != self.owner
    }

    /// In a user namespace the kernel does not take ids that nobody has there (EINVAL, chown(2)).
    fn explain_owner(&self, errno: Errno, attributes: &Attributes) -> Failure {
        if errno != Errno::INVAL || self.ownership != Ownership::Mapped {
            return Failure::Errno(errno);
        }
        let Attributes { uid, gid, .. } = attributes;
        Failure::Rule(format!(
            "its owner {uid}:{gid} is beyond the user's subordinate ids: larger ranges in /etc/subuid and /etc/subgid have it"
        ))
    }

    /// Without set-user-ID and set-group-ID when the file would lend the caller's own rights to others.
    fn safe_mode(&self, attributes: &Attributes, lost: &mut Vec<String>) -> u32 {
        let mode = attributes.mode & 0o7777;
        if self.ownership == Ownership::Mine && mode & 0o6000 != 0 {
            lost.push("set-user-ID or set-group-ID bit, which takes root".into());
            return mode & 0o1777;
        }
        mode
    }

    fn check_xattr(&self, name: &[u8], set: Result<(), Errno>, lost: &mut Vec<String>) -> Result<(), Failure> {
        let Err(errno) = set else { return Ok(()) };
        let name = crate::error::printable(name);
        let refused = matches!(errno, Errno::PERM | Errno::ACCESS | Errno::NOTSUP);
        if refused && self.ownership != Ownership::AsRecorded {
            lost.push(format!("attribute {name}"));
            return Ok(());
        }
        Err(match errno {
            Errno::NOTSUP => Failure::Rule(format!("the file system here cannot keep its attribute {name}")),
            _ => Failure::Rule(format!("its attribute {name} cannot be set: {errno}")),
        })
    }
}

fn times(attributes: &Attributes) -> Timestamps {
    let spec = |time: Time| Timespec { tv_sec: time.seconds, tv_nsec: time.nanoseconds.into() };
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    Timestamps { last_access: attributes.atime.map_or(omit, spec), last_modification: spec(attributes.mtime) }
}

/// The path of a name in an open directory, for the calls that take no directory handle. The name is a single
/// component, and with the `l` calls the link that it may be is not followed.
fn through_proc(dir: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// The process's umask, without changing it. All ones when it cannot be known: every mode is then set explicitly.
fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    field.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok()).unwrap_or(0o777)
}

/// Extended attributes that are not part of a file: labels that the host's policy gives.
const NOT_KEPT: [&[u8]; 1] = [b"security.selinux"];

/// The extended attributes of an open file, sorted by name.
pub(crate) fn xattrs(fd: BorrowedFd<'_>) -> Result<Xattrs, Errno> {
    read_xattrs(|buffer| rustix::fs::flistxattr(fd, buffer), |name, buffer| rustix::fs::fgetxattr(fd, name, buffer))
}

/// The extended attributes of what cannot be opened, sorted by name.
pub(crate) fn xattrs_at(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Xattrs, Errno> {
    let path = through_proc(dir, name);
    read_xattrs(
        |buffer| rustix::fs::llistxattr(path.as_slice(), buffer),
        |name, buffer| rustix::fs::lgetxattr(path.as_slice(), name, buffer),
    )
}

/// Removes the extended attributes that `which` names from an open directory.
pub(crate) fn remove_xattrs(fd: BorrowedFd<'_>, which: impl Fn(&[u8]) -> bool) -> Result<(), Errno> {
    for (name, _) in xattrs(fd)?.iter().filter(|(name, _)| which(name)) {
        rustix::fs::fremovexattr(fd, name.as_slice())?;
    }
    Ok(())
}

/// The same for what cannot be opened.
pub(crate) fn remove_xattrs_at(dir: BorrowedFd<'_>, name: &[u8], which: impl Fn(&[u8]) -> bool) -> Result<(), Errno> {
    let path = through_proc(dir, name);
    for (key, _) in xattrs_at(dir, name)?.iter().filter(|(key, _)| which(key)) {
        rustix::fs::lremovexattr(path.as_slice(), key.as_slice())?;
    }
    Ok(())
}

fn read_xattrs(
    list: impl Fn(&mut [u8]) -> Result<usize, Errno>,
    get: impl Fn(&[u8], &mut [u8]) -> Result<usize, Errno>,
) -> Result<Xattrs, Errno> {
    // Nearly always empty: a small buffer first.
    let mut small = [0; 256];
    let mut large = Vec::new();
    let names: &[u8] = match list(&mut small) {
        Ok(len) => &small[..len],
        Err(Errno::RANGE) => {
            // XATTR_LIST_MAX.
            large.resize(65536, 0);
            let len = list(&mut large)?;
            &large[..len]
        }
        // The file system has none.
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    };
    let mut found = Vec::new();
    for name in names.split(|b| *b == 0).filter(|name| !name.is_empty() && !NOT_KEPT.contains(name)) {
        // XATTR_SIZE_MAX.
        let mut value = vec![0; 65536];
        match get(name, &mut value) {
            Ok(len) => value.truncate(len),
            // Removed since, or not for this user's eyes.
            // (a capability that counts in another user namespace: EOVERFLOW, capabilities(7)).
            Err(Errno::NODATA | Errno::PERM | Errno::ACCESS | Errno::OVERFLOW) => continue,
            Err(errno) => return Err(errno),
        }
        value.shrink_to_fit();
        found.push((name.to_vec(), value));
    }
    found.sort();
    Ok(found)
}
