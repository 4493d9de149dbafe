//! Containers saved to disk and brought back, by criu.
//!
//! criu does the work: it is started as `criu swrk` and asked over a socket ([`criu`]). What is ours is what only the
//! runtime knows: which mounts come from outside ([`mounts`]), what standard input, output and error are connected to
//! and whether the images may be trusted ([`images`]), the cgroup and the hooks ([`restore`]).
//!
//! ```text
//! IMAGES/
//!     *.img             criu's
//!     descriptors.json  what the three standard descriptors were, as runc writes it
//!     dump.log          what criu did, unless there is a work folder
//! ```
//! Whoever can write images can make any process of them, so a folder that others can write to is refused.
//! `org.criu.config` and other annotations mean nothing here: a configuration must not bring options for criu.

mod criu;
mod images;
mod mounts;
mod restore;
mod wire;

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use crate::cgroup::Cgroup;
use crate::error::{Context, Error, Result};
use crate::fault;
use crate::manage;
use crate::state::{Directory, Record, Status};

use criu::{Criu, Setting};
use images::Images;
use wire::Writer;

/// How a checkpoint is made or restored; the names are those of criu's options.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The folder of the images.
    pub images: PathBuf,
    /// The folder of logs; that of the images when absent.
    pub work: Option<PathBuf>,
    /// The folder of an earlier `pre_dump`, relative to the images.
    pub parent: Option<PathBuf>,
    /// Only save memory, and let everything run on.
    pub pre_dump: bool,
    /// Let the processes run on.
    pub leave_running: bool,
    /// Save and restore TCP connections.
    pub tcp_established: bool,
    /// Leave out connections that are just being made.
    pub tcp_skip_in_flight: bool,
    /// Give files back their names that were removed while in use.
    pub link_remap: bool,
    /// Allow connections of unix sockets to the outside.
    pub ext_unix_sk: bool,
    /// Allow processes that use a terminal of the outside.
    pub shell_job: bool,
    /// Save and restore file locks.
    pub file_locks: bool,
    /// Remove from earlier images what newer ones hold.
    pub auto_dedup: bool,
    /// Transfer memory when it is used.
    pub lazy_pages: bool,
    /// A descriptor that is written a zero byte when memory can be fetched.
    pub status_fd: Option<i32>,
    /// Where memory is sent in place of the images.
    pub page_server: Option<(String, u16)>,
    /// What criu does about cgroups.
    pub cgroups: CgroupMode,
    /// Leave the network namespace empty.
    pub empty_network: bool,
    /// Security label `TYPE:NAME` in place of the saved one.
    pub lsm_profile: Option<String>,
    /// SELinux context of restored mounts.
    pub lsm_mount_context: Option<String>,
}

/// What criu does about cgroups; the numbers are those of its protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupMode {
    /// Nothing.
    Ignore = 0,
    /// Properties of those that it makes.
    Soft = 3,
    /// Properties of all.
    Full = 4,
    /// As full, and none may exist already.
    Strict = 5,
    /// criu's choice.
    #[default]
    Default = 6,
}

/// Saves the container that `directory` and `record` stand for, made from `spec`.
///
/// Its processes have ended afterwards, unless the options say otherwise.
///
/// # Errors
/// When it does not run, the folder cannot be trusted, or criu says no.
pub fn dump(directory: &Directory, record: &Record, spec: &Spec, options: &Options) -> Result<()> {
    let status = manage::status(directory, record)?;
    if matches!(status, Status::Creating | Status::Created | Status::Stopped) {
        return Err(Error::State(format!("container cannot be checkpointed in {} state", status.as_str())));
    }
    let images = Images::make(options)?;
    fault::point("checkpoint: folder ready");
    let cgroup = record.cgroup.as_ref().map(Cgroup::reopen).transpose()?;
    let mut request = Writer::default();
    // DUMP or PRE_DUMP.
    request.number(1, if options.pre_dump { 4 } else { 1 });
    let mut outcome = Ok(());
    request.message(2, |opts| outcome = dump_options(opts, record, spec, cgroup.as_ref(), &images, options));
    outcome?;
    if !options.pre_dump {
        images.save_descriptors(record.pid)?;
        fault::point("checkpoint: descriptors saved");
    }
    let log = images.log("dump.log");
    // criu appends to it as well. Not everything that it says does it write there itself.
    let noise = File::options().append(true).create_new(true).mode(0o600).open(&log);
    let noise = noise.context(|| format!("make {}", log.display()))?;
    let criu = Criu::start("dump", log, &Setting { noise: Some(noise.as_fd()), ..Setting::default() })?;
    criu.ask(&request, |event| {
        if let ("status-ready", Some(fd)) = (event.script, options.status_fd) {
            tell_ready(fd);
        }
        Ok(())
    })?;
    fault::point("checkpoint: saved");
    Ok(())
}

