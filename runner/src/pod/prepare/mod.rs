//! From what was asked for and the images to a complete pod manifest.
//!
//! Pure but for [`environment::read_file`] and [`volumes::on_host`], which look at what the command line names.

pub mod environment;
pub mod volumes;

use std::path::Path;

use appc_image::store::StoredImage;
use appc_spec::{AcName, App, ImageManifest, Isolators, Mount, PodManifest, RuntimeApp, RuntimeImage, oci};
use serde_json::json;

use crate::request::{AppRequest, Request};
use environment::Variables;

/// Why the request and the images do not make a pod.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Two apps of one name.
    #[error("multiple apps with name {0}: give one of them another with --name")]
    SameName(AcName),
    /// No name can be made of the image's.
    #[error("image {image}: no app name can be made of it: give one with --name")]
    NoName {
        /// The image's name.
        image: String,
    },
    /// Nothing to run.
    #[error("image {0} has no app section and --exec argument is not provided")]
    NoApp(String),
    /// Nothing to run.
    #[error("image {0} has no exec: `acbuild set-exec` gives it one, --exec names one for this run")]
    NoExec(String),
    /// Not for this host.
    #[error("image {image} is for {os} on {arch}, and this is linux on {host}")]
    Platform {
        /// The image's name.
        image: String,
        /// Its `os` label.
        os: String,
        /// Its `arch` label.
        arch: String,
        /// What this host is.
        host: &'static str,
    },
    /// What the command line adds breaks a rule of the specification.
    #[error("app {app}")]
    Rule {
        /// The app's name.
        app: AcName,
        /// The rule.
        #[source]
        source: appc_spec::Error,
    },
    /// The pod as a whole breaks a rule of the specification.
    #[error(transparent)]
    Pod(#[from] appc_spec::Error),
    /// A mount without a volume.
    #[error("dangling mount point {path:?}: volume {:?} not found: add --volume={volume},kind=…", volume.as_str())]
    Dangling {
        /// The path in the app.
        path: String,
        /// The name that is not there.
        volume: AcName,
    },
}

/// Makes the pod manifest. `images` are those of `request.apps`, in the same order.
///
/// # Errors
/// See [`Error`]. The second part of the result are warnings.
pub fn manifest(
    request: &Request,
    images: &[StoredImage],
    variables: &Variables,
) -> Result<(PodManifest, Vec<String>), Error> {
    let mut pod = PodManifest::new();
    pod.volumes = request.pod.volumes.clone();
    let mut warnings = Vec::new();
    for (asked, image) in request.apps.iter().zip(images) {
        check_platform(&image.manifest)?;
        let name = app_name(asked, &image.manifest)?;
        if pod.apps.iter().any(|app| app.name == name) {
            return Err(Error::SameName(name));
        }
        let app = app(asked, &image.manifest, variables, &name)?;
        let asked_mounts = asked.mounts.iter().chain(&request.pod.mounts);
        let mounts = volumes::mounts(&name, &app, asked_mounts, &mut pod.volumes, &mut warnings)?;
        pod.apps.push(runtime_app(name, app, image, asked, mounts));
    }
    pod.validate()?;
    Ok((pod, warnings))
}

fn runtime_app(name: AcName, app: App, image: &StoredImage, asked: &AppRequest, mounts: Vec<Mount>) -> RuntimeApp {
    let mut stored = RuntimeImage::new(image.id.clone());
    stored.name = Some(image.manifest.name.clone());
    stored.labels = image.manifest.labels.clone();
    let mut runtime = RuntimeApp::new(name, stored);
    runtime.app = Some(app);
    runtime.read_only_rootfs = asked.readonly_rootfs.unwrap_or(false);
    runtime.mounts = mounts;
    runtime.annotations = image.manifest.annotations.clone();
    if asked.group.is_some() {
        runtime.annotations.remove(oci::NO_GROUP);
    }
    runtime
}

