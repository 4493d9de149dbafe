//! From a manifest and trees to a running pod, and back to nothing but its directory.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::path::{Path, PathBuf};

use appc_container::cgroup::{Layout, Version};
use appc_container::sys::namespace::unshare;
use appc_container::sys::signal::SignalFd;
use appc_container::{Network as SandboxNetwork, Sandbox, SandboxOptions};
use appc_image::render::Rendered;
use appc_image::users;
use appc_spec::{EventName, PodManifest, RuntimeApp};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};
use rustix::termios::{isatty, tcgetwinsize};
use rustix::thread::UnshareFlags;

use super::app::{AppRun, Shared};
use super::dir::{Place, Pod, Pods};
use super::gc;
use super::info::Runtime;
use super::lower::{self, HostVolume, Inputs, Terminal};
use super::prepare::volumes;
use super::program;
use super::rootfs::{self, Rootfs};
use super::supervisor::{self, Supervisor};
use crate::cli::Global;
use crate::failure::{Context, Failure, Outcome};
use crate::human;
use crate::request::{Network, PodOptions};

/// As large as that of an app alone.
const SHARED_MEMORY: &CStr = c"mode=1777,size=65536k";

/// What a pod is made of.
#[derive(Debug)]
pub struct Launch<'r> {
    /// What holds for the pod.
    pub options: &'r PodOptions,
    /// The pod manifest.
    pub manifest: PodManifest,
    /// The trees of each app, in the manifest's order; they stay in the store as long as this is held.
    pub rendered: Vec<Rendered>,
    /// What the user is to be told when it comes to starting the pod. An error is told alone.
    pub warnings: Vec<String>,
}

/// Runs a pod and returns its exit status. A pod of which no app could be started leaves nothing.
pub fn run(global: &Global, mut launch: Launch<'_>) -> Outcome {
    let signals = supervisor::take_signals().context("taking over signals")?;
    let mut pod = Pods::new(&global.dir).create().context(format!("making a pod in {}", global.dir.display()))?;
    let hostname = launch.options.hostname.clone().unwrap_or_else(|| format!("rkt-{}", pod.uuid));
    let started = write_down(&mut pod, &launch, &hostname)
        .and_then(|()| Running::prepare(&pod, &mut launch, &hostname))
        .and_then(|running| {
            save_uuid(&pod, launch.options)?;
            launch.warnings.iter().for_each(|warning| global.warn(warning));
            let outcome = running.run(global, signals)?;
            // Only now: a run that could not begin changes nothing.
            launch.rendered.iter().for_each(|rendered| rendered.pin.mark_used());
            Ok(outcome)
        });
    match started {
        Ok(outcome) => outcome,
        Err(failure) => {
            let uuid = pod.uuid;
            if let Err(e) = gc::mark(&mut pod).and_then(|()| gc::delete(pod)) {
                global.warn(format!("pod {uuid} was not removed: {e}: `rkt gc` will try again"));
            }
            Err(failure)
        }
    }
}

/// Everything that `list`, `status` and `gc` want to know, before there is anything to know about.
fn write_down(pod: &mut Pod, launch: &Launch<'_>, hostname: &str) -> Result<(), Failure> {
    let mut images: Vec<String> = launch.rendered.iter().flat_map(|r| &r.images).map(ToString::to_string).collect();
    images.sort();
    images.dedup();
    let network = match launch.options.network {
        Network::Loopback => "loopback",
        Network::Host => "host",
    };
    let runtime = Runtime { created_at: human::now(), images, network: network.into(), hostname: hostname.to_string() };
    let path = pod.path();
    let written = pod
        .set_runtime(&runtime)
        .and_then(|()| pod.write("pod", launch.manifest.to_json().as_bytes()))
        .and_then(|()| pod.move_to(Place::Run));
    written.context(format!("writing in {}", path.display()))?;
    Ok(())
}

/// Tells other programs which pod this is, at the last moment that an error leaves nothing behind.
fn save_uuid(pod: &Pod, options: &PodOptions) -> Result<(), Failure> {
    match &options.uuid_file_save {
        Some(file) => {
            std::fs::write(file, pod.uuid.to_string()).context(format!("--uuid-file-save: writing {}", file.display()))
        }
        None => Ok(()),
    }
}

/// A pod whose namespaces exist and whose apps are planned.
struct Running<'p> {
    apps: Vec<AppRun>,
    layout: Layout,
    _memory: Option<SharedMemory>,
    /// Dropped last: its end is the end of everything in the pod.
    _sandbox: Sandbox,
    pod: &'p Pod,
}

