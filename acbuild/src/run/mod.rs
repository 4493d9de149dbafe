//! Running a command in the image that is being built.
//!
//! ```text
//! the dependencies' trees, from the store    never written to
//! seam/                                      hides what is deleted of them
//! currentaci/rootfs                          the build's own files
//! places/                                    what is mounted on and the image does not have
//! upper/                                     what the command writes
//! ```
//!
//! are stacked (`view.rs`), and the command runs in that with the project's own engine. When it succeeds, what is in the upper layer is brought into the build (`upper.rs`, `apply.rs`); else it is thrown away.

pub(crate) mod apply;
mod caller;
pub(crate) mod deleted;
mod execute;
mod files;
mod foreign;
mod input;
mod lower;
mod nspawn;
mod seam;
mod steps;
mod upper;
mod view;
pub(crate) mod whitelist;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use appc_container::{Network, capabilities, in_user_namespace};
use appc_image::fetch::{self, Fetcher, Insecure};
use appc_image::oci::Platform;
use appc_image::registry::docker_config_path;
use appc_image::render::{self, Rendered};
use appc_image::store::Store;
use appc_image::{stack, users};
use appc_rooted::{OFlags, Root};
use appc_spec::{ImageManifest, host_arch};
use rustix::thread::UnshareFlags;

use crate::cache::{Change, Effect, Key, Step};
use crate::context::Build;
use crate::document::{Document, Mode};
use crate::error::{Error, Result};
use crate::session::Session;
use deleted::Deleted;
use lower::{Confinement, Inputs};
use seam::MountPoint;
use upper::{Below, Changes};
use view::{Layers, View};

pub(crate) use lower::Bind;

/// What runs a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// Ours, as for apps.
    Container,
    /// Ours, with all that root may do.
    Chroot,
    /// The program of that name.
    SystemdNspawn,
}

/// What is to be run, and how.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) command: Vec<String>,
    pub(crate) engine: Engine,
    pub(crate) working_dir: &'a str,
    /// Over the image's.
    pub(crate) environment: &'a [(String, String)],
    pub(crate) volumes: Vec<Bind>,
    pub(crate) network: Network,
    /// `USER[:GROUP]`.
    pub(crate) user: &'a str,
    /// What is not checked of dependencies that are fetched.
    pub(crate) insecure: Insecure,
}

/// Variables of an environment.
type Variables = Vec<(String, String)>;

impl Request<'_> {
    /// Adds to a key what this command depends on, with the image's `variables` and the trees of its dependencies. What it
    /// gets over the network is not part of it.
    fn add_to(&self, key: &mut Key<'_>, variables: &Variables, rendered: Option<&Rendered>) -> Result<()> {
        if !input::is_empty() {
            return Err(Error::refused("its standard input is not empty: give it </dev/null"));
        }
        if let Some(volume) = self.volumes.iter().find(|volume| !volume.read_only) {
            let source = volume.source.display();
            return Err(Error::Refused(format!(
                "it may write to {source}: let it only read with --volume HOST:PATH:ro"
            )));
        }
        key.list("command", &self.command);
        key.field("engine", format!("{:?}", self.engine));
        key.field("network", format!("{:?}", self.network));
        key.field("machine", appc_spec::host_arch());
        key.field("directory", self.working_dir);
        key.field("user", self.user);
        for (kind, variables) in [("image", &variables[..]), ("own", self.environment)] {
            key.list(kind, variables.iter().flat_map(|(name, value)| [name, value]));
        }
        key.trees(rendered);
        caller::add_to(key)?;
        for (name, content) in files::of_network(self)? {
            key.field(name, content);
        }
        for volume in &self.volumes {
            key.path("volume", &volume.target);
            key.volume(&volume.source)?;
        }
        key.field("volumes", self.volumes.len().to_string());
        Ok(())
    }
}

