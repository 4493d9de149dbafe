//! Overlay mounts that exist as a descriptor only.
//!
//! Nothing appears in the caller's mount table, so nothing is left there whatever happens to the caller: the kernel
//! drops the mount with its last descriptor (or with the mount namespace it was attached in).
//!
//! | kernel | several lower layers are given by |
//! |---|---|
//! | 6.5 and later | `lowerdir+`, one by one, up to 500 |
//! | before | one `lowerdir=` string of at most 255 bytes, else `mount(2)` (4095 bytes) in a namespace of its own |
//!
//! Layers are named through their descriptors (`/proc/self/fd/7`): short, and no `:` or `,` of a path can be misread.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, mount_change, open_tree,
};

use crate::error::{Context, Error, Result};
use crate::sys;
use crate::sys::namespace::in_user_namespace;

/// `fsconfig(2)`: a string value has at most 255 bytes.
const STRING_MAX: usize = 255;

/// Mounts `lower` (bottom first) with `upper` on top, work being done in `work` (same file system, else empty).
pub fn overlay(lower: &[PathBuf], upper: &Path, work: &Path) -> Result<OwnedFd> {
    mount_overlay(lower, Some(Upper { dir: upper, work, volatile: false, plain: false }))
}

/// As [`overlay`], for an upper layer that need not outlive the kernel: nothing of it is written back on purpose.
///
/// Otherwise the end of the mount waits until everything on the *whole* file system of `upper` has reached the disk,
/// which takes seconds where others write much. `work` must be new each time: the kernel refuses one that was used so.
pub fn overlay_volatile(lower: &[PathBuf], upper: &Path, work: &Path) -> Result<OwnedFd> {
    mount_overlay(lower, Some(Upper { dir: upper, work, volatile: true, plain: false }))
}

/// As [`overlay_volatile`], for an upper layer that will be looked at on its own: whatever the host's defaults are, files
/// in it are whole and lie under their own names. (Renaming a directory of a lower layer then is for its caller to do by
/// copying, as between file systems.)
pub fn overlay_plain(lower: &[PathBuf], upper: &Path, work: &Path) -> Result<OwnedFd> {
    mount_overlay(lower, Some(Upper { dir: upper, work, volatile: true, plain: true }))
}

/// Mounts `lower` (bottom first) read-only.
pub fn overlay_read_only(lower: &[PathBuf]) -> Result<OwnedFd> {
    mount_overlay(lower, None)
}

fn mount_overlay(lower: &[PathBuf], upper: Option<Upper<'_>>) -> Result<OwnedFd> {
    if lower.is_empty() {
        return Err(Error::Other("overlay: no lower layer".into()));
    }
    let layers = Layers::open(lower, upper)?;
    match layers.mount_one_by_one() {
        Err(Errno::INVAL) => {}
        done => return done.context(|| format!("mount overlay of {}", names(lower))),
    }
    // Older kernels do not know `lowerdir+`. A kernel that refused the layers themselves says so again here.
    if layers.lower_string().len() <= STRING_MAX {
        return layers.mount_by_string().context(|| format!("mount overlay of {}", names(lower)));
    }
    mount_in_own_namespace(lower, upper).map_err(|e| Error::Other(format!("mount overlay of {}: {e}", names(lower))))
}

fn names(lower: &[PathBuf]) -> String {
    lower.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The writable part of an overlay.
#[derive(Clone, Copy)]
struct Upper<'p> {
    dir: &'p Path,
    work: &'p Path,
    volatile: bool,
    plain: bool,
}

/// The directories of an overlay, open.
struct Layers {
    /// Top first, as the kernel wants them.
    lower: Vec<OwnedFd>,
    upper: Option<(OwnedFd, OwnedFd)>,
    /// Options without a value.
    flags: Vec<&'static str>,
    /// Those with one.
    settings: &'static [(&'static str, &'static str)],
}

/// What makes an upper layer plain.
const PLAIN: &[(&str, &str)] = &[("redirect_dir", "off"), ("metacopy", "off"), ("index", "off")];

