//! The root file system of an app: its images' trees with a layer of its own on top.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use appc_container::RootSource;
use appc_image::archive::{CopyOptions, copy_tree};
use appc_rooted::{Mode, OFlags, Root};

use super::dir::Pod;
use crate::failure::{Context, Failure};
use crate::progress::Bar;

/// How an app's root file system comes about.
#[derive(Debug)]
pub enum Rootfs {
    /// Trees stacked, bottom first.
    Overlay {
        /// The images' trees.
        lower: Vec<PathBuf>,
        /// The directory with what the app writes (`upper`) and the kernel's own (`work`, `work1`, …).
        dir: PathBuf,
        /// How often it was opened.
        times: u32,
    },
    /// A copy.
    Copy(PathBuf),
}

impl Rootfs {
    /// Makes what is needed in the pod's directory and opens it for the first time.
    ///
    /// Without overlays, or when the kernel refuses one, the trees are copied; `warn` is told in the latter case.
    pub fn prepare(
        pod: &Pod,
        app: &str,
        lower: Vec<PathBuf>,
        overlay: bool,
        warn: impl FnOnce(String),
    ) -> Result<(Rootfs, RootSource), Failure> {
        let dir = pod.path().join("apps").join(app);
        if overlay {
            make_upper(&lower, &dir.join("upper")).context(format!("making the layers of app {app}"))?;
            match mount(&lower, &dir, 0) {
                Ok(mount) => return Ok((Rootfs::Overlay { lower, dir, times: 1 }, mount)),
                Err(e) => warn(format!("disabling overlay support: {e}: copying the image of app {app} instead")),
            }
        }
        let copy = dir.join("rootfs");
        copy_layers(&lower, &copy).map_err(|e| e.within(format!("copying the image of app {app}")))?;
        Ok((Rootfs::Copy(copy.clone()), RootSource::Path(copy)))
    }

    /// Opens it again, after the processes that it was opened for before have ended.
    pub fn open(&mut self) -> Result<RootSource, Failure> {
        Ok(match self {
            Rootfs::Overlay { lower, dir, times } => {
                *times += 1;
                mount(lower, dir, *times - 1)?
            }
            Rootfs::Copy(path) => RootSource::Path(path.clone()),
        })
    }
}

/// Nobody mounts a pod after the kernel it ran on, so nothing waits for the disk when it ends.
fn mount(lower: &[PathBuf], dir: &Path, time: u32) -> Result<RootSource, appc_container::Error> {
    let work = dir.join(if time == 0 { "work".into() } else { format!("work{time}") });
    let made = DirBuilder::new().mode(0o700).create(&work);
    made.map_err(|e| appc_container::Error::Other(format!("make {}: {e}", work.display())))?;
    Ok(RootSource::Mount(appc_container::overlay_volatile(lower, &dir.join("upper"), &work)?))
}

/// The directory of a root source, to look into and write into before it is used.
pub fn directory(source: &RootSource) -> io::Result<Root> {
    match source {
        RootSource::Path(path) => Root::open(path),
        RootSource::Mount(mount) => Ok(Root::from_fd(mount.as_fd().try_clone_to_owned()?)),
    }
}

/// The root directory of an overlay has the owner and mode of the upper layer: those of the top image.
fn make_upper(lower: &[PathBuf], upper: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o755).create(upper)?;
    let Some(top) = lower.last() else { return Ok(()) };
    let (top, made) = (fs::metadata(top)?, fs::metadata(upper)?);
    if (top.uid(), top.gid()) != (made.uid(), made.gid()) {
        std::os::unix::fs::chown(upper, Some(top.uid()), Some(top.gid()))?;
    }
    if top.mode() != made.mode() {
        fs::set_permissions(upper, Permissions::from_mode(top.mode() & 0o7777))?;
    }
    Ok(())
}

fn copy_layers(lower: &[PathBuf], copy: &Path) -> Result<(), Failure> {
    DirBuilder::new().mode(0o755).recursive(true).create(copy).context(format!("making {}", copy.display()))?;
    let to = Root::open(copy).context(format!("opening {}", copy.display()))?;
    let bar = Bar::new();
    let options = CopyOptions { layer: true, progress: Some(&bar), ..CopyOptions::default() };
    for layer in lower {
        let from = Root::open(layer).context(format!("opening {}", layer.display()))?;
        copy_tree(&from, "", &to, "", &options)?;
    }
    Ok(())
}

/// Makes way at `target` for a volume, a directory or not, as the specification has it: a file in the way of a directory
/// gives place to one. Says what of the image is not seen any more.
pub fn make_way(root: &Root, target: &Path, directory: bool) -> io::Result<Option<String>> {
    let there = match root.open_at(target, OFlags::RDONLY | OFlags::DIRECTORY) {
        Ok(there) => there,
        Err(e) if e.kind() == io::ErrorKind::NotADirectory && directory && root.stat(target).is_ok() => {
            root.unlink(target)?;
            root.mkdir_all(target, Mode::from(0o755))?;
            return Ok(Some(format!("takes the place of the file {} of the image", target.display())));
        }
        // Nothing there, or something that the mount itself has to cope with.
        Err(_) => return Ok(None),
    };
    let mut entries = rustix::fs::Dir::new(there)?;
    let is_entry = |name: &std::ffi::CStr| name != c"." && name != c"..";
    let hidden = entries.any(|entry| entry.is_ok_and(|entry| is_entry(entry.file_name())));
    Ok(hidden.then(|| format!("hides what the image has in {}", target.display())))
}

/// `/etc/hosts` for an image that has none.
pub fn provide_hosts(root: &Root, hostname: &str) -> io::Result<()> {
    match root.lstat("etc/hosts") {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        // There is one, or a link to where one may appear, or `etc` is no directory: the image's own affair.
        _ => return Ok(()),
    }
    root.mkdir_all("etc", Mode::from(0o755))?;
    let flags = OFlags::WRONLY | OFlags::EXCL;
    let mut file = fs::File::from(root.create("etc/hosts", flags, Mode::from(0o644))?);
    write!(file, "127.0.0.1\tlocalhost {hostname}\n::1\tlocalhost ip6-localhost ip6-loopback\n")
}
