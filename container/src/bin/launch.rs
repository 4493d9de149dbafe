//! What `create`, `run` and `restore` have in common: from arguments to a container that is ready to start.

use std::path::{Path, PathBuf};

use appc_container::cgroup::Layout;
use appc_container::checkpoint::Options;
use appc_container::config::read_spec;
use appc_container::files::read_regular;
use appc_container::notify::Proxy;
use appc_container::plan::Remains;
use appc_container::seccomp::Cache;
use appc_container::state::{CONFIG_MAX, Directory, Record, check_id, replace_file};
use appc_container::{Begun, Created, Error, Interrupt, Plan, Process, Setup, Stdio, notify};
use clap::Args;
use oci_spec::runtime::Spec;

use crate::commands::wrong;
use crate::globals::Globals;
use crate::inherited::check_inherited;
use crate::log::Log;

/// Arguments of `create`, `run` and `restore`.
#[derive(Debug, Args)]
pub(crate) struct Base {
    /// Name of the container, unique on this host
    #[arg(value_name = "CONTAINER")]
    pub(crate) id: String,
    /// Directory of the bundle
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Unix socket that is sent the container's terminal
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// File to write the number of the container's first process to
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Stack the root on the host's in place of leaving the host's (for hosts that run from an initramfs)
    #[arg(long)]
    no_pivot: bool,
}

/// Arguments of `create` and `run`: what a restored process has of this kind is in its images.
#[derive(Debug, Args)]
pub(crate) struct Launch {
    #[command(flatten)]
    pub(crate) base: Base,
    /// Unix socket that is sent a pidfd of the container's first process
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,
    /// Keep the caller's session keyring
    #[arg(long)]
    no_new_keyring: bool,
    /// How many descriptors from 3 on the process inherits, after those of LISTEN_FDS
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
}

/// A container that is made, with its directory.
pub(crate) struct Launched {
    pub(crate) created: Created,
    pub(crate) directory: Directory,
    /// Who listens to it, if it is to say when it is ready and does not wait to be started.
    pub(crate) proxy: Option<Proxy>,
}

/// A container that can be made, with its directory, and the configuration read and as it was written.
struct Planned {
    plan: Plan,
    spec: Spec,
    text: Vec<u8>,
    directory: Directory,
}

impl Launch {
    /// Makes the container. If `fifo`, it waits there to be started; else it does not wait, and [`Created::start`] tells
    /// how that went.
    pub(crate) fn launch(&self, globals: &Globals, log: &Log, detach: bool, fifo: bool) -> Result<Launched, Error> {
        let inherited = |setup: &mut Setup| {
            setup.preserve_fds = self.preserve_fds;
            setup.listen_fds = listen_fds();
            setup.session_keyring = !self.no_new_keyring;
        };
        let Planned { mut plan, text, directory, .. } = self.base.plan(globals, log, detach, inherited)?;
        match make(&mut plan, &directory, &text, fifo) {
            Ok(mut record) => {
                log.detail(|| format!("state of container {:?} is in {}", record.id, directory.path().display()));
                let launched = self.create(plan, directory, &mut record, fifo)?;
                log.detail(|| made(&launched.created));
                launched.created.lost().iter().for_each(|warning| log.say(warning));
                Ok(launched)
            }
            Err(e) => Err(undo(directory, e)),
        }
    }

    fn create(&self, plan: Plan, directory: Directory, record: &mut Record, fifo: bool) -> Result<Launched, Error> {
        let begun = begin(plan).and_then(|begun| match fifo {
            true => Ok((begun, None)),
            false => go_ahead(begun, &directory, record),
        });
        let (created, proxy) = match begun.and_then(|(begun, proxy)| Ok((begun.finish()?, proxy))) {
            Ok(created) => created,
            Err(e) => return Err(undo(directory, e)),
        };
        created.complete(record);
        let saved = self.base.save(&directory, record);
        let saved = saved.and_then(|()| self.pidfd_socket.as_ref().map_or(Ok(()), |path| created.send_pidfd(path)));
        match saved {
            Ok(()) => Ok(Launched { created, directory, proxy }),
            Err(e) => {
                // The first error is the one to tell.
                let _not_undone = created.detach().destroy();
                Err(undo(directory, e))
            }
        }
    }