impl Layers {
    fn open(lower: &[PathBuf], upper: Option<Upper<'_>>) -> Result<Layers> {
        let open = |path: &Path| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).context(|| format!("open {}", path.display()))
        };
        let lower = lower.iter().rev().map(|path| open(path)).collect::<Result<_>>()?;
        let mut flags = Vec::new();
        // In a user namespace the attributes of root's overlays mean nothing, and neither can those options be had.
        let user = in_user_namespace();
        let plain = upper.is_some_and(|u| u.plain);
        flags.extend(upper.is_some_and(|u| u.volatile).then_some("volatile"));
        flags.extend(user.then_some("userxattr"));
        let settings = if plain && !user { PLAIN } else { &[] };
        let upper = upper.map(|u| Ok::<_, Error>((open(u.dir)?, open(u.work)?))).transpose()?;
        Ok(Layers { lower, upper, flags, settings })
    }

    fn lower_string(&self) -> String {
        self.lower.iter().map(proc_path).collect::<Vec<_>>().join(":")
    }

    fn mount_one_by_one(&self) -> Result<OwnedFd, Errno> {
        let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        for layer in &self.lower {
            fsconfig_set_string(&fs, "lowerdir+", proc_path(layer))?;
        }
        self.finish(fs)
    }

    fn mount_by_string(&self) -> Result<OwnedFd, Errno> {
        let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(&fs, "lowerdir", self.lower_string())?;
        self.finish(fs)
    }

    fn finish(&self, fs: OwnedFd) -> Result<OwnedFd, Errno> {
        fsconfig_set_string(&fs, "source", "overlay")?;
        match &self.upper {
            Some((upper, work)) => {
                fsconfig_set_string(&fs, "upperdir", proc_path(upper))?;
                fsconfig_set_string(&fs, "workdir", proc_path(work))?;
            }
            None => fsconfig_set_flag(&fs, "ro")?,
        }
        for (name, value) in self.settings {
            fsconfig_set_string(&fs, *name, *value)?;
        }
        for flag in &self.flags {
            fsconfig_set_flag(&fs, *flag)?;
        }
        fsconfig_create(&fs)?;
        fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
    }
}

/// `mount(2)` takes a page of options but also attaches: a thread does it where nobody looks and clones the result.
fn mount_in_own_namespace(lower: &[PathBuf], upper: Option<Upper<'_>>) -> Result<OwnedFd> {
    let mount = || -> Result<OwnedFd> {
        sys::namespace::unshare(libc::CLONE_FS | libc::CLONE_NEWNS).context(|| "make a mount namespace")?;
        let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        mount_change("/", private).context(|| "keep mounts to the thread")?;
        // Again: a kernel may insist that layers belong to the namespace that mounts them.
        let layers = Layers::open(lower, upper)?;
        let mut options = format!("lowerdir={}", layers.lower_string());
        if let Some((upper, work)) = &layers.upper {
            options += &format!(",upperdir={},workdir={}", proc_path(upper), proc_path(work));
        }
        layers.settings.iter().for_each(|(name, value)| options += &format!(",{name}={value}"));
        layers.flags.iter().for_each(|flag| options += &format!(",{flag}"));
        let options = CString::new(options).map_err(|e| Error::Other(e.to_string()))?;
        let flags = if upper.is_none() { MountFlags::RDONLY } else { MountFlags::empty() };
        // Any directory does. This one is there, or the layers could not be named, and they are looked up before it
        // is covered.
        let place = "/proc";
        mount("overlay", place, "overlay", flags, options.as_c_str()).context(|| "mount")?;
        let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        open_tree(CWD, place, clone).context(|| "clone the mount")
    };
    let died = |_| Err(Error::Other("the thread that mounts died".to_owned()));
    std::thread::scope(|scope| scope.spawn(mount).join().unwrap_or_else(died))
}

fn proc_path(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

#[cfg(test)]
mod tests {
    use super::*;
    use appc_rooted::Root;

    /// Every way to mount gives the same, whichever this kernel would choose.
    #[test]
    fn all_ways_give_the_same() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            dir.path().join(name)
        };
        let lower: Vec<PathBuf> = (0..30).map(|n| folder(&format!("layer,{n}:"))).collect();
        for (n, layer) in lower.iter().enumerate() {
            std::fs::write(layer.join("same"), n.to_string()).unwrap();
        }
        let (upper, work) = (folder("upper"), folder("work"));
        let above = Some(Upper { dir: &upper, work: &work, volatile: false, plain: false });
        let few = Layers::open(&lower[..3], above).unwrap();
        let mounts = [
            (few.mount_by_string().unwrap(), "2"),
            (mount_in_own_namespace(&lower, above).unwrap(), "29"),
            (mount_in_own_namespace(&lower[..2], None).unwrap(), "1"),
            (overlay(&lower, &upper, &work).unwrap(), "29"),
        ];
        for (mount, content) in mounts {
            assert_eq!(Root::from_fd(mount).read("same", 10).unwrap(), content.as_bytes());
        }
    }
}