impl<'p> Running<'p> {
    fn prepare(pod: &'p Pod, launch: &mut Launch<'_>, hostname: &str) -> Result<Running<'p>, Failure> {
        let warnings = &mut launch.warnings;
        // First: what is opened before cannot be mounted after it.
        let memory = (launch.manifest.apps.len() > 1).then(|| SharedMemory::new(pod)).transpose()?;
        let volumes = volumes::on_host(pod, &launch.manifest)?;
        let mut roots = Vec::new();
        for (app, rendered) in launch.manifest.apps.iter().zip(&launch.rendered) {
            roots.push(prepare_root(pod, app, rendered, launch.options, (hostname, &volumes), warnings)?);
        }
        let network = match launch.options.network {
            Network::Loopback => SandboxNetwork::NewLoopback,
            Network::Host => SandboxNetwork::Host,
        };
        let sandbox = Sandbox::new(SandboxOptions { hostname: Some(hostname.to_string()), network })?;
        pod.set_pid(sandbox.pid()).context(format!("writing in {}", pod.path().display()))?;
        let layout = Layout::detect(Path::new("/sys/fs/cgroup"))?;
        let shared = Shared { pod, layout: &layout, alone: roots.len() == 1 };
        let context = Lowering {
            pod,
            manifest: &launch.manifest,
            volumes,
            namespaces: sandbox.namespace_paths(),
            shared_memory: memory.as_ref().map(|memory| memory.0.clone()),
            limit_swap: limits_swap(&layout),
            terminal: terminal(launch.options, shared.alone),
        };
        let mut apps = Vec::new();
        for (app, root) in launch.manifest.apps.iter().zip(roots) {
            let name = app.name.to_string();
            apps.push(context.plan(app, root, &shared, warnings).map_err(|e| e.within(format!("app {name:?}")))?);
        }
        Ok(Running { apps, layout, _memory: memory, _sandbox: sandbox, pod })
    }

    /// The outer error is one that came before any app ran.
    fn run(self, global: &Global, signals: SignalFd) -> Result<Outcome, Failure> {
        let shared = Shared { pod: self.pod, layout: &self.layout, alone: self.apps.len() == 1 };
        let warn = |text: String| global.warn(text);
        let mut supervisor = Supervisor { shared, signals, apps: self.apps, warn: &warn };
        let outcome = supervisor.run();
        match outcome {
            Err(failure) if !supervisor.apps.iter().any(|app| app.has_started()) => Err(failure),
            outcome => {
                global.debug(format!("pod {} has ended", self.pod.uuid));
                Ok(outcome)
            }
        }
    }
}

/// An app's root file system and who it runs as.
struct PreparedRoot {
    rootfs: Rootfs,
    source: appc_container::RootSource,
    account: users::Account,
}

fn prepare_root(
    pod: &Pod,
    app: &RuntimeApp,
    rendered: &Rendered,
    options: &PodOptions,
    (hostname, volumes): (&str, &BTreeMap<String, HostVolume>),
    warnings: &mut Vec<String>,
) -> Result<PreparedRoot, Failure> {
    let name = app.name.as_str();
    pod.mkdir(format!("apps/{name}"), 0o755).context(format!("making the directory of app {name:?}"))?;
    let warn = |text| warnings.push(text);
    let (rootfs, source) = Rootfs::prepare(pod, name, rendered.lower.clone(), !options.no_overlay, warn)?;
    let root = rootfs::directory(&source).context(format!("opening the root file system of app {name:?}"))?;
    let account = match &app.app {
        Some(asked) => users::of_app(&root, asked, &app.annotations),
        None => users::resolve(&root, "0", "0"),
    };
    let account = account.context(format!("app {name:?}"))?;
    for mount in &app.mounts {
        let directory = volumes.get(mount.volume.as_str()).is_some_and(|v| v.path.is_dir());
        match rootfs::make_way(&root, Path::new(&mount.path), directory) {
            Ok(None) => {}
            Ok(Some(what)) => warnings.push(format!("app {name:?}: volume {:?} {what}", mount.volume.as_str())),
            Err(e) => return Err(Failure::from(e).within(format!("app {name:?}: mount target {}", mount.path))),
        }
    }
    if let Err(e) = rootfs::provide_hosts(&root, hostname) {
        warnings.push(format!("app {name:?}: no /etc/hosts: {}", Failure::from(e).line()));
    }
    Ok(PreparedRoot { rootfs, source, account })
}

