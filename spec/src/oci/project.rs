//! The view of an App Container manifest.

use std::collections::BTreeMap;

use serde_json::Value;

use super::view::View;
use super::{RESOLVED_USER, platform, ports};
use crate::json::{Write, text};
use crate::{App, ImageManifest, host_arch};

/// The annotations that have a name of their own in OCI.
pub(super) const WELL_KNOWN: [(&str, &str); 4] = [
    ("created", "org.opencontainers.image.created"),
    ("authors", "org.opencontainers.image.authors"),
    ("homepage", "org.opencontainers.image.url"),
    ("documentation", "org.opencontainers.image.documentation"),
];
pub(super) const VERSION: &str = "org.opencontainers.image.version";
pub(super) const NAME: &str = "io.appc.image.name";
pub(super) const LABEL: &str = "io.appc.label.";
pub(super) const NOARCH: &str = "io.appc.labels.noarch";
/// Fields of the app that OCI has no place for, as JSON.
pub(super) const APP: &str = "io.appc.app.";

/// App Container annotations that hold what only OCI has a place for.
pub(super) const STASHES: &str = "io.appc.oci.";
pub(super) const ENV: &str = "io.appc.oci.env";
pub(super) const ANNOTATIONS: &str = "io.appc.oci.annotations";
pub(super) const PLATFORM: &str = "io.appc.oci.platform";
/// Annotation of an App Container manifest: its app's group was not named, see [`super::names_no_group`].
pub const NO_GROUP: &str = "io.appc.oci.no-group";
pub(super) const STOP_SIGNAL: &str = "io.appc.oci.stop-signal";
pub(super) const HEALTHCHECK: &str = "io.appc.oci.healthcheck";
pub(super) const ENTRYPOINT: &str = "appc.io/docker/entrypoint";
pub(super) const CMD: &str = "appc.io/docker/cmd";

pub(super) fn project(manifest: &ImageManifest) -> View {
    let mut view = View::default();
    let stash = |name| manifest.annotations.get(name).unwrap_or_default();
    view.stop_signal = stash(STOP_SIGNAL).to_owned();
    view.healthcheck = serde_json::from_str(stash(HEALTHCHECK)).unwrap_or_default();
    view.annotations = serde_json::from_str(stash(ANNOTATIONS)).unwrap_or_default();
    view.annotations.insert(NAME.to_owned(), manifest.name.to_string());
    project_platform(manifest, &mut view);
    project_annotations(manifest, &mut view);
    if let Some(app) = &manifest.app {
        project_app(app, manifest, &mut view);
    }
    view
}

/// What a manifest leaves to whoever wrote the image is not an edit: it is taken as it was written.
pub(super) fn leave_to_writer(manifest: &ImageManifest, view: &mut View, now: &View) {
    if view.annotations.contains_key(NOARCH) && view.annotations.get(NOARCH) == now.annotations.get(NOARCH) {
        (view.os, view.architecture, view.variant) = (now.os.clone(), now.architecture.clone(), now.variant.clone());
    }
    let by_file = manifest.app.as_ref().is_some_and(|app| app.user.starts_with('/') || app.group.starts_with('/'));
    if let Some(resolved) = now.annotations.get(RESOLVED_USER).filter(|_| by_file) {
        view.user.clone_from(resolved);
        view.annotations.insert(RESOLVED_USER.to_owned(), resolved.clone());
    }
}