fn dump_options(
    opts: &mut Writer,
    record: &Record,
    spec: &Spec,
    cgroup: Option<&Cgroup>,
    images: &Images,
    options: &Options,
) -> Result<()> {
    common_options(opts, images, options);
    opts.number(2, record.pid.into()).flag(3, options.leave_running).text(10, "dump.log");
    opts.text(13, record.rootfs.as_os_str().as_encoded_bytes());
    opts.flag(18, options.link_remap).flag(46, options.tcp_skip_in_flight);
    if let Some(parent) = &images.parent {
        opts.text(14, parent.as_os_str().as_encoded_bytes()).flag(15, true);
    }
    if let Some((address, port)) = &options.page_server {
        opts.message(11, |server| {
            server.text(1, address).number(2, (*port).into());
        });
    }
    if let Some(freezer) = cgroup.and_then(freezer) {
        opts.text(44, freezer.as_os_str().as_encoded_bytes());
    }
    if options.pre_dump {
        return Ok(());
    }
    for mount in mounts::external(spec, &record.bundle, cgroup) {
        let place = mounts::place(record.pid, &mount.destination);
        opts.text(37, format!("mnt[{}]:{}", place.display(), mount.destination.display()));
    }
    for masked in mounts::masked_files(spec, record.pid) {
        opts.text(37, format!("mnt[{}]:/dev/null", masked.display()));
    }
    for external in images::external_files(record.pid) {
        opts.text(37, external);
    }
    for (kind, path) in namespaces(spec) {
        let Some(key) = external_namespace(kind) else { continue };
        let inode = rustix::fs::stat(path).context(|| format!("look at {}", path.display()))?.st_ino;
        let name = if kind == LinuxNamespaceType::Pid { "pid" } else { "net" };
        opts.text(37, format!("{name}[{inode}]:{key}"));
    }
    Ok(())
}

/// What dump and restore have in common.
fn common_options(opts: &mut Writer, images: &Images, options: &Options) {
    opts.number(1, images.folder.as_raw_fd().into());
    if let Some(work) = &images.work {
        opts.number(17, work.as_raw_fd().into());
    }
    opts.flag(4, options.ext_unix_sk).flag(5, options.tcp_established).flag(7, options.shell_job);
    // All messages, in the log; and to be asked at each step.
    opts.flag(8, options.file_locks).number(9, 4).flag(12, true).flag(16, options.auto_dedup);
    opts.flag(24, true).number(34, options.cgroups as i64);
    // To keep connections quiet criu runs a program, unless it is told to talk to the kernel (NFTABLES).
    if !criu::has_program("iptables-restore") {
        opts.number(64, 2);
    }
    if options.empty_network {
        opts.number(38, libc::CLONE_NEWNET.into());
    }
    // A terminal of the container's has its other side with us.
    opts.flag(48, options.lazy_pages).flag(50, true);
}

/// Where the whole container is frozen, so that nothing changes while it is looked at.
fn freezer(cgroup: &Cgroup) -> Option<PathBuf> {
    let directories: Vec<_> = cgroup.directories().collect();
    let named = directories.iter().find(|(controllers, _)| controllers.iter().any(|c| c == "freezer"));
    named.or_else(|| directories.iter().find(|(controllers, _)| controllers.is_empty())).map(|(_, path)| path.clone())
}

/// The namespaces of the configuration that exist already.
fn namespaces(spec: &Spec) -> impl Iterator<Item = (LinuxNamespaceType, &Path)> {
    let all = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref()).into_iter().flatten();
    all.filter_map(|n| Some((n.typ(), n.path().as_deref().filter(|path| !path.as_os_str().is_empty())?)))
}

/// The name under which criu takes over a namespace that it does not make. Only these two it can; others it joins.
fn external_namespace(kind: LinuxNamespaceType) -> Option<&'static str> {
    match kind {
        LinuxNamespaceType::Network => Some("extRootNetNS"),
        LinuxNamespaceType::Pid => Some("extRootPidNS"),
        _ => None,
    }
}

fn tell_ready(fd: i32) {
    // By number, as the caller gave it. That nobody listens is not a reason to lose the checkpoint.
    let _unheard = std::fs::write(format!("/proc/self/fd/{fd}"), [0]);
}