/// Runs a command in `build`. When it fails the build is as it was.
///
/// The calling process must have one thread.
pub(crate) fn run(session: &Session, build: &Build, request: &Request<'_>) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        let why =
            "the run subcommand must be run as root, or by a user with subordinate ids: see \"acbuild begin --help\"";
        return Err(Error::refused(why));
    }
    if appc_image::caller::is_mapped() {
        // Root of a user namespace mounts where the mounts are that namespace's.
        let kind = UnshareFlags::NEWNS.bits().cast_signed();
        appc_container::sys::namespace::unshare(kind).map_err(Error::io("make a mount namespace for", build.dir()))?;
    }
    // What is made on the way must not depend on who builds.
    rustix::process::umask(rustix::fs::Mode::from(0o022));
    if build.state().is_some() {
        input::leave_terminal()?;
    }
    match build.mode() {
        Mode::Appc => run_in_appc(session, build, request),
        Mode::Oci => run_in_oci(session, build, request),
    }
}

/// Over the trees of the dependencies.
fn run_in_appc(session: &Session, build: &Build, request: &Request<'_>) -> Result<()> {
    let mut manifest = build.manifest()?;
    session.record(&mut manifest)?;
    let rendered = dependencies(session, &manifest, request.insecure)?;
    if let (Some(rendered), Some(arch)) = (&rendered, manifest.labels.get("arch")) {
        foreign::check_dependencies(session, rendered, arch)?;
    }
    let app = manifest.app.iter().flat_map(|app| app.environment.iter());
    let variables: Variables = app.map(|variable| (variable.name.to_string(), variable.value.clone())).collect();
    let list = manifest.path_whitelist.clone();
    let inputs = |key: &mut Key<'_>| {
        key.list("whitelist", &list);
        request.add_to(key, &variables, rendered.as_ref())
    };
    let step = Step::new(session, build, "run", &inputs)?;
    if step.known().is_some() {
        manifest.path_whitelist.clear();
        step.replay(&manifest)?;
    } else {
        let trees = open_all(&rendered)?;
        let mut deleted = Deleted::load(build.dir())?;
        let unlisted = match list.is_empty() {
            true => Vec::new(),
            false => {
                let own = stack::paths(&[build.rootfs()?])?;
                whitelist::take_out(&mut manifest, &stack::paths(&trees)?, &own, &mut deleted)
            }
        };
        let stage = Stage { build, dir: build.staging()? };
        let arch = manifest.labels.get("arch");
        let mut changes = stage
            .execute(&variables, (&rendered, &trees), deleted, request)
            .map_err(|error| foreign::explain(error, arch, host_arch()))?;
        changes.remove_also(unlisted);
        stage.commit(step, &changes, &manifest)?;
    }
    if let Some(rendered) = &rendered {
        rendered.pin.mark_used();
    }
    Ok(())
}

/// In the root file system alone: all layers are merged in it, and what is deleted there is a difference to them.
fn run_in_oci(session: &Session, build: &Build, request: &Request<'_>) -> Result<()> {
    let mut image = build.image()?;
    let variable = |text: &String| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let variables: Variables = image.config.run.env.iter().filter_map(variable).collect();
    session.record(&mut image)?;
    let inputs = |key: &mut Key<'_>| request.add_to(key, &variables, None);
    let step = Step::new(session, build, "run", &inputs)?;
    if step.known().is_some() {
        return step.replay(&image);
    }
    let stage = Stage { build, dir: build.staging()? };
    let changes = stage
        .execute(&variables, (&None, &[]), Deleted::default(), request)
        .map_err(|error| foreign::explain(error, Some(&image.config.architecture), &Platform::host().architecture))?;
    stage.commit(step, &changes, &image)
}

/// The trees of what the image depends on. What is not in the store is fetched.
pub(crate) fn dependencies(
    session: &Session,
    manifest: &ImageManifest,
    insecure: Insecure,
) -> Result<Option<Rendered>> {
    if manifest.dependencies.is_empty() {
        return Ok(None);
    }
    let store = Store::open(session.store_dir())?.limited(session.limit());
    if let Ok(rendered) = render::dependencies(&store, manifest) {
        return Ok(Some(rendered));
    }
    let options = fetch::Options {
        insecure,
        config_dirs: fetch::config_dirs(),
        docker_config: docker_config_path(),
        ..fetch::Options::default()
    };
    Fetcher::new(&store, options, session)?.fetch_dependencies_of(manifest)?;
    Ok(Some(render::dependencies(&store, manifest)?))
}

