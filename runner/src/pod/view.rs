//! A pod as it is shown: `list` and `status`.

use std::io;

use serde::Serialize;

use super::dir::{Pod, State};
use super::info::{AppStatus, Runtime};

/// A pod, for people and as JSON.
#[derive(Debug, Serialize)]
pub struct PodView {
    /// The UUID.
    pub name: String,
    /// The state's word.
    pub state: &'static str,
    /// The networks. Empty: a pod has loopback, or the host's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub networks: Vec<String>,
    /// The apps' names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub app_names: Vec<String>,
    /// The apps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub apps: Vec<AppView>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<i64>,
    /// Seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<i64>,
    /// The state.
    #[serde(skip)]
    pub pod_state: State,
    /// Nanoseconds since 1970.
    #[serde(skip)]
    pub created: Option<i64>,
    /// Nanoseconds since 1970.
    #[serde(skip)]
    pub started: Option<i64>,
    /// The process ID of PID 1, as long as that process can be alive.
    #[serde(skip)]
    pub pid: Option<i32>,
}

/// An app of a pod, for people and as JSON.
#[derive(Debug, Serialize)]
pub struct AppView {
    /// Its name.
    pub name: String,
    /// `created`, `running`, `exited` or `unknown`.
    pub state: &'static str,
    /// Nanoseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<i64>,
    /// Nanoseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<i64>,
    /// Nanoseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<i64>,
    /// How it ended, once it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The image's ID.
    pub image_id: String,
    /// `name[:version]` of the image.
    #[serde(skip)]
    pub image_name: String,
    /// The volumes it sees.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<MountView>,
}

/// A volume that an app sees.
#[derive(Debug, Serialize)]
pub struct MountView {
    /// The volume's name.
    pub name: String,
    /// Where the app sees it.
    pub container_path: String,
    /// Where it is on the host; nothing for an empty volume.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host_path: String,
    /// Whether the volume says that it may only be read.
    pub read_only: bool,
}

impl PodView {
    /// Looks at a pod.
    ///
    /// # Errors
    /// When its state or its manifest cannot be read. A pod without a manifest (not yet, or a failed prepare) has no apps.
    pub fn of(pod: &Pod) -> io::Result<PodView> {
        let state = pod.state()?;
        let runtime = pod.runtime().ok();
        let started = pod.pid();
        let apps = match pod.manifest() {
            Ok(manifest) => apps(pod, state, runtime.as_ref(), &manifest),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(io::Error::new(e.kind(), format!("pod {}: manifest: {e}", pod.uuid))),
        };
        let seconds = |time: i64| time / 1_000_000_000;
        let created = runtime.map(|r| r.created_at);
        Ok(PodView {
            name: pod.uuid.to_string(),
            state: state.name(),
            networks: Vec::new(),
            app_names: apps.iter().map(|app| app.name.clone()).collect(),
            apps,
            created_at: created.map(seconds),
            started_at: started.map(|(_, time)| seconds(time)),
            pod_state: state,
            created,
            started: started.map(|(_, time)| time),
            pid: started.map(|(pid, _)| pid),
        })
    }
}

fn apps(pod: &Pod, state: State, runtime: Option<&Runtime>, manifest: &appc_spec::PodManifest) -> Vec<AppView> {
    let view = |app: &appc_spec::RuntimeApp| {
        let status = pod.app_status(app.name.as_str());
        let image_name = app.image.name.as_ref().map_or_else(|| "--".into(), ToString::to_string);
        AppView {
            name: app.name.to_string(),
            state: app_state(state, status.as_ref()),
            created_at: runtime.map(|r| r.created_at),
            started_at: status.as_ref().map(|s| s.started_at).or(pod.pid().map(|(_, time)| time)),
            finished_at: status.as_ref().map(|s| s.finished_at),
            exit_code: status.as_ref().map(|s| s.exit_code),
            image_id: app.image.id.to_string(),
            image_name: match app.image.labels.get("version") {
                Some(version) => format!("{image_name}:{version}"),
                None => image_name,
            },
            mounts: app.mounts.iter().map(|mount| mount_view(mount, manifest)).collect(),
        }
    };
    manifest.apps.iter().map(view).collect()
}

fn app_state(pod: State, status: Option<&AppStatus>) -> &'static str {
    match (pod, status) {
        (_, Some(_)) => "exited",
        (State::Running, None) => "running",
        (State::Embryo | State::Preparing, None) => "created",
        // Killed with the pod, before anybody could write down how.
        (State::Exited | State::ExitedGarbage | State::ExitedDeleting, None) => "exited",
        _ => "unknown",
    }
}

fn mount_view(mount: &appc_spec::Mount, manifest: &appc_spec::PodManifest) -> MountView {
    let volume = manifest.volumes.iter().find(|v| v.name == mount.volume);
    let host_path = match volume.map(|v| &v.source) {
        Some(appc_spec::VolumeSource::Host { source, .. }) => source.clone(),
        _ => String::new(),
    };
    MountView {
        name: mount.volume.to_string(),
        container_path: mount.path.clone(),
        host_path,
        read_only: volume.and_then(|v| v.read_only).unwrap_or(false),
    }
}