fn project_platform(manifest: &ImageManifest, view: &mut View) {
    let (os, arch) = (manifest.labels.get("os"), manifest.labels.get("arch"));
    if let Some(other) = manifest.annotations.get(PLATFORM).filter(|_| arch.is_none()) {
        let mut words = other.splitn(3, '/').map(str::to_owned);
        let mut next = || words.next().unwrap_or_default();
        (view.os, view.architecture, view.variant) = (next(), next(), next());
    } else {
        view.os = os.unwrap_or("linux").to_owned();
        let label = arch.unwrap_or_else(|| host_arch());
        match platform::to_oci(&view.os, label) {
            Some((architecture, variant)) => {
                (view.architecture, view.variant) = (architecture.to_owned(), variant.to_owned());
            }
            None => label.clone_into(&mut view.architecture),
        }
        let missing = [("os", os), ("arch", arch)].into_iter().filter(|(_, value)| value.is_none());
        let missing = missing.map(|(name, _)| name).collect::<Vec<_>>().join(",");
        if !missing.is_empty() {
            view.annotations.insert(NOARCH.to_owned(), missing);
        }
    }
    for label in manifest.labels.iter() {
        let name = match label.name.as_str() {
            "version" => VERSION.to_owned(),
            "os" => continue,
            "arch" if platform::to_oci(&view.os, &label.value).is_some() => continue,
            other => format!("{LABEL}{other}"),
        };
        view.annotations.insert(name, label.value.clone());
    }
}

fn project_annotations(manifest: &ImageManifest, view: &mut View) {
    for annotation in manifest.annotations.iter() {
        let name = annotation.name.as_str();
        let known = WELL_KNOWN.iter().find(|(ours, _)| *ours == name).map(|(_, theirs)| *theirs);
        if known.is_none() && is_reserved(name) {
            continue;
        }
        match name {
            "created" => view.created.clone_from(&annotation.value),
            "authors" => view.author.clone_from(&annotation.value),
            _ => {}
        }
        view.annotations.insert(known.unwrap_or(name).to_owned(), annotation.value.clone());
    }
}

/// Whether an annotation of that name is not simply an annotation of that name on the other side.
pub(super) fn is_reserved(name: &str) -> bool {
    name.starts_with(STASHES)
        || [ENTRYPOINT, CMD, VERSION, NAME, NOARCH].contains(&name)
        || super::TECHNICAL.contains(&name)
        || name.starts_with(LABEL)
        || name.starts_with(APP)
        || WELL_KNOWN.iter().any(|(ours, theirs)| *ours == name || *theirs == name)
}

fn project_app(app: &App, manifest: &ImageManifest, view: &mut View) {
    view.user = match super::names_no_group(app, &manifest.annotations) {
        true => app.user.clone(),
        false => format!("{}:{}", app.user, app.group),
    };
    view.exposed_ports = ports::project(&app.ports);
    view.env = app.environment.iter().map(|variable| format!("{}={}", variable.name, variable.value)).collect();
    view.env.extend(other_env(manifest));
    let (entrypoint, cmd) = (words(manifest, ENTRYPOINT), words(manifest, CMD));
    if entrypoint.iter().chain(&cmd).eq(&app.exec) {
        (view.entrypoint, view.cmd) = (entrypoint, cmd);
    } else {
        view.entrypoint.clone_from(&app.exec);
    }
    view.volumes = app.mount_points.iter().map(|mount_point| mount_point.path.clone()).collect();
    view.working_dir = app.working_directory.clone().unwrap_or_default();
    view.labels.clone_from(&app.user_labels);
    project_rest(app, &mut view.annotations);
}

/// A list of strings in an annotation.
/// Entries of the environment whose names App Container does not have.
pub(crate) fn other_env(manifest: &ImageManifest) -> Vec<String> {
    words(manifest, ENV)
}

fn words(manifest: &ImageManifest, name: &str) -> Vec<String> {
    manifest.annotations.get(name).and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
}

fn project_rest(app: &App, annotations: &mut BTreeMap<String, String>) {
    let mut put = |name: &str, value: Value| {
        let empty = value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(|o| o.is_empty());
        if !empty {
            annotations.insert(format!("{APP}{name}"), text::compact(&value));
        }
    };
    put("event-handlers", app.event_handlers[..].write());
    put("isolators", app.isolators.write());
    put("mount-points", app.mount_points[..].write());
    put("ports", app.ports[..].write());
    put("supplementary-gids", app.supplementary_gids[..].write());
    put("user-annotations", app.user_annotations.write());
}
