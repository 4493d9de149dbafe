//! From a configuration to a list of things to do.
//!
//! Planning reads the configuration, refuses by name what cannot be given, and opens what the container takes from the
//! host (root, bind sources, namespaces) as descriptors. It changes nothing: the first side effect is
//! [`Plan::create`](crate::Plan::create).

mod attributes;
mod cgroup;
mod devices;
mod id_map;
mod labels;
mod mounts;
mod options;
mod process;
mod ranges;
mod refuse;
mod remains;
mod root;
mod sysctl;
mod tree;
mod warnings;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxNamespaceType, Spec};

pub(crate) use attributes::Attributes;
pub(crate) use cgroup::CgroupNeed;
pub(crate) use devices::DevicePlan;
pub(crate) use labels::Labels;
pub(crate) use mounts::{MountPlan, Source};
pub use options::MountOptions;
pub(crate) use process::ProcessPlan;
pub(crate) use refuse::stdio as check_stdio;
pub use remains::Remains;
pub(crate) use root::RootPlan;
pub(crate) use tree::HostTree;
pub use warnings::Warnings;

use crate::capabilities::Available;
use crate::cgroup::{CgroupPlan, Layout};
use crate::error::{Error, Result};
use crate::hooks::Hooks;
use crate::interrupt::Interrupt;
use crate::namespaces::NamespacePlan;
use crate::network::{self, NetDevice};
use crate::resctrl::ResctrlPlan;

/// Where the root file system comes from.
#[derive(Debug)]
pub enum RootSource {
    /// A directory of the host, with everything mounted below it.
    Path(PathBuf),
    /// A detached mount, such as [`overlay`](crate::overlay) makes.
    Mount(OwnedFd),
}

/// What the process has as standard input, output and error.
#[derive(Debug, Default)]
pub enum Stdio {
    /// The caller's.
    #[default]
    Inherit,
    /// These three.
    Fds([OwnedFd; 3]),
    /// A new terminal of the container; its master side is in [`Process::console`](crate::Process::console).
    Terminal,
    /// A new terminal; its master side is sent to the unix socket of this path.
    ConsoleSocket(PathBuf),
}

/// What starting a container needs besides its configuration.
#[derive(Debug)]
pub struct Setup {
    /// The container's name.
    pub id: String,
    /// What relative paths of the configuration start from.
    pub bundle: PathBuf,
    /// The root file system; `root.path` of the configuration when absent.
    pub root: Option<RootSource>,
    /// Standard input, output and error. A terminal exactly when `process.terminal` is true.
    pub stdio: Stdio,
    /// How many of the caller's descriptors from 3 on are sockets that the process is told of in `LISTEN_FDS`.
    pub listen_fds: u32,
    /// How many of the caller's descriptors after those the process keeps.
    pub preserve_fds: u32,
    /// The host's cgroups; without it the container stays in the caller's and cannot have limits.
    pub cgroups: Option<Layout>,
    /// Go without a cgroup where the caller may not make one and the configuration does not ask for one.
    pub rootless_cgroups: bool,
    /// The cgroup of a container whose configuration names none; one with the container's name by default.
    pub cgroup_path: Option<PathBuf>,
    /// Have systemd make the cgroup: `linux.cgroupsPath` is `slice:prefix:name`.
    pub systemd_cgroup: bool,
    /// The directory with `exec.fifo`, where init waits to be started by another process. Without it
    /// [`Created::start`](crate::Created::start) does that.
    pub fifo: Option<OwnedFd>,
    /// Give the process a session keyring of its own, so that containers do not see each other's keys.
    pub session_keyring: bool,
    /// Stack the root on top of the host's in place of `pivot_root(2)`, which an initramfs does not allow.
    /// A process with `CAP_SYS_ADMIN` can then find the way out.
    pub no_pivot: bool,
    /// Where filters of system calls are kept for the next container with the same.
    pub filters: Option<crate::seccomp::Cache>,
}

impl Setup {
    /// A set-up with nothing but the two things every container has.
    pub fn new(id: impl Into<String>, bundle: impl Into<PathBuf>) -> Setup {
        Setup {
            id: id.into(),
            bundle: bundle.into(),
            root: None,
            stdio: Stdio::Inherit,
            listen_fds: 0,
            preserve_fds: 0,
            cgroups: None,
            rootless_cgroups: false,
            cgroup_path: None,
            systemd_cgroup: false,
            fifo: None,
            session_keyring: true,
            no_pivot: false,
            filters: None,
        }
    }
}

