//! Bringing a container back.
//!
//! criu runs in the container's cgroup, and in a mount namespace of its own where the root file system is attached: the
//! host's mount table stays as it is. We go there with it until it is started, as it uses descriptors of ours and can
//! mount only in folders that were opened there. The restored first process becomes our child.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use appc_rooted::{Mode, OFlags, Root};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{CWD, openat};
use rustix::mount::{MoveMountFlags, move_mount};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::criu::{Criu, Event, Setting};
use super::images::Images;
use super::wire::Writer;
use super::{Options, common_options, external_namespace, mounts, namespaces, tell_ready};
use crate::cgroup::Cgroup;
use crate::console;
use crate::error::{Context, Error, Result};
use crate::fault;
use crate::hooks::Stage;
use crate::plan::{Plan, Stdio};
use crate::process::Process;
use crate::state::Directory;
use crate::sys::clone::Cloned;
use crate::sys::mount::{MountAttributes, Propagation, mount_setattr};
use crate::sys::namespace::{setns, unshare};

/// Where criu finds the root, in the container's directory. On the host it stays empty.
const ROOT: &str = "criu-root";

impl Plan {
    /// Makes the container from a checkpoint; it runs afterwards. On failure nothing is left behind.
    ///
    /// `spec` is what this plan was made from, `directory` the container's. The calling process must have one thread.
    ///
    /// # Errors
    /// When the images cannot be trusted or do not fit the configuration, or criu or a hook says no.
    pub fn restore(self, spec: &Spec, directory: &Directory, options: &Options) -> Result<Process> {
        let root = Root::open(&self.rootfs).context(|| format!("open {}", self.rootfs.display()))?;
        Images::open(options)?.check_mounts(&root)?;
        self.make_places(&root)?;
        let place = directory.path().join(ROOT);
        std::fs::create_dir(&place).context(|| format!("make {}", place.display()))?;
        fault::point("restore: place made");
        let cgroup = self.cgroup.as_ref().map(|plan| plan.create()).transpose()?;
        let restored = self.run_criu(spec, &place, cgroup.as_ref(), options);
        // Only criu was to see it.
        let _left = std::fs::remove_dir(&place);
        match restored {
            Ok((init, console)) => {
                let mut process = Process::new(&self, init, cgroup);
                if let Some(master) = console {
                    process.keep_console(master);
                }
                Ok(process)
            }
            Err(e) => {
                // The first error is the one to tell.
                let _not_removed = cgroup.map(|cgroup| cgroup.destroy());
                Err(e)
            }
        }
    }

    /// Directories and files to mount on, which another copy of the root need not have.
    fn make_places(&self, root: &Root) -> Result<()> {
        let mounts = &self.root.mounts;
        for mount in mounts {
            let at = &mount.destination;
            // criu brings the content of the container's own file systems, and binds bring theirs.
            if mounts.iter().any(|other| other.destination != *at && at.starts_with(&other.destination)) {
                continue;
            }
            let made = match mount.is_directory() {
                true => root.mkdir_all(at, Mode::from(0o755)).map(drop),
                false => crate::rootfs::placeholder(root, at).map(drop),
            };
            made.context(|| format!("make {} to mount on", at.display()))?;
        }
        Ok(())
    }

