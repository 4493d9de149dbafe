//! Root file systems and programs to put into them.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::Cmd;
use crate::need;

/// Makes a small root file system whose programs are all busybox. Needs the static program `busybox`.
///
/// # Panics
/// When the folder cannot be written.
pub fn busybox(folder: &Path) {
    let busybox = need::find_program("busybox").expect("the caller made sure of it");
    for name in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "var/lib"] {
        std::fs::create_dir_all(folder.join(name)).expect("the folder is ours");
    }
    std::fs::copy(&busybox, folder.join("bin/busybox")).expect("the folder is ours");
    for applet in Cmd::new(&busybox).arg("--list").ok().stdout.lines().filter(|name| *name != "busybox") {
        symlink("busybox", folder.join("bin").join(applet)).expect("the folder is ours");
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\ncarly:x:1000:2000:Carly:/home/carly:/bin/sh\n";
    std::fs::write(folder.join("etc/passwd"), passwd).expect("the folder is ours");
    let group = "root:x:0:\nusers:x:2000:\nwheel:x:2001:carly\nnogroup:x:65534:\n";
    std::fs::write(folder.join("etc/group"), group).expect("the folder is ours");
}

/// A Debian root file system of about 200 MB with devices, hard links, setuid files and capabilities. Shared: never write to it.
/// Built once per machine; needs root, and the network the first time.
///
/// # Panics
/// When it cannot be built.
pub fn debian() -> PathBuf {
    let script = folder().join("support/debian-tree.sh");
    PathBuf::from(Cmd::new("sh").arg(script).timeout(Duration::from_secs(900)).ok().text())
}

/// Compiles the example's `hello` to a static program. Needs the program `cc`.
///
/// # Panics
/// When the compiler fails.
pub fn hello(program: &Path) {
    let source = folder().join("../examples/hello/hello.c");
    Cmd::new("cc").args(["-O2", "-static", "-o"]).arg(program).arg(source).ok();
}

/// The folder `tests/` of the project.
pub fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