/// An image that says nothing is taken for one of this host.
fn check_platform(image: &ImageManifest) -> Result<(), Error> {
    let host = appc_spec::host_arch();
    let os = image.labels.get("os").unwrap_or("linux");
    let arch = image.labels.get("arch").unwrap_or(host);
    // A 64-bit x86 runs 32-bit programs.
    if os == "linux" && (arch == host || (host, arch) == ("amd64", "i386")) {
        return Ok(());
    }
    Err(Error::Platform { image: image.name.to_string(), os: os.into(), arch: arch.into(), host })
}

/// The name asked for, else the last part of the image's.
fn app_name(asked: &AppRequest, image: &ImageManifest) -> Result<AcName, Error> {
    if let Some(name) = &asked.name {
        return Ok(name.clone());
    }
    let last = Path::new(image.name.as_str()).file_name().and_then(|n| n.to_str()).unwrap_or_default();
    AcName::sanitize(last).map_err(|_| Error::NoName { image: image.name.to_string() })
}

/// The image's app with what the command line changes.
fn app(asked: &AppRequest, image: &ImageManifest, variables: &Variables, name: &AcName) -> Result<App, Error> {
    let mut app = match (&image.app, &asked.exec) {
        (Some(app), _) => app.clone(),
        (None, Some(_)) => App::new(),
        (None, None) => return Err(Error::NoApp(image.name.to_string())),
    };
    if let Some(exec) = &asked.exec {
        app.exec = vec![exec.clone()];
    }
    if app.exec.is_empty() {
        return Err(Error::NoExec(image.name.to_string()));
    }
    app.exec.extend(asked.args.iter().cloned());
    let no_group = oci::names_no_group(&app, &image.annotations);
    if let Some(user) = &asked.user {
        app.user = user.clone();
    }
    // Whoever it is now has the group that it has in the image.
    if no_group {
        app.group.clone_from(&app.user);
    }
    if let Some(group) = &asked.group {
        app.group = group.clone();
    }
    if let Some(gids) = &asked.supplementary_gids {
        app.supplementary_gids = gids.clone();
    }
    if let Some(dir) = &asked.working_dir {
        app.working_directory = Some(dir.clone());
    }
    environment::apply(&mut app.environment, &asked.environment, variables);
    isolators(asked, &mut app.isolators).map_err(|source| Error::Rule { app: name.clone(), source })?;
    Ok(app)
}

const CAPS_RETAIN: &str = "os/linux/capabilities-retain-set";
const CAPS_REMOVE: &str = "os/linux/capabilities-remove-set";

/// Flags replace the image's isolators of the same kind; a capability flag both kinds of capability sets.
fn isolators(asked: &AppRequest, isolators: &mut Isolators) -> Result<(), appc_spec::Error> {
    let mut set = |name: &str, value| isolators.set(name.parse()?, value);
    if let Some(memory) = &asked.memory {
        set("resource/memory", json!({"limit": memory.to_string()}))?;
    }
    if let Some(cpu) = &asked.cpu {
        set("resource/cpu", json!({"limit": cpu.to_string()}))?;
    }
    if let Some(shares) = asked.cpu_shares {
        set("os/linux/cpu-shares", json!(shares))?;
    }
    if let Some(adjustment) = asked.oom_score_adj {
        set("os/linux/oom-score-adj", json!(adjustment))?;
    }
    for (name, other, names) in
        [(CAPS_RETAIN, CAPS_REMOVE, &asked.caps_retain), (CAPS_REMOVE, CAPS_RETAIN, &asked.caps_remove)]
    {
        let Some(names) = names else { continue };
        isolators.remove(other);
        isolators.remove(name);
        // An empty set is one that the specification does not let a manifest have: removing nothing is the default.
        if !names.is_empty() {
            isolators.set(name.parse()?, json!({"set": names}))?;
        }
    }
    Ok(())
}
