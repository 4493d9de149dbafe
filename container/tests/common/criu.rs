//! A stand-in for criu, which follows new kernels with some delay: what is before and after its work is ours.

use support::{Cmd, Scratch};

const SOURCE: &str = include_str!("../checkpoint/criu.c");

/// A folder with it, and what to give to programs as `PATH`.
pub(crate) struct StandIn {
    _folder: Scratch,
    path: String,
}

impl StandIn {
    /// Needs `cc`.
    pub(crate) fn new() -> StandIn {
        let folder = Scratch::new();
        let source = folder.file("criu.c", SOURCE);
        Cmd::new("cc").args(["-Wall", "-O1", "-o"]).arg(folder.path().join("criu")).arg(source).ok();
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap_or_default());
        StandIn { _folder: folder, path }
    }

    /// A command that finds it.
    pub(crate) fn of(&self, command: Cmd) -> Cmd {
        command.env("PATH", &self.path)
    }
}
