//! Labels of the security modules: AppArmor's profile and SELinux's contexts.

use std::os::fd::OwnedFd;

use oci_spec::runtime::{Linux, Process, Spec};
use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, fstatfs};

use crate::error::{Context, Error, Result};

const NO_SELINUX: &str = "selinux label is specified in config, but selinux is disabled or not supported: remove it";

/// Under which labels a process runs its program.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    pub(crate) apparmor: Option<String>,
    pub(crate) selinux: Option<String>,
    /// The host's procfs, opened before anything of the container's can be in its place; with a label only.
    pub(crate) proc: Option<OwnedFd>,
}

impl Labels {
    /// Reads what a process of the container asks for. What it leaves open is as for the container's first one.
    pub(super) fn new(spec: &Spec, process: &Process) -> Result<Labels> {
        let first = spec.process().as_ref().unwrap_or(process);
        let text = |own: &Option<String>, first: &Option<String>| {
            let given = |label: &Option<String>| label.clone().filter(|label| !label.is_empty());
            given(own).or_else(|| given(first))
        };
        let apparmor = text(process.apparmor_profile(), first.apparmor_profile());
        let selinux = text(process.selinux_label(), first.selinux_label());
        if apparmor.is_some() && !has_apparmor() {
            let rule = "config provided but apparmor is not enabled on this host: remove the profile";
            return Err(Error::refused("process.apparmorProfile", rule));
        }
        if selinux.is_some() && !has_selinux() {
            return Err(Error::refused("process.selinuxLabel", NO_SELINUX));
        }
        let proc = if apparmor.is_some() || selinux.is_some() { Some(open_proc()?) } else { None };
        Ok(Labels { apparmor, selinux, proc })
    }
}

/// `linux.mountLabel`, for the file systems made for the container.
pub(super) fn mount_label(linux: Option<&Linux>) -> Result<Option<String>> {
    let label = linux.and_then(|l| l.mount_label().clone()).filter(|label| !label.is_empty());
    match label.is_some() && !has_selinux() {
        true => Err(Error::refused("linux.mountLabel", NO_SELINUX)),
        false => Ok(label),
    }
}

fn has_apparmor() -> bool {
    std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.starts_with(b"Y"))
}

/// A kernel that was booted without SELinux does not have its file system, whatever it was built with.
fn has_selinux() -> bool {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known.lines().any(|line| line.split_ascii_whitespace().last() == Some("selinuxfs"))
}

fn open_proc() -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let proc = rustix::fs::open("/proc", flags, Mode::empty()).context(|| "open /proc")?;
    match fstatfs(&proc).context(|| "look at /proc")?.f_type == PROC_SUPER_MAGIC {
        true => Ok(proc),
        false => Err(Error::Other("/proc is no procfs: security labels cannot be set".to_owned())),
    }
}
