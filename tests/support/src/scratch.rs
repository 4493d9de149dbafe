//! A place of its own for every test.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::command::Cmd;
use crate::nowhere::nowhere;
use crate::{guard, programs};

/// How the folders are called.
pub(crate) const PREFIX: &str = "appc-test-";

/// A temporary folder with a data folder for the store and the pods, and a folder to work in. Gone when dropped, with everything mounted below.
pub struct Scratch {
    dir: TempDir,
}

impl Scratch {
    /// Makes the folders.
    ///
    /// # Panics
    /// When there is no room for temporary files.
    #[expect(clippy::new_without_default, reason = "it touches the disk")]
    pub fn new() -> Self {
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir().expect("a temporary folder");
        // Ordinary users take part in some tests.
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("the folder is ours");
        std::fs::create_dir(dir.path().join("work")).expect("the folder is ours");
        Self { dir }
    }

    /// The folder of everything below.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The folder that commands run in.
    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// The data folder of the programs. Not made beforehand.
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Writes a file below the work folder and returns its path.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.work().join(name);
        std::fs::create_dir_all(path.parent().expect("below the work folder")).expect("the folder is ours");
        std::fs::write(&path, content).expect("the folder is ours");
        path
    }

    /// One of the programs, in the work folder, with this data folder, and with no other host to be reached.
    #[track_caller]
    pub fn program(&self, name: &str) -> Cmd {
        let program = Cmd::new(programs::find(name)).cwd(self.work()).env("RKT_DIR", self.data());
        ["HTTPS_PROXY", "HTTP_PROXY"].into_iter().fold(program, |program, proxy| program.env(proxy, nowhere()))
    }

    /// `acbuild ARGS…`
    #[track_caller]
    pub fn acbuild<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cmd {
        self.program("acbuild").args(args)
    }

    /// `rkt ARGS…`
    #[track_caller]
    pub fn rkt<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cmd {
        self.program("rkt").args(args)
    }

    /// `rkt-oci ARGS…`
    #[track_caller]
    pub fn rkt_oci<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Cmd {
        self.program("rkt-oci").args(args)
    }

    /// Processes that still use something below this folder, as `pid command`, the caller left out.
    pub fn processes(&self) -> Vec<String> {
        let needle = self.path().to_string_lossy().into_owned();
        let own = std::fs::read_link("/proc/self/ns/mnt").ok();
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.parse::<u32>().is_err() || name == std::process::id().to_string() {
                continue;
            }
            let read = |file: &str| {
                String::from_utf8_lossy(&std::fs::read(entry.path().join(file)).unwrap_or_default()).replace('\0', " ")
            };
            let command = read("cmdline");
            // One that another test is making at this moment still has all mounts of the host.
            let of_another = command.contains(PREFIX) && !command.contains(&needle);
            // A container shows itself by what its own mount table is made of.
            let elsewhere = !of_another && std::fs::read_link(entry.path().join("ns/mnt")).ok() != own;
            if command.contains(&needle) || (elsewhere && read("mountinfo").contains(&needle)) {
                found.push(format!("{name} {command}"));
            }
        }
        found
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        guard::unmount_below(self.path());
    }
}
