//! Which cgroup hierarchies this host has, and where this process is in them.

use std::fs::File;
use std::path::{Path, PathBuf};

use libc::{CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC};

use super::{Error, Result};
use crate::files::read_kernels;

/// How the cgroup file systems are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Version 1 hierarchies only.
    V1,
    /// Version 1 hierarchies, and a version 2 one beside them.
    Hybrid,
    /// One version 2 hierarchy.
    V2,
}

/// One mounted hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// Version 1: its controllers (or `name=…`). Version 2: those its root offers.
    pub controllers: Vec<String>,
    /// Where it is mounted.
    pub mount: PathBuf,
    /// The cgroup of this process below `mount`, without a leading slash.
    pub own: PathBuf,
}

/// Where each controller of this host lives.
#[derive(Debug, Clone)]
pub struct Layout {
    pub(super) version: Version,
    pub(super) v1: Vec<Hierarchy>,
    pub(super) unified: Option<Hierarchy>,
}

/// Where one controller lives.
pub(super) enum Home<'a> {
    V1(&'a Hierarchy),
    V2(&'a Hierarchy),
}

impl Layout {
    /// Looks at the hierarchies below `root`, which is `/sys/fs/cgroup` on every host.
    ///
    /// # Errors
    /// When there are none, or they cannot be read.
    pub fn detect(root: &Path) -> Result<Layout> {
        let own = Path::new("/proc/self/cgroup");
        let own = File::open(own).and_then(read_kernels).map_err(|e| Error::io("read", own, e))?;
        let mut layout = Layout::from_own(root, &own, |dir, version| {
            let magic = if version == Version::V2 { CGROUP2_SUPER_MAGIC } else { CGROUP_SUPER_MAGIC };
            rustix::fs::statfs(dir).is_ok_and(|s| s.f_type == magic)
        })?;
        layout.correct_for_bind_mounts()?;
        Ok(layout)
    }

    /// `own` is the text of `/proc/self/cgroup`; `mounted` tells whether a hierarchy (`V1` or `V2`) is at a path.
    pub(super) fn from_own(root: &Path, own: &str, mounted: impl Fn(&Path, Version) -> bool) -> Result<Layout> {
        let unified_mount = [root.to_owned(), root.join("unified")].into_iter().find(|dir| mounted(dir, Version::V2));
        let mut layout = Layout { version: Version::V1, v1: Vec::new(), unified: None };
        for line in own.lines() {
            // 4:memory:/user.slice — the controllers are empty for the unified hierarchy.
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
            let own = PathBuf::from(path.trim_start_matches('/'));
            if controllers.is_empty() {
                let Some(mount) = unified_mount.clone() else { continue };
                layout.unified = Some(Hierarchy { controllers: offered(&mount)?, mount, own });
            } else {
                let mount = root.join(controllers.strip_prefix("name=").unwrap_or(controllers));
                if mounted(&mount, Version::V1) {
                    layout.v1.push(Hierarchy { controllers: names(controllers, ','), mount, own });
                }
            }
        }
        layout.version = match (&layout.unified, layout.v1.is_empty()) {
            (None, true) => return Err(Error::NotMounted(root.to_owned())),
            (None, false) => Version::V1,
            (Some(_), true) => Version::V2,
            (Some(_), false) => Version::Hybrid,
        };
        Ok(layout)
    }

    /// In a container without a cgroup namespace, `/proc/self/cgroup` tells paths of the host, while only our own
    /// part of each hierarchy is mounted: take off what the mount's root already says.
    fn correct_for_bind_mounts(&mut self) -> Result<()> {
        let lost = |h: &Hierarchy| !h.own.as_os_str().is_empty() && !h.mount.join(&h.own).is_dir();
        if !self.v1.iter().chain(&self.unified).any(lost) {
            return Ok(());
        }
        let path = Path::new("/proc/self/mountinfo");
        let mountinfo = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
        for hierarchy in self.v1.iter_mut().chain(&mut self.unified).filter(|h| lost(h)) {
            hierarchy.own = below_mount_root(&mountinfo, &hierarchy.mount, &hierarchy.own);
        }
        Ok(())
    }

    /// How the hierarchies are laid out.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The directories that this process is in, each with the controllers of a version 1 hierarchy (none for the unified
    /// one). What is outside of what can be seen here is left out.
    pub(crate) fn own(&self) -> Vec<(Vec<String>, PathBuf)> {
        let v1 = self.v1.iter().map(|h| (h.controllers.clone(), h.mount.join(&h.own)));
        let unified = self.unified.iter().map(|h| (Vec::new(), h.mount.join(&h.own)));
        v1.chain(unified).filter(|(_, directory)| directory.is_dir()).collect()
    }

    /// This host as it would be without the hierarchy of version 2.
    #[cfg(test)]
    pub(super) fn version_1_only(mut self) -> Option<Layout> {
        (self.unified.take().is_none() || !self.v1.is_empty()).then_some(Layout { version: Version::V1, ..self })
    }

    /// Where `controller` lives, named as version 1 does (`blkio`, `devices`).
    pub(super) fn home(&self, controller: &str) -> Option<Home<'_>> {
        if let Some(hierarchy) = self.v1.iter().find(|h| h.controllers.iter().any(|c| c == controller)) {
            return Some(Home::V1(hierarchy));
        }
        let unified = self.unified.as_ref()?;
        let here = match controller {
            // Not a controller there: BPF programs, which every cgroup takes.
            "devices" => true,
            "blkio" => unified.controllers.iter().any(|c| c == "io"),
            name => unified.controllers.iter().any(|c| c == name),
        };
        here.then_some(Home::V2(unified))
    }
}