    /// See [`check_inherited`].
    pub(crate) fn check_preserved(&self) -> Result<(), Error> {
        check_inherited(listen_fds(), self.preserve_fds)
    }
}

impl Base {
    /// Makes the container from a checkpoint; it runs already.
    pub(crate) fn restore(
        &self,
        globals: &Globals,
        log: &Log,
        detach: bool,
        options: &Options,
    ) -> Result<(Process, Directory), Error> {
        let Planned { mut plan, spec, text, directory } = self.plan(globals, log, detach, |_| ())?;
        let made = make(&mut plan, &directory, &text, false);
        let restored = made.and_then(|record| Ok((record, plan.restore(&spec, &directory, options)?)));
        let (mut record, process) = match restored {
            Ok(restored) => restored,
            Err(e) => return Err(undo(directory, e)),
        };
        record.set_process(process.pid);
        match self.save(&directory, &record) {
            Ok(()) => Ok((process, directory)),
            Err(e) => {
                // The first error is the one to tell.
                let _not_undone = process.destroy();
                Err(undo(directory, e))
            }
        }
    }

    /// Reads the configuration and claims the name.
    fn plan(
        &self,
        globals: &Globals,
        log: &Log,
        detach: bool,
        inherited: impl FnOnce(&mut Setup),
    ) -> Result<Planned, Error> {
        let root = globals.containers().map_err(wrong)?;
        check_id(&self.id)?;
        let bundle = std::fs::canonicalize(&self.bundle)
            .map_err(|cause| Error::System { what: format!("--bundle {}", self.bundle.display()), cause })?;
        let (spec, text) = load(&bundle.join("config.json"), log)?;
        let stdio = self.stdio(&spec, detach)?;
        let mut setup = Setup::new(&self.id, bundle);
        setup.stdio = stdio;
        place(&mut setup, globals, &root)?;
        setup.no_pivot = self.no_pivot;
        setup.filters = Some(Cache::below(&root));
        inherited(&mut setup);
        let plan = Plan::new(&spec, setup)?;
        log.warnings(plan.warnings());
        globals.make_users_root().map_err(wrong)?;
        let directory = Directory::create(&root, &self.id)?;
        Ok(Planned { plan, spec, text, directory })
    }

    /// What later commands and the caller are to know of it.
    fn save(&self, directory: &Directory, record: &Record) -> Result<(), Error> {
        directory.save(record)?;
        match &self.pid_file {
            Some(path) => replace_file(path, record.pid.to_string().as_bytes()),
            None => Ok(()),
        }
    }

    fn stdio(&self, spec: &Spec, detach: bool) -> Result<Stdio, Error> {
        let terminal = spec.process().as_ref().and_then(|p| p.terminal()).unwrap_or(false);
        match (terminal, detach, &self.console_socket) {
            (true, true, None) => {
                Err(wrong("cannot allocate tty if rkt-oci will detach without setting console socket"))
            }
            (false, _, Some(_)) | (true, false, Some(_)) => {
                Err(wrong("cannot use console socket if rkt-oci will not detach or allocate tty"))
            }
            (true, true, Some(path)) => Ok(Stdio::ConsoleSocket(path.clone())),
            (true, false, None) => Ok(Stdio::Terminal),
            (false, _, None) => Ok(Stdio::Inherit),
        }
    }
}