/// What is the same for the lowering of every app.
struct Lowering<'p> {
    pod: &'p Pod,
    manifest: &'p PodManifest,
    volumes: BTreeMap<String, HostVolume>,
    namespaces: Vec<(oci_spec::runtime::LinuxNamespaceType, PathBuf)>,
    shared_memory: Option<PathBuf>,
    limit_swap: bool,
    terminal: Option<Terminal>,
}

impl Lowering<'_> {
    fn plan(
        &self,
        app: &RuntimeApp,
        root: PreparedRoot,
        shared: &Shared<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<AppRun, Failure> {
        let cgroup = PathBuf::from(format!("/rkt-{}/{}", self.pod.uuid, app.name));
        let lowered = lower::lower(&Inputs {
            pod: self.manifest,
            app,
            account: &root.account,
            namespaces: &self.namespaces,
            cgroup: &cgroup,
            volumes: &self.volumes,
            shared_memory: self.shared_memory.as_deref(),
            limit_swap: self.limit_swap,
            terminal: self.terminal.as_ref(),
        })?;
        for isolator in &lowered.unenforced {
            warnings.push(format!("app {:?}: isolator {} is not enforced", app.name.as_str(), isolator.0));
        }
        let manifest = app.app.as_ref().ok_or(lower::Error::NoApp)?;
        let directory = rootfs::directory(&root.source).context("opening the root file system")?;
        let handler = manifest.event_handlers.iter().find(|handler| handler.name == EventName::PreStart);
        let first = handler.map(|handler| lower::handler(&lowered.spec, &handler.exec));
        // Of a single app the engine says it better. Of several none is to run for nothing.
        if !shared.alone
            && let Some(program) = program::missing(&directory, first.as_ref().unwrap_or(&lowered.spec))
        {
            let why = format!("{program:?} is not in the image: --exec names another program for this run");
            return Err(Failure::new(why));
        }
        // Which may make it: so this is no error yet.
        if handler.is_some() {
            let missing = program::missing(&directory, &lowered.spec);
            warnings.extend(missing.map(|program| {
                let name = app.name.as_str();
                format!("app {name:?}: its program {program:?} is not in the image: a pre-start handler has to make it")
            }));
        }
        let run = AppRun::new(app.name.to_string(), manifest, lowered.spec, root.rootfs, root.source, shared)?;
        warnings.extend(run.warnings().map(|warning| format!("app {:?}: {warning}", app.name.as_str())));
        Ok(run)
    }
}

/// The app's terminal, if it gets one: a single app whose caller has one, or asked for.
fn terminal(options: &PodOptions, alone: bool) -> Option<Terminal> {
    let caller_has = isatty(rustix::stdio::stdin()) && isatty(rustix::stdio::stdout());
    let kind = std::env::var("TERM").ok().filter(|term| !term.is_empty());
    let size = tcgetwinsize(rustix::stdio::stdin()).ok().map(|size| (size.ws_col, size.ws_row));
    let wanted = alone && (options.interactive || caller_has);
    wanted.then(|| Terminal { kind: kind.unwrap_or_else(|| "xterm".into()), size })
}

/// Kernels may be built or booted without accounting of swap.
fn limits_swap(layout: &Layout) -> bool {
    match layout.version() {
        Version::V1 | Version::Hybrid => Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists(),
        Version::V2 => Path::new("/proc/swaps").exists(),
    }
}

/// `/dev/shm` of a pod with several apps. They share the IPC namespace, so they share this.
struct SharedMemory(PathBuf);

impl SharedMemory {
    /// Mounts it in the pod's directory, where only this process and those that it starts see it: so it goes with them,
    /// however they end.
    fn new(pod: &Pod) -> Result<SharedMemory, Failure> {
        let path = pod.mkdir("shm", 0o700).context("making the pod's shared memory")?;
        let mounted = unshare(UnshareFlags::NEWNS.bits().cast_signed()).and_then(|()| {
            // What is mounted on the host later still reaches the volumes.
            mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
            let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
            Ok(mount("tmpfs", &path, "tmpfs", flags, Some(SHARED_MEMORY))?)
        });
        mounted.context("mounting the pod's shared memory")?;
        Ok(SharedMemory(path))
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // Else it goes with this process; only a pod that is not begun is removed by it.
        let _gone = unmount(&self.0, UnmountFlags::DETACH);
    }
}
