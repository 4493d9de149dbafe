//! The first process of a pod: it holds the namespaces that the pod's containers share.
//!
//! It is a copy of the caller in new pid, ipc, uts and (if asked) network namespaces, with an empty read-only root of
//! its own, so that `/proc/1/root` shows the pod nothing of the host. It reaps what is orphaned in the pod, has no
//! descriptor of the caller's, cannot be traced by the pod, and dies with its parent; the kernel then kills
//! everything in its pid namespace.

use std::cell::Cell;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use oci_spec::runtime::LinuxNamespaceType;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsmount, fsopen, mount_change, move_mount, unmount,
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{DumpableBehavior, Signal, WaitOptions};

use crate::error::{Context, Error, Result};
use crate::sys::clone::{CloneFlags, Cloned, clone3};
use crate::sys::signal::SignalFd;
use crate::sys::{self, exec::close_from};

/// How long a pod's end is waited for, in seconds.
const PATIENCE: i64 = 10;

/// Which network the pod has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Network {
    /// A namespace of its own with nothing but the loopback interface, up.
    #[default]
    NewLoopback,
    /// The caller's.
    Host,
}

/// What a sandbox is made with.
#[derive(Clone, Debug, Default)]
pub struct SandboxOptions {
    /// The pod's host name; the caller's when absent.
    pub hostname: Option<String>,
    /// The pod's network.
    pub network: Network,
}

/// A living first process of a pod. Dropping it kills the pod.
#[derive(Debug)]
pub struct Sandbox {
    pid: i32,
    pidfd: OwnedFd,
    namespaces: Vec<(LinuxNamespaceType, OwnedFd)>,
}

impl Sandbox {
    /// Starts the process and waits until its namespaces are ready to be joined.
    ///
    /// The caller must have one thread, see [`sys::clone::clone3`].
    pub fn new(options: SandboxOptions) -> Result<Sandbox> {
        let mut flags = CloneFlags::default();
        flags.insert(libc::CLONE_NEWPID | libc::CLONE_NEWIPC | libc::CLONE_NEWUTS | libc::CLONE_NEWNS);
        if options.network == Network::NewLoopback {
            flags.insert(libc::CLONE_NEWNET);
        }
        let pair = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let (ours, theirs) = pair.context(|| "make a pair of sockets")?;
        let ours = Cell::new(Some(ours));
        let Cloned { pid, pidfd } = clone3(flags, None, || {
            // In the copy: then nobody listens once the parent is gone.
            drop(ours.take());
            first_process(&options, &theirs)
        })
        .context(|| "start the pod's first process")?;
        drop(theirs);
        let mut sandbox = Sandbox { pid, pidfd, namespaces: Vec::new() };
        let ours = ours.take().ok_or_else(|| Error::Other("the socket of the pod's first process is gone".into()))?;
        sandbox.open_namespaces(options.network)?;
        rustix::io::write(&ours, &[0]).context(|| "talk to the pod's first process")?;
        // One byte means ready; anything else is a sentence that says why not.
        let mut answer = [0; 512];
        let length = rustix::io::retry_on_intr(|| rustix::io::read(&ours, &mut answer))
            .context(|| "wait for the pod's first process")?;
        match &answer[..length] {
            [0] => Ok(sandbox),
            [] => Err(Error::Other("the pod's first process died at once".into())),
            why => Err(Error::Other(format!("the pod's first process: {}", String::from_utf8_lossy(why)))),
        }
    }

    /// The number of the process.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Becomes readable when the process has ended, and the pod with it.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Must come before the process forbids tracing: then only root of the host may, not that of a user namespace.
    fn open_namespaces(&mut self, network: Network) -> Result<()> {
        let mut kinds =
            vec![(LinuxNamespaceType::Pid, "pid"), (LinuxNamespaceType::Ipc, "ipc"), (LinuxNamespaceType::Uts, "uts")];
        if network == Network::NewLoopback {
            kinds.push((LinuxNamespaceType::Network, "net"));
        }
        for (kind, name) in kinds {
            let path = format!("/proc/{}/ns/{name}", self.pid);
            let opened = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            self.namespaces.push((kind, opened.context(|| format!("open {path}"))?));
        }
        Ok(())
    }

