//! The engine of the original: systemd-nspawn, where it is installed.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use appc_container::{Network, exit_code};
use rustix::fs::CWD;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, UnmountFlags, mount_change, move_mount, unmount};
use rustix::thread::UnshareFlags;

use super::lower::{Inputs, environment};
use crate::error::{Error, Result};

/// Has systemd-nspawn run what `inputs` says in the mounted tree `root`, which is attached at `target` for that time, where
/// nobody else sees it.
pub(crate) fn execute(inputs: &Inputs<'_>, root: &OwnedFd, target: &Path, network: Network) -> Result<()> {
    fs::create_dir(target).map_err(Error::io("create", target))?;
    let kinds = UnshareFlags::NEWNS.bits().cast_signed();
    appc_container::sys::namespace::unshare(kinds).map_err(Error::io("make a mount namespace for", target))?;
    let attach = || {
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        move_mount(root, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
    };
    attach().map_err(|e| Error::io("mount the image at", target)(e.into()))?;
    let ended = command(inputs, target, network).status();
    unmount(target, UnmountFlags::DETACH).map_err(|e| Error::io("unmount", target)(e.into()))?;
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::Exited(u8::try_from(exit_code(status)).unwrap_or(1))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(Error::refused(
            "systemd-nspawn is not installed: install the package systemd-container, or leave --engine out, as acbuild's own \
             engine needs no other program",
        )),
        Err(e) => Err(Error::io("run", "systemd-nspawn")(e)),
    }
}

fn command(inputs: &Inputs<'_>, target: &Path, network: Network) -> Command {
    let mut command = Command::new("systemd-nspawn");
    command.arg("--directory").arg(target);
    // Nothing of the host but what is asked for: no time zone, no resolver, no journal, no registration.
    command.args(["--quiet", "--register=no", "--as-pid2", "--timezone=off", "--resolv-conf=off", "--link-journal=no"]);
    command.arg(format!("--machine={}", super::execute::HOST_NAME)).arg(format!("--chdir={}", inputs.working_dir));
    command.arg(format!("--user={}", inputs.account.name));
    if network == Network::NewLoopback {
        command.arg("--private-network");
    }
    command.args(environment(inputs).into_iter().map(|variable| format!("--setenv={variable}")));
    for bind in inputs.binds {
        let kind = if bind.read_only { "--bind-ro" } else { "--bind" };
        let escaped = |path: &Path| path.display().to_string().replace('\\', "\\\\").replace(':', "\\:");
        command.arg(format!("{kind}={}:{}", escaped(&bind.source), escaped(&bind.target)));
    }
    command.arg("--").args(inputs.command);
    command
}