    fn run_criu(
        &self,
        spec: &Spec,
        place: &Path,
        cgroup: Option<&Cgroup>,
        options: &Options,
    ) -> Result<(Cloned, Option<OwnedFd>)> {
        let joined = open_namespaces(spec)?;
        let kept: Vec<BorrowedFd<'_>> = joined.iter().map(|(_, fd)| fd.as_fd()).collect();
        let entry = cgroup.map(Cgroup::entry).transpose()?;
        let tree = self.root.tree.get().context(|| "open the root")?;
        let (images, descriptors, criu) = apart(|| {
            attach(tree, place)?;
            fault::point("restore: apart");
            let images = Images::open(options)?;
            let descriptors = images.descriptors()?;
            let setting = Setting { kept: &kept, entry: entry.as_ref(), noise: None };
            let criu = Criu::start("restore", images.log("restore.log"), &setting)?;
            Ok((images, descriptors, criu))
        })?;
        let mut request = Writer::default();
        request.number(1, 2);
        request.message(2, |opts| {
            common_options(opts, &images, options);
            opts.text(10, "restore.log").text(13, place.as_os_str().as_encoded_bytes());
            // Devices that moved are found again; the restored process is our child, not criu's.
            opts.flag(6, true).flag(26, true);
            for (field, label) in [(53, &options.lsm_profile), (63, &options.lsm_mount_context)] {
                if let Some(label) = label {
                    opts.text(field, label);
                }
            }
            outside(opts, spec, &self.bundle, cgroup);
            for (kind, fd) in &joined {
                match external_namespace(*kind) {
                    Some(key) => inherit(opts, key, fd.as_raw_fd().into()),
                    None => join(opts, *kind, fd),
                }
            }
            for (fd, name) in &descriptors {
                inherit(opts, name, *fd);
            }
            cgroups_of(opts, criu.pid());
        });
        let mut console = None;
        let restored = criu.ask(&request, |event| self.step(event, &mut console, options))?;
        let pid = restored.and_then(Pid::from_raw).ok_or_else(|| Error::Other("criu restored nothing".to_owned()))?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).context(|| "open the restored process")?;
        fault::point("restore: running");
        Ok((Cloned { pid: pid.as_raw_nonzero().get(), pidfd }, console))
    }

    /// What is to be done before criu goes on.
    fn step(&self, event: Event<'_>, console: &mut Option<OwnedFd>, options: &Options) -> Result<()> {
        match (event.script, event.fd) {
            ("setup-namespaces", _) => {
                let state = self.state("creating", Some(event.pid));
                self.hooks.run(Stage::Prestart, &state)?;
                self.hooks.run(Stage::CreateRuntime, &state)
            }
            ("post-restore", _) => self.check_namespaces(event.pid),
            ("orphan-pts-master", Some(master)) => match &self.stdio {
                Stdio::ConsoleSocket(path) => console::send(path, master),
                _ => {
                    *console = Some(master);
                    Ok(())
                }
            },
            ("status-ready", _) => {
                options.status_fd.into_iter().for_each(tell_ready);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Images say in which namespaces their processes were. Before these run it must be seen that they are not ours.
    fn check_namespaces(&self, pid: i32) -> Result<()> {
        let new = [
            ("mnt", libc::CLONE_NEWNS),
            ("pid", libc::CLONE_NEWPID),
            ("net", libc::CLONE_NEWNET),
            ("ipc", libc::CLONE_NEWIPC),
            ("uts", libc::CLONE_NEWUTS),
            ("user", libc::CLONE_NEWUSER),
        ];
        for (name, _) in new.into_iter().filter(|(_, flag)| *flag == libc::CLONE_NEWNS || self.namespaces.makes(*flag))
        {
            let of = |process: &str| {
                let path = format!("/proc/{process}/ns/{name}");
                rustix::fs::stat(&path).map(|status| status.st_ino).context(|| format!("look at {path}"))
            };
            if of(&pid.to_string())? == of("self")? {
                return Err(Error::Other(format!("the checkpoint would run in the {name} namespace of the host")));
            }
        }
        Ok(())
    }
}

/// Does something in a new mount namespace, and comes back.
fn apart<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let own = openat(CWD, "/proc/self/ns/mnt", flags, Mode::empty()).context(|| "open /proc/self/ns/mnt")?;
    let here = openat(CWD, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    unshare(libc::CLONE_NEWNS).context(|| "make a mount namespace for criu")?;
    let done = work();
    setns(own.as_fd(), libc::CLONE_NEWNS).context(|| "return to the own mount namespace")?;
    // Coming back leads to the root; there may have been no way to where we were.
    let _lost = here.and_then(rustix::process::fchdir);
    done
}

/// Shows criu the root, and nobody else.
fn attach(tree: &OwnedFd, place: &Path) -> Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let all = openat(CWD, "/", flags, Mode::empty()).context(|| "open /")?;
    let change = MountAttributes { propagation: Some(Propagation::Slave), ..MountAttributes::default() };
    mount_setattr(&all, true, change).context(|| "leave the host's mounts")?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(tree, "", CWD, place, flags).context(|| format!("attach the root to {}", place.display()))
}

/// The configuration's namespaces that exist, open.
fn open_namespaces(spec: &Spec) -> Result<Vec<(LinuxNamespaceType, OwnedFd)>> {
    let open = |(kind, path): (LinuxNamespaceType, &Path)| {
        if kind == LinuxNamespaceType::Cgroup {
            return Err(Error::Other("criu cannot restore into an existing cgroup namespace".to_owned()));
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = openat(CWD, path, flags, Mode::empty()).context(|| format!("open {}", path.display()))?;
        Ok((kind, fd))
    };
    namespaces(spec).map(open).collect()
}

/// What comes in the place of mounts from outside.
fn outside(opts: &mut Writer, spec: &Spec, bundle: &Path, cgroup: Option<&Cgroup>) {
    for mount in mounts::external(spec, bundle, cgroup) {
        opts.text(37, format!("mnt[{}]:{}", mount.destination.display(), mount.source.display()));
    }
    opts.text(37, "mnt[/dev/null]:/dev/null");
}

fn inherit(opts: &mut Writer, key: &str, fd: i64) {
    opts.message(27, |inherited| {
        inherited.text(1, key).number(2, fd);
    });
}

fn join(opts: &mut Writer, kind: LinuxNamespaceType, fd: &OwnedFd) {
    let name = match kind {
        LinuxNamespaceType::Mount => "mnt".to_owned(),
        other => other.to_string(),
    };
    // criu opens it by name, in the process that has it.
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    opts.message(39, |joined| {
        joined.text(1, name).text(2, path);
    });
}

/// The cgroups that criu itself is in stand for those that the images name.
fn cgroups_of(opts: &mut Writer, pid: i32) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        for controller in controllers.split(',') {
            opts.message(25, |root| {
                root.text(1, controller).text(2, path);
            });
        }
    }
}