/// The controllers that the root of a version 2 hierarchy can give.
fn offered(mount: &Path) -> Result<Vec<String>> {
    let path = mount.join("cgroup.controllers");
    let text = File::open(&path).and_then(read_kernels).map_err(|e| Error::io("read", path, e))?;
    Ok(names(text.trim(), ' '))
}

fn names(text: &str, separator: char) -> Vec<String> {
    text.split(separator).filter(|n| !n.is_empty()).map(str::to_owned).collect()
}

/// `own` relative to the directory of the hierarchy that is mounted on `mount`; its root when it is not below it.
fn below_mount_root(mountinfo: &str, mount: &Path, own: &Path) -> PathBuf {
    // 31 23 0:26 /docker/0ab1 /sys/fs/cgroup/memory rw … — the last mount on a path is the one seen.
    let root = mountinfo.lines().rev().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let root = fields.next()?;
        (Path::new(fields.next()?) == mount).then_some(root)
    });
    let root = root.unwrap_or("/").trim_start_matches('/');
    own.strip_prefix(root).map(Path::to_owned).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "9:name=systemd:/user.slice\n4:memory:/a/b\n1:cpu,cpuacct:/\n0::/c\n";

    fn layout(own: &str, v2: &str) -> Result<Layout> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("unified")).unwrap();
        for d in ["", "unified"] {
            std::fs::write(dir.path().join(d).join("cgroup.controllers"), "hugetlb io\n").unwrap();
        }
        let v2 = dir.path().join(v2);
        Layout::from_own(dir.path(), own, |path, version| match version {
            Version::V2 => path == v2,
            _ => path != v2 && !path.ends_with("unified"),
        })
    }

    #[test]
    fn each_kind_of_host_is_told_apart() {
        assert_eq!(layout(OWN, "nowhere").unwrap().version(), Version::V1);
        assert_eq!(layout(OWN, "unified").unwrap().version(), Version::Hybrid);
        assert_eq!(layout("0::/x\n", "").unwrap().version(), Version::V2);
        assert!(matches!(layout("0::/x\n", "nowhere"), Err(Error::NotMounted(_))));
    }

    #[test]
    fn controllers_are_found_where_they_live() {
        let hybrid = layout(OWN, "unified").unwrap();
        assert!(matches!(hybrid.home("cpuacct"), Some(Home::V1(h)) if h.mount.ends_with("cpu,cpuacct")));
        assert!(matches!(hybrid.home("memory"), Some(Home::V1(h)) if h.own == Path::new("a/b")));
        assert!(matches!(hybrid.home("hugetlb"), Some(Home::V2(h)) if h.own == Path::new("c")));
        assert!(matches!(hybrid.home("blkio"), Some(Home::V2(_))));
        assert!(matches!(hybrid.home("devices"), Some(Home::V2(_))));
        assert!(hybrid.home("rdma").is_none());
        assert!(layout(OWN, "nowhere").unwrap().home("devices").is_none());
    }

    #[test]
    fn a_bind_mounted_part_of_a_hierarchy_is_seen_through() {
        let mountinfo =
            "31 23 0:26 / /sys/fs/cgroup rw - tmpfs\n32 31 0:27 /docker/0ab /sys/fs/cgroup/cpu rw - cgroup\n";
        let cpu = Path::new("/sys/fs/cgroup/cpu");
        assert_eq!(below_mount_root(mountinfo, cpu, Path::new("docker/0ab/x")), Path::new("x"));
        assert_eq!(below_mount_root(mountinfo, cpu, Path::new("elsewhere")), Path::new(""));
    }
}