    /// The namespaces to put into `linux.namespaces[].path` of the pod's containers. Valid as long as this value lives, in
    /// this process.
    pub fn namespace_paths(&self) -> Vec<(LinuxNamespaceType, PathBuf)> {
        let path = |fd: &OwnedFd| PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        self.namespaces.iter().map(|(kind, fd)| (*kind, path(fd))).collect()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // Both fail only when it has ended before, which is what we want.
        let _ended = sys::signal::send(self.pidfd.as_fd(), libc::SIGKILL);
        // It ends when all are gone that were in it. Whoever has a process in there that has ended and was not waited for
        // would wait for ever; as it is, the process goes after this one.
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let patience = Timespec { tv_sec: PATIENCE, tv_nsec: 0 };
        if !matches!(rustix::io::retry_on_intr(|| poll(&mut fds, Some(&patience))), Ok(1)) {
            return;
        }
        let _reaped = rustix::process::waitid(
            rustix::process::WaitId::PidFd(self.pidfd.as_fd()),
            rustix::process::WaitIdOptions::EXITED,
        );
    }
}

/// The life of the pod's first process.
fn first_process(options: &SandboxOptions, ready: &OwnedFd) -> i32 {
    match set_up(options, ready) {
        Ok(signals) => reap(&signals),
        Err(e) => {
            // The parent reads it; when the parent is gone nobody is left to tell.
            let _unread = rustix::io::write(ready, e.to_string().as_bytes());
            1
        }
    }
}

fn set_up(options: &SandboxOptions, ready: &OwnedFd) -> Result<SignalFd> {
    let told = rustix::io::retry_on_intr(|| rustix::io::read(ready, &mut [0])).context(|| "wait for the parent")?;
    if told == 0 {
        return Err(Error::Other("the parent is gone".into()));
    }
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).context(|| "ask to die with the parent")?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).context(|| "forbid tracing")?;
    rustix::process::setsid().context(|| "start a session")?;
    rustix::process::umask(Mode::from(0o022));
    if let Some(name) = &options.hostname {
        sys::namespace::set_host_name(name).context(|| format!("set the host name {name}"))?;
    }
    if options.network == Network::NewLoopback {
        sys::network::raise_loopback().context(|| "bring the loopback interface up")?;
    }
    enter_empty_root().context(|| "leave the host's file system")?;
    // Answer before the pipe is closed with everything else, but only after the last step that can fail. A parent that
    // was killed before it could be asked to take this process along (prctl(2): there is no signal then) has closed its
    // end, the only one: this fails.
    let signals = SignalFd::all_except(&[]).context(|| "take the signals")?;
    rustix::io::write(ready, &[0]).context(|| "answer")?;
    let signals = keep_only(signals)?;
    set_name(c"pod");
    Ok(signals)
}

/// A root directory with nothing in it, that nobody can write to.
fn enter_empty_root() -> rustix::io::Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&fs)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let root = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    move_mount(&root, "", rustix::fs::CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    rustix::process::fchdir(&root)?;
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")
}

/// Closes every descriptor but the signals'.
fn keep_only(signals: SignalFd) -> Result<SignalFd> {
    let signals = signals.moved_to(0).context(|| "keep the signals")?;
    close_from(1).context(|| "close what was inherited")?;
    Ok(signals)
}

fn set_name(name: &CStr) {
    // For `ps` only.
    let _unnamed = rustix::thread::set_name(name);
}

/// Collects the pod's orphans for ever; ends with a `SIGTERM` of the host's. One of the pod's own is not for it to end
/// the other apps with: the number of a sender outside the pod is 0 here.
fn reap(signals: &SignalFd) -> i32 {
    loop {
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        match signals.wait() {
            Ok(received) if received.signal == libc::SIGTERM && received.pid == 0 => return 0,
            Ok(_) => {}
            Err(_) => return 1,
        }
    }
}
