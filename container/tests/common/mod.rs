//! A bundle to try things with.

#![allow(dead_code, reason = "not every test uses all of it")]

pub(crate) mod bus;
pub(crate) mod criu;
pub(crate) mod descriptors;

use std::path::PathBuf;

use serde_json::{Value, json};
use support::{Cmd, Scratch, rootfs};

/// A bundle with a busybox root file system, and a state directory of its own.
pub(crate) struct Bundle {
    pub(crate) scratch: Scratch,
    pub(crate) config: Value,
}

impl Bundle {
    /// The template without a terminal, running `script` in a shell.
    pub(crate) fn new(script: &str) -> Bundle {
        let scratch = Scratch::new();
        rootfs::busybox(&scratch.work().join("rootfs"));
        scratch.rkt_oci(["spec"]).ok();
        let text = std::fs::read(scratch.work().join("config.json")).expect("spec wrote it");
        let mut config: Value = serde_json::from_slice(&text).expect("spec writes JSON");
        config["process"]["terminal"] = json!(false);
        config["process"]["args"] = json!(["sh", "-c", script]);
        // Tests run at once and call their containers the same.
        let name = scratch.path().file_name().expect("it has a name").to_string_lossy().into_owned();
        config["linux"]["cgroupsPath"] = json!(name);
        Bundle { scratch, config }
    }

    /// A path inside the root file system, as the host sees it.
    pub(crate) fn rootfs(&self, path: &str) -> PathBuf {
        self.scratch.work().join("rootfs").join(path)
    }

    /// Adds a mount.
    pub(crate) fn mount(&mut self, mount: Value) {
        self.config["mounts"].as_array_mut().expect("the template has mounts").push(mount);
    }

    /// Takes the mount at `destination` away.
    pub(crate) fn unmount(&mut self, destination: &str) {
        let mounts = self.config["mounts"].as_array_mut().expect("the template has mounts");
        mounts.retain(|m| m["destination"] != destination);
    }

    /// `rkt-oci COMMAND…` with the configuration as it is now.
    pub(crate) fn command<const N: usize>(&self, command: [&str; N]) -> Cmd {
        self.scratch.file("config.json", self.config.to_string());
        self.scratch.rkt_oci(["--root"]).arg(self.state()).args(command)
    }

    /// `rkt-oci run test`
    pub(crate) fn run(&self) -> Cmd {
        self.command(["run", "test"])
    }

    /// Where the containers' state is.
    pub(crate) fn state(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    /// That nothing of a container is left in the state directory and no process of it lives.
    #[track_caller]
    pub(crate) fn nothing_left(&self) {
        let names = std::fs::read_dir(self.state()).into_iter().flatten().flatten().map(|e| e.path());
        // Filters of system calls are kept for others.
        let names: Vec<_> = names.filter(|path| !path.ends_with(".cache")).collect();
        assert!(names.is_empty(), "state left behind: {names:?}");
        assert_eq!(self.scratch.processes(), Vec::<String>::new(), "processes left behind");
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        // After a failed test there may still be one.
        for entry in std::fs::read_dir(self.state()).into_iter().flatten().flatten() {
            let id = entry.file_name().to_string_lossy().into_owned();
            // Killed when it takes longer, and no failure of its own: the first one is the one to see.
            self.command(["delete", "--force", &id]).spawn().ended_within(std::time::Duration::from_secs(20));
        }
    }
}