/// Everything that making one container will do.
#[derive(Debug)]
pub struct Plan {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    /// Where the root file system is on the host, for people; empty when it is a mount without a place.
    pub(crate) rootfs: PathBuf,
    pub(crate) version: String,
    pub(crate) annotations: Option<std::collections::HashMap<String, String>>,
    pub(crate) namespaces: NamespacePlan,
    pub(crate) net_devices: Vec<NetDevice>,
    pub(crate) hostname: Option<String>,
    pub(crate) domainname: Option<String>,
    pub(crate) root: RootPlan,
    pub(crate) sysctl: Vec<(String, String)>,
    pub(crate) process: ProcessPlan,
    pub(crate) hooks: Hooks,
    pub(crate) cgroup: Option<CgroupPlan>,
    pub(crate) resctrl: Option<ResctrlPlan>,
    /// What happens when it is not allowed.
    pub(crate) cgroup_need: CgroupNeed,
    /// Where a container is that has no cgroup of its own.
    pub(crate) callers_cgroups: Vec<(Vec<String>, PathBuf)>,
    pub(crate) memory_limit: Option<i64>,
    pub(crate) stdio: Stdio,
    /// From 3 on.
    pub(crate) kept_fds: u32,
    pub(crate) fifo: Option<OwnedFd>,
    pub(crate) session_keyring: bool,
    pub(crate) interrupt: Option<Interrupt>,
    warnings: Warnings,
}

impl Plan {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`Error::Refused`] with the field's name for what is wrong or not supported.
    pub fn new(spec: &Spec, setup: Setup) -> Result<Plan> {
        refuse::unsupported(spec)?;
        let empty;
        let linux = match spec.linux() {
            Some(linux) => linux,
            // Every field of it is optional, and so is it. (The default of the type is what the template has.)
            None => {
                empty = serde_json::from_str("{}").map_err(|e| Error::refused("linux", e))?;
                &empty
            }
        };
        let process = spec.process().as_ref().ok_or_else(|| Error::refused("process", "is missing"))?;
        let namespaces = NamespacePlan::new(linux)?;
        let mut warnings = Warnings::default();
        let available = Available::new(namespaces.has_user())?;
        let mut process = ProcessPlan::new(spec, process, available, setup.filters.as_ref(), &mut warnings)?;
        namespaces.check_user(&process)?;
        process.listen_fds = setup.listen_fds;
        refuse::stdio(process.terminal, &setup.stdio)?;
        for (field, value) in [("hostname", spec.hostname()), ("domainname", spec.domainname())] {
            if value.as_ref().is_some_and(|v| !v.is_empty()) && !namespaces.has(LinuxNamespaceType::Uts) {
                return Err(Error::refused(field, format!("unable to set {field} without a private UTS namespace")));
            }
        }
        let cgroup = cgroup::plan(&setup, linux, spec.annotations().as_ref())?;
        let memory = linux.resources().as_ref().and_then(|r| r.memory().as_ref());
        Ok(Plan {
            version: spec.version().clone(),
            annotations: spec.annotations().clone(),
            hostname: spec.hostname().clone().filter(|name| !name.is_empty()),
            domainname: spec.domainname().clone().filter(|name| !name.is_empty()),
            sysctl: sysctl::plan(linux.sysctl().as_ref(), &namespaces)?,
            rootfs: rootfs_path(spec, &setup),
            root: root::plan(spec, &setup.bundle, setup.root, setup.no_pivot, &namespaces, &mut warnings)?,
            hooks: Hooks::new(spec.hooks().as_ref())?,
            memory_limit: memory.and_then(|m| m.limit()).filter(|&limit| limit > 0),
            net_devices: network::plan(linux.net_devices().as_ref(), &namespaces)?,
            namespaces,
            process,
            cgroup_need: CgroupNeed::new(setup.rootless_cgroups, linux),
            callers_cgroups: setup.cgroups.filter(|_| setup.rootless_cgroups).map_or_else(Vec::new, |host| host.own()),
            cgroup,
            resctrl: linux.intel_rdt().as_ref().map(|rdt| ResctrlPlan::new(rdt, &setup.id)).transpose()?,
            id: setup.id,
            bundle: setup.bundle,
            stdio: setup.stdio,
            kept_fds: setup.listen_fds.saturating_add(setup.preserve_fds),
            fifo: setup.fifo,
            session_keyring: setup.session_keyring,
            interrupt: None,
            warnings,
        })
    }

    /// Has signals end the making of the container.
    pub fn stop_at(&mut self, interrupt: Interrupt) {
        self.interrupt = Some(interrupt);
    }

    /// The cgroup that will be made.
    pub fn cgroup(&self) -> Option<&CgroupPlan> {
        self.cgroup.as_ref()
    }

    /// Has init wait at the `exec.fifo` in `directory`, see [`Setup::fifo`].
    pub fn wait_at_fifo(&mut self, directory: OwnedFd) {
        self.fifo = Some(directory);
    }

    /// What the configuration asks for in vain.
    pub fn warnings(&self) -> &Warnings {
        &self.warnings
    }
}

fn rootfs_path(spec: &Spec, setup: &Setup) -> PathBuf {
    match (&setup.root, spec.root()) {
        (Some(RootSource::Path(path)), _) => path.clone(),
        (None, Some(root)) => setup.bundle.join(root.path()),
        _ => PathBuf::new(),
    }
}

#[cfg(test)]
mod tests;
