//! The engine of the original: systemd-nspawn, where it is installed.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use appc_container::cgroup::Layout;
use appc_container::sys::signal::{Received, end_with_this, ignore_in, reset_for};
use appc_container::{Interrupt, Network, exit_code, in_user_namespace};
use appc_rooted::Root;
use rustix::fs::{CWD, FileType};
use rustix::mount::{MountPropagationFlags, MoveMountFlags, UnmountFlags, mount_change, move_mount, unmount};
use rustix::process::Signal;
use rustix::thread::UnshareFlags;

use super::lower::{Inputs, environment};
use crate::error::{Error, Result};
use crate::script::{handed_on, wait};

/// What it makes in every tree that has them not, and the image should not get: base-filesystem.c of systemd.
pub(super) const DIRECTORIES: [&str; 9] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/root", "/run", "/tmp", "/var"];

/// Where it makes files before it enters the tree, by paths of the host's.
const FILLED: [&str; 4] = ["/dev", "/proc", "/run", "/sys"];

/// What it puts itself and the command into.
const CGROUPS: [&str; 2] = ["payload", "supervisor"];

/// Has systemd-nspawn run what `inputs` says in the mounted tree `root`, which is attached at `target` for that time, where
/// nobody else sees it.
pub(crate) fn execute(inputs: &Inputs<'_>, root: &OwnedFd, target: &Path, network: Network) -> Result<()> {
    if in_user_namespace() {
        let why =
            "systemd-nspawn must be run by root of the host: leave --engine out, as acbuild's own engine needs no root";
        return Err(Error::refused(why));
    }
    refuse_links(root)?;
    fs::create_dir(target).map_err(Error::io("create", target))?;
    let kinds = UnshareFlags::NEWNS.bits().cast_signed();
    appc_container::sys::namespace::unshare(kinds).map_err(Error::io("make a mount namespace for", target))?;
    let attach = || {
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        move_mount(root, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
    };
    attach().map_err(|e| Error::io("mount the image at", target)(e.into()))?;
    let interrupt = Interrupt::new().map_err(Error::io("take signals for", "systemd-nspawn"))?;
    let mut command = command(inputs, target, network);
    reset_for(&mut command);
    // Killed, it would leave the container running.
    end_with_this(&mut command, Signal::TERM);
    // Nor does it expect this one, which ends it in the same way.
    ignore_in(&mut command, Signal::HUP);
    let ended = command.spawn().and_then(|mut child| wait(&mut child, &interrupt, for_nspawn));
    unmount(target, UnmountFlags::DETACH).map_err(|e| Error::io("unmount", target)(e.into()))?;
    // What it makes below the cgroup it is started in it leaves there.
    if let Ok(cgroups) = Layout::detect(Path::new("/sys/fs/cgroup")) {
        cgroups.remove_left_below(|name| CGROUPS.contains(&name));
    }
    match ended {
        Ok((_, Some(signal))) => Err(Error::Exited(u8::try_from(128 + signal).unwrap_or(1))),
        Ok((status, None)) if status.success() => Ok(()),
        Ok((status, None)) => Err(Error::Exited(u8::try_from(exit_code(status)).unwrap_or(1))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(Error::refused(
            "systemd-nspawn is not installed: install the package systemd-container, or leave --engine out, as acbuild's own \
             engine needs no other program",
        )),
        Err(e) => Err(Error::io("run", "systemd-nspawn")(e)),
    }
}

/// Through a link of the image it would write to what that leads to on the host.
fn refuse_links(root: &OwnedFd) -> Result<()> {
    let root = Root::from_fd(root.try_clone().map_err(Error::io("look at", "the image"))?);
    for path in FILLED {
        let is_link = root.lstat(path).is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink);
        if is_link {
            return Err(Error::Refused(format!(
                "{path} of the image is a symbolic link, which systemd-nspawn would follow on the host: leave --engine out"
            )));
        }
    }
    Ok(())
}

/// What systemd-nspawn is sent for a signal to this process.
fn for_nspawn(received: Received) -> Option<Signal> {
    match Signal::from_named_raw(received.signal) {
        Some(Signal::HUP) => Some(Signal::TERM),
        _ => handed_on(received),
    }
}

fn command(inputs: &Inputs<'_>, target: &Path, network: Network) -> Command {
    let mut command = Command::new("systemd-nspawn");
    command.arg("--directory").arg(target);
    // Nothing of the host but what is asked for: no time zone, no resolver, no journal, no registration.
    // And no unit of systemd's, so that it works where that is not the first process.
    command.args([
        "--quiet",
        "--register=no",
        "--keep-unit",
        "--console=autopipe",
        "--as-pid2",
        "--timezone=off",
        "--resolv-conf=off",
        "--link-journal=no",
    ]);
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