/// The directory's content, so that whatever happens next can be undone by name.
fn make(plan: &mut Plan, directory: &Directory, config: &[u8], fifo: bool) -> Result<Record, Error> {
    directory.save_config(config)?;
    if fifo {
        plan.wait_at_fifo(directory.make_fifo()?);
    }
    if notify::host_socket().is_some() {
        plan.show_notify_socket(directory.path())?;
    }
    let record = plan.record();
    directory.save(&record)?;
    Ok(record)
}

fn begin(mut plan: Plan) -> Result<Begun, Error> {
    // From here on there is something to undo.
    plan.stop_at(Interrupt::new().map_err(|e| wrong(format!("take over signals: {e}")))?);
    plan.begin()
}

/// Has the first process start when it is ready, after what must be there before it starts. Then there is no time to
/// write anything down: should this process be killed, the record already says who that is.
fn go_ahead(begun: Begun, directory: &Directory, record: &mut Record) -> Result<(Begun, Option<Proxy>), Error> {
    begun.note(record);
    let bind = || notify::host_socket().map(|host| Proxy::bind(directory.path(), host)).transpose();
    match directory.save(record).and_then(|()| bind()) {
        Ok(proxy) => Ok((begun.start_when_ready()?, proxy.flatten())),
        Err(e) => Err(begun.give_up(e)),
    }
}

/// How many sockets our caller has opened for this process to listen on: sd_listen_fds(3).
fn listen_fds() -> u32 {
    let number = |name| std::env::var(name).ok().and_then(|value| value.parse().ok());
    if number("LISTEN_PID") == Some(std::process::id()) { number("LISTEN_FDS").unwrap_or(0) } else { 0 }
}

/// The cgroup of a container that names none. Containers of one name in two state directories do not share theirs.
fn cgroup_path(root: &Path, id: &str) -> PathBuf {
    if root == Path::new(crate::globals::DEFAULT_ROOT) {
        return id.into();
    }
    // FNV-1a: short and the same in every version.
    let hash = root.as_os_str().as_encoded_bytes().iter();
    let hash = hash.fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    format!("{id}-{hash:08x}").into()
}

/// What decides about the cgroup besides the configuration.
fn place(setup: &mut Setup, globals: &Globals, root: &Path) -> Result<(), Error> {
    setup.rootless_cgroups = globals.rootless_cgroups();
    setup.systemd_cgroup = globals.systemd_cgroup;
    setup.cgroup_path = Some(cgroup_path(root, &setup.id));
    setup.cgroups = match Layout::detect(Path::new("/sys/fs/cgroup")) {
        Err(_) if setup.rootless_cgroups => None,
        layout => Some(layout?),
    };
    Ok(())
}

/// What there is of a container without its record.
pub(crate) fn remains(globals: &Globals, id: &str, directory: &Directory) -> Result<Remains, Error> {
    let mut setup = Setup::new(id, "/");
    place(&mut setup, globals, &globals.containers().map_err(wrong)?)?;
    Remains::find(&directory.config()?, &setup)
}

fn load(path: &Path, log: &Log) -> Result<(Spec, Vec<u8>), Error> {
    let text = read_regular(path, CONFIG_MAX).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            wrong(format!("JSON specification file {} not found: make one with `rkt-oci spec`", path.display()))
        }
        _ => wrong(format!("read {}: {e}", path.display())),
    })?;
    let mut warnings = Vec::new();
    let spec = read_spec(&text, &mut warnings).map_err(|e| wrong(format!("{}: {e}", path.display())))?;
    warnings.iter().for_each(|warning| log.say(warning));
    log.detail(|| format!("{} is read", path.display()));
    Ok((spec, text))
}

fn made(created: &Created) -> String {
    let cgroup = created.process().cgroup().and_then(|cgroup| cgroup.directories().next());
    let place = cgroup.map_or_else(|| "no cgroup of its own".to_owned(), |(_, path)| path.display().to_string());
    format!("first process {} is set up, in {place}", created.pid())
}

fn undo(directory: Directory, why: Error) -> Error {
    // The first error is the one to tell.
    let _not_removed = directory.remove();
    why
}
