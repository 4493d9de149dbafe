//! `tmpcopyup`: a new tmpfs with the content of the directory it will cover.
//!
//! The content is hostile, and others may change it meanwhile: nothing is followed, everything is reached through the
//! descriptor of the directory it is in.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fstat,
    mkdirat, mknodat, openat, readlinkat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

/// How deep directories may be nested. Each level holds two descriptors and a piece of the stack.
const DEPTH_MAX: usize = 200;
/// The longest value of an extended attribute (`XATTR_SIZE_MAX`), and the longest list of names.
const XATTR_MAX: usize = 64 * 1024;

/// Copies what is in `from` and what `from` itself is like into `to`.
pub(super) fn copy(from: &OwnedFd, to: &OwnedFd) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let [from, to] = [from, to].map(|fd| openat(fd, ".", flags, Mode::empty()));
    directory(&from?, &to?, 0)
}

fn directory(from: &OwnedFd, to: &OwnedFd, depth: usize) -> io::Result<()> {
    if depth > DEPTH_MAX {
        return Err(io::Error::other(format!("directories are nested more than {DEPTH_MAX} deep")));
    }
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            one(from, to, name, depth).map_err(|e| with_name(name, e))?;
        }
    }
    attributes(from, to)?;
    let status = fstat(from)?;
    rustix::fs::fchown(to, Some(Uid::from_raw(status.st_uid)), Some(Gid::from_raw(status.st_gid)))?;
    rustix::fs::fchmod(to, mode(&status))?;
    Ok(rustix::fs::futimens(to, &times(&status))?)
}

fn one(from: &OwnedFd, to: &OwnedFd, name: &CStr, depth: usize) -> io::Result<()> {
    let status = statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(status.st_mode);
    match kind {
        FileType::Directory => {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let inner = openat(from, name, flags, Mode::empty())?;
            mkdirat(to, name, Mode::from(0o700))?;
            return directory(&inner, &openat(to, name, flags, Mode::empty())?, depth + 1);
        }
        FileType::RegularFile => return file(from, to, name),
        FileType::Symlink => symlinkat(readlinkat(from, name, Vec::new())?.as_c_str(), to, name)?,
        kind => mknodat(to, name, kind, Mode::from(0o600), status.st_rdev)?,
    }
    let (uid, gid) = (Uid::from_raw(status.st_uid), Gid::from_raw(status.st_gid));
    chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
    if kind != FileType::Symlink {
        chmodat(to, name, mode(&status), AtFlags::empty())?;
    }
    Ok(utimensat(to, name, &times(&status), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn file(from: &OwnedFd, to: &OwnedFd, name: &CStr) -> io::Result<()> {
    // O_NONBLOCK: it may have become a fifo.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let source = openat(from, name, flags, Mode::empty())?;
    let status = fstat(&source)?;
    if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
        return Err(Errno::AGAIN.into());
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let copy = openat(to, name, flags, Mode::from(0o600))?;
    let (mut source, mut copy) = (File::from(source), File::from(copy));
    io::copy(&mut source, &mut copy)?;
    rustix::fs::fchown(&copy, Some(Uid::from_raw(status.st_uid)), Some(Gid::from_raw(status.st_gid)))?;
    attributes(&source, &copy)?;
    rustix::fs::fchmod(&copy, mode(&status))?;
    Ok(rustix::fs::futimens(&copy, &times(&status))?)
}

/// Extended attributes, as far as a tmpfs and our rights allow: losing one must not lose the container.
fn attributes(from: impl AsFd, to: impl AsFd) -> io::Result<()> {
    let mut names = vec![0u8; XATTR_MAX];
    let length = match rustix::fs::flistxattr(&from, &mut names[..]) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(()),
        length => length?,
    };
    let mut value = vec![0u8; XATTR_MAX];
    for name in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let name = CString::new(name)?;
        let length = rustix::fs::fgetxattr(&from, &name, &mut value[..])?;
        match rustix::fs::fsetxattr(&to, &name, &value[..length], XattrFlags::empty()) {
            Ok(()) | Err(Errno::NOTSUP | Errno::PERM) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

fn mode(status: &Stat) -> Mode {
    Mode::from_raw_mode(status.st_mode & 0o7777)
}

fn times(status: &Stat) -> Timestamps {
    let time = |seconds, nanoseconds| Timespec { tv_sec: seconds as _, tv_nsec: nanoseconds as _ };
    Timestamps {
        last_access: time(status.st_atime, status.st_atime_nsec),
        last_modification: time(status.st_mtime, status.st_mtime_nsec),
    }
}

fn with_name(name: &CStr, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {}", name.to_string_lossy(), crate::error::errno_text(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    fn open(path: &Path) -> OwnedFd {
        rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    #[test]
    fn a_copy_is_like_what_it_copies() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(from.join("a/b")).unwrap();
        std::fs::create_dir(&to).unwrap();
        std::fs::write(from.join("a/b/file"), "content").unwrap();
        std::fs::set_permissions(from.join("a/b/file"), PermissionsExt::from_mode(0o4751)).unwrap();
        std::fs::set_permissions(from.join("a"), PermissionsExt::from_mode(0o1500)).unwrap();
        symlink("/etc/passwd", from.join("a/link")).unwrap_or_default();
        symlink("/nowhere", from.join("link")).unwrap();
        mknodat(open(&from), "fifo", FileType::Fifo, Mode::from(0o640), 0).unwrap();
        std::fs::set_permissions(from.join("fifo"), PermissionsExt::from_mode(0o622)).unwrap();
        let time = rustix::fs::Timespec { tv_sec: 5, tv_nsec: 6 };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(open(&from), "a/b/file", &times, AtFlags::empty()).unwrap();
        copy(&open(&from), &open(&to)).unwrap();
        assert_eq!(std::fs::read(to.join("a/b/file")).unwrap(), b"content");
        for path in ["a", "a/b", "a/b/file", "fifo", "link"] {
            let [one, other] = [&from, &to].map(|dir| std::fs::symlink_metadata(dir.join(path)).unwrap());
            let seen = |m: &std::fs::Metadata| (m.mode(), m.uid(), m.gid(), m.mtime(), m.mtime_nsec());
            assert_eq!(seen(&one), seen(&other), "{path}");
        }
        assert_eq!(std::fs::read_link(to.join("link")).unwrap(), Path::new("/nowhere"));
    }

    #[test]
    fn depth_has_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir(&to).unwrap();
        std::fs::create_dir_all(from.join("d/".repeat(DEPTH_MAX + 2))).unwrap();
        let error = copy(&open(&from), &open(&to)).unwrap_err().to_string();
        assert!(error.contains("nested"), "{error}");
    }
}
