//! From the pod manifest to one OCI runtime configuration per app.
//!
//! Pure: everything that has to be looked up on the host or in an image comes in through [`Inputs`].

mod environment;
mod isolators;
mod mounts;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use appc_container::capabilities;
use appc_image::users::Account;
use appc_spec::{PodManifest, RuntimeApp};
use oci_spec::runtime::{
    BoxBuilder, Linux, LinuxDeviceType, LinuxNamespace, LinuxNamespaceType, Process, Root, Spec, User,
};

pub use isolators::Unenforced;

/// The version of the runtime specification that is written.
const OCI_VERSION: &str = "1.2.0";

/// What of an app or its pod does not come from the manifests.
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    /// The pod.
    pub pod: &'a PodManifest,
    /// The app; its `app` section is complete.
    pub app: &'a RuntimeApp,
    /// Who it runs as.
    pub account: &'a Account,
    /// The pod's namespaces.
    pub namespaces: &'a [(LinuxNamespaceType, PathBuf)],
    /// Its control group.
    pub cgroup: &'a Path,
    /// Where the pod's volumes are on the host, by name.
    pub volumes: &'a BTreeMap<String, HostVolume>,
    /// A directory for `/dev/shm` that the apps of the pod share; a memory file system of the app's own else.
    pub shared_memory: Option<&'a Path>,
    /// Whether the host can limit swap; where it cannot, a memory limit is one of memory alone.
    pub limit_swap: bool,
    /// The terminal that the app gets, if it gets one.
    pub terminal: Option<&'a Terminal>,
}

/// A terminal of the caller's that an app's own is to be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminal {
    /// The value of `TERM`.
    pub kind: String,
    /// Columns and rows, where they are known.
    pub size: Option<(u16, u16)>,
}

/// A volume on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostVolume {
    /// Its path.
    pub path: PathBuf,
    /// What device it is, if it is one.
    pub device: Option<(LinuxDeviceType, i64, i64)>,
}

/// What lowering gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Lowered {
    /// The configuration.
    pub spec: Spec,
    /// Isolators that it does not carry, to be told to the user.
    pub unenforced: Vec<Unenforced>,
}

/// Why an app cannot be expressed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// There is nothing to run.
    #[error("the image has no app section: name a program with --exec")]
    NoApp,
    /// There is nothing to run.
    #[error("nothing to run: `acbuild set-exec` gives the image a command, --exec names one for this run")]
    NoExec,
    /// A capability set cannot be had.
    #[error("isolator {isolator}: unknown capability {name:?}")]
    Capability {
        /// The isolator's name.
        isolator: String,
        /// The name in it.
        name: String,
    },
    /// One set is absolute, the other relative to the default: together they mean nothing.
    #[error("capabilities-retain-set and capabilities-remove-set exclude each other: keep one, or give --caps-retain")]
    BothCapabilitySets,
    /// A limit that cannot be.
    #[error("isolator {isolator}: {why}")]
    Resource {
        /// The isolator's name.
        isolator: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A mount whose volume is not in the pod.
    #[error("dangling mount point {path:?}: volume {volume:?} not found: add --volume={volume},kind=…")]
    Dangling {
        /// The path in the app.
        path: String,
        /// The name that is not there.
        volume: String,
    },
}

/// Lowers one app.
pub fn lower(inputs: &Inputs<'_>) -> Result<Lowered, Error> {
    let app = inputs.app.app.as_ref().ok_or(Error::NoApp)?;
    if app.exec.first().is_none_or(String::is_empty) {
        return Err(Error::NoExec);
    }
    let limits = isolators::lower(app.isolators.iter(), inputs.limit_swap)?;
    let devices = mounts::device_rules(inputs);
    let mut resources = limits.resources;
    resources.set_devices(Some(devices));

    let mut linux = Linux::default();
    linux
        .set_resources(Some(resources))
        .set_devices(mounts::console(inputs).map(|node| vec![node]))
        .set_cgroups_path(Some(inputs.cgroup.into()))
        .set_namespaces(Some(namespaces(inputs.namespaces)))
        .set_masked_paths(Some(mounts::MASKED.map(String::from).into()))
        .set_readonly_paths(Some(mounts::READ_ONLY.map(String::from).into()));

    let mut user = User::default();
    user.set_uid(inputs.account.uid).set_gid(inputs.account.gid);
    let groups = [&app.supplementary_gids[..], &inputs.account.groups].concat();
    user.set_additional_gids(Some(groups).filter(|groups| !groups.is_empty()));

    let mut process = Process::default();
    process
        .set_terminal(inputs.terminal.map(|_| true))
        .set_console_size(inputs.terminal.and_then(|terminal| terminal.size).and_then(console_size))
        .set_user(user)
        .set_args(Some(app.exec.clone()))
        .set_env(Some(environment::environment(inputs, app)))
        .set_cwd(app.working_directory.as_deref().unwrap_or("/").into())
        .set_capabilities(Some(capabilities::ceiling(limits.capabilities)))
        .set_no_new_privileges(Some(limits.no_new_privileges))
        .set_oom_score_adj(limits.oom_score_adj)
        .set_rlimits(None);

    let mut root = Root::default();
    root.set_path("rootfs".into()).set_readonly(Some(inputs.app.read_only_rootfs));

    let mut spec = Spec::default();
    spec.set_version(OCI_VERSION.into())
        .set_root(Some(root))
        .set_hostname(None)
        .set_mounts(Some(mounts::mounts(inputs)?))
        .set_process(Some(process))
        .set_linux(Some(linux));
    Ok(Lowered { spec, unenforced: limits.unenforced })
}

/// The same container for an event handler: its own command, as root, without a terminal.
pub fn handler(app: &Spec, exec: &[String]) -> Spec {
    let mut spec = app.clone();
    if let Some(process) = spec.process_mut() {
        process.set_args(Some(exec.to_vec())).set_user(User::default()).set_terminal(None).set_console_size(None);
    }
    spec
}

/// Set before the app starts, which may ask for it at once.
fn console_size((columns, rows): (u16, u16)) -> Option<oci_spec::runtime::Box> {
    BoxBuilder::default().width(columns).height(rows).build().ok()
}

/// The pod's namespaces, and a mount namespace of the app's own.
fn namespaces(shared: &[(LinuxNamespaceType, PathBuf)]) -> Vec<LinuxNamespace> {
    let mut own = LinuxNamespace::default();
    own.set_typ(LinuxNamespaceType::Mount).set_path(None);
    let join = |(kind, path): &(LinuxNamespaceType, PathBuf)| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(*kind).set_path(Some(path.clone()));
        namespace
    };
    shared.iter().map(join).chain([own]).collect()
}