/// The trees, open, the lowest first.
pub(crate) fn open_all(rendered: &Option<Rendered>) -> Result<Vec<Root>> {
    let open = |path: &PathBuf| Root::open(path).map_err(Error::io("open", path));
    rendered.iter().flat_map(|rendered| &rendered.lower).map(open).collect()
}

/// The staging directory, which is gone at the end however it ends.
struct Stage<'b> {
    build: &'b Build,
    dir: PathBuf,
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        // Changes that are decided upon are the next command's to finish; what else is left, the next to clear away.
        if !apply::is_pending(self.build.dir()) {
            // The command's own error is the one to tell.
            let _ = self.build.clear_staging();
        }
    }
}

impl Stage<'_> {
    /// Runs the command, with the image's `variables`, and finds out what it has changed.
    fn execute(
        &self,
        variables: &[(String, String)],
        (rendered, trees): (&Option<Rendered>, &[Root]),
        deleted: Deleted,
        request: &Request<'_>,
    ) -> Result<Changes> {
        let dependencies = rendered.iter().flat_map(|r| &r.lower).cloned().collect::<Vec<_>>();
        let own = self.build.rootfs()?;
        let (places, upper) = (self.make("places")?, self.make("upper")?);
        stack::make_like(&own, Path::new(""), &upper).map_err(Error::io("prepare", self.dir.join("upper")))?;
        let layers = Layers {
            dependencies: &dependencies,
            deleted: &deleted,
            own: self.build.rootfs_path(),
            staging: &self.dir,
        };
        let view = View::new(layers)?;
        check_working_dir(view.tree(), request.working_dir)?;
        let account = users::resolve_login(view.tree(), request.user)?;
        let binds = files::binds(&self.dir, request)?;
        let mut points = files::mount_points(&binds)?;
        if request.engine == Engine::SystemdNspawn {
            points.extend(nspawn::DIRECTORIES.map(|path| MountPoint { path: path.into(), directory: true }));
        }
        let prepare = || Error::io("prepare", self.dir.join("places"));
        seam::make_places(&places, view.tree(), &points).map_err(prepare())?;
        // Making something in it has changed its time.
        stack::make_like(&own, Path::new(""), &places).map_err(prepare())?;

        let (root, changed) = view.open("places")?;
        // The caller's over the image's.
        let environment = [variables, request.environment].concat();
        let inputs = Inputs {
            command: &request.command,
            environment: &environment,
            working_dir: request.working_dir,
            account: &account,
            binds: &binds,
            confinement: match request.engine {
                Engine::Chroot => {
                    Confinement::Chroot(capabilities::own().map_err(Error::io("read", "the own capabilities"))?)
                }
                _ => Confinement::Container,
            },
            namespaces: &[],
            cgroup: None,
            terminal: None,
            host_sys: request.network == Network::Host && in_user_namespace(),
        };
        match request.engine {
            Engine::Container | Engine::Chroot => execute::execute(inputs, root, request.network)?,
            Engine::SystemdNspawn => nspawn::execute(&inputs, &root, &self.dir.join("target"), request.network)?,
        }
        let removed = changed.settle()?;
        upper::read(&upper, &Below { own: &own, dependencies: trees }, deleted, &removed)
    }

    /// Brings what the step has changed into the build.
    fn commit(&self, step: Step<'_>, changes: &Changes, document: &dyn Document) -> Result<()> {
        let path = self.dir.join("upper");
        let upper = Root::open(&path).map_err(Error::io("open", path))?;
        let lists = [steps::to_bytes(&changes.steps), changes.deleted.to_bytes()];
        let changing = step.change(Change::Run, &Effect { tree: Some(&upper), lists })?;
        apply::commit(self.build, changes, document)?;
        changing.finish()
    }

    fn make(&self, name: &str) -> Result<Root> {
        let path = self.dir.join(name);
        DirBuilder::new().mode(0o755).create(&path).map_err(Error::io("create", &path))?;
        Root::open(&path).map_err(Error::io("open", path))
    }
}

/// The engine would make it, and the image would have it from then on.
fn check_working_dir(view: &Root, path: &str) -> Result<()> {
    match view.open_at(path, OFlags::PATH | OFlags::DIRECTORY) {
        Ok(_) => Ok(()),
        Err(e) => Err(Error::Refused(format!("--working-dir: {path} in the image: {e}: it must be a directory there"))),
    }
}
