//! The small files in a pod's directory.

use std::io;

use appc_container::cgroup::Saved;
use serde::{Deserialize, Serialize};

use super::dir::Pod;

/// What is known about a pod before it starts; `runtime.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// Nanoseconds since 1970.
    pub created_at: i64,
    /// Every image the pod's file systems are made of, dependencies too.
    pub images: Vec<String>,
    /// `loopback` or `host`.
    pub network: String,
    /// The pod's host name.
    pub hostname: String,
}

/// How an app ended; `apps/<app>/status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppStatus {
    /// Nanoseconds since 1970.
    pub started_at: i64,
    /// Nanoseconds since 1970.
    pub finished_at: i64,
    /// The exit status, 128+n when signal n ended it.
    pub exit_code: i32,
    /// Whether it went over its memory limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub out_of_memory: bool,
}

impl Pod {
    /// `runtime.json`
    pub fn runtime(&self) -> io::Result<Runtime> {
        Ok(serde_json::from_slice(&self.read("runtime.json")?.0)?)
    }

    /// Writes `runtime.json`.
    pub fn set_runtime(&self, runtime: &Runtime) -> io::Result<()> {
        self.write("runtime.json", &serde_json::to_vec(runtime)?)
    }

    /// The process ID of the pod's PID 1 and when it started, once it has.
    pub fn pid(&self) -> Option<(i32, i64)> {
        let (text, time) = self.read("pid").ok()?;
        Some((std::str::from_utf8(&text).ok()?.trim().parse().ok()?, time))
    }

    /// Writes the process ID of the pod's PID 1; the file's time says when the pod started.
    pub fn set_pid(&self, pid: i32) -> io::Result<()> {
        self.write("pid", format!("{pid}\n").as_bytes())
    }

    /// How `app` ended, once it has.
    pub fn app_status(&self, app: &str) -> Option<AppStatus> {
        serde_json::from_slice(&self.read(format!("apps/{app}/status")).ok()?.0).ok()
    }

    /// Writes how `app` ended.
    pub fn set_app_status(&self, app: &str, status: &AppStatus) -> io::Result<()> {
        self.write(format!("apps/{app}/status"), &serde_json::to_vec(status)?)
    }

    /// The names of the apps that were begun to be prepared.
    pub fn app_dirs(&self) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.path().join("apps")) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// Where the control group of `app` is, or will be.
    pub fn cgroup(&self, app: &str) -> io::Result<Option<Saved>> {
        match self.read(format!("apps/{app}/cgroup")) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            text => Ok(serde_json::from_slice(&text?.0).ok()),
        }
    }

    /// Writes down where the control group of `app` will be. To be done before it is made.
    pub fn set_cgroup(&self, app: &str, cgroup: &Saved) -> io::Result<()> {
        self.write(format!("apps/{app}/cgroup"), &serde_json::to_vec(cgroup)?)
    }

    /// The pod manifest.
    pub fn manifest(&self) -> io::Result<appc_spec::PodManifest> {
        appc_spec::PodManifest::parse(&self.read("pod")?.0).map_err(|e| io::Error::other(e.to_string()))
    }
}
