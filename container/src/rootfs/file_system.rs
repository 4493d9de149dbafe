//! New file systems, and new options for those that are mounted.

use std::fmt::Display;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, StatxAttributes, StatxFlags, fstat, statx};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags, fsconfig_create, fsconfig_reconfigure, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, fspick,
};

use super::copy_up;
use super::mounts::{adjust, text};
use crate::error::errno_text;
use crate::plan::{HostTree, MountOptions};
use crate::sys::mount::{MountAttributes, Propagation};

/// `MOUNT_ATTR_RDONLY`.
const READ_ONLY: u64 = 0x1;

/// Options of a file system: `key` or `key=value`.
type Data = [(String, Option<String>)];

/// Makes a file system with these mount attributes.
pub(super) fn new_file_system(kind: &str, source: &str, data: &Data, attributes: u64) -> Result<OwnedFd, String> {
    create(kind, source, &[], data, attributes).map_err(|e| e.to_string())
}

/// What a mount of the configuration asks for, with its options. `existing` says what it will cover.
pub(super) fn new(
    kind: &str,
    source: &str,
    options: &MountOptions,
    existing: Option<&OwnedFd>,
) -> Result<OwnedFd, String> {
    let mut data = options.data.clone();
    if let Some(covered) = existing.filter(|_| kind == "tmpfs" && !data.iter().any(|(key, _)| key == "mode")) {
        // An image's /tmp stays a directory that everyone may write to, and /root one that nobody else may look into.
        let mode = fstat(covered).map_err(text)?.st_mode & 0o7777;
        data.insert(0, ("mode".to_owned(), Some(format!("{mode:o}"))));
    }
    let attributes = options.attributes.set;
    let tree = match create(kind, source, &options.flags, &data, attributes) {
        // What it is on can only be read.
        Err(Failure { errno: Errno::ROFS | Errno::ACCESS, .. }) if attributes & READ_ONLY != 0 => {
            let flags: Vec<&str> = options.flags.iter().copied().chain(["ro"]).collect();
            create(kind, source, &flags, &data, attributes).map_err(|e| e.to_string())?
        }
        // A user namespace may mount it only with a network namespace of its own.
        Err(Failure { errno: Errno::PERM, .. }) if kind == "sysfs" => return hosts_sysfs(options),
        made => made.map_err(|e| e.to_string())?,
    };
    // What a new mount does not have need not be cleared.
    let late = MountOptions { attributes: MountAttributes::default(), ..options.clone() };
    adjust(&tree, &late)?;
    if let Some(covered) = existing.filter(|_| options.copy_up) {
        copy_up::copy(covered, &tree).map_err(|e| format!("tmpcopyup: {}", errno_text(&e)))?;
    }
    Ok(tree)
}

/// The caller's, with everything below it, as read-only as was asked for the top.
fn hosts_sysfs(options: &MountOptions) -> Result<OwnedFd, String> {
    let tree = HostTree::new(Path::new("/sys"), true, Propagation::Slave).map_err(|e| errno_text(&e))?;
    let tree = tree.get().and_then(OwnedFd::try_clone).map_err(|e| errno_text(&e))?;
    let everywhere = MountAttributes { set: options.attributes.set, ..options.recursive };
    adjust(&tree, &MountOptions { recursive: everywhere, ..options.clone() })?;
    Ok(tree)
}

/// Changes what is mounted on `place`. With `bind` only this mount, else the file system as well.
pub(super) fn remount(place: &OwnedFd, options: &MountOptions) -> Result<(), String> {
    let found = statx(place, "", AtFlags::EMPTY_PATH, StatxFlags::empty()).map_err(text)?;
    if !found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Err(format!("nothing is mounted there: {}", text(Errno::INVAL)));
    }
    if options.bind.is_none() && !(options.data.is_empty() && options.flags.is_empty()) {
        let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
        let fs = fspick(place, "", flags).map_err(text)?;
        configure(&fs, &options.flags, &options.data).map_err(|e| e.to_string())?;
        fsconfig_reconfigure(&fs).map_err(text)?;
    }
    adjust(place, options)
}

/// What the kernel said, and to what.
pub(super) struct Failure {
    pub(super) errno: Errno,
    to: Option<String>,
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.to {
            Some(to) => write!(f, "{to}: {}", text(self.errno)),
            None => f.write_str(&text(self.errno)),
        }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Failure {
        Failure { errno, to: None }
    }
}

/// As [`new_file_system`], for who wants to know what exactly went wrong.
pub(super) fn create(
    kind: &str,
    source: &str,
    flags: &[&str],
    data: &Data,
    attributes: u64,
) -> Result<OwnedFd, Failure> {
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| {
        let to = (errno == Errno::NODEV).then(|| format!("the kernel has no file system {kind:?}"));
        Failure { errno, to }
    })?;
    fsconfig_set_string(&fs, "source", source)?;
    configure(&fs, flags, data)?;
    fsconfig_create(&fs)?;
    Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::from_bits_retain(attributes as u32))?)
}

fn configure(fs: impl AsFd, flags: &[&str], data: &Data) -> Result<(), Failure> {
    let fs = fs.as_fd();
    let option = |key: &str| {
        let to = Some(format!("option {key:?}"));
        move |errno| Failure { errno, to }
    };
    for flag in flags {
        fsconfig_set_flag(fs, *flag).map_err(option(flag))?;
    }
    for (key, value) in data {
        match value {
            Some(value) => fsconfig_set_string(fs, key, value.as_str()),
            None => fsconfig_set_flag(fs, key),
        }
        .map_err(option(key))?;
    }
    Ok(())
}

/// Whether a descriptor is a directory's.
pub(super) fn is_directory(fd: &OwnedFd) -> bool {
    fstat(fd).is_ok_and(|s| FileType::from_raw_mode(s.st_mode) == FileType::Directory)
}
