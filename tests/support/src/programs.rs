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

/// The same command as the user nobody. Needs root and the program `setpriv`.
pub fn as_nobody(command: crate::Cmd) -> crate::Cmd {
    command.under("setpriv", ["--reuid", "65534", "--regid", "65534", "--clear-groups"])
}
