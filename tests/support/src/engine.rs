//! Container engines that call `rkt-oci`: their daemons, and an image for them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ring::digest::{SHA256, digest};
use rustix::process::Signal;
use serde_json::json;

use crate::{Cmd, Running, Scratch, rootfs};

/// The name of the image of [`image`], in full so that no engine adds to it.
pub const IMAGE: &str = "example.com/busybox:1";

/// A daemon. When dropped it is asked to end, killed when it does not, and its cgroups are removed.
pub struct Daemon {
    running: Running,
    cgroups: Vec<String>,
}

impl Daemon {
    /// Starts it and waits until `ready` succeeds. `cgroups` are those it makes below the roots of the hierarchies.
    ///
    /// # Panics
    /// When it is not ready within half a minute.
    #[track_caller]
    pub fn start(command: &Cmd, ready: &Cmd, cgroups: &[&str]) -> Self {
        let running = command.spawn();
        let daemon = Self { running, cgroups: cgroups.iter().map(|&name| name.to_owned()).collect() };
        let end = Instant::now() + Duration::from_secs(30);
        while ready.run().code() != 0 {
            let over = daemon.running.ended_within(Duration::from_millis(50)) || Instant::now() > end;
            assert!(!over, "{} is not ready:\n{}", command.line(), daemon.log());
        }
        daemon
    }

    /// The end of what it has written.
    pub fn log(&self) -> String {
        let (out, err) = self.running.output();
        let lines: Vec<&str> = out.lines().chain(err.lines()).collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.running.signal(Signal::TERM);
        self.running.ended_within(Duration::from_secs(20));
        for cgroup in &self.cgroups {
            remove_cgroups(cgroup);
        }
    }
}

/// An OCI image that `acbuild` builds in two layers, `example.com/built:1` in `built.tar` of this format. It prints
/// `by acbuild` and ends with 1, for a file that the upper layer deletes.
///
/// # Panics
/// When it cannot be built.
#[track_caller]
pub fn built_by_acbuild(format: &str) -> Scratch {
    let scratch = Scratch::new();
    let tree = scratch.path().join("busybox");
    rootfs::busybox(&tree);
    scratch.file("motd", "by acbuild\n");
    let acbuild = |line: &str| drop(scratch.acbuild(line.split(' ')).ok());
    acbuild(&format!("begin --build-mode=oci {}", tree.display()));
    scratch.acbuild(["set-exec", "--", "/bin/sh", "-c", "cat /etc/motd; test -e /etc/group"]).ok();
    acbuild("layer");
    fs::remove_file(scratch.work().join(".acbuild/currentaci/rootfs/etc/group")).expect("it is there");
    acbuild("copy motd /etc/motd");
    acbuild(&format!("write {format}:built.tar:example.com/built:1"));
    scratch
}

/// Removes the cgroups of this name, which are empty by now, from all hierarchies.
pub fn remove_cgroups(name: &str) {
    fn remove(folder: &Path) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                remove(&entry.path());
            }
        }
        // What is still in use stays, and is told by the check of the host.
        let _ = fs::remove_dir(folder);
    }
    let root = Path::new("/sys/fs/cgroup");
    remove(&root.join(name));
    for hierarchy in fs::read_dir(root).into_iter().flatten().flatten() {
        remove(&hierarchy.path().join(name));
    }
}

/// Makes an image of busybox, which only waits unless told otherwise, as `docker save` writes it, which all engines load.
///
/// # Panics
/// When the folder cannot be written.
pub fn image(scratch: &Scratch) -> PathBuf {
    let root = scratch.path().join("image-root");
    rootfs::busybox(&root);
    let mut layer = tar::Builder::new(Vec::new());
    layer.follow_symlinks(false);
    layer.append_dir_all("", &root).expect("the folder is ours");
    let layer = layer.into_inner().expect("memory takes all");
    let hex =
        |bytes: &[u8]| -> String { digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect() };
    let config = json!({
        "architecture": std::env::consts::ARCH.replace("x86_64", "amd64").replace("aarch64", "arm64"),
        "os": "linux",
        "config": {"Cmd": ["sleep", "100000"], "Env": ["PATH=/bin", "FROM_IMAGE=yes"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(&layer))]},
    })
    .to_string();
    let config_name = format!("{}.json", hex(config.as_bytes()));
    let manifest = json!([{"Config": config_name, "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]).to_string();
    let path = scratch.path().join("image.tar");
    let mut archive = tar::Builder::new(fs::File::create(&path).expect("the folder is ours"));
    for (name, bytes) in
        [(config_name.as_str(), config.as_bytes()), ("manifest.json", manifest.as_bytes()), ("layer.tar", &layer)]
    {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append_data(&mut header, name, bytes).expect("the file takes all");
    }
    archive.finish().expect("the file takes all");
    path
}
