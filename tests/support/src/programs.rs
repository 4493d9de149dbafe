//! Where the built programs are.

use std::path::PathBuf;

/// The path of `acbuild`, `rkt` or `rkt-oci`.
///
/// `APPC_BIN_DIR` names their folder; without it they are looked for where cargo puts them, next to the test's own executable.
///
/// # Panics
/// When the program has not been built.
#[track_caller]
pub fn find(name: &str) -> PathBuf {
    let folder = match std::env::var_os("APPC_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => {
            // target/<profile>/deps/<test>, with or without the target's triple in between.
            let test = std::env::current_exe().expect("the test has a path");
            test.ancestors().nth(2).expect("tests lie in <profile>/deps").to_owned()
        }
    };
    let program = folder.join(name);
    assert!(
        program.is_file(),
        "{} is not there: build it with `cargo build --workspace`, or set APPC_BIN_DIR to the folder of the built programs",
        program.display()
    );
    std::path::absolute(program).expect("the current folder is readable")
}

/// Copies the programs to where every user can reach them, whatever folder the project lies in.
///
/// # Panics
/// When they have not been built.
#[track_caller]
pub fn for_everyone(scratch: &crate::Scratch) -> PathBuf {
    let folder = scratch.path().join("bin");
    std::fs::create_dir_all(&folder).expect("the folder is ours");
    for name in ["acbuild", "rkt", "rkt-oci"] {
        std::fs::copy(find(name), folder.join(name)).expect("the folder is ours");
    }
    folder
}

/// The subordinate ids that [`with_ids`] gives the user nobody.
pub const SUBORDINATE_IDS: &str = "nobody:300000:65536\n";

/// The same command where the user nobody has subordinate ids, on a machine of whose own users nothing changes: the files
/// that say so are there for this command only. Needs root and the programs `unshare` and `newuidmap`.
///
/// # Panics
/// When the folder cannot be written.
pub fn with_ids(command: crate::Cmd, scratch: &crate::Scratch) -> crate::Cmd {
    let file = scratch.path().join("subordinate-ids");
    std::fs::write(&file, SUBORDINATE_IDS).expect("the folder is ours");
    let script = "mount --bind \"$0\" /etc/subuid && mount --bind \"$0\" /etc/subgid && exec \"$@\"";
    let file = file.to_string_lossy().into_owned();
    command.under("unshare", ["--mount", "sh", "-c", script, &file])
}

/// The same command as the user nobody. Needs root and the program `setpriv`.
pub fn as_nobody(command: crate::Cmd) -> crate::Cmd {
    command.under("setpriv", ["--reuid", "65534", "--regid", "65534", "--clear-groups"])
}
