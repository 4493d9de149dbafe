//! Things that are undone when they go out of scope, also when a test fails.

use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, UnmountFlags};

/// A mounted file system.
pub struct Mounted {
    target: PathBuf,
}

impl Mounted {
    /// Mounts a tmpfs of at most `size` (as in `4m`) on a new or existing folder.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn tmpfs(target: &Path, size: &str) -> Self {
        std::fs::create_dir_all(target).expect("the mount point can be made");
        let options = std::ffi::CString::new(format!("size={size},mode=0755")).expect("no NUL");
        rustix::mount::mount("tmpfs", target, "tmpfs", MountFlags::empty(), options.as_c_str())
            .unwrap_or_else(|error| panic!("mount a tmpfs on {}: {error}", target.display()));
        Self { target: target.to_owned() }
    }

    /// Mounts a file system of the kernel's own on a folder that is there.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn new(kind: &str, target: &Path) -> Self {
        rustix::mount::mount(kind, target, kind, MountFlags::empty(), c"")
            .unwrap_or_else(|error| panic!("mount a {kind} on {}: {error}", target.display()));
        Self { target: target.to_owned() }
    }

    /// Binds a folder onto itself, so that it can be made read-only alone.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn bind(target: &Path) -> Self {
        rustix::mount::mount_bind(target, target).unwrap_or_else(|error| panic!("bind {}: {error}", target.display()));
        Self { target: target.to_owned() }
    }

    /// Mounts an overlay on a new folder, with its layers in folders beside it.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn overlay(target: &Path) -> Self {
        let beside = |what: &str| target.with_extension(what);
        let folders = ["lower", "upper", "overlay-work"].map(beside);
        for folder in folders.iter().map(PathBuf::as_path).chain([target]) {
            std::fs::create_dir_all(folder).expect("the folders can be made");
        }
        let [lower, upper, work] = folders.each_ref().map(|folder| folder.display());
        let options = format!("lowerdir={lower},upperdir={upper},workdir={work}");
        let options = std::ffi::CString::new(options).expect("no NUL");
        rustix::mount::mount("overlay", target, "overlay", MountFlags::empty(), options.as_c_str())
            .unwrap_or_else(|error| panic!("mount an overlay on {}: {error}", target.display()));
        Self { target: target.to_owned() }
    }

    /// Refuses writes from now on.
    ///
    /// # Panics
    /// When the kernel refuses.
    pub fn read_only(&self) {
        rustix::mount::mount_remount(&self.target, MountFlags::RDONLY | MountFlags::BIND, "")
            .unwrap_or_else(|error| panic!("remount {} read-only: {error}", self.target.display()));
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.target, UnmountFlags::DETACH);
    }
}

/// Unmounts everything at or below a folder in this mount namespace, newest first.
pub fn unmount_below(folder: &Path) {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    for point in points.filter(|point| Path::new(point).starts_with(folder)).collect::<Vec<_>>().into_iter().rev() {
        let _ = rustix::mount::unmount(point, UnmountFlags::DETACH);
    }
}
